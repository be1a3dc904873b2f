//! What a gate chose, and how well a control matches its reference.

use serde::{Deserialize, Serialize};

use super::control_report::ControlReport;
use super::decide::{Global, check_numbers};
use super::gate::{Gate, Score};
use super::matched::{POSITION_BINS, position_bin};
use super::plan::GatePlan;
use super::{GateInput, ScoreCurve};
use crate::AuditError;

/// The quantiles of a score that a report lists.
const QUANTILES: [f64; 6] = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99];

/// Positions chosen in the rollouts of one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct OutcomeCounts {
    /// Rollouts.
    pub rollouts: u64,
    /// Rollouts in which nothing was chosen.
    pub rollouts_without: u64,
    /// Completion positions.
    pub positions: u64,
    /// Positions chosen.
    pub selected: u64,
    /// `selected` / `positions`.
    pub share: Option<f64>,
}

impl OutcomeCounts {
    fn new<'a>(rollouts: impl Iterator<Item = (usize, &'a Vec<u32>)>) -> Self {
        let mut counts = Self::default();
        for (len, chosen) in rollouts {
            counts.rollouts += 1;
            counts.rollouts_without += u64::from(chosen.is_empty());
            counts.positions += len as u64;
            counts.selected += chosen.len() as u64;
        }
        counts.share = over(counts.selected as f64, counts.positions as f64);
        counts
    }
}

/// Positions chosen in a set of rollouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    /// The gate, or right/wrong gates, as text.
    pub gate: String,
    /// Rollouts.
    pub rollouts: u64,
    /// Rollouts in which nothing was chosen.
    pub rollouts_without: u64,
    /// Completion positions: what every share is of.
    pub positions: u64,
    /// Positions chosen.
    pub selected: u64,
    /// `selected` / `positions`.
    pub share: Option<f64>,
    /// `selected` / `rollouts`.
    pub mean_per_rollout: Option<f64>,
    /// Mean H of the chosen, nats.
    pub entropy_mean_inside_nats: Option<f64>,
    /// Mean H of the others, nats.
    pub entropy_mean_outside_nats: Option<f64>,
    /// Sum of H over the chosen, nats.
    pub entropy_mass_nats: f64,
    /// That, over the sum of H over all positions.
    pub entropy_mass_share: Option<f64>,
    /// Sum of the signal over the chosen, where every rollout has one.
    pub signal_mass: Option<f64>,
    /// That, over its sum over all positions.
    pub signal_mass_share: Option<f64>,
    /// Mean over the chosen of (o + 1/2) / L: 1/2 for an even spread.
    pub relative_position_mean: Option<f64>,
    /// Chosen per fifth of the completion, first to last.
    pub per_fifth: [u64; POSITION_BINS],
    /// H over all positions: quantiles .5, .8, .9, .95, .98, .99 and greatest.
    pub entropy_quantiles_nats: Vec<Option<f64>>,
    /// The same of the signal, where every rollout has one; null where infinite.
    pub signal_quantiles: Option<Vec<Option<f64>>>,
    /// Of right rollouts; none where outcomes were not given.
    pub right: Option<OutcomeCounts>,
    /// Of wrong rollouts.
    pub wrong: Option<OutcomeCounts>,
    /// Against the references, where either gate is a control.
    pub control: Option<ControlReport>,
    /// Whether a gate looks at the signal's height, and a gate at H's.
    #[serde(skip)]
    looks_at: [bool; 2],
}

