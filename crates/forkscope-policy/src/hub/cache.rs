//! The hub's cache: `models--org--name/{refs/REV, blobs/TAG, snapshots/COMMIT/FILE}`,
//! and the same under `datasets--org--name`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::choose;
use super::spec::{HubId, HubRepo, is_commit};
use crate::PolicyError;

/// The cached snapshots of one repository.
pub(super) struct Snapshots {
    repo: hf_hub::CacheRepo,
    root: PathBuf,
    id: String,
}

impl Snapshots {
    pub(super) fn new(cache: &Path, id: &HubId) -> Self {
        let repo = hf_hub::Repo::with_revision(
            id.name.clone(),
            match id.repo {
                HubRepo::Model => hf_hub::RepoType::Model,
                HubRepo::Dataset => hf_hub::RepoType::Dataset,
            },
            id.revision.clone(),
        );
        let root = cache.join(repo.folder_name());
        Self {
            repo: hf_hub::Cache::new(cache.to_owned()).repo(repo),
            root,
            id: id.to_string(),
        }
    }

    /// Where a file of a snapshot is, or will be.
    pub(super) fn place(&self, commit: &str, name: &str) -> PathBuf {
        self.repo.pointer_path(commit).join(name)
    }

    /// A file of a snapshot, if it is cached.
    pub(super) fn file(&self, commit: &str, name: &str) -> Option<PathBuf> {
        Some(self.place(commit, name)).filter(|path| path.is_file())
    }

    /// Where contents are kept, under the server's tag for them.
    pub(super) fn blob(&self, tag: &str) -> PathBuf {
        self.root.join("blobs").join(tag)
    }

    /// The commit that a revision was when it was last asked for.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = std::fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The snapshot of a revision if all that a policy needs of it is there.
    pub(super) fn whole(&self, revision: &str) -> Option<PathBuf> {
        let commit = self.commit(revision)?;
        let dir = self.repo.pointer_path(&commit);
        let names: BTreeSet<String> = std::fs::read_dir(&dir)
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        let described = names.contains("config.json") || names.contains("adapter_config.json");
        let weights = match choose::index_file(&names) {
            Some(index) => choose::shards(&dir.join(index)).ok()?,
            None => choose::single_weights(&self.id, &names).ok()?,
        };
        let whole = described && weights.iter().all(|name| dir.join(name).is_file());
        whole.then_some(dir)
    }

    /// Notes which commit a revision is, after all files are in place.
    pub(super) fn finish(&self, revision: &str, commit: &str) -> Result<PathBuf, PolicyError> {
        if !is_commit(revision) {
            self.repo.create_ref(commit).map_err(|error| {
                PolicyError::bad(
                    &self.root.join("refs").join(revision),
                    format!("cannot be written: {error}"),
                    "check the permissions and the space of the cache",
                )
            })?;
        }
        Ok(self.repo.pointer_path(commit))
    }

    /// Nothing can be had.
    pub(super) fn not_cached(&self, why: &str, remedy: &str) -> PolicyError {
        PolicyError::bad(
            Path::new(&self.id),
            format!(
                "{why} and the cache {} has no whole copy of it",
                self.root.display()
            ),
            remedy,
        )
    }
}
