//! Policies from what a user types, and the digests that name them.

use std::path::Path;
use std::sync::OnceLock;

use forkscope_policy::{ModelFiles, Policy};
use forkscope_records::digest::{FileDigest, sha256_reader, tree_digest};

use crate::embedded;
use crate::failure::Failure;
use crate::terminal::sanitise::sanitise;

/// Spelling of the embedded base model.
pub const BASE: &str = "embedded:base";

/// A policy and what messages and records call it.
pub struct Named {
    /// As the user typed it.
    pub spec: String,
    /// The policy.
    pub policy: Policy,
    /// Of its files, once somebody asked.
    digest: OnceLock<String>,
}

/// Opens one policy.
pub fn open(spec: &str) -> Result<Named, Failure> {
    check_spelling(spec)?;
    let policy = match inside(spec) {
        Some(_) => return open_on(&Named::new(BASE, embedded_base()?), spec),
        None => Policy::open(spec)?,
    };
    Ok(named(spec, policy))
}

/// A policy that has the embedded base's weights.
enum Inside<'a> {
    /// The base itself.
    Base,
    /// The base with an adapter that is inside the program too.
    Shipped(&'static embedded::Adapter),
    /// `embedded:base+DIR`: the base with an adapter of the user's.
    Folder(&'a Path),
}

/// What of the embedded a spelling means, if any.
fn inside(spec: &str) -> Option<Inside<'_>> {
    if spec == BASE {
        return Some(Inside::Base);
    }
    if let Some(shipped) = adapter(spec) {
        return Some(Inside::Shipped(shipped));
    }
    let dir = Path::new(spec.strip_prefix(BASE)?.strip_prefix('+')?);
    (dir.is_dir() && !Path::new(spec).exists()).then_some(Inside::Folder(dir))
}

/// Where the files of a policy are, and those of its adapter, without a look into them.
pub fn locate(spec: &str) -> Result<(ModelFiles, Option<ModelFiles>), Failure> {
    check_spelling(spec)?;
    let base = || ModelFiles::embedded(BASE, embedded::BASE);
    Ok(match inside(spec) {
        Some(Inside::Base) => (base(), None),
        Some(Inside::Shipped(adapter)) => {
            let adapter = ModelFiles::embedded(adapter.spec, adapter.files);
            (base(), Some(adapter))
        }
        Some(Inside::Folder(dir)) => (base(), Some(ModelFiles::dir_at(dir))),
        None => Policy::locate(spec)?,
    })
}

/// Opens two policies that are to be compared; one copy of the weights where
/// both are the same model.
pub fn open_pair(base: &str, tuned: &str) -> Result<(Named, Named), Failure> {
    let (base, tuned) = if inside(base).is_some() && inside(tuned).is_some() {
        let shared = open(BASE)?;
        (open_on(&shared, base)?, open_on(&shared, tuned)?)
    } else if base.starts_with("embedded:") || tuned.starts_with("embedded:") {
        (open(base)?, open(tuned)?)
    } else {
        check_spelling(base)?;
        check_spelling(tuned)?;
        let (first, second) = Policy::open_pair(base, tuned)?;
        (named(base, first), named(tuned, second))
    };
    base.policy.check_comparable(&tuned.policy)?;
    Ok((base, tuned))
}

/// Opens an embedded policy on the embedded base, whose weights it shares.
pub fn open_on(base: &Named, spec: &str) -> Result<Named, Failure> {
    let policy = match inside(spec) {
        Some(Inside::Shipped(adapter)) => base
            .policy
            .with_embedded_adapter(adapter.spec, adapter.files)?,
        Some(Inside::Folder(dir)) => base.policy.with_adapter(ModelFiles::dir_at(dir))?,
        Some(Inside::Base) | None => base.policy.clone(),
    };
    Ok(named(spec, policy))
}

/// A policy under the name that a user gave it.
pub fn named(spec: &str, policy: Policy) -> Named {
    warn(&policy);
    Named::new(spec, policy)
}

fn embedded_base() -> Result<Policy, Failure> {
    Ok(Policy::open_embedded(BASE, embedded::BASE)?)
}

/// The embedded adapter of this spelling.
fn adapter(spec: &str) -> Option<&'static embedded::Adapter> {
    const ADAPTERS: &[embedded::Adapter] = &embedded::ADAPTERS;
    ADAPTERS.iter().find(|adapter| adapter.spec == spec)
}

/// All embedded models, as a sentence lists them.
fn all_embedded() -> String {
    let adapters = embedded::ADAPTERS.iter().map(|adapter| adapter.spec);
    let all: Vec<&str> = std::iter::once(BASE).chain(adapters).collect();
    all.join(", ")
}

/// Refuses what can be no model, in words that say what to give instead.
fn check_spelling(spec: &str) -> Result<(), Failure> {
    let path = Path::new(spec);
    if path.is_file() {
        return Err(Failure::Input(format!(
            "{spec} is a file; give the model's directory, with config.json and safetensors weights in it"
        )));
    }
    if spec.starts_with("embedded:") && inside(spec).is_none() && !path.exists() {
        return Err(Failure::Input(format!(
            "{spec} is not inside this program; there are {}, and {BASE}+DIR takes the adapter in a folder",
            all_embedded()
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
        .filter(|name| there(name))
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
    /// A policy under a name.
    pub fn new(spec: impl Into<String>, policy: Policy) -> Self {
        Self {
            spec: spec.into(),
            policy,
            digest: OnceLock::new(),
        }
    }

    /// SHA-256 over the files that decide the policy's numbers: configuration,
    /// text side, weights, adapter. They are read once.
    pub fn digest(&self) -> Result<String, Failure> {
        if let Some(known) = self.digest.get() {
            return Ok(known.clone());
        }
        let found = self.digest_files()?;
        Ok(self.digest.get_or_init(|| found).clone())
    }

    fn digest_files(&self) -> Result<String, Failure> {
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
