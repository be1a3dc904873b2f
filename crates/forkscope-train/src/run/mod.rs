//! A training run: steps, optimiser, checkpoints and logs.

mod checkpoint;
mod clock;
mod failed;
mod log;
mod optimiser;
mod schedule;
mod settings;
mod source;
mod tensorboard;
mod tensors;
mod trainer;
mod watch;

pub use checkpoint::{Best, CHECKPOINTS};
pub use failed::FAILED_BATCH;
pub use log::{METRICS, TIMING};
pub use optimiser::{AdamW, AdamWSettings, Decayed, clip_factor, global_norm};
pub use schedule::Schedule;
pub use settings::TrainSettings;
pub use source::{Source, Step};
pub use tensorboard::FILE as TENSORBOARD;
pub use trainer::{BEST, FINAL, Trained, Trainer};
pub use watch::{Evaluate, Evaluation, StepReport, Watch};
