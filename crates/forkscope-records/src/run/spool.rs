//! The spool of a table: its encoded row groups, one sealed record after the
//! other in one file that only grows.
//!
//! A record is `FORKSEG1`, length of the payload (u64, little endian), rows
//! (u64), 1 if the table ends here (u8), the payload (a Parquet file of one row
//! group), and the SHA-256 of all that. Each is flushed to the disk before the
//! next begins. When a spool is opened, the first record that is not whole, and
//! all behind it, are cut off.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::RecordsError;

const MAGIC: &[u8; 8] = b"FORKSEG1";
const HEAD: usize = 8 + 8 + 8 + 1;
const DIGEST: usize = 32;

/// A record that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub rows: u64,
    /// Whether the table ends with it.
    pub last: bool,
    start: u64,
    payload: usize,
}

/// The spool of one table.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    file: File,
    segments: Vec<Segment>,
    /// Where the next record goes.
    end: u64,
}

impl Spool {
    /// Opens or makes a spool and keeps the records that are whole.
    pub fn open(path: PathBuf) -> Result<Self, RecordsError> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(RecordsError::write(&path))?;
        let (segments, end) = recover(&file).map_err(RecordsError::read(&path))?;
        file.set_len(end).map_err(RecordsError::write(&path))?;
        Ok(Self {
            path,
            file,
            segments,
            end,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole records in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub fn rows(&self) -> u64 {
        self.segments.iter().map(|s| s.rows).sum()
    }

    /// Whether all rows of the table are here.
    pub fn is_whole(&self) -> bool {
        self.segments.last().is_some_and(|s| s.last)
    }

    /// Appends a record and waits until it is on the disk.
    pub fn append(&mut self, payload: &[u8], rows: u64, last: bool) -> Result<(), RecordsError> {
        let mut record = Vec::with_capacity(HEAD + payload.len() + DIGEST);
        record.extend_from_slice(MAGIC);
        record.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        record.extend_from_slice(&rows.to_le_bytes());
        record.push(u8::from(last));
        record.extend_from_slice(payload);
        let digest = Sha256::digest(&record);
        record.extend_from_slice(&digest);
        let written = (&self.file)
            .seek(SeekFrom::Start(self.end))
            .and_then(|_| (&self.file).write_all(&record))
            .and_then(|()| self.file.sync_data());
        written.map_err(RecordsError::write(&self.path))?;
        self.segments.push(Segment {
            rows,
            last,
            start: self.end,
            payload: payload.len(),
        });
        self.end += record.len() as u64;
        Ok(())
    }

    /// The payload of a record; what changed since it was written is an error.
    pub fn read(&self, segment: &Segment) -> Result<Bytes, RecordsError> {
        let read = (&self.file)
            .seek(SeekFrom::Start(segment.start))
            .and_then(|_| next_record(&mut &self.file, u64::MAX));
        match read.map_err(RecordsError::read(&self.path))? {
            Some((found, bytes))
                if found.rows == segment.rows && found.payload == segment.payload =>
            {
                Ok(Bytes::from(bytes).slice(HEAD..HEAD + segment.payload))
            }
            _ => Err(RecordsError::table(
                &self.path,
                "its rows changed while the run was written; repeat the command with --resume",
            )),
        }
    }
}

/// The whole records at the start of a file, and where they end.
fn recover(file: &File) -> io::Result<(Vec<Segment>, u64)> {
    let len = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut segments, mut end): (Vec<Segment>, u64) = (Vec::new(), 0);
    while !segments.last().is_some_and(|s| s.last) {
        let Some((mut segment, bytes)) = next_record(&mut reader, len - end)? else {
            break;
        };
        segment.start = end;
        end += bytes.len() as u64;
        segments.push(segment);
    }
    Ok((segments, end))
}

/// Reads one record of at most `room` bytes; `None` if it is not whole.
fn next_record(reader: &mut impl Read, room: u64) -> io::Result<Option<(Segment, Vec<u8>)>> {
    let mut record = Vec::new();
    reader.take(HEAD as u64).read_to_end(&mut record)?;
    let Some((payload, rows, last)) = head(&record) else {
        return Ok(None);
    };
    let Some(whole) = payload
        .checked_add((HEAD + DIGEST) as u64)
        .filter(|n| *n <= room)
    else {
        return Ok(None);
    };
    reader.take(whole - HEAD as u64).read_to_end(&mut record)?;
    let Some((body, digest)) = record.split_last_chunk::<DIGEST>() else {
        return Ok(None);
    };
    if record.len() as u64 != whole || Sha256::digest(body).as_slice() != digest {
        return Ok(None);
    }
    let payload = record.len() - HEAD - DIGEST;
    Ok(Some((
        Segment {
            rows,
            last,
            start: 0,
            payload,
        },
        record,
    )))
}

fn head(bytes: &[u8]) -> Option<(u64, u64, bool)> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (payload, rest) = rest.split_first_chunk::<8>()?;
    let (rows, rest) = rest.split_first_chunk::<8>()?;
    let last = *rest.first()?;
    let valid = magic == MAGIC && last <= 1;
    valid.then(|| {
        (
            u64::from_le_bytes(*payload),
            u64::from_le_bytes(*rows),
            last == 1,
        )
    })
}
