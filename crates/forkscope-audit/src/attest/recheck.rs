//! Rows computed again from the weights: a random sample of rollouts, scored anew and
//! compared with what the run recorded.
//!
//! Where the recorded numerics profile is this machine's, every recorded bit must come
//! out again. Under another profile values (entropies, divergences, log-probs: nats;
//! TV) must agree within [`TOLERANCE`]; the argmax must agree unless the two greatest
//! log-probs lie within twice the tolerance; ranks, classes and ids further down are
//! not compared, for a neighbour of equal logit may stand before or behind.
//!
//! A share q of forged rollouts stays unseen by m rollouts drawn with probability
//! about (1 - q)^m.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use forkscope_metrics::rng::Key;
use forkscope_policy::Policy;
use forkscope_records::table::{Record, TableReader};
use forkscope_records::types::{DiffRow, Rollout, ScoreRow, TopK};
use forkscope_records::{RecordsError, read_table};
use serde::Serialize;

use super::AttestError;
use super::check::{Fault, Part};
use crate::scoring::{DiffSettings, diff_window, score_window};
use crate::{AuditError, windows};

/// Most that a value may differ under another numerics profile.
pub const TOLERANCE: f64 = 2e-4;

/// Faults of one table that are listed; the rest are counted.
const LISTED: usize = 20;

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Every recorded bit must come out again.
    Bits,
    /// Values must agree within [`TOLERANCE`].
    Tolerance,
}

/// Which rollouts are drawn.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    /// Share of the rollouts, in (0, 1]; at least one is drawn.
    pub share: f64,
    /// Seed of the draw.
    pub seed: u64,
}

/// What came of one table.
#[derive(Debug, Clone, Serialize)]
pub struct Rechecked {
    /// The table.
    pub table: String,
    /// Rollouts that could have been drawn.
    pub rollouts: u64,
    /// Rollouts that were drawn.
    pub drawn: u64,
    /// Rows (positions) that were computed again.
    pub rows: u64,
    /// How they were compared.
    pub comparison: Comparison,
    /// Greatest difference of a value.
    pub greatest_difference: f64,
    /// What does not agree.
    #[serde(skip)]
    pub faults: Vec<Fault>,
}

