//! The files of a model: a directory, or bytes inside the binary.
//!
//! Weights are mapped, never copied; a file that somebody truncates while it is
//! mapped ends the process, so models belong in directories nobody writes to.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::PolicyError;

/// A file that is part of the binary.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedFile {
    /// File name within the model directory.
    pub name: &'static str,
    /// Content.
    pub bytes: &'static [u8],
}

/// Where a model's files come from.
#[derive(Debug, Clone)]
pub enum ModelFiles {
    /// A directory in the Hugging Face layout.
    Dir(PathBuf),
    /// Files inside the binary, under a display name.
    Embedded {
        /// Shown in messages in place of a directory.
        name: &'static str,
        /// The files.
        files: &'static [EmbeddedFile],
    },
}

/// Bytes that stay where they are.
#[derive(Debug, Clone)]
pub enum Blob {
    /// A mapped file.
    Mapped(Arc<memmap2::Mmap>),
    /// Bytes of the binary.
    Static(&'static [u8]),
}

impl Deref for Blob {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(m) => m,
            Self::Static(b) => b,
        }
    }
}

impl Blob {
    /// Gives the resident pages of a mapped file back to the system; they are
    /// read again when they are next looked at. Keeps the peak memory of a pair
    /// at one model.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Self::Mapped(m) = self {
            // Sound for a shared, read-only file mapping: dropped pages are
            // filled from the same file again. A failure only costs memory.
            let _ = unsafe { m.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }
}

impl ModelFiles {
    /// The path (or display path) of a file, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Dir(dir) => dir.join(name),
            Self::Embedded { name: model, .. } => Path::new(model).join(name),
        }
    }

    /// The directory, where there is one.
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Self::Dir(dir) => Some(dir),
            Self::Embedded { .. } => None,
        }
    }

    /// Whether the file exists.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Dir(dir) => dir.join(name).is_file(),
            Self::Embedded { files, .. } => files.iter().any(|f| f.name == name),
        }
    }

    /// Names of the files directly in the model's folder, sorted.
    pub fn names(&self) -> Result<Vec<String>, PolicyError> {
        let mut names: Vec<String> = match self {
            Self::Dir(dir) => {
                let read = |source| PolicyError::Read {
                    path: dir.clone(),
                    source,
                };
                std::fs::read_dir(dir)
                    .map_err(read)?
                    .filter_map(|e| e.ok())
                    .filter(|e| e.path().is_file())
                    .map(|e| e.file_name().to_string_lossy().into_owned())
                    .collect()
            }
            Self::Embedded { files, .. } => files.iter().map(|f| f.name.to_owned()).collect(),
        };
        names.sort();
        Ok(names)
    }

    /// Reads a small file (configuration, tokenizer); `None` if it is absent.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, PolicyError> {
        match self {
            Self::Dir(dir) => {
                let path = dir.join(name);
                match std::fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(PolicyError::Read { path, source }),
                }
            }
            Self::Embedded { files, .. } => Ok(files
                .iter()
                .find(|f| f.name == name)
                .map(|f| f.bytes.to_vec())),
        }
    }

    /// Reads a small JSON object; `None` if the file is absent.
    pub fn read_json(&self, name: &str) -> Result<Option<serde_json::Value>, PolicyError> {
        let Some(bytes) = self.read(name)? else {
            return Ok(None);
        };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| {
            PolicyError::bad(
                &self.path(name),
                format!("is not JSON ({e})"),
                "restore the file from its source",
            )
        })?;
        if !value.is_object() {
            return Err(PolicyError::bad(
                &self.path(name),
                "is not a JSON object",
                "restore the file from its source",
            ));
        }
        Ok(Some(value))
    }

    /// Maps a large file.
    pub fn map(&self, name: &str) -> Result<Blob, PolicyError> {
        let path = self.path(name);
        match self {
            Self::Dir(_) => {
                let read = |source| PolicyError::Read {
                    path: path.clone(),
                    source,
                };
                let file = File::open(&path).map_err(read)?;
                if file.metadata().map_err(read)?.len() == 0 {
                    return Err(PolicyError::bad(
                        &path,
                        "is empty",
                        "download or convert the weights again",
                    ));
                }
                // Safety: the mapping is read-only; see the module's note on
                // files that change under a running process.
                let map = unsafe { memmap2::Mmap::map(&file) }.map_err(read)?;
                Ok(Blob::Mapped(Arc::new(map)))
            }
            Self::Embedded { files, .. } => files
                .iter()
                .find(|f| f.name == name)
                .map(|f| Blob::Static(f.bytes))
                .ok_or_else(|| {
                    PolicyError::bad(
                        &path,
                        "is not among the embedded files",
                        "report this as a fault of forkscope",
                    )
                }),
        }
    }
}
