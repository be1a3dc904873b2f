//! The flags of the gate: which positions are decisions.

use clap::Args;
use forkscope_audit::gates::{Calibration, Gate, GatePlan, ScoreCurve};
use forkscope_train::reasonmaxxer::{Candidate, PivotalitySettings, ProbeBudget, ProbeSettings};

use crate::failure::Failure;
use crate::work::reasonmaxxer::recipe::Recipe;

/// Which positions are decisions.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Gate")]
pub struct GateOptions {
    /// Positions with entropy above this, nats [default: 1.4]
    #[arg(long, value_name = "NATS")]
    tau: Option<f64>,
    /// The same for right rollouts alone [default: --tau]
    #[arg(long, value_name = "NATS")]
    tau_pos: Option<f64>,
    /// The same for wrong rollouts alone [default: --tau]
    #[arg(long, value_name = "NATS")]
    tau_neg: Option<f64>,
    /// Another gate, or RIGHT/WRONG ones: entropy:TAU, quantile:SHARE, top-k:K, dual:TAU:LAMBDA, all, or a control such as matched-random@entropy:1.4
    #[arg(long, value_name = "GATE", conflicts_with_all = ["tau", "tau_pos", "tau_neg", "gate_share"])]
    gate: Option<GatePlan>,
    /// The tau above which this share of the positions lies
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["tau", "tau_pos", "tau_neg"], value_parser = share)]
    gate_share: Option<f64>,
    /// Positions on which --gate-share finds tau: those of the pool, or of rollouts that were scored and left out of it
    #[arg(
        long,
        value_enum,
        value_name = "ROLLOUTS",
        default_value = "pool",
        requires = "gate_share"
    )]
    calibrate_on: CalibrateOn,
    /// With a gate on the signal, which is pivotality: the most continuations that are sampled to find it out; without, rollouts that share prefixes alone tell
    #[arg(long, value_name = "N")]
    probe_budget: Option<u64>,
    /// Continuations of each prefix
    #[arg(long, value_name = "M", default_value_t = 8, requires = "probe_budget", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    probe_continuations: u32,
}

/// Rollouts on which tau is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CalibrateOn {
    /// Of the pool.
    Pool,
    /// Of scored problems that are not in the pool.
    LeftOut,
}

impl CalibrateOn {
    /// For `run.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::LeftOut => "left-out",
        }
    }
}

/// `0.05` or `5%`.
fn share(text: &str) -> Result<f64, String> {
    let (number, per) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    let value: f64 = number
        .trim()
        .parse()
        .map_err(|_| "give a share such as 0.05 or 5%".to_owned())?;
    Ok(value / per)
}

impl GateOptions {
    /// The flag that was given, if any: processed rollouts have decisions
    /// already.
    pub fn given(&self) -> Option<&'static str> {
        [
            (self.tau.is_some(), "--tau"),
            (self.tau_pos.is_some(), "--tau-pos"),
            (self.tau_neg.is_some(), "--tau-neg"),
            (self.gate.is_some(), "--gate"),
            (self.gate_share.is_some(), "--gate-share"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }

    /// Puts what was given in its place.
    pub fn apply(&self, recipe: &mut Recipe) -> Result<(), Failure> {
        if let Some(gate) = &self.gate {
            recipe.gate = gate.clone();
        }
        if let Some(tau) = self.tau {
            recipe.gate = Gate::entropy(tau).into();
        }
        if let Some(tau) = self.tau_pos {
            recipe.gate.right = Gate::entropy(tau);
        }
        if let Some(tau) = self.tau_neg {
            recipe.gate.wrong = Gate::entropy(tau);
        }
        for gate in [&recipe.gate.right, &recipe.gate.wrong] {
            gate.check().map_err(|e| Failure::Usage(e.to_string()))?;
        }
        if recipe.gate.needs_changed() {
            return Err(Failure::Usage(
                "--gate changed needs a second policy to have changed; give a gate on entropy or on the signal, which is pivotality".into(),
            ));
        }
        if self.probe_budget.is_some() && !recipe.gate.needs_signal() {
            return Err(Failure::Usage(
                "--probe-budget pays for pivotality, which no gate looks at; give one that does, such as --gate signal-quantile:0.05".into(),
            ));
        }
        if let Some(share) = self.gate_share.filter(|s| !(*s > 0.0 && *s < 1.0)) {
            return Err(Failure::Usage(format!(
                "--gate-share {share} is not a share between 0 and 1"
            )));
        }
        Ok(())
    }

    /// The continuations that may be sampled.
    pub fn probes(&self) -> Option<ProbeBudget> {
        self.probe_budget.map(ProbeBudget::Total)
    }

    /// How pivotality is estimated.
    pub fn pivotality(&self, recipe: &Recipe, seed: u64) -> PivotalitySettings {
        let s = &recipe.sampling;
        let probes = self.probes().map(|budget| ProbeSettings {
            budget,
            continuations: self.probe_continuations,
            temperature: s.temperature,
            top_p: s.top_p,
            max_tokens: s.max_tokens as usize,
            seed,
        });
        PivotalitySettings {
            probes,
            ..PivotalitySettings::default()
        }
    }

    /// The share that tau is to be found for, and on which rollouts.
    pub fn share(&self) -> Option<(f64, CalibrateOn)> {
        self.gate_share.map(|share| (share, self.calibrate_on))
    }
}

/// The tau above which a share of these rollouts' positions lies.
pub fn calibrate<'c>(
    rollouts: impl IntoIterator<Item = &'c Candidate>,
    share: f64,
) -> Result<Calibration, Failure> {
    let entropies = rollouts
        .into_iter()
        .filter_map(|c| c.entropies_nats.as_ref());
    let curve = ScoreCurve::new(entropies.flatten().copied())?;
    Ok(curve.tau_for_share(share)?)
}