impl GateReport {
    /// Reports `chosen`, which [`GatePlan::decide`] gave for the same plan,
    /// rollouts and seed.
    pub fn new(
        plan: &GatePlan,
        inputs: &[GateInput<'_>],
        right: &[bool],
        chosen: &[Vec<u32>],
        seed: u64,
    ) -> Result<Self, AuditError> {
        if right.len() != inputs.len() || chosen.len() != inputs.len() {
            return Err(AuditError::Internal(format!(
                "{} rollouts, {} marks of which are right and {} lists of chosen positions",
                inputs.len(),
                right.len(),
                chosen.len()
            )));
        }
        let gates: Vec<&Gate> = right.iter().map(|right| plan.of(*right)).collect();
        let global = Global::new(&gates, inputs)?;
        let references: Vec<Option<Vec<u32>>> = gates
            .iter()
            .zip(inputs)
            .map(|(gate, input)| Some(global.choose(gate.reference()?, input, seed)))
            .collect();
        let mut report = Self::plain(inputs, chosen)?;
        report.gate = plan.to_string();
        let plain = |gate: &Gate| matches!(gate.reference().unwrap_or(gate), Gate::High(..));
        let signal = |gate: &Gate| gate.needs_signal();
        report.looks_at = [
            gates.iter().any(|gate| plain(gate) && signal(gate)),
            gates.iter().any(|gate| plain(gate) && !signal(gate)),
        ];
        let side = |side: bool| {
            let all = right.iter().zip(inputs).zip(chosen);
            let of = all.filter(|((right, _), _)| **right == side);
            OutcomeCounts::new(of.map(|((_, input), chosen)| (input.entropies.len(), chosen)))
        };
        report.right = Some(side(true));
        report.wrong = Some(side(false));
        report.control = ControlReport::new(plan, inputs, &gates, chosen, &references, &global);
        Ok(report)
    }

    /// Reports one gate over all rollouts.
    pub fn of_gate(
        gate: &Gate,
        inputs: &[GateInput<'_>],
        chosen: &[Vec<u32>],
        seed: u64,
    ) -> Result<Self, AuditError> {
        let plan = GatePlan::from(gate.clone());
        let mut report = Self::new(&plan, inputs, &vec![true; inputs.len()], chosen, seed)?;
        (report.right, report.wrong) = (None, None);
        Ok(report)
    }

    /// Refuses a gate that chose nothing at all, and a threshold that chose every
    /// position.
    pub fn refuse_extremes(&self) -> Result<(), AuditError> {
        let everything = self.selected == self.positions && self.looks_at != [false; 2];
        if self.selected > 0 && !everything {
            return Ok(());
        }
        let everything = everything && self.positions > 0;
        let distribution = match (&self.signal_quantiles, self.looks_at) {
            _ if self.positions == 0 => "the completions are empty".to_owned(),
            (Some(signal), [true, false]) => quantile_text("the signal", signal),
            _ => quantile_text("the entropy in nats", &self.entropy_quantiles_nats),
        };
        let reference = self.control.as_ref().map_or(0, |c| c.reference_selected);
        let remedy = match (everything, self.positions) {
            (_, 0) => "give rollouts with completions",
            (true, _) => {
                "give a higher threshold or a share such as quantile:0.05, or the gate \"all\" where every position is meant"
            }
            (false, _) if reference > 0 => {
                "its reference leaves nothing to draw from; give a reference that chooses less"
            }
            (false, _) => "give a lower threshold, or a share such as quantile:0.05",
        };
        Err(AuditError::GateExtreme {
            gate: self.gate.clone(),
            everything,
            positions: self.positions,
            remedy,
            distribution,
        })
    }

    /// Everything but the names and the references.
    fn plain(inputs: &[GateInput<'_>], chosen: &[Vec<u32>]) -> Result<Self, AuditError> {
        let all_signal = inputs.iter().all(|input| input.signal.is_some());
        let mut sums = Sums::default();
        for (input, chosen) in inputs.iter().zip(chosen) {
            check_numbers(input)?;
            sums.add(input, chosen)?;
        }
        let with_positions = sums.positions > 0;
        let quantiles = |score: Score| -> Result<Vec<Option<f64>>, AuditError> {
            let of = |input: &GateInput<'_>| match score {
                Score::Entropy => input.entropies.to_vec(),
                Score::Signal => input.signal.unwrap_or(&[]).to_vec(),
            };
            if !with_positions {
                return Ok(Vec::new());
            }
            let curve = ScoreCurve::new(inputs.iter().flat_map(of))?;
            let at = QUANTILES.iter().chain(&[1.0]);
            Ok(at.map(|q| finite(curve.quantile(*q))).collect())
        };
        let outside = sums.positions - sums.selected;
        let signal = (all_signal && with_positions).then_some(());
        Ok(Self {
            gate: String::new(),
            rollouts: inputs.len() as u64,
            rollouts_without: chosen.iter().filter(|c| c.is_empty()).count() as u64,
            positions: sums.positions,
            selected: sums.selected,
            share: over(sums.selected as f64, sums.positions as f64),
            mean_per_rollout: over(sums.selected as f64, inputs.len() as f64),
            entropy_mean_inside_nats: over(sums.entropy_in, sums.selected as f64),
            entropy_mean_outside_nats: over(sums.entropy_out, outside as f64),
            entropy_mass_nats: sums.entropy_in,
            entropy_mass_share: over(sums.entropy_in, sums.entropy_in + sums.entropy_out),
            signal_mass: signal.and_then(|()| finite(sums.signal_in)),
            signal_mass_share: signal
                .and_then(|()| over(sums.signal_in, sums.signal_in + sums.signal_out)),
            relative_position_mean: over(sums.relative, sums.selected as f64),
            per_fifth: sums.per_fifth,
            entropy_quantiles_nats: quantiles(Score::Entropy)?,
            signal_quantiles: signal.map(|()| quantiles(Score::Signal)).transpose()?,
            right: None,
            wrong: None,
            control: None,
            looks_at: [false; 2],
        })
    }
}

/// For messages.
fn quantile_text(name: &str, values: &[Option<f64>]) -> String {
    let number = |x: &Option<f64>| x.map_or("infinite".to_owned(), |x| format!("{x:.4}"));
    let listed = QUANTILES.iter().zip(values);
    let listed: Vec<String> = listed
        .map(|(q, x)| format!("{:.0} % {}", q * 100.0, number(x)))
        .collect();
    let greatest = values.last().map_or(String::new(), number);
    format!(
        "quantiles of {name}: {}, greatest {greatest}",
        listed.join(", ")
    )
}

fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}

/// a / b; none where b is 0 or the ratio is no number.
pub(super) fn over(a: f64, b: f64) -> Option<f64> {
    let ratio = a / b;
    (b != 0.0 && ratio.is_finite()).then_some(ratio)
}

#[derive(Default)]
struct Sums {
    positions: u64,
    selected: u64,
    entropy_in: f64,
    entropy_out: f64,
    signal_in: f64,
    signal_out: f64,
    relative: f64,
    per_fifth: [u64; POSITION_BINS],
}

impl Sums {
    /// Refuses chosen positions that are not ascending offsets of the rollout.
    fn add(&mut self, input: &GateInput<'_>, chosen: &[u32]) -> Result<(), AuditError> {
        let len = input.entropies.len();
        let ordered = chosen.windows(2).all(|pair| pair[0] < pair[1]);
        if !ordered || chosen.last().is_some_and(|at| *at as usize >= len) {
            return Err(AuditError::Rollout {
                problem_id: input.problem_id.to_owned(),
                sample: input.sample,
                problem: format!(
                    "the chosen positions are not ascending offsets into its {len} completion tokens"
                ),
            });
        }
        self.positions += len as u64;
        self.selected += chosen.len() as u64;
        let mut chosen = chosen.iter().copied().peekable();
        let signals = input.signal.unwrap_or(&[]).iter().copied();
        let signals = signals.chain(std::iter::repeat(0.0));
        for ((at, h), signal) in (0..).zip(input.entropies).zip(signals) {
            if chosen.next_if_eq(&at).is_some() {
                self.entropy_in += h;
                self.signal_in += signal;
                self.relative += (f64::from(at) + 0.5) / len as f64;
                self.per_fifth[position_bin(at, len)] += 1;
            } else {
                self.entropy_out += h;
                self.signal_out += signal;
            }
        }
        Ok(())
    }
}
