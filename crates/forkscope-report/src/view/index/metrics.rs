//! What is known of a rollout beyond its own record: sums, means and maxima of
//! its token rows, where those rows are in use (validity `ok` or `truncated`)
//! and the quantity is defined. Nothing here enters a finding.

use forkscope_records::table::Columns;
use forkscope_records::types::ShiftClass;
use forkscope_records::{PagedTable, RecordsError};

/// How the positions of a rollout make one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Sum over positions.
    Sum,
    /// Mean over positions.
    Mean,
    /// Greatest of all positions.
    Max,
    /// Positions that are not in use.
    LeftOut,
}

/// One number of a rollout.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in questions.
    pub id: &'static str,
    /// Its name on the screen.
    pub name: &'static str,
    /// What it is, with its unit.
    pub title: &'static str,
    /// `number`, `count` or `share`.
    pub kind: &'static str,
    /// Place in [`Kind::values`].
    pub source: usize,
    /// How it is made.
    pub how: How,
}

const fn metric(
    id: &'static str,
    name: &'static str,
    title: &'static str,
    kind: &'static str,
    source: usize,
    how: How,
) -> Metric {
    Metric {
        id,
        name,
        title,
        kind,
        source,
        how,
    }
}

/// Quantities by position, and its class where there is one.
pub type Values = (Vec<Vec<f64>>, Option<Vec<u8>>);

/// What a run's token rows hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Two policies at each position.
    Diff,
    /// One policy at each position.
    Score,
    /// Nothing: log-probs of the rollouts, where they have them.
    Plain,
}

#[rustfmt::skip]
const DIFF: [Metric; 14] = [
    metric("sum_kl", "Σ KL", "sum of KL(tuned ‖ base), nats", "number", 0, How::Sum),
    metric("mean_kl", "mean KL", "mean KL(tuned ‖ base), nats", "number", 0, How::Mean),
    metric("max_kl", "max KL", "largest KL(tuned ‖ base), nats", "number", 0, How::Max),
    metric("mean_js", "mean JS", "mean Jensen–Shannon divergence, nats", "number", 1, How::Mean),
    metric("max_js", "max JS", "largest Jensen–Shannon divergence, nats", "number", 1, How::Max),
    metric("mean_tv", "mean TV", "mean total variation", "number", 2, How::Mean),
    metric("share_changed", "changed", "share of positions whose most probable token differs", "share", 6, How::Mean),
    metric("shifted", "shifted", "positions of class shifted: the tuned top token is none of the base's first", "count", 7, How::Sum),
    metric("mean_h_base", "mean H base", "mean entropy of the base, nats", "number", 3, How::Mean),
    metric("max_h_base", "max H base", "largest entropy of the base, nats", "number", 3, How::Max),
    metric("mean_h_tuned", "mean H tuned", "mean entropy of the tuned policy, nats", "number", 4, How::Mean),
    metric("max_h_tuned", "max H tuned", "largest entropy of the tuned policy, nats", "number", 4, How::Max),
    metric("sum_delta", "Σ Δ ln p", "ln p of the whole completion, tuned minus base, nats", "number", 5, How::Sum),
    metric("left_out", "left out", "positions that enter no number", "count", 0, How::LeftOut),
];

#[rustfmt::skip]
const SCORE: [Metric; 7] = [
    metric("sum_logprob", "Σ ln p", "ln p of the whole completion, nats", "number", 1, How::Sum),
    metric("mean_logprob", "mean ln p", "mean ln p per token, nats", "number", 1, How::Mean),
    metric("mean_h", "mean H", "mean entropy, nats", "number", 0, How::Mean),
    metric("max_h", "max H", "largest entropy, nats", "number", 0, How::Max),
    metric("share_other", "not the top", "share of tokens that are not the most probable ones", "share", 2, How::Mean),
    metric("mean_rank", "mean rank", "mean rank of the tokens", "number", 3, How::Mean),
    metric("left_out", "left out", "positions that enter no number", "count", 0, How::LeftOut),
];

#[rustfmt::skip]
const PLAIN: [Metric; 2] = [
    metric("sum_logprob", "Σ ln p", "ln p of the whole completion, nats", "number", 0, How::Sum),
    metric("mean_logprob", "mean ln p", "mean ln p per token, nats", "number", 0, How::Mean),
];

