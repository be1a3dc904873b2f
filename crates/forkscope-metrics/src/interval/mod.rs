//! What can be known of a position from its k most probable tokens alone.
//!
//! Services report a few log-probs per position. The rest of the vocabulary, the
//! tail, is unknown but for its mass r = 1 - sum of the listed, and for this:
//! **no tail token is more probable than the least of the k most probable**.
//! Every bound here holds for every completion of the tail that obeys it, and
//! for every value that rounds to a listed log-prob (within its `error`). Where
//! log-probs are exact and the vocabulary has room, the bounds are attained.
//! All are f64 sums, good to 1e-9.
//!
//! One policy (nats; h(p) = -p ln p, c the cap on a tail token, M tail tokens):
//! - H >= sum h(p_i) + floor(r/c) h(c) + h(r - c floor(r/c)): a concave sum is
//!   least where the mass is piled up;
//! - H <= sum h(p_i) + r ln(M/r): greatest where it is spread evenly. Without a
//!   vocabulary size M, and so H, is unbounded.
//! - rank of a token among the k: only listed tokens can be above it. Of a
//!   listed token beyond them: at most r/p tail tokens can be, too.
//!
//! Pairs: [`PairIntervals`].

mod pair;

pub use pair::PairIntervals;

use crate::error::MetricsError;

/// By how much listed probabilities may exceed a sum of one before they are
/// refused: f32 log-probs do not sum to one exactly.
const SUM_TOLERANCE: f64 = 1e-5;

/// Rounding of a sum of probabilities.
const ROUNDING: f64 = 1e-12;

/// A closed interval that holds the true value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower bound; may be -inf for a log-prob.
    pub low: f64,
    /// Upper bound; +inf where there is none.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies inside, within `slack`.
    pub fn holds(&self, value: f64, slack: f64) -> bool {
        self.low - slack <= value && value <= self.high + slack
    }
}

/// Bounds on a rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RankInterval {
    /// Least possible rank.
    pub low: u32,
    /// Greatest possible rank; `None` where unbounded (no vocabulary size).
    pub high: Option<u32>,
}

/// A log-prob as a service reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Listed {
    /// Token id (or any number that names the token within the comparison).
    pub id: u32,
    /// ln p, nats; -inf for probability 0.
    pub logprob: f64,
    /// The true ln p lies within `logprob` +- `error`.
    pub error: f64,
}

/// Half a unit in the last printed digit of a decimal number, the error of its
/// rounding; `None` where `text` is no decimal number.
pub fn printed_error(text: &str) -> Option<f64> {
    let text = text.trim();
    text.parse::<f64>().ok().filter(|value| value.is_finite())?;
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let decimals = mantissa
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    let exponent: i32 = exponent.parse().ok()?;
    let place = exponent.checked_sub(i32::try_from(decimals).ok()?)?;
    Some(0.5 * 10f64.powi(place))
}

/// A listed token with the range of its probability.
#[derive(Debug, Clone, Copy)]
struct Ranged {
    id: u32,
    /// Among the k most probable.
    top: bool,
    logprob: f64,
    low: f64,
    high: f64,
}

/// One policy at one position, as far as it was reported.
#[derive(Debug, Clone)]
pub struct PartialRow {
    /// Most probable first.
    listed: Vec<Ranged>,
    /// Number of tokens that are not listed.
    tail_tokens: Option<u64>,
    tail: Interval,
    /// No tail token is more probable.
    cap: f64,
}

