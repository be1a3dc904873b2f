//! From the pool to what is trained on: decision positions and advantages.
//!
//! Positions are the gate's, over all rollouts of the pool; advantages are those
//! of [`super::advantages`], over the rollouts that the pool holds, after
//! trimming. A control changes advantages, never positions, so that two arms
//! differ in one thing. Rollouts come out problem by problem, problems and their
//! rollouts as the pool has them, which is the order of the published data
//! preparation; the trainer orders them itself.

use forkscope_audit::gates::{GateInput, GatePlan, GateReport};
use serde::{Deserialize, Serialize};

use super::advantage::{shuffle_all, shuffle_within};
use super::{AdvantageControl, Candidate, PoolRollout, advantages, pool::group};
use crate::TrainError;

/// Rollouts to train on.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The rollouts.
    pub rollouts: Vec<PoolRollout>,
    /// What the gate chose, over all rollouts of the pool.
    pub gate: GateReport,
    /// What there is to learn from.
    pub counts: PreparedCounts,
}

/// What there is to learn from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedCounts {
    /// Problems of the pool.
    pub problems: usize,
    /// Of those, with only right or only wrong rollouts: A = 0, so that their
    /// positions are all anchors.
    pub problems_one_sign: usize,
    /// Rollouts to train on.
    pub rollouts: usize,
    /// The right ones among them.
    pub rollouts_right: usize,
    /// Rollouts that the control leaves out.
    pub rollouts_left_out: usize,
    /// Rollouts with A = 0.
    pub rollouts_without_advantage: usize,
    /// Rollouts without a decision position: all their positions are anchors.
    pub rollouts_without_decisions: usize,
    /// Decision positions of rollouts with A > 0.
    pub decisions_positive: usize,
    /// Decision positions of rollouts with A < 0.
    pub decisions_negative: usize,
}

/// Gates the pool and gives it advantages. The gate looks at entropies alone;
/// for one that looks at another number see [`prepare_with_signal`].
pub fn prepare(
    pool: &[Candidate],
    gate: &GatePlan,
    control: AdvantageControl,
    seed: u64,
) -> Result<Prepared, TrainError> {
    all(pool, None, gate, control, seed)
}

/// The same with a signal: one number per completion token of every rollout, in
/// the order of the pool.
pub fn prepare_with_signal(
    pool: &[Candidate],
    signal: &[Vec<f64>],
    gate: &GatePlan,
    control: AdvantageControl,
    seed: u64,
) -> Result<Prepared, TrainError> {
    if signal.len() != pool.len() {
        return Err(TrainError::Internal(format!(
            "{} rollouts and signals of {}",
            pool.len(),
            signal.len()
        )));
    }
    all(pool, Some(signal), gate, control, seed)
}

/// A rollout of which everything is known that is needed.
struct Known<'p> {
    candidate: &'p Candidate,
    entropies: &'p [f64],
    right: bool,
}

fn all(
    pool: &[Candidate],
    signal: Option<&[Vec<f64>]>,
    gate: &GatePlan,
    control: AdvantageControl,
    seed: u64,
) -> Result<Prepared, TrainError> {
    let known = pool.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    let graded: Vec<(&str, bool)> = known
        .iter()
        .map(|k| (k.candidate.rollout.problem_id.as_str(), k.right))
        .collect();
    let mut counts = outcomes(pool, control)?;
    let inputs: Vec<GateInput<'_>> = known
        .iter()
        .enumerate()
        .map(|(at, k)| GateInput {
            signal: signal.and_then(|s| s.get(at)).map(Vec::as_slice),
            ..GateInput::new(
                &k.candidate.rollout.problem_id,
                k.candidate.rollout.sample,
                k.entropies,
            )
        })
        .collect();
    let right: Vec<bool> = known.iter().map(|k| k.right).collect();
    let chosen = gate.decide(&inputs, &right, seed)?;
    let report = GateReport::new(gate, &inputs, &right, &chosen, seed)?;
    report.refuse_extremes()?;
    let advantages = controlled(&graded, control, seed);
    let mut rollouts = Vec::with_capacity(pool.len());
    for at in by_problem(pool) {
        if let (Some(k), Some(offsets), Some(advantage)) =
            (known.get(at), chosen.get(at), advantages.get(at))
        {
            match control == AdvantageControl::PositivesOnly && !k.right {
                true => counts.rollouts_left_out += 1,
                false => rollouts.push(rollout(k, offsets, *advantage)?),
            }
        }
    }
    count(&rollouts, &mut counts);
    refuse_nothing_to_learn(&counts)?;
    Ok(Prepared {
        rollouts,
        gate: report,
        counts,
    })
}

