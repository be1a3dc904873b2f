//! Everything that is written to a screen: inert text, tables, progress.

pub mod columns;
pub mod output;
pub mod progress;
pub mod sanitise;
pub mod table;
pub mod training;
pub mod undecided;
