//! SHA-256 of bytes, files and model directories, in lower-case hexadecimal.
//!
//! A file is digested from the handle that is read, so that what was digested
//! is what was used. A directory's digest is the SHA-256 of the lines
//! `sha256  length  relative/path\n`, sorted by path: the tree digest.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::RecordsError;

/// Folders below a model directory deeper than this are refused.
const MAX_DEPTH: usize = 16;

/// One file of a digested directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// Path below the directory, parts joined by `/`.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// SHA-256 of bytes in memory.
pub fn sha256_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of all that a reader still yields, and its length in bytes.
pub fn sha256_reader(mut reader: impl Read) -> std::io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 16];
    let mut total = 0u64;
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hasher.update(buffer.get(..n).unwrap_or(&[]));
        total += n as u64;
    }
    Ok((hex(&hasher.finalize()), total))
}

/// SHA-256 of an open file from its start; the handle is rewound afterwards,
/// so that the caller reads the very file that was digested. `path` is for the
/// error only.
pub fn sha256_handle(file: &mut File, path: &Path) -> Result<String, RecordsError> {
    file.seek(SeekFrom::Start(0))
        .map_err(RecordsError::read(path))?;
    let (digest, _) = sha256_reader(&mut *file).map_err(RecordsError::read(path))?;
    file.seek(SeekFrom::Start(0))
        .map_err(RecordsError::read(path))?;
    Ok(digest)
}

/// SHA-256 of a file that nobody else reads.
pub fn sha256_file(path: &Path) -> Result<String, RecordsError> {
    let mut file = File::open(path).map_err(RecordsError::read(path))?;
    sha256_handle(&mut file, path)
}

/// The files below a directory, sorted by path, each with its digest. Hidden
/// files and folders (`.git`, `.cache`) are no part of a model and left out;
/// symbolic links to files are followed (the hub cache is made of them).
pub fn digest_files(dir: &Path) -> Result<Vec<FileDigest>, RecordsError> {
    let mut names = Vec::new();
    collect(dir, "", 0, &mut names)?;
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let path = dir.join(&name);
            let file = File::open(&path).map_err(RecordsError::read(&path))?;
            let (sha256, bytes) = sha256_reader(file).map_err(RecordsError::read(&path))?;
            Ok(FileDigest {
                path: name,
                bytes,
                sha256,
            })
        })
        .collect()
}

/// The tree digest of listed files (they are sorted by path first).
pub fn tree_digest(files: &[FileDigest]) -> String {
    let mut sorted: Vec<&FileDigest> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hasher = Sha256::new();
    for f in sorted {
        hasher.update(format!("{}  {}  {}\n", f.sha256, f.bytes, f.path));
    }
    hex(&hasher.finalize())
}

/// The tree digest of a directory, or the plain digest of a single file.
pub fn digest_path(path: &Path) -> Result<String, RecordsError> {
    let meta = fs::metadata(path).map_err(RecordsError::read(path))?;
    if meta.is_dir() {
        Ok(tree_digest(&digest_files(path)?))
    } else {
        sha256_file(path)
    }
}

fn collect(
    dir: &Path,
    prefix: &str,
    depth: usize,
    out: &mut Vec<String>,
) -> Result<(), RecordsError> {
    if depth > MAX_DEPTH {
        return Err(RecordsError::entry(
            dir,
            "folder",
            format!("lies deeper than {MAX_DEPTH} levels"),
        ));
    }
    for entry in fs::read_dir(dir).map_err(RecordsError::read(dir))? {
        let entry = entry.map_err(RecordsError::read(dir))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(RecordsError::entry(
                dir,
                format!("{name:?}"),
                "the file name is not UTF-8; rename it",
            ));
        };
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let relative = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/{name}")
        };
        let is_dir = entry
            .file_type()
            .map_err(RecordsError::read(&path))?
            .is_dir();
        if is_dir {
            collect(&path, &relative, depth + 1, out)?;
        } else if fs::metadata(&path)
            .map_err(RecordsError::read(&path))?
            .is_file()
        {
            out.push(relative);
        }
    }
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let mut text = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        text.push(DIGITS[usize::from(b >> 4)]);
        text.push(DIGITS[usize::from(b & 15)]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_string_and_abc_have_their_published_digests() {
        assert_eq!(
            sha256_bytes(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            sha256_bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_tree_digest_depends_on_names_and_contents_but_not_on_hidden_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("a"), b"1").unwrap();
        fs::write(dir.path().join("sub/b"), b"2").unwrap();
        let first = digest_path(dir.path()).unwrap();
        fs::write(dir.path().join(".hidden"), b"x").unwrap();
        assert_eq!(first, digest_path(dir.path()).unwrap());
        fs::rename(dir.path().join("a"), dir.path().join("c")).unwrap();
        assert_ne!(first, digest_path(dir.path()).unwrap());
        let listed = digest_files(dir.path()).unwrap();
        assert_eq!(
            listed.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(),
            ["c", "sub/b"]
        );
    }

    #[test]
    fn a_handle_is_rewound_after_it_was_digested() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"abc").unwrap();
        let mut file = File::open(&path).unwrap();
        sha256_handle(&mut file, &path).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }
}
