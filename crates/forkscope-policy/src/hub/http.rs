//! The hub's server: what a revision holds, and its files.
//!
//! The file is fetched here and not by the `hf-hub` crate, which names files
//! after headers without looking at them and cannot be given a time limit.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use super::cache::Snapshots;
use super::settings::HubSettings;
use super::spec::{HubId, HubRepo, is_commit, is_file_name};
use crate::PolicyError;

/// Largest listing that is read, bytes.
const MAX_LISTING: u64 = 32 << 20;
/// Largest file that is not weights, bytes.
const MAX_SMALL: u64 = 256 << 20;

/// Why nothing was downloaded.
pub(super) enum Failure {
    /// The server does not answer; a cached copy will do.
    Unreachable(String),
    /// The server answers, and the answer is no, or wrong.
    Refused(PolicyError),
}

/// What a revision holds.
pub(super) struct Info {
    pub(super) commit: String,
    pub(super) names: BTreeSet<String>,
}

#[derive(serde::Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(serde::Deserialize)]
struct Sibling {
    rfilename: String,
}

pub(super) struct Server<'s> {
    settings: &'s HubSettings,
    agent: Agent,
}

impl<'s> Server<'s> {
    pub(super) fn new(settings: &'s HubSettings) -> Self {
        let uri: Option<Uri> = settings.endpoint.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or("");
        let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .user_agent(concat!("forkscope/", env!("CARGO_PKG_VERSION")));
        if local {
            // A proxy of the environment does not serve this machine.
            config = config.proxy(None);
        }
        Self {
            settings,
            agent: config.build().into(),
        }
    }

    /// The commit and the files of a revision.
    pub(super) fn info(&self, id: &HubId) -> Result<Info, Failure> {
        let revision = id.revision.replace('/', "%2F");
        let url = format!(
            "{}/api/{}/{}/revision/{revision}",
            self.settings.endpoint,
            id.repo.plural(),
            id.name
        );
        let mut answer = self.get(&url, id)?.0;
        let bad = |problem: String| {
            Failure::Refused(PolicyError::bad(
                Path::new(&url),
                problem,
                "check HF_ENDPOINT",
            ))
        };
        let mut text = Vec::new();
        let body = answer.body_mut().as_reader();
        body.take(MAX_LISTING + 1)
            .read_to_end(&mut text)
            .map_err(|e| unreachable(&e))?;
        if text.len() as u64 > MAX_LISTING {
            return Err(bad(format!(
                "the listing has more than {MAX_LISTING} bytes"
            )));
        }
        let listing: Listing = serde_json::from_slice(&text)
            .map_err(|error| bad(format!("the answer is not a listing of files: {error}")))?;
        if !is_commit(&listing.sha) {
            return Err(bad("the answer names no commit".to_owned()));
        }
        // Files in folders, or under names that lead elsewhere, are not for us.
        let names = listing.siblings.into_iter().map(|file| file.rfilename);
        Ok(Info {
            commit: listing.sha,
            names: names.filter(|name| is_file_name(name)).collect(),
        })
    }

    /// Downloads a file of a commit into the cache.
    pub(super) fn fetch(
        &self,
        id: &HubId,
        commit: &str,
        name: &str,
        snapshots: &Snapshots,
    ) -> Result<PathBuf, Failure> {
        let folder = match id.repo {
            HubRepo::Model => "",
            HubRepo::Dataset => "datasets/",
        };
        let url = format!(
            "{}/{folder}{}/resolve/{commit}/{name}",
            self.settings.endpoint, id.name
        );
        let (mut answer, tag) = self.get(&url, id)?;
        let length = answer.body().content_length();
        let limit = if name.ends_with(".safetensors") {
            u64::MAX
        } else {
            MAX_SMALL
        };
        let place = snapshots.place(commit, name);
        let part = snapshots.blob(&format!("{}.{}.incomplete", commit, std::process::id()));
        let written = write_part(&part, answer.body_mut().as_reader(), limit);
        let done = written.and_then(|(bytes, digest)| {
            if length.is_some_and(|length| length != bytes) {
                return Err(io::Error::other(format!(
                    "the answer ended after {bytes} bytes of {}",
                    length.unwrap_or(0)
                )));
            }
            // The hub tags large files with their sha256.
            if tag
                .as_ref()
                .is_some_and(|tag| is_sha256(tag) && *tag != digest)
            {
                return Err(io::Error::other("the content does not match its sha256"));
            }
            put(
                &part,
                &snapshots.blob(tag.as_deref().unwrap_or(&digest)),
                &place,
                name.split('/').count(),
            )
        });
        done.map_err(|error| {
            // What is left is of no use, and may be gone already.
            let _ = fs::remove_file(&part);
            Failure::Refused(PolicyError::bad(
                Path::new(&url),
                format!("the download failed: {error}"),
                "check disk space and network, and run it again",
            ))
        })?;
        Ok(place)
    }

