//! The files of a model: a directory, or bytes inside the binary.
//!
//! Weights are mapped, never copied; a file that somebody truncates while it is
//! mapped ends the process, so models belong in directories nobody writes to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::PolicyError;
use crate::text::MAX_TOKENIZER_BYTES;

/// A file that is part of the binary.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedFile {
    /// File name within the model directory.
    pub name: &'static str,
    /// Content.
    pub bytes: &'static [u8],
}

/// Largest small file (configuration, tokenizer, template) that is read.
const MAX_SMALL: u64 = MAX_TOKENIZER_BYTES as u64;

/// Where a model's files come from. Every file is opened once: whoever asks
/// again, a digest above all, gets the bytes that were used.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    source: Source,
    opened: Arc<Mutex<BTreeMap<String, Blob>>>,
}

#[derive(Debug, Clone)]
enum Source {
    /// A directory in the Hugging Face layout.
    Dir(PathBuf),
    /// Files inside the binary, under a display name.
    Embedded {
        name: &'static str,
        files: &'static [EmbeddedFile],
    },
    /// Files that were made in this process, under a display name.
    Memory {
        name: String,
        files: Arc<BTreeMap<String, Blob>>,
    },
}

/// Bytes that stay where they are.
#[derive(Debug, Clone)]
pub enum Blob {
    /// A mapped file.
    Mapped(Arc<memmap2::Mmap>),
    /// Bytes of the binary.
    Static(&'static [u8]),
    /// A small file that was read.
    Read(Arc<Vec<u8>>),
}

impl Deref for Blob {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(m) => m,
            Self::Static(b) => b,
            Self::Read(b) => b,
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

/// Reads a blob from its start. The pages of a mapped file are given back as
/// they are passed, so that reading a large file through takes little memory.
#[derive(Debug)]
pub struct BlobReader {
    blob: Blob,
    at: usize,
    released: usize,
}

impl BlobReader {
    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.blob.len() as u64
    }
}

impl Read for BlobReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        const STEP: usize = 1 << 26;
        let left = self.blob.get(self.at..).unwrap_or(&[]);
        let n = left.len().min(out.len());
        out[..n].copy_from_slice(&left[..n]);
        self.at += n;
        #[cfg(unix)]
        if let Blob::Mapped(m) = &self.blob
            && self.at - self.released >= STEP
        {
            // Sound as in `Blob::release`.
            let advice = memmap2::UncheckedAdvice::DontNeed;
            let _ = unsafe { m.unchecked_advise_range(advice, self.released, STEP) };
            self.released += STEP;
        }
        Ok(n)
    }
}

