//! `org/name[@revision]`, and `hub:datasets/org/name[@revision]/file`.

use std::fmt;
use std::path::Path;

use crate::PolicyError;

/// What a repository of the hub holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubRepo {
    /// Weights with what belongs to them.
    Model,
    /// Files of data.
    Dataset,
}

impl HubRepo {
    /// What the server calls them.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// A repository on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// What it holds.
    pub repo: HubRepo,
    /// `org/name`.
    pub name: String,
    /// Branch, tag or commit.
    pub revision: String,
}

impl HubId {
    /// Reads `org/name` or `org/name@revision`: a model.
    pub fn parse(spec: &str) -> Result<Self, PolicyError> {
        Self::read(HubRepo::Model, spec).map_err(|reason| match reason {
            None => PolicyError::bad(
                Path::new(spec),
                "no such path, and not a hub id",
                "give a directory, or org/name[@revision]",
            ),
            Some(revision) => PolicyError::bad(
                Path::new(spec),
                format!("{revision:?} is not a revision"),
                "give a branch, tag or commit after the @",
            ),
        })
    }

    /// The error is a revision that is none, or nothing if it is the name.
    fn read(repo: HubRepo, spec: &str) -> Result<Self, Option<String>> {
        let (name, revision) = spec.split_once('@').unwrap_or((spec, "main"));
        let known = match name.split_once('/') {
            Some((org, name)) => is_part(org) && is_part(name),
            None => false,
        };
        if !known {
            return Err(None);
        }
        if !is_revision(revision) {
            return Err(Some(revision.to_owned()));
        }
        Ok(Self {
            repo,
            name: name.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

/// A file of a dataset on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// The dataset.
    pub dataset: HubId,
    /// The file in it, folders before it.
    pub path: String,
}

impl HubFile {
    /// What the spelling of such a file begins with.
    pub const SCHEME: &'static str = "hub:";

    /// Reads `hub:datasets/org/name[@revision]/folder/file`; the revision is a
    /// branch or tag without slashes, or a commit.
    pub fn parse(spec: &str) -> Result<Self, PolicyError> {
        let read = || {
            let rest = spec.strip_prefix(Self::SCHEME)?.strip_prefix("datasets/")?;
            let (org, rest) = rest.split_once('/')?;
            let (name, path) = rest.split_once('/')?;
            let dataset = HubId::read(HubRepo::Dataset, &format!("{org}/{name}")).ok()?;
            is_file_path(path).then(|| Self {
                dataset,
                path: path.to_owned(),
            })
        };
        read().ok_or_else(|| {
            PolicyError::bad(
                Path::new(spec),
                "not a file of a dataset on the hub",
                "give hub:datasets/org/name[@revision]/file, with the file's folders before it",
            )
        })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.repo {
            HubRepo::Model => "",
            HubRepo::Dataset => "datasets/",
        };
        write!(f, "{kind}{}@{}", self.name, self.revision)
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Half of a name, by the hub's own rules.
fn is_part(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= 96
        && part.chars().all(is_plain)
        && !part.starts_with(['-', '.'])
        && !part.ends_with(['-', '.'])
        && !part.contains("--")
        && !part.contains("..")
}

/// A revision that is safe as a path and in a URL; slashes separate parts.
fn is_revision(revision: &str) -> bool {
    !revision.is_empty()
        && revision.len() <= 200
        && revision.split('/').all(|part| {
            !part.is_empty()
                && part.chars().all(is_plain)
                && !part.starts_with(['.', '-'])
                && !part.contains("..")
        })
}

/// Whether a text is a full commit.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

/// A file that lies directly in a model's folder, under a name that cannot
/// lead anywhere else.
pub(super) fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && name.chars().all(is_plain)
        && !name.starts_with('.')
        && !name.contains("..")
}

/// A file in folders of a repository, none of whose names leads elsewhere.
fn is_file_path(path: &str) -> bool {
    path.len() <= 400 && path.split('/').count() <= 8 && path.split('/').all(is_file_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read() {
        let id = HubId::parse("org/Name-1.5_b").unwrap();
        assert_eq!(
            (id.name.as_str(), id.revision.as_str()),
            ("org/Name-1.5_b", "main")
        );
        assert_eq!(HubId::parse("a/b@refs/pr/1").unwrap().revision, "refs/pr/1");
    }

    #[test]
    fn paths_are_not_ids() {
        for spec in [
            "",
            "model",
            "./model",
            "../model",
            "/abs/model",
            "a/b/c",
            "a//b",
            "a/..",
            "../b",
            "a/b@",
            "a/b@..",
            "a/b@../../x",
            "a/b@/etc",
            "a/b@x//y",
            "a/b@x y",
            "a/b?x",
            "a/b@x%2e",
            "-a/b",
            "a/b\n",
            "a/b@.git",
            "org--x/b",
            "a/é",
            "a/b@x@y",
        ] {
            assert!(HubId::parse(spec).is_err(), "{spec:?}");
        }
    }

    #[test]
    fn file_names_stay_where_they_are() {
        assert!(is_file_name("model-00001-of-00002.safetensors"));
        for name in [
            "", ".", "..", "a/b", "../a", "/a", "a\\b", "C:a", ".hidden", "a..b", "a\0b",
        ] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }

    #[test]
    fn files_of_datasets_are_read_and_lead_nowhere_else() {
        let file = HubFile::parse("hub:datasets/org/name@v1/main/test-0.parquet").unwrap();
        assert_eq!(file.dataset.to_string(), "datasets/org/name@v1");
        assert_eq!(file.path, "main/test-0.parquet");
        assert!(HubFile::parse("hub:datasets/o/n/test.jsonl").is_ok());
        for spec in [
            "hub:o/n/test.jsonl",
            "hub:datasets/o/n",
            "hub:datasets/o/n/",
            "hub:datasets/o/n/../x",
            "hub:datasets/o/n/a/../../x",
            "hub:datasets/o/n/a//b",
            "hub:datasets/o/n//etc/passwd",
            "hub:datasets/../n/x",
            "hub:datasets/o/../x",
            "hub:datasets/o/n@../x",
            "hub:datasets/o/n@/x",
            "hub:datasets/o/n/.git/config",
            "hub:datasets/o/n/a\\b",
            "hub:datasets/o/n/a%2e%2e/b",
            "hub:datasets/o/n/a?b",
            "hub:datasets/o/n/a/b/c/d/e/f/g/h/i",
        ] {
            assert!(HubFile::parse(spec).is_err(), "{spec:?}");
        }
    }
}