impl Kind {
    /// What a table of token rows holds.
    pub fn of(tokens: Option<&PagedTable>) -> Self {
        match tokens {
            Some(table) if table.has("kl_tuned_base_nats") => Self::Diff,
            Some(table) if table.has("entropy_nats") => Self::Score,
            _ => Self::Plain,
        }
    }

    /// Its name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Diff => "diff",
            Self::Score => "score",
            Self::Plain => "plain",
        }
    }

    /// The numbers of a rollout.
    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Diff => &DIFF,
            Self::Score => &SCORE,
            Self::Plain => &PLAIN,
        }
    }

    /// The columns that they are made of.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Diff => &[
                "problem_id",
                "sample",
                "validity",
                "kl_tuned_base_nats",
                "js_nats",
                "tv",
                "entropy_base_nats",
                "entropy_tuned_nats",
                "delta_logprob",
                "class",
            ],
            Self::Score => &[
                "problem_id",
                "sample",
                "token_id",
                "validity",
                "entropy_nats",
                "logprob",
                "rank",
                "argmax_id",
            ],
            Self::Plain => &[],
        }
    }

    /// The quantities by position, NaN where undefined, and the class where
    /// there is one (0 unshifted, 1 reranked, 2 shifted).
    pub fn values(self, c: &Columns<'_>) -> Result<Values, RecordsError> {
        match self {
            Self::Diff => {
                let classes: Vec<u8> = c
                    .words("class", ShiftClass::parse)?
                    .into_iter()
                    .map(|class| class as u8)
                    .collect();
                let at_least = |k: u8| {
                    classes
                        .iter()
                        .map(|&c| f64::from(u8::from(c >= k)))
                        .collect()
                };
                let values = vec![
                    defined(c.opt_f64s("kl_tuned_base_nats")?),
                    c.f64s("js_nats")?,
                    c.f64s("tv")?,
                    c.f64s("entropy_base_nats")?,
                    c.f64s("entropy_tuned_nats")?,
                    defined(c.opt_f64s("delta_logprob")?),
                    at_least(1),
                    at_least(2),
                ];
                Ok((values, Some(classes)))
            }
            Self::Score => {
                let tokens = c.u32s("token_id")?;
                let top = c.u32s("argmax_id")?;
                let other = tokens
                    .iter()
                    .zip(&top)
                    .map(|(a, b)| f64::from(u8::from(a != b)));
                let values = vec![
                    c.f64s("entropy_nats")?,
                    c.f32s("logprob")?.into_iter().map(f64::from).collect(),
                    other.collect(),
                    c.u32s("rank")?.into_iter().map(f64::from).collect(),
                ];
                Ok((values, None))
            }
            Self::Plain => Ok((Vec::new(), None)),
        }
    }
}

fn defined(values: Vec<Option<f64>>) -> Vec<f64> {
    values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect()
}

/// Sum, greatest and number of the defined values of one quantity.
#[derive(Debug, Clone, Copy)]
pub struct Gathered {
    sum: f64,
    max: f64,
    n: u32,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            sum: 0.0,
            max: f64::NEG_INFINITY,
            n: 0,
        }
    }
}

impl Gathered {
    /// Takes one position's value.
    pub fn add(&mut self, value: f64) {
        if !value.is_nan() {
            self.sum += value;
            self.max = self.max.max(value);
            self.n += 1;
        }
    }

    /// The number that a metric asks for; NaN without a defined position.
    pub fn give(&self, how: How, left_out: u32) -> f32 {
        let value = match how {
            How::LeftOut => return left_out as f32,
            _ if self.n == 0 => f64::NAN,
            How::Sum => self.sum,
            How::Mean => self.sum / f64::from(self.n),
            How::Max => self.max,
        };
        value as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_positions_do_not_count() {
        let mut gathered = Gathered::default();
        assert!(gathered.give(How::Sum, 0).is_nan());
        for v in [1.0, f64::NAN, 3.0] {
            gathered.add(v);
        }
        let of = |how| gathered.give(how, 7);
        assert_eq!(
            (of(How::Sum), of(How::Mean), of(How::Max), of(How::LeftOut)),
            (4.0, 2.0, 3.0, 7.0)
        );
    }

    #[test]
    fn names_are_unique_and_sources_exist() {
        for (kind, sources) in [(Kind::Diff, 8), (Kind::Score, 4), (Kind::Plain, 1)] {
            let mut ids: Vec<_> = kind.metrics().iter().map(|m| m.id).collect();
            assert!(kind.metrics().iter().all(|m| m.source < sources));
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), kind.metrics().len());
        }
    }
}
