//! The forkscope command line.

fn main() {}
