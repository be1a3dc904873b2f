//! The files of a policy as subjects: those that decide its numbers and its prompts.

use forkscope_audit::attest::{Found, Subject};
use forkscope_policy::ModelFiles;
use forkscope_records::digest::sha256_reader;

use crate::failure::Failure;
use crate::work::models::{self, Named};

/// Files that a policy reads where they are there, beside weights and their index.
const NAMES: [&str; 9] = [
    "adapter_config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Names of the files of a folder that decide what a policy does.
fn deciding(files: &ModelFiles) -> Result<Vec<String>, Failure> {
    let mut names = files.names()?;
    names.retain(|name| {
        NAMES.contains(&name.as_str())
            || name.ends_with(".safetensors")
            || name.ends_with(".safetensors.index.json")
    });
    Ok(names)
}

/// The subjects of an open policy under a role: digests of the very bytes that it
/// was opened from.
pub fn of_model(role: &str, named: &Named) -> Result<Vec<Subject>, Failure> {
    let places = Places {
        files: named.policy.files().clone(),
        adapter: named.policy.adapter_files().cloned(),
    };
    let subject = |name: String| {
        let found = places.find(&name)?;
        match found {
            Found::Digest(sha256) => Ok(Subject::new(format!("{role}/{name}"), sha256)),
            _ => Err(Failure::Input(format!(
                "{} lost its file {name}; attest a model that nobody writes to",
                named.spec
            ))),
        }
    };
    places.names()?.into_iter().map(subject).collect()
}

/// Where the files of a policy are.
pub struct Places {
    files: ModelFiles,
    adapter: Option<ModelFiles>,
}

/// What stands before the names of an adapter's files.
const ADAPTER: &str = "adapter/";

impl Places {
    /// Of what a user types for a model.
    pub fn of(spec: &str) -> Result<Self, Failure> {
        let (files, adapter) = models::locate(spec)?;
        Ok(Self { files, adapter })
    }

    /// Names of all files that decide what the policy does, without the role.
    pub fn names(&self) -> Result<Vec<String>, Failure> {
        let mut names = deciding(&self.files)?;
        if let Some(adapter) = &self.adapter {
            let of_adapter = deciding(adapter)?;
            names.extend(
                of_adapter
                    .into_iter()
                    .map(|name| format!("{ADAPTER}{name}")),
            );
        }
        Ok(names)
    }

    /// The digest of a file, named without the role.
    pub fn find(&self, name: &str) -> Result<Found, Failure> {
        let (files, name) = match (name.strip_prefix(ADAPTER), &self.adapter) {
            (Some(name), Some(adapter)) => (adapter, name),
            (Some(_), None) => return Ok(Found::Missing),
            (None, _) => (&self.files, name),
        };
        // A name with folders is nobody's: a statement cannot send us elsewhere.
        if name.contains(['/', '\\']) || !files.has(name) {
            return Ok(Found::Missing);
        }
        let path = files.path(name);
        if files.dir().is_some() && path.metadata().is_ok_and(|m| m.len() == 0) {
            return Ok(Found::Digest(forkscope_records::digest::sha256_bytes(&[])));
        }
        let reader = files.reader(name)?;
        let (sha256, _) = sha256_reader(reader)
            .map_err(|e| Failure::Input(format!("cannot read {}: {e}", path.display())))?;
        Ok(Found::Digest(sha256))
    }
}
