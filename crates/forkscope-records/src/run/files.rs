//! Files that are whole or not there: written aside, flushed to the disk,
//! renamed into place.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use crate::RecordsError;

/// Writes `bytes` to `temporary`, flushes them to the disk and renames the file
/// to `path`. Both lie on the same file system.
pub(crate) fn write_whole(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), RecordsError> {
    let written = File::create(temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    // The message names the file that the user knows, not the temporary one.
    written.map_err(RecordsError::write(path))?;
    fs::rename(temporary, path).map_err(RecordsError::write(path))
}

/// Makes renames in a directory survive a power failure, where the system can.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), RecordsError> {
    if cfg!(unix) {
        File::open(dir)
            .and_then(|d| d.sync_all())
            .map_err(RecordsError::write(dir))?;
    }
    Ok(())
}

/// `name` below `run`, if it is a plain relative path that is nobody else's.
pub(super) fn inside(run: &Path, name: &str) -> Result<PathBuf, RecordsError> {
    let relative = Path::new(name);
    let plain = relative
        .components()
        .all(|c| matches!(c, Component::Normal(_)));
    if name.is_empty() || !plain || name.starts_with('.') || name == "run.json" {
        return Err(RecordsError::Misuse(format!(
            "{name:?} is no name for a file of a run"
        )));
    }
    Ok(run.join(relative))
}

/// Removes a directory and all below it; that it is not there is fine.
pub(super) fn remove_tree(dir: &Path) -> Result<(), RecordsError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(RecordsError::write(dir)(e)),
        _ => Ok(()),
    }
}

/// Removes a file; that it is not there is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), RecordsError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(RecordsError::write(path)(e)),
        _ => Ok(()),
    }
}
