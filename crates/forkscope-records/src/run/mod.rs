//! The run directory: `run.json`, tables, documents, and how they survive a
//! crash.
//!
//! While a run is written, everything unfinished lies below `RUN/.spool/`: the
//! lock, temporary files, and the finished row groups of each table. A file gets
//! its name only when it is whole, by a rename. kill -9 at any moment loses at
//! most the row group in flight; a resumed run ends in the same bytes as an
//! uninterrupted one, `timing` in `run.json` excepted.

mod append;
mod clock;
mod dir;
mod files;
mod folder;
mod manifest;
mod spool;
mod writer;

pub use append::AppendLog;
pub use dir::{Mode, Opened, RunDir};
pub(crate) use files::{remove_file, sync_dir, write_whole};
pub use folder::Folder;
pub use manifest::{RunJson, RunManifest, RunStatus, Timing, read_run_json};
pub use writer::TableWriter;

/// Rows per row group unless the user says otherwise.
pub const ROW_GROUP_ROWS: usize = 4096;