/// What goes wrong while rows are computed again.
#[derive(Debug, thiserror::Error)]
pub enum RecheckError {
    /// The scoring.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Anything else.
    #[error(transparent)]
    Attest(#[from] AttestError),
}

impl From<RecordsError> for RecheckError {
    fn from(error: RecordsError) -> Self {
        Self::Attest(error.into())
    }
}

/// Computes rows of `tokens.parquet` of a pair again.
pub fn recheck_pair(
    run: &Path,
    base: &Policy,
    tuned: &Policy,
    class_k: u32,
    how: Comparison,
    draw: Draw,
) -> Result<Rechecked, RecheckError> {
    let settings = |recorded: usize| DiffSettings {
        class_k,
        record_topk: recorded.max(2),
    };
    let again = |rollouts: &[&Rollout], k: usize| diff_window(base, tuned, rollouts, settings(k));
    tokens::<DiffRow>(run, &[base, tuned], how, draw, &again)
}

/// Computes rows of `tokens.parquet` of one policy again.
pub fn recheck_scores(
    run: &Path,
    policy: &Policy,
    how: Comparison,
    draw: Draw,
) -> Result<Rechecked, RecheckError> {
    let again = |rollouts: &[&Rollout], k: usize| score_window(policy, rollouts, k.max(2));
    tokens::<ScoreRow>(run, &[policy], how, draw, &again)
}

/// Computes the log-probs of a table of rollouts again, under the policy that sampled
/// them.
pub fn recheck_logprobs(
    run: &Path,
    table: &str,
    policy: &Policy,
    how: Comparison,
    draw: Draw,
) -> Result<Rechecked, RecheckError> {
    let mut rollouts: Vec<Rollout> = read_table(&run.join(table))?;
    windows::check(&mut rollouts, &[policy])?;
    let recorded: Vec<&Rollout> = rollouts.iter().filter(|r| r.logprobs.is_some()).collect();
    let drawn = drawn(&recorded, draw, table);
    let mut out = Tally::new(table, recorded.len(), &drawn, how);
    for rollout in drawn {
        let rows = score_window(policy, &[rollout], 0)?;
        let before = rollout.logprobs.as_deref().unwrap_or(&[]);
        if before.len() != rows.len() {
            out.fault(
                rollout,
                None,
                "has another number of log-probs than of tokens".into(),
            );
            continue;
        }
        for (before, row) in before.iter().zip(&rows) {
            out.rows += 1;
            let same = before.to_bits() == row.logprob.to_bits();
            if !out.value(f64::from(*before), f64::from(row.logprob)) && !same {
                let said = format!(
                    "has log-prob {before} where the weights give {}",
                    row.logprob
                );
                out.fault(rollout, Some(row.t), said);
            }
        }
    }
    Ok(out.finish())
}

/// A row of a table of positions.
trait Position: Record {
    fn place(&self) -> (&str, u32, u32);
    fn numbers(&self) -> Vec<(&'static str, Option<f64>)>;
    fn tops(&self) -> Vec<(&'static str, u32, &TopK)>;
    /// With lists of most probable tokens cut to what was recorded.
    fn cut(&mut self, k: usize);
    fn same(&self, other: &Self) -> bool;
}

fn cut(top: &mut TopK, k: usize) {
    top.ids.truncate(k);
    top.logprobs.truncate(k);
}

impl Position for ScoreRow {
    fn place(&self) -> (&str, u32, u32) {
        (&self.problem_id, self.sample, self.t)
    }

    fn numbers(&self) -> Vec<(&'static str, Option<f64>)> {
        vec![
            ("entropy_nats", Some(self.entropy_nats)),
            ("logprob", Some(self.logprob.into())),
        ]
    }

    fn tops(&self) -> Vec<(&'static str, u32, &TopK)> {
        vec![("argmax_id", self.argmax_id, &self.topk)]
    }

    fn cut(&mut self, k: usize) {
        cut(&mut self.topk, k);
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

impl Position for DiffRow {
    fn place(&self) -> (&str, u32, u32) {
        (&self.problem_id, self.sample, self.t)
    }

    fn numbers(&self) -> Vec<(&'static str, Option<f64>)> {
        vec![
            ("entropy_base_nats", Some(self.entropy_base_nats)),
            ("entropy_tuned_nats", Some(self.entropy_tuned_nats)),
            ("kl_tuned_base_nats", self.kl_tuned_base_nats),
            ("kl_base_tuned_nats", self.kl_base_tuned_nats),
            ("js_nats", Some(self.js_nats)),
            ("tv", Some(self.tv)),
            ("ce_base_tuned_nats", self.ce_base_tuned_nats),
            ("delta_logprob", self.delta_logprob),
            ("logprob_base", Some(self.logprob_base.into())),
            ("logprob_tuned", Some(self.logprob_tuned.into())),
            ("mass_outside_base", Some(self.mass_outside_base)),
            ("mass_outside_tuned", Some(self.mass_outside_tuned)),
        ]
    }

    fn tops(&self) -> Vec<(&'static str, u32, &TopK)> {
        vec![
            ("argmax_base_id", self.argmax_base_id, &self.topk_base),
            ("argmax_tuned_id", self.argmax_tuned_id, &self.topk_tuned),
        ]
    }

    fn cut(&mut self, k: usize) {
        cut(&mut self.topk_base, k);
        cut(&mut self.topk_tuned, k);
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

/// Scores rollouts again, with at least so many most probable tokens.
type Again<'a, R> = dyn Fn(&[&Rollout], usize) -> Result<Vec<R>, AuditError> + 'a;

fn tokens<R: Position>(
    run: &Path,
    policies: &[&Policy],
    how: Comparison,
    draw: Draw,
    again: &Again<'_, R>,
) -> Result<Rechecked, RecheckError> {
    const TABLE: &str = "tokens.parquet";
    let mut rollouts: Vec<Rollout> = read_table(&run.join("rollouts.parquet"))?;
    windows::check(&mut rollouts, policies)?;
    let scored: Vec<&Rollout> = rollouts
        .iter()
        .filter(|r| windows::yields_rows(r))
        .collect();
    let drawn = drawn(&scored, draw, TABLE);
    let wanted: BTreeSet<(&str, u32)> = drawn
        .iter()
        .map(|r| (r.problem_id.as_str(), r.sample))
        .collect();
    let mut recorded: HashMap<(String, u32), Vec<R>> = HashMap::new();
    for batch in TableReader::<R>::open(&run.join(TABLE))? {
        for row in batch? {
            let (problem, sample, _) = row.place();
            if wanted.contains(&(problem, sample)) {
                let rollout = (problem.to_owned(), sample);
                recorded.entry(rollout).or_default().push(row);
            }
        }
    }
    let mut out = Tally::new(TABLE, scored.len(), &drawn, how);
    for rollout in drawn {
        let rows = recorded
            .remove(&(rollout.problem_id.clone(), rollout.sample))
            .unwrap_or_default();
        let listed = |r: &R| r.tops().iter().map(|t| t.2.ids.len()).max().unwrap_or(0);
        let k = rows.iter().map(listed).max().unwrap_or(0);
        let found = again(&[rollout], k)?;
        if found.len() != rows.len() {
            let said = format!(
                "has {} rows where the weights give {}",
                rows.len(),
                found.len()
            );
            out.fault(rollout, None, said);
            continue;
        }
        for (row, found) in rows.iter().zip(found) {
            out.rows += 1;
            compare(rollout, row, found, k, &mut out);
        }
    }
    Ok(out.finish())
}

/// Compares a recorded row with the one that the weights give.
fn compare<R: Position>(rollout: &Rollout, row: &R, mut found: R, k: usize, out: &mut Tally) {
    let t = Some(row.place().2);
    let mut said: Option<String> = None;
    for ((name, before), (_, after)) in row.numbers().into_iter().zip(found.numbers()) {
        let agree = match (before, after) {
            (Some(a), Some(b)) => out.value(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        if !agree {
            let show = |v: Option<f64>| v.map_or("null".to_owned(), |v| v.to_string());
            said.get_or_insert(format!(
                "has {name} {} where the weights give {}",
                show(before),
                show(after)
            ));
        }
    }
    for ((name, before, listed), (_, after, top)) in row.tops().into_iter().zip(found.tops()) {
        let tie = match top.logprobs.as_slice() {
            [first, second, ..] => f64::from(first - second) <= 2.0 * TOLERANCE,
            _ => false,
        };
        if before != after && !tie {
            said.get_or_insert(format!(
                "has {name} {before} where the weights give {after}"
            ));
        }
        // The i-th greatest log-prob moves no more than any log-prob does.
        for (a, b) in listed.logprobs.iter().zip(&top.logprobs) {
            if !out.value(f64::from(*a), f64::from(*b)) {
                said.get_or_insert(format!(
                    "lists a log-prob {a} of the most probable tokens where the weights give {b}"
                ));
            }
        }
    }
    found.cut(k);
    if out.how == Comparison::Bits && !row.same(&found) {
        said.get_or_insert("has a rank, class or token that the weights do not give".into());
    }
    if row.place() != found.place() {
        said = Some("is the row of another position".into());
    }
    if let Some(said) = said {
        out.fault(rollout, t, said);
    }
}

/// The rollouts drawn, in their order.
fn drawn<'r>(from: &[&'r Rollout], draw: Draw, table: &str) -> Vec<&'r Rollout> {
    let wanted = (draw.share * from.len() as f64).ceil().max(1.0) as usize;
    let key = Key::new(draw.seed, table, 0, "recheck");
    let mut order: Vec<(f64, usize)> = (0..from.len())
        .map(|i| (key.uniform(i as u64), i))
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut chosen: Vec<usize> = order.into_iter().take(wanted).map(|(_, i)| i).collect();
    chosen.sort_unstable();
    chosen
        .into_iter()
        .filter_map(|i| from.get(i).copied())
        .collect()
}

/// Counts what was compared.
struct Tally {
    table: String,
    rollouts: u64,
    drawn: u64,
    rows: u64,
    how: Comparison,
    greatest: f64,
    faults: Vec<Fault>,
    unlisted: u64,
}

impl Tally {
    fn new(table: &str, rollouts: usize, drawn: &[&Rollout], how: Comparison) -> Self {
        Self {
            table: table.to_owned(),
            rollouts: rollouts as u64,
            drawn: drawn.len() as u64,
            rows: 0,
            how,
            greatest: 0.0,
            faults: Vec::new(),
            unlisted: 0,
        }
    }

    /// Whether two values agree.
    fn value(&mut self, recorded: f64, found: f64) -> bool {
        if recorded == found {
            return true;
        }
        let difference = (recorded - found).abs();
        self.greatest = self.greatest.max(difference);
        self.how == Comparison::Tolerance && difference <= TOLERANCE
    }

    fn fault(&mut self, rollout: &Rollout, t: Option<u32>, said: String) {
        if self.faults.len() >= LISTED {
            self.unlisted += 1;
            return;
        }
        let at = t.map_or(String::new(), |t| format!(", position {t}"));
        let name = format!(
            "{}: rollout {} of problem {}{at}",
            self.table, rollout.sample, rollout.problem_id
        );
        self.faults.push(Fault::new(Part::Recheck, name, said));
    }

    fn finish(mut self) -> Rechecked {
        if self.unlisted > 0 {
            let said = format!("has {} further rows that do not agree", self.unlisted);
            self.faults
                .push(Fault::new(Part::Recheck, &self.table, said));
        }
        Rechecked {
            table: self.table,
            rollouts: self.rollouts,
            drawn: self.drawn,
            rows: self.rows,
            comparison: self.how,
            greatest_difference: self.greatest,
            faults: self.faults,
        }
    }
}