impl ModelFiles {
    /// The files of a directory.
    pub fn dir_at(dir: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::Dir(dir.into()),
            opened: Arc::default(),
        }
    }

    /// Files inside the binary, under a display name.
    pub fn embedded(name: &'static str, files: &'static [EmbeddedFile]) -> Self {
        Self {
            source: Source::Embedded { name, files },
            opened: Arc::default(),
        }
    }

    /// Files made in this process, under a display name: a policy that is being
    /// trained is sampled from such.
    pub fn in_memory(name: impl Into<String>, files: BTreeMap<String, Vec<u8>>) -> Self {
        let files = files
            .into_iter()
            .map(|(name, bytes)| (name, Blob::Read(Arc::new(bytes))))
            .collect();
        Self {
            source: Source::Memory {
                name: name.into(),
                files: Arc::new(files),
            },
            opened: Arc::default(),
        }
    }

    /// What messages put before the names of the files.
    pub fn place(&self) -> &Path {
        match &self.source {
            Source::Dir(dir) => dir,
            Source::Embedded { name, .. } => Path::new(name),
            Source::Memory { name, .. } => Path::new(name),
        }
    }

    /// The path (or display path) of a file, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place().join(name)
    }

    /// The directory, where there is one.
    pub fn dir(&self) -> Option<&Path> {
        match &self.source {
            Source::Dir(dir) => Some(dir),
            Source::Embedded { .. } | Source::Memory { .. } => None,
        }
    }

    /// Whether the file exists.
    pub fn has(&self, name: &str) -> bool {
        match &self.source {
            Source::Dir(dir) => dir.join(name).is_file(),
            Source::Embedded { files, .. } => files.iter().any(|f| f.name == name),
            Source::Memory { files, .. } => files.contains_key(name),
        }
    }

    /// Names of the files directly in the model's folder, sorted.
    pub fn names(&self) -> Result<Vec<String>, PolicyError> {
        let mut names: Vec<String> = match &self.source {
            Source::Dir(dir) => {
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
            Source::Embedded { files, .. } => files.iter().map(|f| f.name.to_owned()).collect(),
            Source::Memory { files, .. } => files.keys().cloned().collect(),
        };
        names.sort();
        Ok(names)
    }

    /// A small file (configuration, tokenizer); `None` if it is absent.
    pub fn read(&self, name: &str) -> Result<Option<Blob>, PolicyError> {
        self.once(name, |path| {
            let failed = |source| PolicyError::Read {
                path: path.to_owned(),
                source,
            };
            let file = match File::open(path) {
                Ok(file) => file,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(source) => return Err(failed(source)),
            };
            let mut bytes = Vec::new();
            file.take(MAX_SMALL + 1)
                .read_to_end(&mut bytes)
                .map_err(failed)?;
            if bytes.len() as u64 > MAX_SMALL {
                let problem = format!("is larger than {MAX_SMALL} bytes");
                return Err(PolicyError::bad(
                    path,
                    problem,
                    "check that it is the file its name says",
                ));
            }
            Ok(Some(Blob::Read(Arc::new(bytes))))
        })
    }

    /// Reads a small JSON object; `None` if the file is absent.
    pub fn read_json(&self, name: &str) -> Result<Option<serde_json::Value>, PolicyError> {
        let Some(bytes) = self.read(name)? else {
            return Ok(None);
        };
        let remedy = "restore the file from its source";
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| {
            PolicyError::bad(&self.path(name), format!("is not JSON ({e})"), remedy)
        })?;
        if !value.is_object() {
            return Err(PolicyError::bad(
                &self.path(name),
                "is not a JSON object",
                remedy,
            ));
        }
        Ok(Some(value))
    }

    /// Maps a large file.
    pub fn map(&self, name: &str) -> Result<Blob, PolicyError> {
        let mapped = self.once(name, |path| {
            let failed = |source| PolicyError::Read {
                path: path.to_owned(),
                source,
            };
            let file = File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.len() == 0 {
                return Err(PolicyError::bad(
                    path,
                    "is empty",
                    "download or convert the weights again",
                ));
            }
            // Safety: the mapping is read-only; see the module's note on files
            // that change under a running process.
            let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
            Ok(Some(Blob::Mapped(Arc::new(map))))
        })?;
        mapped.ok_or_else(|| {
            PolicyError::bad(
                &self.path(name),
                "is not among the embedded files",
                "report this as a fault of forkscope",
            )
        })
    }

    /// A reader over the bytes that were used of a file, or would be.
    pub fn reader(&self, name: &str) -> Result<BlobReader, PolicyError> {
        let used = self
            .opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        let blob = match used {
            Some(blob) => blob,
            None => self.map(name)?,
        };
        Ok(BlobReader {
            blob,
            at: 0,
            released: 0,
        })
    }

    fn once(
        &self,
        name: &str,
        open: impl FnOnce(&Path) -> Result<Option<Blob>, PolicyError>,
    ) -> Result<Option<Blob>, PolicyError> {
        let dir = match &self.source {
            Source::Dir(dir) => dir,
            Source::Memory { files, .. } => return Ok(files.get(name).cloned()),
            Source::Embedded { files, .. } => {
                return Ok(files
                    .iter()
                    .find(|f| f.name == name)
                    .map(|f| Blob::Static(f.bytes)));
            }
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(blob) = opened.get(name) {
            return Ok(Some(blob.clone()));
        }
        let blob = open(&dir.join(name))?;
        if let Some(blob) = &blob {
            opened.insert(name.to_owned(), blob.clone());
        }
        Ok(blob)
    }
}
