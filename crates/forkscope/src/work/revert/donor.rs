//! Whose tokens induce a behaviour.

use std::collections::BTreeMap;

use forkscope_audit::revert::Donor;
use forkscope_records::types::{Reversion, ReversionDirection, ReversionMethod};

use crate::failure::Failure;
use crate::work::models::{Named, no_tokenizer};

/// Whose tokens induce a behaviour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InduceBy {
    /// The base's own choices.
    Base,
    /// The answer that the tuned policy gives most often where it shows the
    /// behaviour.
    Exemplar,
    /// This text.
    Text(String),
}

/// The donor.
pub fn of(by: &InduceBy, tuned: &Named, rows: &[Reversion]) -> Result<Donor, Failure> {
    match by {
        InduceBy::Base => Ok(Donor::Base),
        InduceBy::Text(text) => {
            let side = tuned.policy.text();
            let side = side.ok_or_else(|| no_tokenizer(&tuned.spec))?;
            let ids = side.tokenizer.encode(text, false)?;
            match ids.is_empty() {
                true => Err(Failure::Usage("--induce-text has no token".into())),
                false => Ok(Donor::Text(ids)),
            }
        }
        InduceBy::Exemplar => exemplar(rows).map(Donor::Text).ok_or_else(|| {
            Failure::Input(
                "the tuned policy shows the behaviour on none of the --problems, so that there is no example of it to induce it by; give other problems, --induce-text, or --induce-by base".into(),
            )
        }),
    }
}

/// The most frequent completion with the behaviour, the first one at a tie.
fn exemplar(rows: &[Reversion]) -> Option<Vec<u32>> {
    let shows = |r: &&Reversion| {
        r.direction == ReversionDirection::Undo
            && r.method == ReversionMethod::Tuned
            && r.behaviour == Some(true)
    };
    let mut counts: BTreeMap<&[u32], (usize, usize)> = BTreeMap::new();
    for (i, row) in rows.iter().filter(shows).enumerate() {
        let completion = row.token_ids.get(row.prompt_len..)?;
        counts.entry(completion).or_insert((0, i)).0 += 1;
    }
    let most = counts
        .into_iter()
        .filter(|(ids, _)| !ids.is_empty())
        .max_by_key(|(_, (count, first))| (*count, std::cmp::Reverse(*first)));
    most.map(|(ids, _)| ids.to_vec())
}
