//! The tree over the rows of a run's tables.
//!
//! Leaves of a table are the canonical bytes of its rows in row order
//! ([`forkscope_records::table::canonical_rows`]); the root over a run has one leaf per
//! table, in order of names: the canonical JSON of the table's entry below.

use std::path::Path;

use bytes::Bytes;
use forkscope_records::RecordsError;
use forkscope_records::table::canonical_rows;
use serde::{Deserialize, Serialize};

use super::canon::canonical;
use super::merkle::{self, CHUNK, Chunks, Hash};

/// How rows become leaves.
pub const ENCODING: &str = "forkscope/rows/1";

/// The tree over all tables of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merkle {
    /// How rows become leaves, `forkscope/rows/1`.
    pub encoding: String,
    /// Rows per subtree whose root is listed, 4096.
    pub chunk_rows: u64,
    /// Rows of all tables.
    pub leaves: u64,
    /// Root over the tables.
    pub root: String,
    /// The tables in order of names.
    pub tables: Vec<TableEntry>,
}

/// The tree over one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    /// Path below the run.
    pub name: String,
    /// Names and kinds of the columns, in order.
    pub columns: Vec<[String; 2]>,
    /// Number of rows.
    pub rows: u64,
    /// Root over the rows.
    pub root: String,
    /// Roots over each `chunk_rows` rows.
    pub chunks: Vec<String>,
}

impl TableEntry {
    /// Of a Parquet file; `path` is for messages.
    pub fn of(name: &str, bytes: Bytes, path: &Path) -> Result<Self, RecordsError> {
        let (mut chunks, mut rows) = (Chunks::default(), 0u64);
        let columns = canonical_rows(bytes, path, &mut |row| {
            chunks.push(row);
            rows += 1;
        })?;
        let chunks = chunks.finish();
        Ok(Self {
            name: name.to_owned(),
            columns: columns.into_iter().map(|c| [c.name, c.kind]).collect(),
            rows,
            root: hex(&merkle::root(&chunks)),
            chunks: chunks.iter().map(hex).collect(),
        })
    }

    /// Where this table differs from another of the same name, as a reader is told.
    pub fn difference(&self, found: &Self) -> Option<String> {
        if self == found {
            return None;
        }
        if self.columns != found.columns {
            let other = self
                .columns
                .iter()
                .zip(&found.columns)
                .find(|(a, b)| a != b);
            return Some(match other {
                Some(([name, kind], [name_found, kind_found])) => format!(
                    "has a column {name_found} ({kind_found}) where {name} ({kind}) was attested"
                ),
                None => format!(
                    "has {} columns where {} were attested",
                    found.columns.len(),
                    self.columns.len()
                ),
            });
        }
        let longest = self.chunks.len().max(found.chunks.len());
        let differ = (0..longest).filter(|i| self.chunks.get(*i) != found.chunks.get(*i));
        let last = self.rows.max(found.rows);
        let ranges: Vec<String> = differ
            .map(|i| (i * CHUNK) as u64)
            .map(|from| {
                format!(
                    "{from} to {}",
                    (from + CHUNK as u64).min(last).saturating_sub(1)
                )
            })
            .collect();
        let shown = ranges
            .iter()
            .take(8)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let more = match ranges.len() {
            0 => return Some("is listed with a root that its rows do not have".into()),
            n if n > 8 => format!(" and {} further ranges", n - 8),
            _ => String::new(),
        };
        let count = match self.rows == found.rows {
            true => String::new(),
            false => format!(
                "has {} rows where {} were attested; ",
                found.rows, self.rows
            ),
        };
        Some(format!("{count}differs within rows {shown}{more}"))
    }
}

impl Merkle {
    /// Over tables in order of names.
    pub fn over(tables: Vec<TableEntry>) -> Self {
        Self {
            encoding: ENCODING.to_owned(),
            chunk_rows: CHUNK as u64,
            leaves: tables.iter().map(|t| t.rows).sum(),
            root: hex(&root(&tables)),
            tables,
        }
    }

    /// What of the listed numbers contradicts the rest, if anything.
    pub fn contradiction(&self) -> Option<String> {
        if self.encoding != ENCODING || self.chunk_rows != CHUNK as u64 {
            return Some(format!(
                "rows are encoded as {:?} in chunks of {}, which this version cannot check",
                self.encoding.chars().take(40).collect::<String>(),
                self.chunk_rows
            ));
        }
        for table in &self.tables {
            let chunks: Option<Vec<Hash>> = table.chunks.iter().map(|c| unhex(c)).collect();
            let root = chunks.map(|chunks| hex(&merkle::root(&chunks)));
            if root.as_deref() != Some(&table.root) {
                return Some(format!(
                    "the root of {} is not that of its chunks",
                    table.name
                ));
            }
        }
        let rows = self
            .tables
            .iter()
            .fold(0u64, |sum, t| sum.saturating_add(t.rows));
        if self.root != hex(&root(&self.tables)) || self.leaves != rows {
            return Some("the root is not that of the tables".into());
        }
        None
    }
}

fn root(tables: &[TableEntry]) -> Hash {
    let leaf = |table: &TableEntry| {
        let value = serde_json::to_value(table).unwrap_or_default();
        merkle::leaf(canonical(&value).as_bytes())
    };
    merkle::root(&tables.iter().map(leaf).collect::<Vec<_>>())
}

/// Hexadecimal digits.
pub fn hex(hash: &Hash) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// The hash of 64 lower-case hexadecimal digits.
pub fn unhex(text: &str) -> Option<Hash> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut hash = Hash::default();
    let bytes = text.as_bytes();
    if bytes.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(bytes.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}
