//! The positions that an audit is about, listed before the tuned policy is seen.

use std::collections::HashMap;

use forkscope_records::types::{Rollout, Validity};

use super::base_view::BaseView;
use crate::AuditError;

/// A completion position and what the base alone knows of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// Index among [`Population::members`].
    pub member: u32,
    /// Offset into the completion.
    pub offset: u32,
    /// H(b) in nats.
    pub entropy: f64,
    /// Greatest probability.
    pub top: f64,
    /// What the second falls short of it; `None` where it was not recorded.
    pub margin: Option<f64>,
}

/// A rollout of the population.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Problem identifier.
    pub problem_id: String,
    /// Sample index.
    pub sample: u32,
    /// Index of the problem, in order of first appearance.
    pub problem: u32,
    /// Number of the prompt: neighbours with equal ids share it.
    pub prompt: u32,
    /// Tokens of the prompt.
    pub prompt_len: u32,
    /// Tokens of the completion.
    pub completion: u32,
}

/// Positions with the rollouts that they belong to, in the order of rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Population {
    /// Rollouts with a position.
    pub members: Vec<Member>,
    /// Positions, grouped by rollout with ascending offsets.
    pub positions: Vec<Position>,
    /// Number of problems with a position.
    pub problems: usize,
    /// Rows left out as invalid.
    pub invalid: u64,
}

impl Population {
    /// Of the rows of a score or a diff over these rollouts.
    ///
    /// # Errors
    /// A row of no rollout, outside its completion, out of order, or with an
    /// entropy that is none; no row that can be used.
    pub fn new<R: BaseView>(rows: &[R], rollouts: &[Rollout]) -> Result<Self, AuditError> {
        let mut names = HashMap::with_capacity(rollouts.len());
        for rollout in rollouts {
            if names
                .insert((rollout.problem_id.as_str(), rollout.sample), rollout)
                .is_some()
            {
                return Err(AuditError::DuplicateRollout {
                    problem_id: rollout.problem_id.clone(),
                    sample: rollout.sample,
                });
            }
        }
        let mut out = Self::default();
        let mut seen = Seen::default();
        for (number, row) in rows.iter().enumerate() {
            let offset = check(number, row, &names, out.last(seen.rollout))?;
            if !in_use(row.validity()) {
                out.invalid += 1;
                continue;
            }
            let (rollout, offset) = offset;
            let member = out.member(rollout, &mut seen)?;
            out.positions.push(position(number, row, member, offset)?);
        }
        out.problems = seen.problems.len();
        match out.positions.is_empty() {
            true => Err(AuditError::Coverage(
                "there is no position to audit; give rollouts with completions".into(),
            )),
            false => Ok(out),
        }
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The rollout of a position.
    pub fn member_of(&self, position: &Position) -> Option<&Member> {
        self.members.get(position.member as usize)
    }

    /// Problem of a position; one that is not there for a position of another
    /// population.
    pub fn problem_of(&self, position: &Position) -> usize {
        self.member_of(position)
            .map_or(self.problems, |m| m.problem as usize)
    }

    /// Positions of each problem.
    pub fn positions_per_problem(&self) -> Vec<u64> {
        let mut counts = vec![0; self.problems];
        for position in &self.positions {
            if let Some(count) = counts.get_mut(self.problem_of(position)) {
                *count += 1;
            }
        }
        counts
    }

    /// Name and offset of the last position, if it is of the rollout `current`.
    fn last(&self, current: Option<usize>) -> Option<(&str, u32, u32)> {
        let member = self.members.get(current?)?;
        let offset = self.positions.last()?.offset;
        Some((&member.problem_id, member.sample, offset))
    }

    fn member(&mut self, rollout: &Rollout, seen: &mut Seen) -> Result<u32, AuditError> {
        if let Some(current) = seen.rollout
            && let Some(member) = self.members.get(current)
            && member.sample == rollout.sample
            && member.problem_id == rollout.problem_id
        {
            return Ok(current as u32);
        }
        let next = seen.problems.len() as u32;
        let problem = *seen
            .problems
            .entry(rollout.problem_id.clone())
            .or_insert(next);
        let prompt = rollout.token_ids.get(..rollout.prompt_len).unwrap_or(&[]);
        if seen.prompt.as_deref() != Some(prompt) {
            seen.prompt = Some(prompt.to_vec());
            seen.prompts += 1;
        }
        seen.rollout = Some(self.members.len());
        self.members.push(Member {
            problem_id: rollout.problem_id.clone(),
            sample: rollout.sample,
            problem,
            prompt: seen.prompts - 1,
            prompt_len: narrow(rollout.prompt_len)?,
            completion: narrow(rollout.completion().len())?,
        });
        Ok((self.members.len() - 1) as u32)
    }
}

/// What has gone by.
#[derive(Default)]
struct Seen {
    problems: HashMap<String, u32>,
    rollout: Option<usize>,
    prompt: Option<Vec<u32>>,
    prompts: u32,
}

fn narrow(n: usize) -> Result<u32, AuditError> {
    u32::try_from(n).map_err(|_| AuditError::Coverage(format!("{n} tokens are too many")))
}

fn in_use(validity: Validity) -> bool {
    matches!(validity, Validity::Ok | Validity::Truncated)
}

/// The rollout and the offset of a row.
fn check<'r, R: BaseView>(
    number: usize,
    row: &R,
    names: &HashMap<(&str, u32), &'r Rollout>,
    last: Option<(&str, u32, u32)>,
) -> Result<(&'r Rollout, u32), AuditError> {
    let (problem_id, sample) = row.rollout();
    let Some(rollout) = names.get(&(problem_id, sample)) else {
        return Err(AuditError::UnknownRollout {
            row: number,
            problem_id: problem_id.to_owned(),
            sample,
        });
    };
    let offset = u64::from(row.t()).checked_sub(rollout.prompt_len as u64);
    let offset = match offset.filter(|o| *o < rollout.completion().len() as u64) {
        Some(offset) => offset as u32,
        None => {
            return Err(AuditError::OutsideCompletion {
                row: number,
                problem_id: problem_id.to_owned(),
                sample,
                t: row.t(),
                start: rollout.prompt_len,
                end: rollout.token_ids.len(),
            });
        }
    };
    if last.is_some_and(|(id, s, o)| id == problem_id && s == sample && o >= offset) {
        return Err(AuditError::RowOrder {
            row: number,
            problem_id: problem_id.to_owned(),
            sample,
            t: row.t(),
        });
    }
    Ok((rollout, offset))
}

fn position<R: BaseView>(
    number: usize,
    row: &R,
    member: u32,
    offset: u32,
) -> Result<Position, AuditError> {
    let entropy = row.entropy();
    if !entropy.is_finite() {
        let (problem_id, sample) = row.rollout();
        return Err(AuditError::RowValue {
            row: number,
            problem_id: problem_id.to_owned(),
            sample,
            t: row.t(),
            field: "entropy of the base",
            value: entropy,
            range: "[0, inf)",
        });
    }
    let probability = |i: usize| row.top().logprobs.get(i).map(|lp| f64::from(lp.exp()));
    let top = probability(0).unwrap_or(0.0);
    Ok(Position {
        member,
        offset,
        entropy,
        top,
        margin: probability(1).map(|second| top - second),
    })
}
