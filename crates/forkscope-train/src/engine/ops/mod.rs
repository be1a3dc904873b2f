//! Operations with their gradients.

pub(crate) mod product;
