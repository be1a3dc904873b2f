//! Scoring rollouts into the tables of a run, a window at a time: nothing but a
//! window's rows and hidden states is in memory.

use std::path::Path;
use std::time::Instant;

use forkscope_audit::{prompt_rows, score_window_keeping, windows};
use forkscope_policy::{HiddenRows, Policy};
use forkscope_records::table::TableReader;
use forkscope_records::types::{Rollout, ScoreRow};
use forkscope_records::{HiddenRollout, HiddenWriter, RecordsError, RunDir, TableWriter};

use super::ledger::{Meter, Work};
use crate::cli::Settings;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::terminal::progress::Progress;

/// Sums over the rows of a `tokens` table.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// Number of rows.
    pub positions: u64,
    /// Sum of H(p), nats.
    pub entropy_nats: f64,
    /// Sum of ln p of the predicted tokens, nats.
    pub logprob_nats: f64,
    /// Rows whose predicted token is the argmax.
    pub greedy: u64,
}

impl Totals {
    fn add(&mut self, row: &ScoreRow) {
        self.positions += 1;
        self.entropy_nats += row.entropy_nats;
        self.logprob_nats += f64::from(row.logprob);
        self.greedy += u64::from(row.token_id == row.argmax_id);
    }

    /// Of the run at `run`.
    pub fn of_run(run: &Path) -> Result<Self, RecordsError> {
        let mut totals = Self::default();
        for rows in TableReader::<ScoreRow>::open(&run.join("tokens.parquet"))? {
            rows?.iter().for_each(|row| totals.add(row));
        }
        Ok(totals)
    }
}

/// What is scored, and what is recorded of it.
pub struct Job<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Checked, in the order of the rows.
    pub rollouts: &'a [Rollout],
    /// Most probable tokens per position.
    pub topk: usize,
    /// Rows per row group.
    pub row_group: usize,
    /// Keep the hidden states, under this digest of the policy.
    pub keep_hidden: Option<&'a str>,
}

