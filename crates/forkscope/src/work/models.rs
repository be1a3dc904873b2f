//! Policies from what a user types, and the digests that name them.

use std::path::Path;

use forkscope_policy::{ModelFiles, Policy};
use forkscope_records::digest::{FileDigest, sha256_bytes, sha256_file, tree_digest};

use crate::embedded;
use crate::failure::Failure;

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

impl Named {
    /// SHA-256 over the files that decide the policy's numbers: configuration,
    /// weights, adapter.
    pub fn digest(&self) -> Result<String, Failure> {
        let mut names = vec!["config.json".to_owned()];
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

fn digests(files: &ModelFiles, names: &[String], prefix: &str) -> Result<Vec<FileDigest>, Failure> {
    names
        .iter()
        .map(|name| {
            let (sha256, bytes) = match files {
                ModelFiles::Dir(dir) => {
                    let path = dir.join(name);
                    let bytes = path.metadata().map(|m| m.len()).unwrap_or(0);
                    (sha256_file(&path)?, bytes)
                }
                ModelFiles::Embedded { files, .. } => {
                    let found = files
                        .iter()
                        .find(|f| f.name == name)
                        .map_or(&[][..], |f| f.bytes);
                    (sha256_bytes(found), found.len() as u64)
                }
            };
            Ok(FileDigest {
                path: format!("{prefix}{name}"),
                bytes,
                sha256,
            })
        })
        .collect()
}
