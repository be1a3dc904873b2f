//! The model organisms: those inside the binary, or those of a folder that
//! `forkscope lab build` made.

use std::path::Path;

use forkscope_policy::ModelFiles;
use forkscope_train::lab::measure::ORGANISMS;
use forkscope_train::lab::records::{self, StageRecord, organism_dir};

use super::models::{self, Named};
use crate::embedded;
use crate::failure::Failure;

/// The base and what was made of it.
pub struct Organisms {
    /// The base.
    pub base: Named,
    /// The others by name, on the base's copy of the weights.
    pub tuned: Vec<(&'static str, Named)>,
}

/// Opens the base and the organisms of these names.
pub fn open(lab: Option<&Path>, wanted: &[&'static str]) -> Result<Organisms, Failure> {
    let base = match lab {
        None => models::open(models::BASE)?,
        Some(lab) => models::open(&organism_dir(lab, ORGANISMS[0])?.display().to_string())?,
    };
    let adapted = |name: &&'static str| -> Result<(&'static str, Named), Failure> {
        let named = match lab {
            None => models::open_on(&base, &format!("embedded:{name}"))?,
            Some(lab) => {
                let dir = organism_dir(lab, name)?;
                let policy = base.policy.with_adapter(ModelFiles::dir_at(&dir))?;
                models::named(&dir.display().to_string(), policy)
            }
        };
        Ok((*name, named))
    };
    let tuned = wanted.iter().filter(|name| **name != ORGANISMS[0]);
    let tuned = tuned.map(adapted).collect::<Result<_, _>>()?;
    Ok(Organisms { base, tuned })
}

/// What the stages wrote down, in the order in which organisms are built.
pub fn records(lab: Option<&Path>) -> Result<Vec<StageRecord>, Failure> {
    match lab {
        None => serde_json::from_slice(embedded::RECORDS.bytes)
            .map_err(|e| Failure::Internal(format!("the embedded records: {e}"))),
        Some(lab) => ORGANISMS
            .iter()
            .map(|name| Ok(records::read(lab, name)?))
            .collect(),
    }
}

impl Organisms {
    /// All of them by name, the base first.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Named)> {
        let tuned = self.tuned.iter().map(|(name, named)| (*name, named));
        std::iter::once((ORGANISMS[0], &self.base)).chain(tuned)
    }
}
