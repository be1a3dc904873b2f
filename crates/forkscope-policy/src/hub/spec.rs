//! `org/name[@revision]`.

use std::fmt;
use std::path::Path;

use crate::PolicyError;

/// A model on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// `org/name`.
    pub name: String,
    /// Branch, tag or commit.
    pub revision: String,
}

impl HubId {
    /// Reads `org/name` or `org/name@revision`.
    pub fn parse(spec: &str) -> Result<Self, PolicyError> {
        let (name, revision) = spec.split_once('@').unwrap_or((spec, "main"));
        let known = match name.split_once('/') {
            Some((org, model)) => is_part(org) && is_part(model),
            None => false,
        };
        if !known {
            return Err(PolicyError::bad(
                Path::new(spec),
                "no such path, and not a hub id",
                "give a directory, or org/name[@revision]",
            ));
        }
        if !is_revision(revision) {
            return Err(PolicyError::bad(
                Path::new(spec),
                format!("{revision:?} is not a revision"),
                "give a branch, tag or commit after the @",
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.revision)
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
}
