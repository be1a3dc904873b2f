//! From gates and numbers to positions.

use std::collections::HashSet;

use rayon::prelude::*;

use super::calibrate::ScoreCurve;
use super::gate::{Control, Gate, Rule, Score};
use super::matched::{EntropyBins, Matching};
use super::rules::offsets;
use super::{GateInput, controls, rules};
use crate::AuditError;

/// Entropies of f32 arithmetic may be this far below 0.
const ENTROPY_ROUNDING: f64 = 1e-4;

/// The positions that `gate` chooses in every rollout: ascending offsets into
/// its completion. Random controls draw from (`seed`, problem, sample).
///
/// ```
/// use forkscope_audit::gates::{Gate, GateInput, decide};
///
/// let inputs = [GateInput::new("p-1", 0, &[0.2, 2.1, 1.4, 1.5])];
/// let gate: Gate = "entropy:1.4".parse()?;
/// assert_eq!(decide(&gate, &inputs, 42)?, [vec![1, 3]]);
/// let control: Gate = "first@entropy:1.4".parse()?;
/// assert_eq!(decide(&control, &inputs, 42)?, [vec![0, 1]]);
/// # Ok::<(), forkscope_audit::AuditError>(())
/// ```
pub fn decide(
    gate: &Gate,
    inputs: &[GateInput<'_>],
    seed: u64,
) -> Result<Vec<Vec<u32>>, AuditError> {
    by_rollout(&vec![gate; inputs.len()], inputs, seed)
}

/// The same with a gate for every rollout.
pub(super) fn by_rollout(
    gates: &[&Gate],
    inputs: &[GateInput<'_>],
    seed: u64,
) -> Result<Vec<Vec<u32>>, AuditError> {
    let global = Global::new(gates, inputs)?;
    let rollouts = gates.par_iter().zip(inputs);
    Ok(rollouts
        .map(|(gate, input)| global.choose(gate, input, seed))
        .collect())
}

/// What is defined over all rollouts.
pub(super) struct Global {
    thresholds: Vec<(Score, f64, f64)>,
    tenths: Option<EntropyBins>,
}

impl Global {
    /// Checks gates and inputs.
    pub(super) fn new(gates: &[&Gate], inputs: &[GateInput<'_>]) -> Result<Self, AuditError> {
        let mut distinct: Vec<&Gate> = Vec::new();
        for gate in gates {
            if !distinct.contains(gate) {
                gate.check()?;
                distinct.push(gate);
            }
        }
        check(gates, inputs)?;
        let mut global = Self {
            thresholds: Vec::new(),
            tenths: None,
        };
        if inputs.iter().all(|input| input.entropies.is_empty()) {
            return Ok(global);
        }
        for gate in distinct {
            if let Gate::Control(Control::Matched(Matching::PositionAndEntropy), _) = gate
                && global.tenths.is_none()
            {
                let curve = curve(Score::Entropy, gate, inputs)?;
                global.tenths = Some(EntropyBins::tenths(&curve));
            }
            let plain = gate.reference().unwrap_or(gate);
            if let Gate::High(score, Rule::Quantile(share)) = plain
                && global.threshold(*score, *share).is_none()
            {
                let tau = curve(*score, plain, inputs)?.tau_for_share(*share)?.tau;
                global.thresholds.push((*score, *share, tau));
            }
        }
        Ok(global)
    }

    /// Tenths of H over all positions; one bin where there are none.
    pub(super) fn tenths(&self, inputs: &[GateInput<'_>]) -> EntropyBins {
        let all = inputs.iter().flat_map(|i| i.entropies.iter().copied());
        match &self.tenths {
            Some(tenths) => tenths.clone(),
            None => ScoreCurve::new(all)
                .map_or_else(|_| EntropyBins::one(), |c| EntropyBins::tenths(&c)),
        }
    }

    fn threshold(&self, score: Score, share: f64) -> Option<f64> {
        let found = self
            .thresholds
            .iter()
            .find(|t| t.0 == score && t.1 == share);
        found.map(|t| t.2)
    }

    /// The positions of one rollout, whose numbers are checked.
    pub(super) fn choose(&self, gate: &Gate, input: &GateInput<'_>, seed: u64) -> Vec<u32> {
        match gate {
            Gate::High(score, rule) => {
                let threshold = match rule {
                    Rule::Quantile(share) => self.threshold(*score, *share),
                    _ => None,
                };
                rules::choose(*rule, scores(*score, input), threshold)
            }
            Gate::First(k) => (0..*k).take(input.entropies.len()).collect(),
            Gate::Changed => offsets(input.changed.unwrap_or(&[]).iter().copied()),
            Gate::All => (0..).take(input.entropies.len()).collect(),
            Gate::Control(control, reference) => {
                let reference = self.choose(reference, input, seed);
                controls::choose(*control, input, &reference, self.tenths.as_ref(), seed)
            }
        }
    }
}

fn scores<'a>(score: Score, input: &GateInput<'a>) -> &'a [f64] {
    match score {
        Score::Entropy => input.entropies,
        Score::Signal => input.signal.unwrap_or(&[]),
    }
}

/// The distribution of a score over all positions of all rollouts.
pub(super) fn curve(
    score: Score,
    gate: &Gate,
    inputs: &[GateInput<'_>],
) -> Result<ScoreCurve, AuditError> {
    if score == Score::Signal
        && let Some(input) = inputs.iter().find(|input| input.signal.is_none())
    {
        return Err(no_column(gate, input, "a signal"));
    }
    ScoreCurve::new(inputs.iter().flat_map(|i| scores(score, i).iter().copied()))
}

fn no_column(gate: &Gate, input: &GateInput<'_>, what: &str) -> AuditError {
    AuditError::Gate {
        gate: gate.to_string(),
        problem: format!(
            "it needs {what}, and rollout {} of problem {:?} has none; give one, or a gate on entropies",
            input.sample, input.problem_id
        ),
    }
}

/// Refuses numbers that no gate can be decided on, and rollouts of one name,
/// whose random draws would be the same.
fn check(gates: &[&Gate], inputs: &[GateInput<'_>]) -> Result<(), AuditError> {
    let mut names = HashSet::new();
    for (gate, input) in gates.iter().zip(inputs) {
        if !names.insert((input.problem_id, input.sample)) {
            return Err(AuditError::DuplicateRollout {
                problem_id: input.problem_id.to_owned(),
                sample: input.sample,
            });
        }
        if gate.needs_signal() && input.signal.is_none() {
            return Err(no_column(gate, input, "a signal"));
        }
        if gate.needs_changed() && input.changed.is_none() {
            return Err(no_column(gate, input, "the marks of changed positions"));
        }
        check_numbers(input)?;
    }
    Ok(())
}

/// Refuses columns of different lengths and values that are none.
pub(super) fn check_numbers(input: &GateInput<'_>) -> Result<(), AuditError> {
    let len = input.entropies.len();
    let lengths = [
        ("signals", input.signal.map(<[f64]>::len)),
        (
            "marks of changed positions",
            input.changed.map(<[bool]>::len),
        ),
        (
            "positions that can be counted",
            Some(len.min(u32::MAX as usize)),
        ),
    ];
    for (what, other) in lengths {
        if let Some(other) = other.filter(|other| *other != len) {
            return Err(AuditError::Rollout {
                problem_id: input.problem_id.to_owned(),
                sample: input.sample,
                problem: format!(
                    "{len} entropies and {other} {what}; give one of each per completion token"
                ),
            });
        }
    }
    let bad = |field, at: usize, value, range| AuditError::GateValue {
        problem_id: input.problem_id.to_owned(),
        sample: input.sample,
        offset: at,
        field,
        value,
        range,
    };
    let entropy_ok = |h: f64| h.is_finite() && h >= -ENTROPY_ROUNDING;
    if let Some((at, h)) = input
        .entropies
        .iter()
        .enumerate()
        .find(|(_, h)| !entropy_ok(**h))
    {
        return Err(bad("entropy in nats", at, *h, "[0, inf)"));
    }
    let signals = input.signal.unwrap_or(&[]);
    match signals.iter().enumerate().find(|(_, x)| x.is_nan()) {
        Some((at, x)) => Err(bad("signal", at, *x, "the numbers")),
        None => Ok(()),
    }
}