impl PartialRow {
    /// The first `k` of `listed` are the k most probable tokens of the policy, in
    /// any order; others, such as a sampled one, may follow.
    pub fn new(listed: &[Listed], k: usize, vocab: Option<usize>) -> Result<Self, MetricsError> {
        let mut ranged = Vec::with_capacity(listed.len());
        for (place, token) in listed.iter().enumerate() {
            ranged.push(range(token, place < k)?);
        }
        ranged.sort_by(|a, b| b.logprob.total_cmp(&a.logprob).then(a.id.cmp(&b.id)));
        let mut ids: Vec<u32> = listed.iter().map(|token| token.id).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(MetricsError::TopK(format!("names token {} twice", pair[0])));
        }
        let tail_tokens = match vocab {
            Some(vocab) => Some(tail_tokens(vocab, listed.len())?),
            None => None,
        };
        let low = ranged.iter().map(|token| token.low).sum::<f64>();
        let high = ranged.iter().map(|token| token.high).sum::<f64>();
        if low > 1.0 + SUM_TOLERANCE {
            return Err(MetricsError::TopK(format!(
                "has probabilities that sum to {low:.6}, more than one: give natural-log \
                 log-probs of raw logits, or the error of their rounding"
            )));
        }
        // f32 log-probs miss a sum of one by a little: the ranges take it up.
        let whole = tail_tokens == Some(0);
        let (shrink, stretch) = (
            1.0 / low.max(1.0),
            if whole { 1.0 / high.min(1.0) } else { 1.0 },
        );
        if high < 1.0 - SUM_TOLERANCE && whole {
            return Err(MetricsError::TopK(format!(
                "names the whole vocabulary, but its probabilities sum to {high:.6}: check the \
                 vocabulary size"
            )));
        }
        for token in &mut ranged {
            token.low *= shrink;
            token.high *= stretch;
        }
        let tail = Interval {
            low: if whole { 0.0 } else { (1.0 - high).max(0.0) },
            high: if whole { 0.0 } else { (1.0 - low).max(0.0) },
        };
        let top = ranged.iter().filter(|token| token.top);
        let least = top.map(|token| token.high).fold(1.0, f64::min);
        let row = Self {
            listed: ranged,
            tail_tokens,
            tail,
            cap: least.min(tail.high),
        };
        row.check_room()?;
        Ok(row)
    }

    /// The tail's mass must fit into its tokens.
    fn check_room(&self) -> Result<(), MetricsError> {
        let Some(tokens) = self.tail_tokens else {
            return Ok(());
        };
        let room = tokens as f64 * self.cap;
        if self.tail.low > room + SUM_TOLERANCE {
            return Err(MetricsError::TopK(format!(
                "leaves mass {:.6} to {tokens} tokens of at most {:.3e} each, which cannot hold \
                 it: check the vocabulary size",
                self.tail.low, self.cap
            )));
        }
        Ok(())
    }

    /// Mass of the tokens that are not listed.
    pub fn tail_mass(&self) -> Interval {
        self.tail
    }

    /// H, nats.
    pub fn entropy(&self) -> Interval {
        let (mut low, mut high) = (self.least_tail_entropy(), self.greatest_tail_entropy());
        for token in &self.listed {
            let ends = [h(token.low), h(token.high)];
            low += ends[0].min(ends[1]);
            // h rises to its maximum at 1/e and falls.
            let top = (-1f64).exp();
            let inside = token.low < top && top < token.high;
            high += if inside { top } else { ends[0].max(ends[1]) };
        }
        if let Some(tokens) = self.tail_tokens {
            high = high.min(((tokens + self.listed.len() as u64) as f64).ln());
        }
        Interval {
            low,
            high: high.max(low),
        }
    }

    /// Mass piled up on as few tokens as the cap allows. Concave in r between
    /// multiples of the cap, so least at an end of r's range or at the first
    /// multiple inside.
    fn least_tail_entropy(&self) -> f64 {
        let Interval { low, high } = self.tail;
        if high <= 0.0 || self.cap <= 0.0 {
            return 0.0;
        }
        let piled = |mass: f64| {
            let full = (mass / self.cap).floor();
            full * h(self.cap) + h((mass - full * self.cap).max(0.0))
        };
        let full = (low / self.cap).ceil();
        let ends = piled(low).min(piled(high));
        if full * self.cap < high {
            ends.min(full * h(self.cap))
        } else {
            ends
        }
    }

    /// Mass spread evenly; greatest for r = M/e.
    fn greatest_tail_entropy(&self) -> f64 {
        match self.tail_tokens {
            _ if self.tail.high <= 0.0 => 0.0,
            None => f64::INFINITY,
            Some(0) => 0.0,
            Some(tokens) => {
                let tokens = tokens as f64;
                let mass = (tokens / std::f64::consts::E).clamp(self.tail.low, self.tail.high);
                mass * (tokens / mass).ln()
            }
        }
    }

    fn find(&self, id: u32) -> Option<&Ranged> {
        self.listed.iter().find(|token| token.id == id)
    }

    /// Least probability of a tail token: what the others cannot hold.
    fn floor(&self) -> f64 {
        let others = self
            .tail_tokens
            .map_or(f64::INFINITY, |tokens| tokens.saturating_sub(1) as f64);
        let held = if others == 0.0 {
            0.0
        } else {
            others * self.cap
        };
        if self.cap > 0.0 {
            (self.tail.low - held).max(0.0)
        } else {
            0.0
        }
    }

    /// Range of the probability of a token.
    fn probability(&self, id: u32) -> Interval {
        match self.find(id) {
            Some(token) => Interval {
                low: token.low,
                high: token.high,
            },
            None => Interval {
                low: self.floor(),
                high: self.cap,
            },
        }
    }

    /// ln p of a token, nats.
    pub fn logprob(&self, id: u32) -> Interval {
        let Interval { low, high } = self.probability(id);
        Interval {
            low: low.ln(),
            high: high.ln(),
        }
    }

    /// Rank of a token: 1 + number of strictly more probable ones.
    pub fn rank(&self, id: u32) -> RankInterval {
        let found = self.find(id);
        let own = self.probability(id);
        let others = || self.listed.iter().filter(|token| token.id != id);
        // The cap comes from a sum, and may have lost a last digit to it.
        let reach = own.high + if found.is_none() { ROUNDING } else { 0.0 };
        let low = 1 + others().filter(|token| token.low > reach).count() as u64;
        let listed = 1 + others().filter(|token| token.high > own.low).count() as u64;
        let tail = match found {
            Some(token) if token.top => Some(0),
            Some(_) if own.low > 0.0 => {
                let fit = (self.tail.high / own.low + 1e-9).floor() as u64;
                Some(self.tail_tokens.map_or(fit, |tokens| tokens.min(fit)))
            }
            Some(_) => self.tail_tokens,
            None => self.tail_tokens.map(|tokens| tokens.saturating_sub(1)),
        };
        let narrow = |rank: u64| u32::try_from(rank).unwrap_or(u32::MAX);
        RankInterval {
            low: narrow(low),
            high: tail.map(|tail| narrow(listed + tail)),
        }
    }

    /// The most probable token; `None` where rounding leaves it open.
    pub fn argmax(&self) -> Option<u32> {
        let top = self.listed.first()?;
        let exact_tie = |token: &Ranged| token.logprob == top.logprob && token.low == token.high;
        let open = |token: &Ranged| token.high > top.low && !exact_tie(token);
        (top.top && !self.listed.iter().skip(1).any(open)).then_some(top.id)
    }
}

