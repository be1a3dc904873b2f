//! How well a control matches the gate that it stands beside.

use serde::{Deserialize, Serialize};

use super::GateInput;
use super::decide::Global;
use super::gate::{Control, Gate};
use super::matched::{ENTROPY_BINS, EntropyBins, POSITION_BINS, position_bin};
use super::plan::GatePlan;
use super::report::over;

/// A control against its reference, over the rollouts whose gate is a control.
/// Residuals are control minus reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlReport {
    /// The reference, or right/wrong references, as text.
    pub reference: String,
    /// Positions of the reference.
    pub reference_selected: u64,
    /// Positions of the control.
    pub selected: u64,
    /// Positions that the control could have drawn before it had to take the
    /// reference's own.
    pub eligible: u64,
    /// Positions that both chose.
    pub overlap: u64,
    /// Sum over rollouts of |count - count of the reference|.
    pub count_residual: u64,
    /// Sum of H over the reference's positions, nats.
    pub reference_mass_nats: f64,
    /// Sum of H over the control's, nats.
    pub mass_nats: f64,
    /// `mass_nats` / `reference_mass_nats`: 1 for the same signal mass.
    pub mass_ratio: Option<f64>,
    /// Mean over rollouts of |sum of H - sum of H of the reference|, nats.
    pub mass_residual_per_rollout_nats: Option<f64>,
    /// Positions of the reference whose fifth of the completion has fewer of the
    /// control's, rollout by rollout: 0 where position is matched.
    pub position_residual: u64,
    /// The same per tenth of H over all positions given: 0 where entropy is
    /// matched.
    pub entropy_residual: u64,
}

impl ControlReport {
    /// None where no gate is a control.
    pub(super) fn new(
        plan: &GatePlan,
        inputs: &[GateInput<'_>],
        gates: &[&Gate],
        chosen: &[Vec<u32>],
        references: &[Option<Vec<u32>>],
        global: &Global,
    ) -> Option<Self> {
        let tenths = global.tenths(inputs);
        let mut report = Self {
            reference: reference_text(plan)?,
            reference_selected: 0,
            selected: 0,
            eligible: 0,
            overlap: 0,
            count_residual: 0,
            reference_mass_nats: 0.0,
            mass_nats: 0.0,
            mass_ratio: None,
            mass_residual_per_rollout_nats: None,
            position_residual: 0,
            entropy_residual: 0,
        };
        let mut compared = 0u64;
        let mut residual = 0.0;
        for (((input, gate), chosen), reference) in
            inputs.iter().zip(gates).zip(chosen).zip(references)
        {
            let (Some(reference), Gate::Control(control, _)) = (reference, gate) else {
                continue;
            };
            compared += 1;
            residual += report.add(input, *control, chosen, reference, &tenths);
        }
        report.mass_ratio = over(report.mass_nats, report.reference_mass_nats);
        report.mass_residual_per_rollout_nats = over(residual, compared as f64);
        Some(report)
    }

    /// Adds a rollout; gives |residual of its mass|.
    fn add(
        &mut self,
        input: &GateInput<'_>,
        control: Control,
        chosen: &[u32],
        reference: &[u32],
        tenths: &EntropyBins,
    ) -> f64 {
        let len = input.entropies.len();
        let entropy = |at: &u32| input.entropies.get(*at as usize).copied().unwrap_or(0.0);
        let mass = |set: &[u32]| set.iter().map(entropy).sum::<f64>();
        let (control_mass, reference_mass) = (mass(chosen), mass(reference));
        self.selected += chosen.len() as u64;
        self.reference_selected += reference.len() as u64;
        self.eligible += match control {
            Control::Matched(_) | Control::MatchedMass => len - reference.len(),
            Control::RandomHigh(h0) => input.entropies.iter().filter(|h| **h > h0).count(),
            _ => len,
        } as u64;
        let both = chosen
            .iter()
            .filter(|at| reference.binary_search(at).is_ok());
        self.overlap += both.count() as u64;
        self.count_residual += chosen.len().abs_diff(reference.len()) as u64;
        self.mass_nats += control_mass;
        self.reference_mass_nats += reference_mass;
        self.position_residual += short(POSITION_BINS, reference, chosen, |at| {
            position_bin(*at, len)
        });
        self.entropy_residual +=
            short(ENTROPY_BINS, reference, chosen, |at| tenths.of(entropy(at)));
        (control_mass - reference_mass).abs()
    }
}

/// Sum over bins of how many fewer `chosen` has than `reference`.
fn short(bins: usize, reference: &[u32], chosen: &[u32], bin: impl Fn(&u32) -> usize) -> u64 {
    let mut balance = vec![0i64; bins];
    for (set, step) in [(reference, 1), (chosen, -1)] {
        for at in set {
            if let Some(count) = balance.get_mut(bin(at)) {
                *count += step;
            }
        }
    }
    balance.into_iter().map(|b| b.max(0).unsigned_abs()).sum()
}

/// None where neither gate is a control.
fn reference_text(plan: &GatePlan) -> Option<String> {
    let one = |gate: &Gate| gate.reference().map_or("-".to_owned(), Gate::to_string);
    let (right, wrong) = (one(&plan.right), one(&plan.wrong));
    match (plan.right.reference(), plan.wrong.reference()) {
        (None, None) => None,
        _ if right == wrong => Some(right),
        _ => Some(format!("{right}/{wrong}")),
    }
}
