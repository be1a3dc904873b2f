//! Completions of one problem, their shared prompt once, and the loss on them.

use super::loss::{Found, Importance, LossSettings, Terms, completion};
use crate::TrainError;
use crate::engine::{Head, Pack, Shard, Site, Sums};
use crate::objective::rows::{Normaliser, log_prob_gradient, normaliser};

/// Names of the sums that a shard adds to; [`Sums::LOSS`] beside them.
pub(super) mod sums {
    /// Sites that the loss looked at.
    pub const SITES: &str = "sites";
    /// Sum of entropies over sites, nats.
    pub const ENTROPY: &str = "entropy_sum";
    /// Sum of k3 over sites, nats.
    pub const KL: &str = "kl_sum";
    /// Ratios: tokens that the surrogate counts, or completions.
    pub const RATIOS: &str = "ratios";
    /// Of them clipped from below.
    pub const CLIPPED_LOW: &str = "clipped_low";
    /// Of them clipped from above.
    pub const CLIPPED_HIGH: &str = "clipped_high";
}

/// A completion's sites and what the loss needs to know of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// Where its tokens are predicted.
    pub sites: Vec<Site>,
    /// ln p under the policy that sampled.
    pub old: Vec<f32>,
    /// ln p under the reference; empty if beta is 0.
    pub reference: Vec<f64>,
    /// A of each token.
    pub advantages: Vec<f64>,
    /// Whether the surrogate counts at each token; `None` for everywhere.
    pub mask: Option<Vec<bool>>,
    /// What the sum over tokens is multiplied by.
    pub weight: f64,
}

impl Sequence {
    /// Drops sites at which neither the surrogate nor the KL is looked at. The
    /// ratio of a completion needs all of them.
    fn pruned(mut self, settings: &LossSettings) -> Self {
        if settings.beta > 0.0 || settings.importance == Importance::Sequence {
            return self;
        }
        if let Some(mask) = self.mask.take() {
            let mut keep = mask.iter();
            self.sites.retain(|_| keep.next() == Some(&true));
            keep = mask.iter();
            self.old.retain(|_| keep.next() == Some(&true));
            keep = mask.iter();
            self.advantages.retain(|_| keep.next() == Some(&true));
        }
        self
    }

    /// Refuses columns of unequal length: a fault of whoever built it.
    fn check(&self, settings: &LossSettings) -> Result<(), TrainError> {
        let n = self.sites.len();
        let mask = self.mask.as_ref().is_none_or(|m| m.len() == n);
        let reference = settings.beta == 0.0 || self.reference.len() == n;
        if self.old.len() == n && self.advantages.len() == n && mask && reference {
            return Ok(());
        }
        Err(TrainError::Internal(format!(
            "a completion of {n} tokens has log-probs, advantages or masks of another length"
        )))
    }
}

/// Completions of one problem in one pack.
#[derive(Debug, Clone)]
pub struct GrpoShard {
    pack: Pack,
    sequences: Vec<Sequence>,
    sites: Vec<Site>,
    settings: LossSettings,
}

impl GrpoShard {
    /// A shard of sequences whose sites are rows of `pack`.
    pub fn new(
        pack: Pack,
        sequences: Vec<Sequence>,
        settings: LossSettings,
    ) -> Result<Self, TrainError> {
        settings.check()?;
        for sequence in &sequences {
            sequence.check(&settings)?;
            if let Some(site) = sequence.sites.iter().find(|s| s.row >= pack.len()) {
                return Err(TrainError::Internal(format!(
                    "a site is at row {} of a pack of {}",
                    site.row,
                    pack.len()
                )));
            }
        }
        let sequences: Vec<Sequence> = sequences
            .into_iter()
            .map(|sequence| sequence.pruned(&settings))
            .collect();
        let sites = sequences.iter().flat_map(|s| s.sites.clone()).collect();
        Ok(Self {
            pack,
            sequences,
            sites,
            settings,
        })
    }

    /// Sites that the loss looks at.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// For each site its sequence and its place within it.
    fn places(&self) -> Vec<(usize, usize)> {
        let tokens = |(s, sequence): (usize, &Sequence)| {
            (0..sequence.sites.len())
                .map(move |t| (s, t))
                .collect::<Vec<_>>()
        };
        self.sequences.iter().enumerate().flat_map(tokens).collect()
    }

