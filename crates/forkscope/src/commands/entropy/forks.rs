//! Which positions are forks. A position is a fork if its entropy is above the
//! threshold, strictly; with bounds [low, high] and a threshold known within
//! [low, high] it is one for certain, not one for certain, or undecided.

use std::collections::BTreeMap;

use forkscope_records::logprobs::{Listed, Unusable};

use super::Unit;
use super::bounds::Bounds;

/// The entropy gate of arXiv 2605.06241, in nats.
pub const DEFAULT_TAU_NATS: f64 = 1.2;

/// Where the threshold comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// [`DEFAULT_TAU_NATS`].
    Default,
    /// Given, in the unit asked for.
    Tau(f64),
    /// The quantile of the entropies of all usable positions.
    Quantile(f64),
}

/// Whether a position is a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    Yes,
    No,
    /// The bounds do not tell.
    Undecided,
}

/// Whether a position counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Ok,
    Unusable(Unusable),
}

impl Validity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unusable(why) => why.name(),
        }
    }
}

/// One position.
#[derive(Debug, Clone)]
pub struct Place {
    /// Name of the row, or place in the response.
    pub name: String,
    /// The token that came next, where it is known.
    pub token: Option<String>,
    /// Its ln p.
    pub logprob: Option<f64>,
    pub validity: Validity,
    /// In the unit asked for; `None` where it is not usable.
    pub entropy: Option<Bounds>,
    pub fork: Option<Fork>,
    pub duplicates: u32,
    pub sentinels: u32,
}

impl Place {
    /// A position whose whole distribution is known.
    pub fn certain(name: String, entropy: Bounds) -> Self {
        Self {
            entropy: Some(entropy),
            ..Self::unknown(name, None)
        }
    }

    /// A position of which nothing else is known yet.
    pub fn unknown(name: String, token: Option<String>) -> Self {
        Self {
            name,
            token,
            logprob: None,
            validity: Validity::Ok,
            entropy: None,
            fork: None,
            duplicates: 0,
            sentinels: 0,
        }
    }

    /// Notes what was listed.
    pub fn take(&mut self, listed: &Listed) {
        self.logprob = listed.next;
        self.duplicates = listed.duplicates;
        self.sentinels = listed.sentinels;
    }
}

/// All positions of a file against one threshold.
pub struct Analysis {
    /// In the order of the file.
    pub places: Vec<Place>,
    pub unit: Unit,
    pub rule: Rule,
    /// A quantile of bounds is known within bounds only.
    pub threshold: Bounds,
    /// Usable positions: the denominator.
    pub n: usize,
    pub forks: usize,
    pub undecided: usize,
    /// Positions that are not usable, by reason.
    pub invalid: BTreeMap<&'static str, usize>,
}

impl Analysis {
    pub fn new(mut places: Vec<Place>, rule: Rule, unit: Unit) -> Self {
        let threshold = threshold(&places, rule, unit);
        let mut invalid = BTreeMap::new();
        for place in &mut places {
            match (place.entropy, place.validity) {
                (Some(entropy), _) => place.fork = Some(decide(entropy, threshold)),
                (None, validity) => *invalid.entry(validity.name()).or_insert(0) += 1,
            }
        }
        let count = |fork| places.iter().filter(|p| p.fork == Some(fork)).count();
        let [forks, no, undecided] = [Fork::Yes, Fork::No, Fork::Undecided].map(count);
        Self {
            n: forks + no + undecided,
            places,
            unit,
            rule,
            threshold,
            forks,
            undecided,
            invalid,
        }
    }

    /// The least and the greatest share of forks that the bounds allow.
    pub fn share(&self) -> Bounds {
        let of_n = |forks: usize| forks as f64 / self.n as f64;
        Bounds {
            low: of_n(self.forks),
            high: of_n(self.forks + self.undecided),
        }
    }

    pub fn n_invalid(&self) -> usize {
        self.invalid.values().sum()
    }

    /// `no_logprobs 1, non_finite 2`.
    pub fn invalid_by_reason(&self) -> String {
        let parts: Vec<String> = self
            .invalid
            .iter()
            .map(|(why, n)| format!("{why} {n}"))
            .collect();
        parts.join(", ")
    }

    pub fn duplicates(&self) -> u64 {
        self.places.iter().map(|p| u64::from(p.duplicates)).sum()
    }

    pub fn sentinels(&self) -> u64 {
        self.places.iter().map(|p| u64::from(p.sentinels)).sum()
    }

