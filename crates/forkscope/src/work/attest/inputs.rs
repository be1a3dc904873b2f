//! What a run was made of beside models: problems, rollouts, contrast sets, dictionaries.

use std::path::Path;

use forkscope_audit::attest::{Found, Subject};
use forkscope_records::digest::sha256_bytes;
use serde_json::{Map, Value};

use super::ROLES;
use crate::failure::Failure;
use crate::work::probe::contrast;
use crate::work::{prompts, rollouts};

/// Digests of a run that are of no file of their own.
const DERIVED: [&str; 2] = ["tokenizer", "template"];

/// One input of a run.
#[derive(Debug, Clone)]
pub struct Input {
    /// Name of its digest in `run.json`: `data`, `benign`, `contrast`, ...
    pub role: String,
    /// The digest.
    recorded: String,
    /// Where it was, as the user gave it, if the run says.
    path: Option<String>,
    /// Rollouts, not problems.
    rollouts: bool,
}

impl Input {
    /// All inputs of a run, from the digests and settings of its `run.json`.
    pub fn all(digests: &Map<String, Value>, settings: &Map<String, Value>) -> Vec<Self> {
        let named = |(role, _): &(&String, &Value)| {
            !ROLES.contains(&role.as_str()) && !DERIVED.contains(&role.as_str())
        };
        let text = |name: &str| settings.get(name)?.as_str().map(str::to_owned);
        let input = |(role, digest): (&String, &Value)| {
            let setting = match role.as_str() {
                "data" if text("problems").is_none() => "rollouts",
                "data" => "problems",
                "data_benign" => "benign",
                "data_eval" => "eval_problems",
                "data_eval_benign" => "eval_benign",
                other => other,
            };
            Some(Self {
                role: role.clone(),
                recorded: digest.as_str()?.to_owned(),
                path: text(setting),
                rollouts: setting == "rollouts",
            })
        };
        digests.iter().filter(named).filter_map(input).collect()
    }

    /// The subject: role and file name, without folders, which are the machine's.
    /// `given` says where the file is now. It must be the one of the run, if it is
    /// anywhere.
    pub fn subject(&self, given: Option<&Path>) -> Result<Subject, Failure> {
        match self.find(given)? {
            Found::Digest(found) if found != self.recorded => Err(Failure::Input(format!(
                "{} was changed since the run was made of it; put it back, or make the run again",
                given.map_or(self.path.clone().unwrap_or_default(), |p| p
                    .display()
                    .to_string())
            ))),
            _ => Ok(Subject::new(self.name(), self.recorded.as_str())),
        }
    }

    /// The name of the subject.
    pub fn name(&self) -> String {
        let path = self.path.as_deref().map(Path::new);
        match path.and_then(Path::file_name) {
            Some(name) => format!("{}/{}", self.role, name.to_string_lossy()),
            None => self.role.clone(),
        }
    }

    /// The digest of the input as it is now. A path of another machine, or one
    /// relative to another folder, is unknown, not missing.
    pub fn find(&self, given: Option<&Path>) -> Result<Found, Failure> {
        let path = match (given, &self.path) {
            (Some(given), _) => given,
            // A check downloads nothing that nobody asked for.
            (None, Some(path)) if path.starts_with("hub:") => return Ok(Found::Unknown),
            (None, Some(path)) => Path::new(path),
            (None, None) => return Ok(Found::Unknown),
        };
        match self.digest(path) {
            Ok(found) => Ok(Found::Digest(found)),
            Err(_) if given.is_none() && !path.exists() => Ok(Found::Unknown),
            Err(failure) => Err(failure),
        }
    }

    fn digest(&self, path: &Path) -> Result<String, Failure> {
        if self.role == "contrast" && path.is_dir() {
            return Ok(contrast::read(path, None)?.digest);
        }
        let bytes = match self.rollouts {
            true => rollouts::bytes_of(&rollouts::file(path))?,
            false => prompts::bytes_of(path)?.0,
        };
        Ok(sha256_bytes(&bytes))
    }
}
