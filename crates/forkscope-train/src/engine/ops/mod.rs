//! The operations of a decoder block with their gradients.
//!
//! Forward passes are those of inference where nothing more is needed. Every
//! backward pass *adds* to the gradients it is given unless it says otherwise;
//! rows are independent, so a row's bits do not depend on threads.

pub(crate) mod attention;
pub(crate) mod norm;
pub(crate) mod product;
pub(crate) mod swiglu;

#[cfg(test)]
mod tests;
