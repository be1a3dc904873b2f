//! Hidden states of a policy over rollouts, kept so that nobody computes them
//! twice: `hidden.f32` and `hidden.json` of a run.
//!
//! `hidden.f32` holds rows of `width` f32, little endian: final hidden states
//! after the last norm, one per predicted position. The row that predicts
//! `token_ids[t]` is the state after `token_ids[t - 1]`. A rollout has
//! `prompt_len - 1` prompt rows (positions 1 to prompt_len - 1) and as many
//! completion rows as completion tokens. Rollouts stand in their order, each as
//! its prompt rows and then its completion rows; of adjacent rollouts with one
//! prompt the prompt rows stand before the first only.
//!
//! `hidden.json` says whose rows these are, in the order of the file:
//! `{"schema": "forkscope/hidden/1", "model": <sha256>, "width": d, "rows": n,
//! "rollouts": [{"problem_id", "sample", "prompt_rows", "prompt": {"ids_sha256",
//! "sha256"}, "rows", "ids_sha256", "sha256"}, ...]}`, where `prompt` is absent
//! if the prompt rows are those of the rollout before. `ids_sha256` is over the
//! ids as u32, little endian; `sha256` over the bytes of the rows.

mod store;
mod writer;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use store::{HiddenStore, PromptAndCompletion};
pub use writer::{HiddenRollout, HiddenWriter};

use crate::digest::hex;

/// Name of the rows' file in a run.
const ROWS: &str = "hidden.f32";
/// Name of the index in a run.
const INDEX: &str = "hidden.json";

/// `hidden.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Index {
    schema: String,
    /// Digest of the model that computed the rows, as in `run.json`.
    model: String,
    width: u64,
    rows: u64,
    rollouts: Vec<Entry>,
}

impl Index {
    const SCHEMA: &'static str = "forkscope/hidden/1";
}

/// The rows of one rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    problem_id: String,
    sample: u32,
    /// `prompt_len - 1`.
    prompt_rows: u64,
    /// Present where the prompt rows stand before this rollout's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<Prompt>,
    /// Completion rows.
    rows: u64,
    /// Of all ids, prompt and completion.
    ids_sha256: String,
    /// Of the completion rows.
    sha256: String,
}

/// Prompt rows that stand in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Prompt {
    ids_sha256: String,
    sha256: String,
}

impl Entry {
    /// Rows that stand in the file for it; `None` if no number holds them.
    fn stored_rows(&self) -> Option<u64> {
        let prompt = self.prompt.as_ref().map_or(0, |_| self.prompt_rows);
        prompt.checked_add(self.rows)
    }
}

/// Bytes of `rows` rows; `None` if no number holds them.
fn bytes_of_rows(rows: u64, width: u64) -> Option<u64> {
    rows.checked_mul(width)?.checked_mul(4)
}

/// Rows as the file holds them.
fn little_endian(rows: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(rows))
    } else {
        Cow::Owned(rows.iter().flat_map(|x| x.to_le_bytes()).collect())
    }
}

fn ids_digest(ids: &[u32]) -> String {
    let mut hasher = Sha256::new();
    for id in ids {
        hasher.update(id.to_le_bytes());
    }
    hex(&hasher.finalize())
}
