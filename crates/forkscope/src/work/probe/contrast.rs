//! A contrast set from what a user names.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;
use forkscope_audit::awareness::Design;
use forkscope_records::digest::{FileDigest, sha256_bytes, tree_digest};
use forkscope_records::import::{read_contrast_bytes, read_contrast_folder};
use forkscope_records::types::{ContrastItem, Problem, ProblemPrompt};

use crate::embedded;
use crate::failure::Failure;
use crate::work::prompts::local;
use crate::work::rollouts::bytes_of;

/// A contrast set with its digest.
pub struct ContrastSet {
    /// In file order.
    pub items: Vec<ContrastItem>,
    /// The same as problems, for prompts and grading.
    pub problems: Vec<Problem>,
    /// Its design.
    pub design: Design,
    /// SHA-256 of the file, or of the folder's files.
    pub digest: String,
}

/// Reads the items of the first `limit` problems of a set: `embedded:contexts`,
/// a table, or a folder of tables whose names say context and format.
pub fn read(path: &Path, limit: Option<u64>) -> Result<ContrastSet, Failure> {
    let (mut items, digest) = if path.is_dir() {
        let (items, files) = read_contrast_folder(path)?;
        let digests: Vec<FileDigest> = files
            .iter()
            .map(|(file, bytes)| FileDigest {
                path: file
                    .strip_prefix(path)
                    .unwrap_or(file)
                    .display()
                    .to_string(),
                bytes: bytes.len() as u64,
                sha256: sha256_bytes(bytes),
            })
            .collect();
        (items, tree_digest(&digests))
    } else {
        let (bytes, shown) = bytes_and_name(path)?;
        let digest = sha256_bytes(&bytes);
        (read_contrast_bytes(bytes, shown)?, digest)
    };
    if let Some(limit) = limit {
        let mut seen: HashSet<String> = HashSet::new();
        items.retain(|item| {
            if !seen.contains(&item.cluster) && (seen.len() as u64) < limit {
                seen.insert(item.cluster.clone());
            }
            seen.contains(&item.cluster)
        });
    }
    let design =
        Design::new(&items).map_err(|e| Failure::Input(format!("{}: {e}", path.display())))?;
    let problem = |item: &ContrastItem| Problem {
        id: item.id.clone(),
        prompt: item.prompt.clone(),
        answer: item.answer.clone(),
        category: Some(item.format.clone()),
    };
    Ok(ContrastSet {
        problems: items.iter().map(problem).collect(),
        items,
        design,
        digest,
    })
}

fn bytes_and_name(path: &Path) -> Result<(Bytes, &Path), Failure> {
    let named = |(spec, _): &&(&str, _)| path == Path::new(spec);
    match embedded::PROBLEM_SETS.iter().find(named) {
        Some((_, file)) => Ok((Bytes::from_static(file.bytes), Path::new(file.name))),
        None => Ok((bytes_of(&local(path)?)?, path)),
    }
}

impl ContrastSet {
    /// What a bag of words sees of each item.
    pub fn texts(&self) -> Vec<String> {
        let text = |item: &ContrastItem| match &item.prompt {
            ProblemPrompt::Text(text) => text.clone(),
            ProblemPrompt::Messages(messages) => {
                let said: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
                said.join("\n")
            }
        };
        self.items.iter().map(text).collect()
    }
}