    /// Indices of the `n` usable positions of highest entropy: by lower bound,
    /// then by upper bound, then in the order of the file.
    pub fn top(&self, n: usize) -> Vec<usize> {
        let mut usable: Vec<(usize, Bounds)> = self
            .places
            .iter()
            .enumerate()
            .filter_map(|(i, p)| Some((i, p.entropy?)))
            .collect();
        usable.sort_by(|(_, a), (_, b)| b.low.total_cmp(&a.low).then(b.high.total_cmp(&a.high)));
        usable.into_iter().take(n).map(|(i, _)| i).collect()
    }
}

fn decide(entropy: Bounds, threshold: Bounds) -> Fork {
    if entropy.low > threshold.high {
        Fork::Yes
    } else if entropy.high <= threshold.low {
        Fork::No
    } else {
        Fork::Undecided
    }
}

fn threshold(places: &[Place], rule: Rule, unit: Unit) -> Bounds {
    match rule {
        Rule::Default => Bounds::point(unit.of_nats(DEFAULT_TAU_NATS)),
        Rule::Tau(tau) => Bounds::point(tau),
        // The quantile rises with every value, so that of the lower bounds and
        // that of the upper bounds enclose the true one.
        Rule::Quantile(q) => {
            let end = |pick: fn(Bounds) -> f64| {
                quantile(
                    places.iter().filter_map(|p| p.entropy).map(pick).collect(),
                    q,
                )
            };
            Bounds {
                low: end(|b| b.low),
                high: end(|b| b.high),
            }
        }
    }
}

/// Type 7 of Hyndman and Fan, as everywhere in forkscope, and at home with +inf.
fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let h = values.len().saturating_sub(1) as f64 * q;
    let at = |i: f64| values.get(i as usize).copied().unwrap_or(f64::NAN);
    let (below, above) = (at(h.floor()), at(h.ceil()));
    if below == above || above.is_infinite() {
        above
    } else {
        below + (h - h.floor()) * (above - below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(low: f64, high: f64) -> Place {
        Place::certain(String::new(), Bounds { low, high })
    }

    fn analysis(bounds: &[(f64, f64)], rule: Rule) -> Analysis {
        Analysis::new(
            bounds.iter().map(|&(l, h)| place(l, h)).collect(),
            rule,
            Unit::Nats,
        )
    }

    #[test]
    fn a_fork_is_above_the_threshold_with_its_whole_interval() {
        let a = analysis(
            &[(1.0, 1.0), (1.0, 1.1), (1.01, f64::INFINITY), (0.0, 0.9)],
            Rule::Tau(1.0),
        );
        let forks: Vec<_> = a.places.iter().map(|p| p.fork).collect();
        assert_eq!(
            forks,
            [Fork::No, Fork::Undecided, Fork::Yes, Fork::No].map(Some)
        );
        assert_eq!(
            a.share(),
            Bounds {
                low: 0.25,
                high: 0.5
            }
        );
        assert_eq!(a.top(2), [2, 1]);
    }

    #[test]
    fn quantiles_of_bounds_enclose_those_of_every_choice_between_them() {
        let bounds = [(0.1, 0.4), (0.2, 0.2), (0.9, 1.5), (0.3, 2.0), (0.0, 0.05)];
        for q in [0.0, 0.2, 0.5, 0.77, 1.0] {
            let outer = analysis(&bounds, Rule::Quantile(q)).threshold;
            for choice in 0..32u32 {
                let picked = bounds
                    .iter()
                    .enumerate()
                    .map(|(i, b)| if choice >> i & 1 == 0 { b.0 } else { b.1 });
                let inner = quantile(picked.collect(), q);
                assert!(outer.low <= inner && inner <= outer.high);
            }
        }
        let open = analysis(
            &[(0.1, f64::INFINITY), (0.2, f64::INFINITY)],
            Rule::Quantile(0.5),
        )
        .threshold;
        assert_eq!(
            (open.low.to_bits(), open.high),
            ((0.1f64 + 0.5 * (0.2 - 0.1)).to_bits(), f64::INFINITY)
        );
    }

    #[test]
    fn a_quantile_marks_the_share_above_it() {
        let ten: Vec<(f64, f64)> = (0..10).map(|i| (f64::from(i), f64::from(i))).collect();
        assert_eq!(analysis(&ten, Rule::Quantile(0.8)).forks, 2);
    }
}
