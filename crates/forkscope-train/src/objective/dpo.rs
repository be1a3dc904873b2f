//! Direct preference optimisation (arXiv 2305.18290), sigmoid loss.
//!
//! With l = sum of ln p(x_t) over a completion's tokens (nats, T = 1) under the
//! policy that is trained, f the same under the reference, c chosen and r
//! rejected:
//! - z = beta ((l_c - f_c) - (l_r - f_r));
//! - loss of a pair = -(1 - e) ln sigmoid(z) - e ln sigmoid(-z) + w (-l_c / n_c),
//!   with label smoothing e (conservative DPO; 0 leaves it out), the weight w of
//!   the chosen completion's mean negative log-likelihood (iterative RPO, arXiv
//!   2404.19733), and n_c the chosen completion's tokens;
//! - a step's loss is the mean over its pairs.
//!
//! Derivatives: dz-part g = -(1 - e) sigmoid(-z) + e sigmoid(z); every chosen
//! token's log-prob gets beta g - w / n_c, every rejected one's -beta g, over the
//! number of pairs. Logged: `rewards/chosen` = beta (l_c - f_c), `rewards/rejected`,
//! `rewards/margins`, `rewards/accuracies` (chosen strictly above rejected),
//! `logps/chosen`, `logps/rejected`: means over pairs, TRL's names.

mod source;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::pairs::Pair;
use super::rows::{log_prob_gradient, normaliser};
use crate::TrainError;
use crate::engine::{Head, Pack, Shard, Site, Sums};

pub use source::DpoSource;

/// Settings of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DpoSettings {
    /// How strongly the policy is held at the reference.
    pub beta: f64,
    /// Share of labels that are taken to be the wrong way round, below 1/2.
    pub label_smoothing: f64,
    /// Weight of the chosen completion's mean negative log-likelihood.
    pub nll_weight: f64,
}

impl Default for DpoSettings {
    fn default() -> Self {
        Self {
            beta: 0.1,
            label_smoothing: 0.0,
            nll_weight: 0.0,
        }
    }
}

impl DpoSettings {
    /// Refuses settings out of range.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |text: String| Err(TrainError::Setting(text));
        if !(self.beta > 0.0 && self.beta.is_finite()) {
            return refuse(format!(
                "beta {} is not a finite number above 0; 0.1 is usual",
                self.beta
            ));
        }
        if !(0.0..0.5).contains(&self.label_smoothing) {
            return refuse(format!(
                "label smoothing {} is not from 0 to below 0.5; 0 leaves it out",
                self.label_smoothing
            ));
        }
        if !(self.nll_weight >= 0.0 && self.nll_weight.is_finite()) {
            return refuse(format!(
                "the weight {} of the negative log-likelihood is not a finite number of at least 0",
                self.nll_weight
            ));
        }
        Ok(())
    }

    /// Loss of a pair and its derivatives, from the sums of log-probs.
    pub fn pair(&self, chosen: Score, rejected: Score) -> PairLoss {
        let reward_chosen = self.beta * (chosen.current - chosen.reference);
        let reward_rejected = self.beta * (rejected.current - rejected.reference);
        let z = reward_chosen - reward_rejected;
        let (e, n) = (self.label_smoothing, chosen.tokens.max(1) as f64);
        let nll = -chosen.current / n;
        let g = e * sigmoid(z) - (1.0 - e) * sigmoid(-z);
        PairLoss {
            loss: (1.0 - e) * softplus(-z) + e * softplus(z) + self.nll_weight * nll,
            chosen: self.beta * g - self.nll_weight / n,
            rejected: -self.beta * g,
            reward_chosen,
            reward_rejected,
            nll,
        }
    }
}

/// A completion's log-probs, summed over its tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Under the policy that is trained, nats.
    pub current: f64,
    /// Under the reference, nats.
    pub reference: f64,
    /// Its tokens.
    pub tokens: usize,
}

/// What a pair adds to the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLoss {
    /// The pair's loss.
    pub loss: f64,
    /// d loss / d l_c.
    pub chosen: f64,
    /// d loss / d l_r.
    pub rejected: f64,
    /// beta (l_c - f_c).
    pub reward_chosen: f64,
    /// beta (l_r - f_r).
    pub reward_rejected: f64,
    /// -l_c / n_c, nats.
    pub nll: f64,
}

/// 1 / (1 + e^-z), without overflow.
fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 {
        1.0 / (1.0 + libm::exp(-z))
    } else {
        let e = libm::exp(z);
        e / (1.0 + e)
    }
}

/// ln(1 + e^z) = -ln sigmoid(-z), without overflow.
fn softplus(z: f64) -> f64 {
    z.max(0.0) + libm::log1p(libm::exp(-z.abs()))
}

/// Names of the sums that a shard adds to; [`Sums::LOSS`] beside them.
mod sums {
    pub const PAIRS: &str = "pairs";
    pub const REWARD_CHOSEN: &str = "reward_chosen_sum";
    pub const REWARD_REJECTED: &str = "reward_rejected_sum";
    pub const ACCURATE: &str = "accurate_pairs";
    pub const CHOSEN: &str = "logp_chosen_sum";
    pub const REJECTED: &str = "logp_rejected_sum";
    pub const NLL: &str = "nll_sum";
    pub const ENTROPY: &str = "entropy_sum";
    pub const SITES: &str = "sites";
}