fn known(candidate: &Candidate) -> Result<Known<'_>, TrainError> {
    let rollout = &candidate.rollout;
    let bad = |what: String| {
        TrainError::Setting(format!(
            "sample {} of problem {:?} {what}",
            rollout.sample, rollout.problem_id
        ))
    };
    let Some(right) = rollout.correct else {
        return Err(bad(
            "has no `correct`: the problem's answer key is missing; give the problem an `answer` \
             and sample or grade again"
                .to_owned(),
        ));
    };
    let Some(entropies) = candidate.entropies_nats.as_deref() else {
        return Err(bad(
            "has no entropies; score the rollouts with the base model first".to_owned(),
        ));
    };
    let tokens = candidate.completion_tokens();
    if entropies.len() != tokens {
        return Err(bad(format!(
            "has {} entropies for {tokens} completion tokens; score the rollouts again",
            entropies.len()
        )));
    }
    Ok(Known {
        candidate,
        entropies,
        right,
    })
}

/// Counts problems by their outcomes; refuses a pool without a mixed one, and
/// one whose every rollout was cut.
fn outcomes(pool: &[Candidate], control: AdvantageControl) -> Result<PreparedCounts, TrainError> {
    super::pool::refuse_all_truncated(pool)?;
    let groups = group(pool);
    let all = |right: bool| {
        let of = |members: &[&Candidate]| members.iter().all(|c| c.rollout.correct == Some(right));
        groups.iter().filter(|(_, members)| of(members)).count()
    };
    let (right, wrong) = (all(true), all(false));
    let enough = match control {
        AdvantageControl::PositivesOnly => wrong < groups.len(),
        _ => right + wrong < groups.len(),
    };
    if !enough {
        return Err(TrainError::Setting(format!(
            "no problem has both right and wrong rollouts: of {} problems {right} are all right and \
             {wrong} all wrong, so that every advantage is 0; choose a pool of problems with pass \
             rates around one half: {}",
            groups.len(),
            match right > wrong {
                true => "harder ones, a higher temperature, or more rollouts per problem",
                false => "easier ones, or more rollouts per problem",
            }
        )));
    }
    Ok(PreparedCounts {
        problems: groups.len(),
        problems_one_sign: right + wrong,
        ..PreparedCounts::default()
    })
}

fn controlled(graded: &[(&str, bool)], control: AdvantageControl, seed: u64) -> Vec<f64> {
    let mut values = advantages(graded);
    match control {
        AdvantageControl::None => {}
        AdvantageControl::ShuffledGlobally => shuffle_all(&mut values, seed),
        AdvantageControl::ShuffledWithinProblem => {
            let problems: Vec<&str> = graded.iter().map(|(problem, _)| *problem).collect();
            shuffle_within(&problems, &mut values, seed);
        }
        AdvantageControl::PositivesOnly => values.fill(1.0),
    }
    values
}

/// Places in the pool, problem by problem.
fn by_problem(pool: &[Candidate]) -> Vec<usize> {
    let mut first = std::collections::HashMap::new();
    for c in pool {
        let next = first.len();
        first.entry(c.rollout.problem_id.as_str()).or_insert(next);
    }
    let mut places: Vec<(usize, usize)> = pool
        .iter()
        .enumerate()
        .filter_map(|(at, c)| Some((*first.get(c.rollout.problem_id.as_str())?, at)))
        .collect();
    places.sort_unstable();
    places.into_iter().map(|(_, at)| at).collect()
}

fn rollout(k: &Known<'_>, offsets: &[u32], advantage: f64) -> Result<PoolRollout, TrainError> {
    let r = &k.candidate.rollout;
    let start = u32::try_from(r.prompt_len)
        .ok()
        .filter(|_| u32::try_from(r.token_ids.len()).is_ok());
    let start = start.ok_or_else(|| {
        TrainError::Setting(format!(
            "sample {} of problem {:?} has {} token ids; leave it out",
            r.sample,
            r.problem_id,
            r.token_ids.len()
        ))
    })?;
    Ok(PoolRollout {
        problem_id: r.problem_id.clone(),
        sample: r.sample,
        token_ids: r.token_ids.clone(),
        prompt_len: r.prompt_len,
        correct: k.right,
        truncated: k.candidate.truncated(),
        advantage,
        entropies_nats: k.entropies.to_vec(),
        decisions: offsets.iter().map(|o| start.saturating_add(*o)).collect(),
    })
}

fn count(rollouts: &[PoolRollout], counts: &mut PreparedCounts) {
    for r in rollouts {
        counts.rollouts += 1;
        counts.rollouts_right += usize::from(r.correct);
        counts.rollouts_without_advantage += usize::from(r.advantage == 0.0);
        counts.rollouts_without_decisions += usize::from(r.decisions.is_empty());
        if r.advantage > 0.0 {
            counts.decisions_positive += r.decisions.len();
        } else if r.advantage < 0.0 {
            counts.decisions_negative += r.decisions.len();
        }
    }
}

fn refuse_nothing_to_learn(counts: &PreparedCounts) -> Result<(), TrainError> {
    if counts.decisions_positive + counts.decisions_negative > 0 {
        return Ok(());
    }
    Err(TrainError::Setting(format!(
        "the gate chooses no position in any of the {} rollouts whose advantage is not 0, so that \
         nothing would be learned; give a gate that chooses more",
        counts.rollouts - counts.rollouts_without_advantage
    )))
}
