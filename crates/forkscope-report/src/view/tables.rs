//! The tables of a run, opened when they are first needed.
//!
//! Their names are fixed here: nothing of an address reaches the file system.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use forkscope_records::{PagedTable, RecordsError, TokenPieces};

use crate::error::ReportError;
use crate::text::visible;

type Opened<T> = OnceLock<Result<Option<T>, String>>;

/// The tables of one run.
pub struct Tables {
    dir: PathBuf,
    rollouts: Opened<PagedTable>,
    tokens: Opened<PagedTable>,
    interventions: Opened<PagedTable>,
    reversions: Opened<PagedTable>,
    pieces: Opened<TokenPieces>,
}

impl Tables {
    /// Those of that directory.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            rollouts: OnceLock::new(),
            tokens: OnceLock::new(),
            interventions: OnceLock::new(),
            reversions: OnceLock::new(),
            pieces: OnceLock::new(),
        }
    }

    /// `rollouts.parquet`.
    pub fn rollouts(&self) -> Result<Option<&PagedTable>, ReportError> {
        self.open(&self.rollouts, "rollouts.parquet", PagedTable::open)
    }

    /// `tokens.parquet`.
    pub fn tokens(&self) -> Result<Option<&PagedTable>, ReportError> {
        self.open(&self.tokens, "tokens.parquet", PagedTable::open)
    }

    /// `interventions.parquet`.
    pub fn interventions(&self) -> Result<Option<&PagedTable>, ReportError> {
        self.open(
            &self.interventions,
            "interventions.parquet",
            PagedTable::open,
        )
    }

    /// `reversions.parquet`.
    pub fn reversions(&self) -> Result<Option<&PagedTable>, ReportError> {
        self.open(&self.reversions, "reversions.parquet", PagedTable::open)
    }

    /// The text of every token of the run.
    pub fn pieces(&self) -> Result<Option<&TokenPieces>, ReportError> {
        self.open(&self.pieces, TokenPieces::FILE, |_| {
            TokenPieces::read(&self.dir)
        })
    }

    /// A small table, whole.
    pub fn whole<R: forkscope_records::Record>(&self, name: &str) -> Result<Vec<R>, ReportError> {
        let path = self.dir.join(name);
        match path.is_file() {
            true => Ok(forkscope_records::read_table(&path)?),
            false => Ok(Vec::new()),
        }
    }

    /// Whether the run has that file.
    pub fn has(&self, name: &str) -> bool {
        self.dir.join(name).is_file()
    }

    fn open<'a, T>(
        &self,
        slot: &'a Opened<T>,
        name: &str,
        open: impl FnOnce(&Path) -> Result<T, RecordsError>,
    ) -> Result<Option<&'a T>, ReportError> {
        let opened = slot.get_or_init(|| {
            let path = self.dir.join(name);
            if !path.is_file() {
                return Ok(None);
            }
            open(&path).map(Some).map_err(|e| e.to_string())
        });
        match opened {
            Ok(table) => Ok(table.as_ref()),
            Err(said) => Err(ReportError::Shown { said: said.clone() }),
        }
    }
}

/// The texts of tokens that an answer needs, each once.
pub struct Words<'a> {
    pieces: Option<&'a TokenPieces>,
    places: std::collections::HashMap<u32, u32>,
    ids: Vec<u32>,
}

impl<'a> Words<'a> {
    /// None yet.
    pub fn new(pieces: Option<&'a TokenPieces>) -> Self {
        Self {
            pieces,
            places: std::collections::HashMap::new(),
            ids: Vec::new(),
        }
    }

    /// The place of a token's text in the answer's list.
    pub fn of(&mut self, id: u32) -> u32 {
        let ids = &mut self.ids;
        *self.places.entry(id).or_insert_with(|| {
            ids.push(id);
            u32::try_from(ids.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// The places of a list of tokens.
    pub fn all(&mut self, ids: &[u32]) -> Vec<u32> {
        ids.iter().map(|id| self.of(*id)).collect()
    }

    /// `{ids, texts, breaks}`: the tokens, their visible texts, and the places
    /// of those that end a line.
    pub fn finish(self) -> serde_json::Value {
        let text = |id: &u32| {
            self.pieces
                .and_then(|p| p.get(*id))
                .filter(|t| !t.is_empty())
        };
        let shown = |id: &u32| text(id).map_or_else(|| format!("⟨{id}⟩"), visible);
        let texts: Vec<String> = self.ids.iter().map(shown).collect();
        let breaks: Vec<usize> = (0..self.ids.len())
            .filter(|&i| {
                self.ids
                    .get(i)
                    .and_then(text)
                    .is_some_and(|t| t.contains('\n'))
            })
            .collect();
        serde_json::json!({ "ids": self.ids, "texts": texts, "breaks": breaks })
    }
}
