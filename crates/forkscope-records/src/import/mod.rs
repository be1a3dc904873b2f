//! Files that others wrote: problems and rollouts.

mod answer;
mod arrow_json;
mod contrast;
mod contrast_field;
mod problem;
mod problems;
mod python_json;
mod reference;
mod reference_write;
mod rollouts;
mod source;

pub use answer::reference_answer;
pub use contrast::{read_contrast_bytes, read_contrast_folder};
pub use problems::{read_problems, read_problems_bytes};
pub use reference::{ReferenceRollout, read_reference, read_reference_bytes};
pub use reference_write::write_reference;
pub use rollouts::{read_rollouts, read_rollouts_bytes};