/// Where the tokens of a pair stand among the sites of a shard.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    chosen: Range<usize>,
    rejected: Range<usize>,
    /// Sums of log-probs under the reference.
    reference: (f64, f64),
}

/// Whole pairs, each with its prompt once.
#[derive(Debug, Clone)]
pub struct DpoShard {
    pack: Pack,
    sites: Vec<Site>,
    places: Vec<Place>,
    settings: DpoSettings,
    /// Pairs of the step.
    pairs: usize,
}

/// Pairs in one pack: their sites, and for each pair how many are of the chosen
/// and of the rejected completion.
struct Packed {
    pack: Pack,
    sites: Vec<Site>,
    lengths: Vec<(usize, usize)>,
}

/// Packs pairs, each prompt once for both completions.
fn pack<'p>(pairs: impl Iterator<Item = &'p Pair>) -> Result<Packed, TrainError> {
    let mut out = Packed {
        pack: Pack::default(),
        sites: Vec::new(),
        lengths: Vec::new(),
    };
    for pair in pairs {
        let both = [pair.chosen.as_slice(), pair.rejected.as_slice()];
        let sites = out.pack.add_group(&pair.prompt, &both)?;
        out.lengths.push((pair.chosen.len(), pair.rejected.len()));
        out.sites.extend(sites.into_iter().flatten());
    }
    Ok(out)
}

impl DpoShard {
    /// A shard of `pairs`, with the reference's sums of log-probs (chosen,
    /// rejected) of each, of a step of `step_pairs` pairs.
    pub fn new(
        pairs: &[&Pair],
        references: &[(f64, f64)],
        step_pairs: usize,
        settings: DpoSettings,
    ) -> Result<Self, TrainError> {
        settings.check()?;
        if references.len() != pairs.len() || step_pairs < pairs.len() {
            return Err(TrainError::Internal(
                "a shard of pairs does not fit its reference or its step".into(),
            ));
        }
        let packed = pack(pairs.iter().copied())?;
        let mut from = 0;
        let places = packed
            .lengths
            .iter()
            .zip(references)
            .map(|((chosen, rejected), reference)| {
                let middle = from + chosen;
                let place = Place {
                    chosen: from..middle,
                    rejected: middle..middle + rejected,
                    reference: *reference,
                };
                from = place.rejected.end;
                place
            })
            .collect();
        Ok(Self {
            pack: packed.pack,
            sites: packed.sites,
            places,
            settings,
            pairs: step_pairs,
        })
    }
}

impl Shard for DpoShard {
    fn pack(&self) -> &Pack {
        &self.pack
    }

    fn loss(&self, head: &mut Head<'_>) -> Result<Sums, TrainError> {
        let mut rows = Vec::with_capacity(self.sites.len());
        let mut broken = None;
        head.scan(&self.sites, |i, logits| {
            let row = normaliser(logits);
            let log_prob = row.log_prob(logits, self.sites[i].token);
            if !log_prob.is_finite() {
                broken.get_or_insert((self.sites[i], log_prob));
            }
            rows.push((row, log_prob));
        });
        if let Some((site, log_prob)) = broken {
            return Err(TrainError::NonFinite(format!(
                "ln p of token {} after row {} of a shard is {log_prob}",
                site.token, site.row
            )));
        }
        let mut out = Sums::default();
        let mut coefficients = vec![0.0; self.sites.len()];
        for place in &self.places {
            let score = |range: &Range<usize>, reference| Score {
                current: rows[range.clone()].iter().map(|(_, l)| l).sum(),
                reference,
                tokens: range.len(),
            };
            let chosen = score(&place.chosen, place.reference.0);
            let rejected = score(&place.rejected, place.reference.1);
            let found = self.settings.pair(chosen, rejected);
            let n = self.pairs as f64;
            coefficients[place.chosen.clone()].fill(found.chosen / n);
            coefficients[place.rejected.clone()].fill(found.rejected / n);
            out.add(Sums::LOSS, found.loss / n);
            out.add(sums::PAIRS, 1.0);
            out.add(sums::REWARD_CHOSEN, found.reward_chosen);
            out.add(sums::REWARD_REJECTED, found.reward_rejected);
            let accurate = found.reward_chosen > found.reward_rejected;
            out.add(sums::ACCURATE, f64::from(u8::from(accurate)));
            out.add(sums::CHOSEN, chosen.current);
            out.add(sums::REJECTED, rejected.current);
            out.add(sums::NLL, found.nll);
        }
        out.add(sums::SITES, rows.len() as f64);
        out.add(sums::ENTROPY, rows.iter().map(|(row, _)| row.entropy).sum());
        head.pull(&self.sites, |i, logits| {
            log_prob_gradient(logits, self.sites[i].token, &rows[i].0, coefficients[i]);
        });
        Ok(out)
    }
}