    /// Ratios of tokens: the head is seen once.
    fn by_token(&self, head: &mut Head<'_>) -> Totals {
        let places = self.places();
        let mut totals = Totals::default();
        let mut coefficient = Vec::with_capacity(1);
        head.pull(&self.sites, |i, logits| {
            let (s, t) = places[i];
            let sequence = &self.sequences[s];
            let (row, log_prob) = totals.see(self.sites[i], logits);
            let terms = Terms {
                current: &[log_prob],
                old: &sequence.old[t..=t],
                reference: sequence.reference.get(t..=t).unwrap_or(&[]),
                advantages: &sequence.advantages[t..=t],
                mask: sequence.mask.as_ref().map(|mask| &mask[t..=t]),
                weight: sequence.weight,
            };
            let found = completion(&self.settings, &terms, &mut coefficient);
            totals.add(&found);
            log_prob_gradient(logits, self.sites[i].token, &row, coefficient[0]);
        });
        totals
    }

    /// Ratios of completions: all log-probs first, then the gradient.
    fn by_sequence(&self, head: &mut Head<'_>) -> Totals {
        let mut totals = Totals::default();
        let mut rows = Vec::with_capacity(self.sites.len());
        head.scan(&self.sites, |i, logits| {
            rows.push(totals.see(self.sites[i], logits));
        });
        let mut coefficients = Vec::with_capacity(rows.len());
        let (mut from, mut own) = (0, Vec::new());
        for sequence in &self.sequences {
            let to = from + sequence.sites.len();
            let current: Vec<f64> = rows[from..to].iter().map(|(_, l)| *l).collect();
            let terms = Terms {
                current: &current,
                old: &sequence.old,
                reference: &sequence.reference,
                advantages: &sequence.advantages,
                mask: sequence.mask.as_deref(),
                weight: sequence.weight,
            };
            totals.add(&completion(&self.settings, &terms, &mut own));
            coefficients.extend_from_slice(&own);
            from = to;
        }
        head.pull(&self.sites, |i, logits| {
            log_prob_gradient(logits, self.sites[i].token, &rows[i].0, coefficients[i]);
        });
        totals
    }
}

impl Shard for GrpoShard {
    fn pack(&self) -> &Pack {
        &self.pack
    }

    fn loss(&self, head: &mut Head<'_>) -> Result<Sums, TrainError> {
        let totals = match self.settings.importance {
            Importance::Token => self.by_token(head),
            Importance::Sequence => self.by_sequence(head),
        };
        totals.finish(self.sites.len())
    }
}

/// What the sites of a shard add up to.
#[derive(Debug, Default)]
struct Totals {
    found: Found,
    entropy: f64,
    broken: Option<Site>,
}

impl Totals {
    /// Normaliser and log-prob of a site.
    fn see(&mut self, site: Site, logits: &[f32]) -> (Normaliser, f64) {
        let row = normaliser(logits);
        let log_prob = row.log_prob(logits, site.token);
        if !log_prob.is_finite() {
            self.broken = self.broken.or(Some(site));
        }
        self.entropy += row.entropy;
        (row, log_prob)
    }

    fn add(&mut self, other: &Found) {
        self.found.loss += other.loss;
        self.found.kl += other.kl;
        self.found.ratios += other.ratios;
        self.found.clipped_low += other.clipped_low;
        self.found.clipped_high += other.clipped_high;
    }

    fn finish(self, sites: usize) -> Result<Sums, TrainError> {
        if let Some(site) = self.broken {
            return Err(TrainError::NonFinite(format!(
                "ln p of token {} at row {} of its pack is not finite",
                site.token, site.row
            )));
        }
        let mut out = Sums::default();
        out.add(Sums::LOSS, self.found.loss);
        out.add(sums::SITES, sites as f64);
        out.add(sums::ENTROPY, self.entropy);
        out.add(sums::KL, self.found.kl);
        out.add(sums::RATIOS, self.found.ratios);
        out.add(sums::CLIPPED_LOW, self.found.clipped_low);
        out.add(sums::CLIPPED_HIGH, self.found.clipped_high);
        Ok(out)
    }
}
