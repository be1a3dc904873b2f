//! A file of a run that only grows, e.g. `metrics.jsonl`, and that a resumed run
//! cuts back to what its checkpoint knew.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::RecordsError;

/// A growing file. What was appended can be read by others at once; it is on
/// the disk after [`AppendLog::sync`].
#[derive(Debug)]
pub struct AppendLog {
    path: PathBuf,
    file: File,
    bytes: u64,
    _lock: Arc<File>,
}

impl AppendLog {
    pub(super) fn open(path: PathBuf, lock: Arc<File>) -> Result<Self, RecordsError> {
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(RecordsError::write(&path))?;
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(RecordsError::write(&path))?;
        let bytes = file.metadata().map_err(RecordsError::read(&path))?.len();
        Ok(Self {
            path,
            file,
            bytes,
            _lock: lock,
        })
    }

    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends; after an error the file is as long as before, where the system
    /// lets it be cut back.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), RecordsError> {
        let written = self
            .file
            .seek(SeekFrom::Start(self.bytes))
            .and_then(|_| self.file.write_all(bytes));
        if let Err(e) = written {
            let _ = self.file.set_len(self.bytes);
            return Err(RecordsError::write(&self.path)(e));
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Cuts the file back to its first `bytes` bytes; a file that is shorter is
    /// refused.
    pub fn cut(&mut self, bytes: u64) -> Result<(), RecordsError> {
        if bytes > self.bytes {
            let reason = format!(
                "it has {} bytes where {bytes} were written; put back the whole file, or start again in another --out",
                self.bytes
            );
            return Err(RecordsError::entry(&self.path, "end of the file", reason));
        }
        self.file
            .set_len(bytes)
            .map_err(RecordsError::write(&self.path))?;
        self.bytes = bytes;
        Ok(())
    }

    /// Waits until everything is on the disk.
    pub fn sync(&mut self) -> Result<(), RecordsError> {
        self.file
            .sync_all()
            .map_err(RecordsError::write(&self.path))
    }
}
