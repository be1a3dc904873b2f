//! One file of a dataset: from the cache, or downloaded into it.

use std::path::{Path, PathBuf};

use super::cache::Snapshots;
use super::http::{Failure, Server};
use super::settings::HubSettings;
use super::spec::{HubFile, is_commit};
use crate::PolicyError;

/// The local copy of `hub:datasets/org/name[@revision]/file`, downloaded where
/// it is not cached. Settings are those of the environment.
pub fn dataset_file(spec: &str) -> Result<PathBuf, PolicyError> {
    let file = HubFile::parse(spec)?;
    dataset_file_with(&HubSettings::from_env()?, &file)
}

/// The local copy of a file under given settings; the cache is asked first, or
/// only, by the rules of [`super::resolve_with`].
pub fn dataset_file_with(settings: &HubSettings, file: &HubFile) -> Result<PathBuf, PolicyError> {
    let id = &file.dataset;
    let snapshots = Snapshots::new(&settings.cache, id);
    let cached = || snapshots.file(&snapshots.commit(&id.revision)?, &file.path);
    let fixed = settings.offline || is_commit(&id.revision);
    if let Some(path) = cached().filter(|_| fixed) {
        return Ok(path);
    }
    let missing = |why: &str, remedy: &str| {
        PolicyError::bad(
            Path::new(&format!("{id}/{}", file.path)),
            format!(
                "{why} and the cache {} does not have it",
                settings.cache.display()
            ),
            remedy,
        )
    };
    if settings.offline {
        return Err(missing(
            "HF_HUB_OFFLINE is set",
            "unset it to download the file",
        ));
    }
    match download(&Server::new(settings), &snapshots, file) {
        Ok(path) => Ok(path),
        Err(Failure::Unreachable(reason)) => cached().ok_or_else(|| {
            missing(
                &format!("{} cannot be reached ({reason})", settings.endpoint),
                "check the network and HF_ENDPOINT, or give a local file",
            )
        }),
        Err(Failure::Refused(error)) => Err(error),
    }
}

fn download(server: &Server, snapshots: &Snapshots, file: &HubFile) -> Result<PathBuf, Failure> {
    let id = &file.dataset;
    let commit = match is_commit(&id.revision) {
        true => id.revision.clone(),
        false => server.info(id)?.commit,
    };
    let path = match snapshots.file(&commit, &file.path) {
        Some(path) => path,
        None => server.fetch(id, &commit, &file.path, snapshots)?,
    };
    snapshots
        .finish(&id.revision, &commit)
        .map_err(Failure::Refused)?;
    Ok(path)
}
