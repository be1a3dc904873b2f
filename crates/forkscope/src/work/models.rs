//! Policies from what a user types, and the digests that name them.

use std::path::Path;

use forkscope_policy::{ModelFiles, Policy};
use forkscope_records::digest::{FileDigest, sha256_reader, tree_digest};

use crate::embedded;
use crate::failure::Failure;
use crate::terminal::sanitise::sanitise;

/// Spelling of the embedded base model.
pub const BASE: &str = "embedded:base";
/// Spelling of the embedded tuned model.
pub const REASONER: &str = "embedded:reasoner";

/// A policy and what messages and records call it.
pub struct Named {
    /// As the user typed it.
    pub spec: String,
    /// The policy.
    pub policy: Policy,
}

/// Opens one policy.
pub fn open(spec: &str) -> Result<Named, Failure> {
    check_spelling(spec)?;
    let policy = match spec {
        BASE => Policy::open_embedded("embedded:base", embedded::BASE)?,
        REASONER => open(BASE)?
            .policy
            .with_embedded_adapter("embedded:reasoner", embedded::REASONER)?,
        _ => Policy::open(spec)?,
    };
    warn(&policy);
    Ok(Named {
        spec: spec.to_owned(),
        policy,
    })
}

/// Opens two policies that are to be compared; one copy of the weights where
/// both are the same model.
pub fn open_pair(base: &str, tuned: &str) -> Result<(Named, Named), Failure> {
    let (base, tuned) = if base == BASE && tuned == REASONER {
        let first = open(BASE)?;
        let second = first
            .policy
            .with_embedded_adapter("embedded:reasoner", embedded::REASONER)?;
        (
            first,
            Named {
                spec: tuned.to_owned(),
                policy: second,
            },
        )
    } else if base.starts_with("embedded:") || tuned.starts_with("embedded:") {
        (open(base)?, open(tuned)?)
    } else {
        check_spelling(base)?;
        check_spelling(tuned)?;
        let (first, second) = Policy::open_pair(base, tuned)?;
        (
            Named {
                spec: base.to_owned(),
                policy: first,
            },
            Named {
                spec: tuned.to_owned(),
                policy: second,
            },
        )
    };
    base.policy.check_comparable(&tuned.policy)?;
    Ok((base, tuned))
}

/// Refuses what can be no model, in words that say what to give instead.
fn check_spelling(spec: &str) -> Result<(), Failure> {
    let path = Path::new(spec);
    if path.is_file() {
        return Err(Failure::Input(format!(
            "{spec} is a file; give the model's directory, with config.json and safetensors weights in it"
        )));
    }
    let embedded = spec.starts_with("embedded:") && ![BASE, REASONER].contains(&spec);
    if embedded && !path.exists() {
        return Err(Failure::Input(format!(
            "{spec} is not inside this program; there are {BASE} and {REASONER}, and neither takes another adapter"
        )));
    }
    Ok(())
}

/// Says what a user should know that is no error.
fn warn(policy: &Policy) {
    for warning in policy.warnings() {
        eprintln!("warning: {}", sanitise(warning));
    }
}

/// The failure where a text is needed and a model cannot read any.
pub fn no_tokenizer(spec: &str) -> Failure {
    Failure::Input(format!(
        "{spec} has no tokenizer.json, so problems cannot become prompts; give --rollouts with token ids instead"
    ))
}

/// SHA-256 over the files of a model that has no weights yet: configuration and
/// text side.
pub fn config_digest(files: &ModelFiles) -> Result<String, Failure> {
    let there = |name: &&str| files.has(name);
    let names: Vec<String> = std::iter::once(&"config.json")
        .chain(&TEXT)
        .copied()
        .filter(|name| there(&name))
        .map(str::to_owned)
        .collect();
    Ok(tree_digest(&digests(files, &names, "")?))
}

/// Files that decide prompts and where completions end, where they are there.
const TEXT: [&str; 5] = [
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

impl Named {
    /// SHA-256 over the files that decide the policy's numbers: configuration,
    /// text side, weights, adapter.
    pub fn digest(&self) -> Result<String, Failure> {
        let mut names = vec!["config.json".to_owned()];
        let there = |name: &&str| self.policy.files().has(name);
        names.extend(TEXT.into_iter().filter(there).map(str::to_owned));
        names.extend(self.policy.weight_files().iter().cloned());
        let mut files = digests(self.policy.files(), &names, "")?;
        if let Some(adapter) = self.policy.adapter_files() {
            let names = [
                "adapter_config.json".to_owned(),
                "adapter_model.safetensors".to_owned(),
            ];
            files.extend(digests(adapter, &names, "adapter/")?);
        }
        Ok(tree_digest(&files))
    }

    /// Digest of the vocabulary, if the model has a tokenizer.
    pub fn vocabulary(&self) -> Option<String> {
        self.policy
            .text()
            .map(|t| t.tokenizer.vocabulary_digest().to_owned())
    }
}

/// Digests of the very bytes that the policy was opened from.
fn digests(files: &ModelFiles, names: &[String], prefix: &str) -> Result<Vec<FileDigest>, Failure> {
    let digest = |name: &String| {
        let reader = files.reader(name)?;
        let bytes = reader.total();
        let unreadable =
            |e| Failure::Input(format!("cannot read {}: {e}", files.path(name).display()));
        let (sha256, _) = sha256_reader(reader).map_err(unreadable)?;
        Ok(FileDigest {
            path: format!("{prefix}{name}"),
            bytes,
            sha256,
        })
    };
    names.iter().map(digest).collect()
}
