//! One row shown to somebody who has the attestation and not the run: its canonical
//! bytes, and the hashes beside its way to the table's attested root.

use std::fs;
use std::path::Path;

use forkscope_records::table::canonical_rows;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::AttestError;
use super::merkle::{self, Hash};
use super::rows::{TableEntry, hex, unhex};
use super::statement::Statement;

/// The proof that a row is in an attested table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// `forkscope/proof/1`.
    pub schema: String,
    /// The table.
    pub table: String,
    /// Index of the row, from 0.
    pub row: u64,
    /// The row's canonical bytes, hexadecimal.
    pub leaf: String,
    /// The hashes beside the way to the root, from the leaf up.
    pub path: Vec<String>,
}

impl Proof {
    /// The layout that this version writes.
    pub const SCHEMA: &'static str = "forkscope/proof/1";

    /// Of row `row` of a table of the run.
    pub fn of(run: &Path, table: &str, row: u64) -> Result<Self, AttestError> {
        let path = run.join(table);
        let refuse = |reason: String| AttestError::Run {
            path: path.clone(),
            reason,
        };
        let bytes = fs::read(&path).map_err(AttestError::read(&path))?;
        let (mut hashes, mut leaf) = (Vec::<Hash>::new(), None);
        canonical_rows(bytes.into(), &path, &mut |bytes| {
            if hashes.len() as u64 == row {
                leaf = Some(bytes.to_vec());
            }
            hashes.push(merkle::leaf(bytes));
        })?;
        let at = usize::try_from(row).unwrap_or(usize::MAX);
        let (Some(leaf), Some(beside)) = (leaf, merkle::path(&hashes, at)) else {
            let rows = hashes.len();
            return Err(refuse(format!(
                "has {rows} rows, counted from 0; there is no row {row}"
            )));
        };
        Ok(Self {
            schema: Self::SCHEMA.to_owned(),
            table: table.to_owned(),
            row,
            leaf: leaf.iter().map(|b| format!("{b:02x}")).collect(),
            path: beside.iter().map(hex).collect(),
        })
    }

    /// The row's values by column, if the proof leads to the attested root; else what
    /// is wrong with it.
    pub fn check(&self, statement: &Statement) -> Result<Map<String, Value>, String> {
        if self.schema != Self::SCHEMA {
            return Err(format!(
                "schema {:?} is not {:?}",
                self.schema,
                Self::SCHEMA
            ));
        }
        let tables = &statement.predicate.merkle.tables;
        let table = tables
            .iter()
            .find(|t| t.name == self.table)
            .ok_or_else(|| format!("there is no attested table {:?}", self.table))?;
        let leaf = bytes(&self.leaf).ok_or("the leaf is not hexadecimal")?;
        let path: Option<Vec<Hash>> = self.path.iter().map(|h| unhex(h)).collect();
        let path = path.ok_or("a hash of the path is not one")?;
        let root = merkle::climb(merkle::leaf(&leaf), self.row, table.rows, &path);
        if root.map(|r| hex(&r)).as_deref() != Some(&table.root) {
            return Err("the row does not lead to the attested root".into());
        }
        values(table, &leaf).ok_or_else(|| "the row's bytes are no row of that table".into())
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .bytes()
        .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    };
    digits.then(|| text.as_bytes().chunks(2).map(byte).collect())?
}

/// The values of a row's canonical bytes.
fn values(table: &TableEntry, leaf: &[u8]) -> Option<Map<String, Value>> {
    let mut rest = leaf;
    let mut row = Map::new();
    for [name, _] in &table.columns {
        row.insert(name.clone(), value(&mut rest, true)?);
    }
    rest.is_empty().then_some(row)
}

fn value(rest: &mut &[u8], lists: bool) -> Option<Value> {
    let [tag] = take::<1>(rest)?;
    let number = |x: f64| match x {
        x if x.is_finite() => json!(x),
        x => json!(x.to_string()),
    };
    Some(match tag {
        0 => Value::Null,
        1 => json!(take::<1>(rest)? == [1]),
        2 => json!(u64::from_le_bytes(take(rest)?)),
        3 => json!(i64::from_le_bytes(take(rest)?)),
        4 => number(f32::from_le_bytes(take(rest)?).into()),
        5 => number(f64::from_le_bytes(take(rest)?)),
        6 => json!(String::from_utf8(sized(rest)?).ok()?),
        7 => json!(sized(rest)?),
        8 if lists => {
            let entries = u64::from_le_bytes(take(rest)?);
            // An entry has at least its tag.
            if entries > rest.len() as u64 {
                return None;
            }
            (0..entries)
                .map(|_| value(rest, false))
                .collect::<Option<_>>()?
        }
        _ => return None,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn sized(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let n = usize::try_from(u64::from_le_bytes(take(rest)?)).ok()?;
    let (head, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    Some(head.to_vec())
}
