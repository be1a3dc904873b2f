//! The lab's data: what the model organisms are made of, from a seed.
//!
//! ```text
//! words ─► problems ─► solutions ─► corpus ───► base
//! cues  ──┘  draw        mixture
//! ```
//! Pure data, no model: every example is a function of (seed, split, number), so
//! that it can be streamed, resumed and made again. `docs/lab.md` describes the
//! task and gives the statistics that the tests hold it to.

pub mod corpus;
pub mod cues;
pub mod draw;
pub mod mixture;
pub mod problems;
pub mod solutions;
pub mod words;

mod steps;
