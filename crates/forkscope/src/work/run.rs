//! Opening a run and closing it.

use forkscope_records::{Mode, Opened, RunDir, RunManifest};

use super::models::Named;
use super::options::RunOptions;
use crate::cli::Settings;
use crate::failure::Failure;
use crate::interrupt;

/// A manifest with what every command records.
pub fn manifest(command: &str, settings: &Settings) -> RunManifest {
    RunManifest::new(command)
        .version("forkscope", env!("CARGO_PKG_VERSION"))
        .version("numerics", forkscope_policy::numerics::profile())
        .free_setting("threads", rayon::current_num_threads())
        .seed("seed", settings.seed)
}

/// Adds a policy under a role (`base`, `tuned`, `model`).
pub fn with_policy(
    manifest: RunManifest,
    role: &str,
    named: &Named,
) -> Result<RunManifest, Failure> {
    let manifest = manifest
        .setting(role, named.spec.as_str())
        .digest(role, named.digest()?);
    Ok(match named.vocabulary() {
        Some(digest) => manifest.digest("tokenizer", digest),
        None => manifest,
    })
}

/// Opens the run; `None` if it is complete already.
pub fn open(options: &RunOptions, manifest: RunManifest) -> Result<Option<RunDir>, Failure> {
    let mode = if options.resume {
        Mode::Resume
    } else {
        Mode::Fresh
    };
    interrupt::watch()?;
    Ok(match RunDir::open(&options.out, manifest, mode)? {
        Opened::AlreadyComplete(_) => None,
        opened => opened.to_write(),
    })
}