    /// An answer with a body, and the tag of the content: redirects are
    /// followed, the token is shown to the server itself only.
    fn get(&self, url: &str, id: &HubId) -> Result<(Response<Body>, Option<String>), Failure> {
        let mut url = url.to_owned();
        let mut tag = None;
        for _ in 0..8 {
            let mut request = self.agent.get(&url);
            let own = self.is_own(&url);
            if let (true, Some(token)) = (own, &self.settings.token) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let answer = request.call().map_err(|error| unreachable(&error))?;
            let header = |name: &str| {
                let value = answer.headers().get(name)?.to_str().ok()?;
                Some(value.trim_start_matches("W/").trim_matches('"').to_owned())
            };
            if own && tag.is_none() {
                let sent = header("x-linked-etag").or_else(|| header("etag"));
                tag = sent.filter(|tag| is_file_name(tag));
            }
            match answer.status().as_u16() {
                200 => return Ok((answer, tag)),
                301 | 302 | 303 | 307 | 308 => {
                    let target = header("location").unwrap_or_default();
                    url = self.redirect(&url, &target)?;
                }
                code => return Err(Failure::Refused(self.refused(code, &url, id))),
            }
        }
        Err(Failure::Refused(PolicyError::bad(
            Path::new(&url),
            "the server redirects without end",
            "check HF_ENDPOINT",
        )))
    }

    fn is_own(&self, url: &str) -> bool {
        let rest = url.strip_prefix(&self.settings.endpoint);
        rest.is_some_and(|rest| rest.starts_with('/'))
    }

    /// Where a redirect leads. From https it does not lead out of it.
    fn redirect(&self, from: &str, target: &str) -> Result<String, Failure> {
        let url = match target.starts_with('/') && !target.starts_with("//") {
            true => {
                let start = from.find("://").map_or(0, |at| at + 3);
                let host = from[start..].find('/').map_or(from.len(), |at| start + at);
                format!("{}{target}", &from[..host])
            }
            false => target.to_owned(),
        };
        let secure = url.starts_with("https://");
        let as_safe = secure || (url.starts_with("http://") && from.starts_with("http://"));
        as_safe.then_some(url).ok_or_else(|| {
            Failure::Refused(PolicyError::bad(
                Path::new(from),
                format!("the server redirects to {target:?}"),
                "check HF_ENDPOINT",
            ))
        })
    }

    fn refused(&self, code: u16, url: &str, id: &HubId) -> PolicyError {
        let (problem, remedy) = match (code, &self.settings.token) {
            (401 | 403, None) => (
                format!("the hub does not show {id} without a token (status {code})"),
                "check the id, accept the model's terms, and set HF_TOKEN",
            ),
            (401 | 403, Some(_)) => (
                format!("the hub does not show {id} to the owner of this token (status {code})"),
                "accept the model's terms, or set another HF_TOKEN",
            ),
            (404, _) => (
                format!("the hub has no {id} (status 404)"),
                "check the id and the revision; a private model needs HF_TOKEN",
            ),
            _ => (
                format!("the hub answers with status {code}"),
                "try again later",
            ),
        };
        PolicyError::bad(Path::new(url), problem, remedy)
    }
}

fn unreachable(error: &dyn std::fmt::Display) -> Failure {
    Failure::Unreachable(error.to_string())
}

fn is_sha256(tag: &str) -> bool {
    tag.len() == 64 && tag.chars().all(|c| c.is_ascii_hexdigit())
}

/// Writes a body to a file; its length and sha256 (hex).
fn write_part(path: &Path, mut body: impl Read, limit: u64) -> io::Result<(u64, String)> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = File::create(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 18];
    let mut bytes = 0u64;
    loop {
        let n = match body.read(&mut block) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let read = block.get(..n).unwrap_or(&[]);
        bytes += n as u64;
        if bytes > limit {
            return Err(io::Error::other(format!(
                "the file has more than {limit} bytes"
            )));
        }
        hash.update(read);
        file.write_all(read)?;
    }
    file.sync_all()?;
    let digest = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok((bytes, digest))
}

/// Moves a finished download to its blob and links the snapshot's file to it,
/// which lies `depth` names below the snapshot.
fn put(part: &Path, blob: &Path, place: &Path, depth: usize) -> io::Result<()> {
    fs::rename(part, blob)?;
    if let Some(dir) = place.parent() {
        fs::create_dir_all(dir)?;
    }
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let name = blob.file_name().unwrap_or_default();
    #[cfg(unix)]
    {
        let above = "../".repeat(depth.saturating_add(1));
        std::os::unix::fs::symlink(Path::new(&above).join("blobs").join(name), place)
    }
    #[cfg(not(unix))]
    {
        let _ = (name, depth);
        fs::copy(blob, place).map(|_| ())
    }
}