/// Number of tokens that are not listed.
fn tail_tokens(vocab: usize, listed: usize) -> Result<u64, MetricsError> {
    let tokens = vocab.checked_sub(listed).ok_or_else(|| {
        MetricsError::TopK(format!("names {listed} tokens of a vocabulary of {vocab}"))
    })?;
    Ok(tokens as u64)
}

/// -p ln p.
fn h(p: f64) -> f64 {
    if p > 0.0 { -p * p.ln() } else { 0.0 }
}

fn range(token: &Listed, top: bool) -> Result<Ranged, MetricsError> {
    let Listed { id, logprob, error } = *token;
    if !(error >= 0.0 && error.is_finite()) {
        return Err(MetricsError::Recorded {
            what: format!("the rounding error of token {id}"),
            value: error,
            remedy: "give a finite number of nats >= 0",
        });
    }
    if logprob.is_nan() || logprob - error > SUM_TOLERANCE {
        return Err(MetricsError::Recorded {
            what: format!("the log-prob of token {id}"),
            value: logprob,
            remedy: "a natural-log log-prob is at most 0",
        });
    }
    let low = (logprob - error).exp().min(1.0);
    let high = (logprob + error).exp().min(1.0);
    Ok(Ranged {
        id,
        top,
        logprob,
        low,
        high,
    })
}

#[cfg(test)]
mod tests;