impl Job<'_> {
    /// Scores what the run lacks.
    pub fn run(
        &self,
        dir: &mut RunDir,
        settings: &Settings,
        meter: &Meter,
    ) -> Result<Totals, Failure> {
        let mut table = dir.table::<ScoreRow>("tokens", self.row_group)?;
        let mut hidden = self.hidden_writer(dir)?;
        let total = self.rows_of_first(usize::MAX);
        let progress = Progress::new(total, "positions scored", settings);
        let begin = match &hidden {
            Some(h) => table.rows_kept().min(self.rows_of_first(h.rollouts_kept())),
            None => table.rows_kept(),
        };
        progress.skip(begin);
        let windows = windows::windows(self.rollouts, begin);
        let ahead: usize = windows.iter().map(|(w, _)| rows_of(w)).sum();
        let mut place = Place {
            row: total.saturating_sub(ahead as u64),
            rollout: self.scored().count() - windows.iter().map(|(w, _)| w.len()).sum::<usize>(),
        };
        let (mut totals, kept, mut seconds) = (Totals::default(), table.rows_kept(), 0.0);
        for (window, skip) in windows {
            let began = Instant::now();
            let (rows, states) = score_window_keeping(self.policy, &window, self.topk)?;
            progress.inc((rows.len() - skip) as u64);
            append_rows(&mut table, rows, place.row, &mut totals)?;
            if let Some(writer) = hidden.as_mut().filter(|h| !h.is_whole()) {
                let done = writer.rollouts_kept().saturating_sub(place.rollout);
                self.keep_window(writer, &window, &states, done)?;
            }
            seconds += began.elapsed().as_secs_f64();
            meter.add(Work::scoring(self.policy, &window));
            place.row += rows_of(&window) as u64;
            place.rollout += window.len();
            if interrupted() {
                return Err(Failure::interrupted());
            }
        }
        if let Some(writer) = hidden {
            writer.finish()?;
        }
        table.finish()?;
        if kept > 0 {
            totals = Totals::of_run(dir.path())?;
        }
        dir.time("score_s", seconds);
        dir.note("positions", totals.positions);
        Ok(totals)
    }

    fn hidden_writer(&self, dir: &RunDir) -> Result<Option<HiddenWriter>, RecordsError> {
        let width = self.policy.config().hidden_size;
        let open = |digest| HiddenWriter::open(dir, digest, width);
        self.keep_hidden.map(open).transpose()
    }

    /// Rollouts that yield rows.
    fn scored(&self) -> impl Iterator<Item = &Rollout> {
        self.rollouts.iter().filter(|r| windows::yields_rows(r))
    }

    /// Rows of the first `n` rollouts that yield any.
    fn rows_of_first(&self, n: usize) -> u64 {
        let rows = |r: &Rollout| r.completion().len() as u64;
        self.scored().take(n).map(rows).sum()
    }

    /// Appends the hidden states of a window, of which the first `done` rollouts
    /// are kept already.
    fn keep_window(
        &self,
        writer: &mut HiddenWriter,
        window: &[&Rollout],
        states: &HiddenRows,
        done: usize,
    ) -> Result<(), Failure> {
        let mut at = rows_of(window.get(..done).unwrap_or(window));
        let rest = window.get(done..).unwrap_or(&[]);
        let mut new = Vec::with_capacity(rest.len());
        for (i, rollout) in rest.iter().enumerate() {
            new.push(match i.checked_sub(1).and_then(|i| rest.get(i)) {
                Some(before) => prompt(before) != prompt(rollout),
                None => writer.needs_prompt(prompt(rollout)),
            });
        }
        let prompts: Vec<&[u32]> = rest
            .iter()
            .zip(&new)
            .filter(|(_, new)| **new)
            .map(|(r, _)| prompt(r))
            .collect();
        let prompt_states = prompt_rows(self.policy, &prompts)?;
        let mut prompt_at = 0;
        for (rollout, new) in rest.iter().zip(new) {
            let n = rollout.prompt_len.saturating_sub(1);
            let rows = rollout.completion().len();
            writer.append(&HiddenRollout {
                problem_id: &rollout.problem_id,
                sample: rollout.sample,
                token_ids: &rollout.token_ids,
                prompt_len: rollout.prompt_len,
                prompt_rows: new.then(|| stretch(&prompt_states, prompt_at, n)),
                completion_rows: stretch(states, at, rows),
            })?;
            prompt_at += if new { n } else { 0 };
            at += rows;
        }
        Ok(writer.sync()?)
    }
}

/// Bytes of the hidden states that would be kept.
pub fn hidden_bytes(policy: &Policy, rollouts: &[Rollout]) -> f64 {
    let (mut rows, mut before): (usize, &[u32]) = (0, &[]);
    for rollout in rollouts.iter().filter(|r| windows::yields_rows(r)) {
        if prompt(rollout) != before {
            before = prompt(rollout);
            rows += before.len().saturating_sub(1);
        }
        rows += rollout.completion().len();
    }
    4.0 * rows as f64 * policy.config().hidden_size as f64
}

/// Where a window begins, among all rows and among the rollouts that yield any.
struct Place {
    row: u64,
    rollout: usize,
}

/// Appends the rows of a window beginning at row `first` that the table lacks.
fn append_rows(
    table: &mut TableWriter<ScoreRow>,
    rows: Vec<ScoreRow>,
    first: u64,
    totals: &mut Totals,
) -> Result<(), RecordsError> {
    if table.is_whole() {
        return Ok(());
    }
    let kept = table.rows_kept().saturating_sub(first);
    for row in rows
        .into_iter()
        .skip(usize::try_from(kept).unwrap_or(usize::MAX))
    {
        totals.add(&row);
        table.append(row)?;
    }
    Ok(())
}

fn prompt(rollout: &Rollout) -> &[u32] {
    rollout.token_ids.get(..rollout.prompt_len).unwrap_or(&[])
}

fn rows_of(rollouts: &[&Rollout]) -> usize {
    rollouts.iter().map(|r| r.completion().len()).sum()
}

fn stretch(states: &HiddenRows, first: usize, n: usize) -> &[f32] {
    states
        .values
        .get(first * states.width..(first + n) * states.width)
        .unwrap_or(&[])
}
