//! The lab's data: what the model organisms are made of, from a seed.
//!
//! ```text
//! words, cues ─► problems, draw ─┬─► solutions (mixture, steps) ─► corpus ─► base
//!                                ├─► sets: what organisms are measured on
//!                                └─► pairs: what base's own rollouts become
//! stages: which organism is made of which of these, and how
//! make: runs a stage; measure: what came of it; records: what the run wrote down
//! ```
//! Pure data, no model: every example is a function of (seed, split, number), so
//! that it can be streamed, resumed and made again. `docs/lab.md` describes the
//! task and gives the statistics that the tests hold it to.

pub mod corpus;
pub mod cues;
pub mod draw;
pub mod make;
pub mod measure;
pub mod mixture;
pub mod model;
pub mod pairs;
pub mod problems;
pub mod records;
pub mod sets;
pub mod solutions;
pub mod stages;
pub mod words;

mod steps;
