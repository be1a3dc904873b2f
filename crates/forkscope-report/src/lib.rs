//! Findings and records rendered as HTML, Markdown and SVG.
//!
//! A report has one source of numbers: `findings.json`. The summary, the
//! figures and the findings table of [`render_html`] and [`render_markdown`]
//! write values, intervals and denominators of findings and compute none. Only
//! the token views of the page show something else, the rows of
//! `tokens.parquet` as recorded (in f32) and, in the list of rollouts, their
//! sums, means and maxima over one rollout.
//!
//! The page is one file that fetches nothing: its policy forbids every source
//! but the one style sheet and the one script whose SHA-256 it names. Model
//! text is hostile: [`text`] makes it visible and inert before it is written,
//! and the script only ever assigns it to `textContent`.
#![forbid(unsafe_code)]

mod csp;
mod data;
mod error;
mod evaluated;
mod facts;
mod figures;
mod heatmap;
mod html;
mod markdown;
pub mod number;
pub mod sections;
mod summary;
mod table;
pub mod text;
mod view;
mod write;

pub use data::ReportData;
pub use error::ReportError;
pub use figures::{Figure, curves, figures};
pub use html::{HtmlOptions, render_html, render_html_with};
pub use markdown::render_markdown;
pub use summary::{Summary, summarise};
pub use view::Viewer;
pub use write::{Document, documents, write_documents};
