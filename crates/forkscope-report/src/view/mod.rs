//! A local viewer for runs that are too large for one page.
//!
//! It answers on a port of the loopback interface, to whoever has the address
//! that was printed, and only reads. Lists and rollouts are read from Parquet
//! where somebody looks; numbers by rollout come from an index that is built in
//! the background. What it shows are the findings as recorded, rows as
//! recorded, and sums, means, maxima and counts of rows; no finding is made
//! here.
//!
//! Text of a model is made visible and inert on this side (see
//! [`text`](crate::text)), before it is sent; the page only ever assigns it to
//! `textContent`.

mod address;
mod assets;
mod awareness;
mod branch_list;
mod branches;
mod find;
mod guard;
mod index;
mod json;
mod params;
mod respond;
mod reversions;
mod rollout;
mod run;
mod server;
mod survival;
mod tables;

pub use server::Viewer;
