//! A teacher's top k, computed once at the start or taken from the records of
//! a run.

use std::collections::HashMap;

use forkscope_policy::Policy;
use forkscope_records::types::{DiffRow, ScoreRow, TopK};
use rayon::prelude::*;

use super::distill::hidden_rows;
use super::examples::Example;
use super::rows::Bucketed;
use crate::TrainError;

/// What a record says of one position: problem, sample, t, the teacher's top k.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedTop {
    /// Problem identifier.
    pub problem_id: String,
    /// Sample index.
    pub sample: u32,
    /// Index of the predicted token in `token_ids`.
    pub t: u32,
    /// The teacher's most probable tokens.
    pub top: TopK,
}

impl From<ScoreRow> for RecordedTop {
    fn from(row: ScoreRow) -> Self {
        Self {
            problem_id: row.problem_id,
            sample: row.sample,
            t: row.t,
            top: row.topk,
        }
    }
}

impl From<DiffRow> for RecordedTop {
    /// The tuned policy teaches.
    fn from(row: DiffRow) -> Self {
        Self {
            problem_id: row.problem_id,
            sample: row.sample,
            t: row.t,
            top: row.topk_tuned,
        }
    }
}

/// The teacher's `k` most probable tokens and the mass of the rest, at every
/// completion token of the examples. `vocab` is the student's: ids beyond it
/// (padding of the teacher) are left out and the rest renormalised.
pub fn cache_teacher(
    policy: &Policy,
    examples: &[Example],
    k: usize,
    vocab: usize,
) -> Result<Vec<Vec<Bucketed>>, TrainError> {
    const ROWS: usize = 64;
    let width = policy.config().hidden_size;
    let own = policy.vocab_size();
    let shared = own.min(vocab);
    (0u64..)
        .zip(examples)
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(index, example)| {
            let hidden = hidden_rows(policy, index, example)?;
            let (mut logits, mut lists) = (Vec::new(), Vec::new());
            for block in hidden.chunks(ROWS * width) {
                policy.logits(block, &mut logits);
                for row in logits.chunks_exact(own) {
                    lists.push(Bucketed::of_row(&row[..shared], k).ok_or_else(|| {
                        TrainError::NonFinite(format!(
                            "the teacher's logits at token {} of rollout {index} are not finite",
                            example.prompt_len + lists.len()
                        ))
                    })?);
                }
            }
            Ok(lists)
        })
        .collect()
}

/// The teacher's top k at every completion token of the examples, from the rows
/// of a `score` run (or of a `diff` run: its tuned policy). `names` are problem
/// and sample of each example, `vocab` the size of the student's vocabulary.
pub fn recorded_teacher(
    rows: impl IntoIterator<Item = RecordedTop>,
    names: &[(String, u32)],
    examples: &[Example],
    vocab: usize,
) -> Result<Vec<Vec<Bucketed>>, TrainError> {
    let wanted: HashMap<(&str, u32), usize> = (0..)
        .zip(names)
        .map(|(i, (problem, sample))| ((problem.as_str(), *sample), i))
        .collect();
    let mut lists: Vec<Vec<Option<Bucketed>>> = examples
        .iter()
        .map(|e| vec![None; e.completion().len()])
        .collect();
    for row in rows {
        let Some(&i) = wanted.get(&(row.problem_id.as_str(), row.sample)) else {
            continue;
        };
        let place = |e: &Example| (row.t as usize).checked_sub(e.prompt_len);
        let slot = examples
            .get(i)
            .and_then(place)
            .and_then(|k| lists.get_mut(i)?.get_mut(k));
        let at = || {
            format!(
                "problem {}, sample {}, t {}",
                row.problem_id, row.sample, row.t
            )
        };
        let Some(slot) = slot else {
            return Err(TrainError::Setting(format!(
                "the teacher's record has a row at {}, where the rollout has no completion token; \
                 the record must be of these very rollouts",
                at()
            )));
        };
        let list = Bucketed::new(row.top.ids.clone(), row.top.logprobs.clone(), vocab);
        *slot = Some(list.map_err(|e| TrainError::Setting(format!("{}: {e}", at())))?);
    }
    lists
        .into_iter()
        .zip(examples.iter().zip(names))
        .map(|(lists, (example, (problem, sample)))| {
            let whole: Option<Vec<Bucketed>> = lists.into_iter().collect();
            whole.ok_or_else(|| {
                TrainError::Setting(format!(
                    "the teacher's record lacks positions of problem {problem}, sample {sample}, \
                     which has {} completion tokens; score these rollouts with the teacher first",
                    example.completion().len()
                ))
            })
        })
        .collect()
}
