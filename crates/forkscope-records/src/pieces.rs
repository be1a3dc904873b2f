//! `token_pieces.json`: the text of every token that occurs in a run, so that a
//! report needs no model.
//!
//! `{"schema": "forkscope/token_pieces/1", "pieces": {"12": " the", ...}}`, ids
//! in ascending order.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::documents::{read_document, to_bytes};
use crate::{RecordsError, RunDir};

/// Text by token id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct TokenPieces {
    /// Text of each token; bytes that are no UTF-8 of their own are U+FFFD.
    pub pieces: BTreeMap<u32, String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    schema: String,
    pieces: BTreeMap<u32, String>,
}

impl TokenPieces {
    /// The layout that this version writes.
    pub const SCHEMA: &'static str = "forkscope/token_pieces/1";
    /// The file's name in a run.
    pub const FILE: &'static str = "token_pieces.json";

    /// The text of a token, if it occurs in the run.
    pub fn get(&self, id: u32) -> Option<&str> {
        self.pieces.get(&id).map(String::as_str)
    }

    /// Writes them into a run.
    pub fn write(&self, run: &RunDir) -> Result<(), RecordsError> {
        run.write_atomic(Self::FILE, &to_bytes(self)?)
    }

    /// Reads those of a run directory.
    pub fn read(run: &Path) -> Result<Self, RecordsError> {
        read_document(&run.join(Self::FILE))
    }
}

impl FromIterator<(u32, String)> for TokenPieces {
    fn from_iter<I: IntoIterator<Item = (u32, String)>>(pieces: I) -> Self {
        Self {
            pieces: pieces.into_iter().collect(),
        }
    }
}

impl From<TokenPieces> for Stored {
    fn from(p: TokenPieces) -> Self {
        Self {
            schema: TokenPieces::SCHEMA.into(),
            pieces: p.pieces,
        }
    }
}

impl TryFrom<Stored> for TokenPieces {
    type Error = String;

    fn try_from(s: Stored) -> Result<Self, String> {
        if s.schema != TokenPieces::SCHEMA {
            return Err(format!(
                "schema {:?} is not {:?}",
                s.schema,
                TokenPieces::SCHEMA
            ));
        }
        Ok(Self { pieces: s.pieces })
    }
}
