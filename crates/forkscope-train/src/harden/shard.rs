//! The loss on the recoveries of one pack.
//!
//! sum_t w_t (-ln p(y_t)) + sum_d v_d relu(m - (z_y - z_r)): at a decision
//! ln p(y) - ln p(r) is the difference of the logits z, so that the margin's
//! gradient is -v at y and +v at r, and 0 from the margin on (also at its
//! corner, as torch's relu).

use crate::TrainError;
use crate::engine::{Head, Pack, Shard, Site, Sums};
use crate::objective::rows::cross_entropy_gradient;

/// Names of the sums that a shard adds to; [`Sums::LOSS`] beside them.
pub(super) mod sums {
    /// Learned tokens.
    pub const TOKENS: &str = "recovery_tokens";
    /// Of those, tokens that were the argmax.
    pub const HITS: &str = "recovery_argmax";
    /// Sum of -ln p(y), nats.
    pub const NLL: &str = "recovery_nll_sum_nats";
    /// Decisions.
    pub const DECISIONS: &str = "decisions";
    /// Of those, decisions whose margin is below m.
    pub const SHORT: &str = "decisions_short";
    /// Sum of ln p(y) - ln p(r), nats.
    pub const MARGIN: &str = "margin_sum_nats";
    /// Sum of relu(m - margin), nats.
    pub const HINGE: &str = "hinge_sum_nats";
}

/// A learned token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Learned {
    pub site: Site,
    /// w, divided already.
    pub weight: f64,
    /// Rival and v, divided already, where the token decides.
    pub decision: Option<(u32, f64)>,
}

/// Cross-entropy and margins of a pack's sites.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveryShard {
    pack: Pack,
    sites: Vec<Site>,
    learned: Vec<Learned>,
    margin: f64,
}

impl RecoveryShard {
    pub(super) fn new(pack: Pack, learned: Vec<Learned>, margin: f64) -> Result<Self, TrainError> {
        if learned.iter().any(|l| l.site.row >= pack.len()) {
            return Err(TrainError::Internal(
                "sites and rows of a shard do not fit together".into(),
            ));
        }
        Ok(Self {
            sites: learned.iter().map(|l| l.site).collect(),
            pack,
            learned,
            margin,
        })
    }
}

/// Sums over the sites of a shard.
#[derive(Default)]
struct Total {
    loss: f64,
    nll: f64,
    hits: u64,
    decisions: u64,
    short: u64,
    margin: f64,
    hinge: f64,
    broken: Option<(Site, f64)>,
}

impl Shard for RecoveryShard {
    fn pack(&self) -> &Pack {
        &self.pack
    }

    fn sites(&self) -> Option<&[Site]> {
        Some(&self.sites)
    }

    fn loss(&self, head: &mut Head<'_>) -> Result<Sums, TrainError> {
        let mut total = Total::default();
        head.pull(&self.sites, |i, logits| {
            if let Some(learned) = self.learned.get(i) {
                total.add(learned, self.margin, logits);
            }
        });
        total.sums(self.learned.len())
    }
}

impl Total {
    /// Adds a token; its logits become their gradient.
    fn add(&mut self, learned: &Learned, m: f64, logits: &mut [f32]) {
        let Learned {
            site,
            weight,
            decision,
        } = *learned;
        let logit = |logits: &[f32], id: u32| {
            f64::from(logits.get(id as usize).copied().unwrap_or(f32::NAN))
        };
        let margin =
            decision.map(|(rival, v)| (logit(logits, site.token) - logit(logits, rival), rival, v));
        let terms = cross_entropy_gradient(logits, site.token, weight);
        self.loss -= weight * terms.log_prob;
        self.nll -= terms.log_prob;
        self.hits += u64::from(terms.is_argmax);
        let mut bad = (!terms.log_prob.is_finite()).then_some(terms.log_prob);
        if let Some((found, rival, v)) = margin {
            let gap = m - found;
            self.decisions += 1;
            self.margin += found;
            if gap > 0.0 {
                self.short += 1;
                self.hinge += gap;
                self.loss += v * gap;
                for (id, g) in [(site.token, -v), (rival, v)] {
                    if let Some(z) = logits.get_mut(id as usize) {
                        *z += g as f32;
                    }
                }
            }
            // A rival that is masked is no rival; NaN is found here.
            if found.is_nan() {
                bad = Some(found);
            }
        }
        if let Some(bad) = bad {
            self.broken.get_or_insert((site, bad));
        }
    }

    fn sums(self, tokens: usize) -> Result<Sums, TrainError> {
        if let Some((site, value)) = self.broken {
            return Err(TrainError::NonFinite(format!(
                "ln p or the margin of token {} after row {} of a shard is {value}",
                site.token, site.row
            )));
        }
        let mut out = Sums::default();
        out.add(Sums::LOSS, self.loss);
        out.add(sums::TOKENS, tokens as f64);
        out.add(sums::HITS, self.hits as f64);
        out.add(sums::NLL, self.nll);
        out.add(sums::DECISIONS, self.decisions as f64);
        out.add(sums::SHORT, self.short as f64);
        out.add(sums::MARGIN, self.margin);
        out.add(sums::HINGE, self.hinge);
        Ok(out)
    }
}
