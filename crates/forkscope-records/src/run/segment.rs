//! A spool segment: one encoded row group with a seal that says whether it is
//! whole.
//!
//! `000000.seg` = a Parquet file of one row group, then the seal: rows (u64,
//! little endian), 1 if the table ends here (u8), SHA-256 of all before it
//! (32 bytes), `FORKSEG1`. Segments count if they are sealed and follow each
//! other without a gap; the first that does not, and all behind it, are
//! dropped.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::RecordsError;

const MAGIC: &[u8; 8] = b"FORKSEG1";
const SEAL: usize = 8 + 1 + 32 + 8;

/// A segment that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub path: PathBuf,
    pub rows: u64,
    /// Whether the table ends with it.
    pub last: bool,
}

/// Writes segment `index` of the spool folder `dir`, flushed to the disk.
pub(super) fn write_segment(
    dir: &Path,
    index: usize,
    mut bytes: Vec<u8>,
    rows: u64,
    last: bool,
) -> Result<Segment, RecordsError> {
    let path = dir.join(format!("{index:06}.seg"));
    let temporary = dir.join("segment.tmp");
    bytes.extend_from_slice(&rows.to_le_bytes());
    bytes.push(u8::from(last));
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    bytes.extend_from_slice(MAGIC);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_data()
    });
    written
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(RecordsError::write(&path))?;
    Ok(Segment { path, rows, last })
}

/// The Parquet bytes of a segment.
pub(super) fn read_segment(segment: &Segment) -> Result<Bytes, RecordsError> {
    let bytes = fs::read(&segment.path).map_err(RecordsError::read(&segment.path))?;
    match unseal(&bytes) {
        Some((rows, last)) if rows == segment.rows && last == segment.last => {
            let whole = Bytes::from(bytes);
            Ok(whole.slice(..whole.len() - SEAL))
        }
        _ => Err(RecordsError::table(
            &segment.path,
            "the spooled rows changed while the run was written; repeat the command with --resume",
        )),
    }
}

/// The whole segments of a spool folder in order; everything else in it is
/// removed.
pub(super) fn recover(dir: &Path) -> Result<Vec<Segment>, RecordsError> {
    let mut segments: Vec<Segment> = Vec::new();
    loop {
        let path = dir.join(format!("{:06}.seg", segments.len()));
        let after_last = segments.last().is_some_and(|s| s.last);
        match sealed(&path)? {
            Some((rows, last)) if !after_last => segments.push(Segment { path, rows, last }),
            _ => break,
        }
    }
    for entry in fs::read_dir(dir).map_err(RecordsError::read(dir))? {
        let path = entry.map_err(RecordsError::read(dir))?.path();
        if !segments.iter().any(|s| s.path == path) {
            fs::remove_file(&path).map_err(RecordsError::write(&path))?;
        }
    }
    Ok(segments)
}

/// Rows and end mark of a whole segment, `None` for any other file or none.
fn sealed(path: &Path) -> Result<Option<(u64, bool)>, RecordsError> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(RecordsError::read(path))?,
    };
    // The magic first: a truncated file is not worth reading.
    let mut magic = [0u8; 8];
    let has_end = file.seek(SeekFrom::End(-8)).is_ok() && file.read_exact(&mut magic).is_ok();
    if !has_end || &magic != MAGIC {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(0))
        .map_err(RecordsError::read(path))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(RecordsError::read(path))?;
    Ok(unseal(&bytes))
}

fn unseal(bytes: &[u8]) -> Option<(u64, bool)> {
    let (rest, magic) = bytes.split_last_chunk::<8>()?;
    let (body, digest) = rest.split_last_chunk::<32>()?;
    let (head, last) = body.split_last_chunk::<1>()?;
    let (_, rows) = head.split_last_chunk::<8>()?;
    let whole = magic == MAGIC && last[0] <= 1 && Sha256::digest(body).as_slice() == digest;
    whole.then(|| (u64::from_le_bytes(*rows), last[0] == 1))
}
