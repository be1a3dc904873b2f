//! Hub ids (`org/name[@revision]`) -> local directories, and files of datasets
//! (`hub:datasets/org/name[@revision]/file`) -> local files.
//!
//! The cache is the hub's own (`models--org--name/{refs,blobs,snapshots}`), so
//! what other tools downloaded is found and what forkscope downloads they find.
//! Only what a policy is made of is fetched: configuration, tokenizer, template
//! and safetensors; never pickles, never code. Names, revisions and tags that a
//! server or an index sends are checked before they touch the file system.
//!
//! Environment: `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_ENDPOINT`,
//! `HF_TOKEN`.

mod cache;
mod choose;
mod dataset;
mod http;
mod settings;
mod spec;

use std::path::PathBuf;

pub use dataset::{dataset_file, dataset_file_with};
pub use settings::HubSettings;
pub use spec::{HubFile, HubId, HubRepo};

use crate::PolicyError;
use cache::Snapshots;
use http::{Failure, Server};

/// The local snapshot of a hub id, downloaded where it is not cached. Settings
/// are those of the environment.
pub fn resolve(spec: &str) -> Result<PathBuf, PolicyError> {
    resolve_with(&HubSettings::from_env()?, spec)
}

/// The local snapshot of a hub id under given settings.
///
/// A full commit that is whole in the cache is taken from there without asking
/// the server. A branch is asked for; if the server cannot be reached, what the
/// cache holds for it is taken.
pub fn resolve_with(settings: &HubSettings, spec: &str) -> Result<PathBuf, PolicyError> {
    let id = HubId::parse(spec)?;
    let snapshots = Snapshots::new(&settings.cache, &id);
    let known = settings.offline || spec::is_commit(&id.revision);
    if let Some(whole) = snapshots.whole(&id.revision).filter(|_| known) {
        return Ok(whole);
    }
    if settings.offline {
        return Err(snapshots.not_cached("HF_HUB_OFFLINE is set", "unset it to download the model"));
    }
    let server = Server::new(settings);
    match download(&server, &snapshots, &id) {
        Ok(dir) => Ok(dir),
        Err(Failure::Unreachable(reason)) => snapshots.whole(&id.revision).ok_or_else(|| {
            snapshots.not_cached(
                &format!("{} cannot be reached ({reason})", settings.endpoint),
                "check the network and HF_ENDPOINT, or give a local directory",
            )
        }),
        Err(Failure::Refused(error)) => Err(error),
    }
}

fn download(server: &Server, snapshots: &Snapshots, id: &HubId) -> Result<PathBuf, Failure> {
    let info = server.info(id)?;
    let fetch = |name: &str| -> Result<PathBuf, Failure> {
        match snapshots.file(&info.commit, name) {
            Some(path) => Ok(path),
            None => server.fetch(id, &info.commit, name, snapshots),
        }
    };
    for name in choose::small_files(&info.names) {
        fetch(name)?;
    }
    let weights = match choose::index_file(&info.names) {
        Some(index) => {
            let path = fetch(index)?;
            choose::shards(&path).map_err(Failure::Refused)?
        }
        None => choose::single_weights(&id.to_string(), &info.names).map_err(Failure::Refused)?,
    };
    for name in &weights {
        if !info.names.contains(name) {
            return Err(Failure::Refused(PolicyError::bad(
                &PathBuf::from(id.to_string()),
                format!("the index names {name:?}, which the model does not have"),
                "tell the model's owner, or give another revision",
            )));
        }
        fetch(name)?;
    }
    snapshots
        .finish(&id.revision, &info.commit)
        .map_err(Failure::Refused)
}
