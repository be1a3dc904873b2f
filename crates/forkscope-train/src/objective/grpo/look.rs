//! What a step must know of all its tokens before the first weight is known:
//! entropies and divergences under the policy as it is at this step. What is not
//! finite goes on into the loss, which stops the run and keeps the batch.

use rayon::prelude::*;

use super::rollout::Packed;
use crate::TrainError;
use crate::engine::{Head, Network, Which};
use crate::objective::rows::{entropy, kl_teacher_student};

/// Sites whose reference logits are held at a time.
const SITES: usize = 64;

/// Of each site of a pack, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    /// H of the current policy, nats.
    pub entropies: Vec<f64>,
    /// KL(current || reference) over the vocabulary, nats; empty unless asked
    /// for.
    pub divergences: Vec<f64>,
}

/// Looks at every pack, in parallel; with the reference if `divergences`.
pub(super) fn look(
    network: &Network,
    packs: &[Packed],
    divergences: bool,
) -> Result<Vec<Seen>, TrainError> {
    packs
        .par_iter()
        .map(|packed| look_at(network, packed, divergences))
        .collect()
}

fn look_at(network: &Network, packed: &Packed, divergences: bool) -> Result<Seen, TrainError> {
    let config = network.config();
    let (width, vocab) = (config.hidden_size, config.vocab_size);
    let weight = network.head_weight();
    let sites = packed.all_sites();
    let hidden = network.hidden(&packed.pack, Which::Current)?;
    let mut current = Head::new(&hidden, width, vocab, weight, None);
    let mut seen = Seen::default();
    if divergences {
        let hidden = network.hidden(&packed.pack, Which::Reference)?;
        let mut reference = Head::new(&hidden, width, vocab, weight, None);
        let mut held = Vec::new();
        for sites in sites.chunks(SITES) {
            held.clear();
            reference.scan(sites, |_, logits| held.extend_from_slice(logits));
            current.scan(sites, |i, logits| {
                let theirs = &mut held[i * vocab..(i + 1) * vocab];
                let found = kl_teacher_student(theirs, logits, 0.0);
                seen.entropies.push(found.teacher_entropy);
                seen.divergences.push(found.kl);
            });
        }
    } else {
        current.scan(&sites, |_, logits| seen.entropies.push(entropy(logits)));
    }
    Ok(seen)
}

/// ln p under the reference of each site of each pack, nats.
pub(super) fn reference(network: &Network, packs: &[&Packed]) -> Result<Vec<Vec<f64>>, TrainError> {
    packs
        .par_iter()
        .map(|p| network.log_probs(&p.pack, &p.all_sites(), Which::Reference))
        .collect()
}
