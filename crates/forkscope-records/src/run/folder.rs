//! A folder of a run that is whole or not there, e.g. a training checkpoint.
//!
//! Its files are written below `.spool/`, digested as they go by, flushed to the
//! disk, and the folder is renamed into place. A folder of that name that was
//! there before stays until then.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::files::{inside, remove_tree, sync_dir};
use crate::RecordsError;
use crate::digest::{FileDigest, hex};

/// A folder that is being written. Dropped before [`Folder::finish`], it leaves
/// nothing.
#[derive(Debug)]
pub struct Folder {
    target: PathBuf,
    temporary: PathBuf,
    before: PathBuf,
    finished: bool,
    _lock: Arc<File>,
}

impl Folder {
    pub(super) fn start(
        target: PathBuf,
        aside: &Path,
        flat: &str,
        lock: Arc<File>,
    ) -> Result<Self, RecordsError> {
        let folder = Self {
            temporary: aside.join(format!("{flat}.part")),
            before: aside.join(format!("{flat}.before")),
            target,
            finished: false,
            _lock: lock,
        };
        remove_tree(&folder.temporary)?;
        remove_tree(&folder.before)?;
        fs::create_dir_all(&folder.temporary).map_err(RecordsError::write(&folder.target))?;
        Ok(folder)
    }

    /// Writes a file of the folder and says what it is. Errors name the file
    /// where it would have come to lie.
    pub fn file(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<FileDigest, RecordsError> {
        let path = inside(&self.temporary, name)?;
        let known = self.target.join(name);
        let parent = path.parent().unwrap_or(&self.temporary);
        fs::create_dir_all(parent).map_err(RecordsError::write(&known))?;
        let written = File::create(&path).and_then(|file| {
            let mut to = Digesting {
                file: BufWriter::with_capacity(1 << 16, file),
                hasher: Sha256::new(),
                bytes: 0,
            };
            write(&mut to)?;
            to.file.flush()?;
            to.file.get_ref().sync_all()?;
            Ok((to.hasher, to.bytes))
        });
        let (hasher, bytes) = written.map_err(RecordsError::write(&known))?;
        Ok(FileDigest {
            path: name.to_owned(),
            bytes,
            sha256: hex(&hasher.finalize()),
        })
    }

    /// All files are written: gives the folder its name.
    pub fn finish(mut self) -> Result<(), RecordsError> {
        sync_dir(&self.temporary)?;
        let parent = self.target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(RecordsError::write(&self.target))?;
        if self.target.exists() {
            fs::rename(&self.target, &self.before).map_err(RecordsError::write(&self.target))?;
        }
        fs::rename(&self.temporary, &self.target).map_err(RecordsError::write(&self.target))?;
        self.finished = true;
        sync_dir(parent)?;
        remove_tree(&self.before)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.finished {
            // Whatever stays is removed by the next folder of this name, or
            // with the spool.
            let _ = remove_tree(&self.temporary);
        }
    }
}

struct Digesting {
    file: BufWriter<File>,
    hasher: Sha256,
    bytes: u64,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
