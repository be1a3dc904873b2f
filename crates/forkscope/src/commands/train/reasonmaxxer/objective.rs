//! The flags of the loss.

use clap::{Args, ValueEnum};
use forkscope_train::reasonmaxxer::{
    AdaptiveBeta, Anchor, DecisionMean, DecisionObjective, Variant,
};

use super::options::put;
use crate::work::reasonmaxxer::recipe::Recipe;

/// The decision objective.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Objective")]
pub struct ObjectiveOptions {
    /// What is learned at decision positions: adv_ce, delta_hinge, correct_sft or clipped_ratio [default: adv_ce; stable: clipped_ratio]
    #[arg(long, alias = "decision-objective", value_enum, value_name = "KIND")]
    objective: Option<Objective>,
    /// reasonmaxxer: at the gate's positions; fullseq: at every completion position [default: reasonmaxxer]
    #[arg(long, value_enum, value_name = "KIND")]
    variant: Option<VariantName>,
    /// What a rollout's decisions are divided by: decisions, completion or window [default: decisions]
    #[arg(long, value_enum, value_name = "BY")]
    decision_mean: Option<Mean>,
    /// Weight of KL(base || tuned) at the other positions [default: 0.2]
    #[arg(long, value_name = "W")]
    kl_weight: Option<f64>,
    /// Weight of that KL at decision positions too [default: 0]
    #[arg(long, value_name = "W")]
    kl_decision_weight: Option<f64>,
    /// Leave prompt positions out of the KL
    #[arg(long)]
    kl_on_generated_only: bool,
    /// The KL over the whole vocabulary, or a lower bound from its 64 most probable tokens [default: exact]
    #[arg(long, value_enum, value_name = "KIND")]
    anchor: Option<AnchorName>,
    /// Share of the KL's positions that is drawn anew every epoch, an unbiased estimate [default: 1]
    #[arg(long, value_name = "SHARE")]
    anchor_share: Option<f64>,
    /// Advantages are clipped to +-this; 0 does not clip [default: 2.5]
    #[arg(long, value_name = "A")]
    adv_clip: Option<f64>,
    /// Weight of wrong rollouts' decisions [default: 1]
    #[arg(long, value_name = "B")]
    beta_neg: Option<f64>,
    /// Decisions of wrong rollouts whose probability is at most this are left alone [default: 0]
    #[arg(long, value_name = "P")]
    neg_prob_floor: Option<f64>,
    /// Leave decisions of wrong rollouts alone
    #[arg(long)]
    pos_only_decisions: bool,
    /// m+ of delta_hinge, nats [default: 0]
    #[arg(long, value_name = "M", allow_negative_numbers = true)]
    pos_margin: Option<f64>,
    /// m- of delta_hinge, nats [default: 0]
    #[arg(long, value_name = "M", allow_negative_numbers = true)]
    neg_margin: Option<f64>,
    /// clipped_ratio: ratios below 1 - this gain nothing by falling further [default: 0.2; stable: 0.5]
    #[arg(long, value_name = "E")]
    clip_low: Option<f64>,
    /// clipped_ratio: ratios above 1 + this gain nothing by rising further [default: 0.2; stable: 1]
    #[arg(long, value_name = "E")]
    clip_high: Option<f64>,
    /// clipped_ratio: bound on what a wrong rollout's decision costs; 0 for none [default: 3]
    #[arg(long, value_name = "C")]
    dual_clip: Option<f64>,
    /// Divide decisions of right and of wrong rollouts by their own counts
    #[arg(long)]
    separate_pos_neg_norm: bool,
    /// Halve the sum of the two where there are both
    #[arg(long)]
    balance_pos_neg: bool,
    /// Weigh rollouts so that every problem counts the same
    #[arg(long)]
    normalize_by_problem: bool,
    /// Let beta_neg follow the trend of ln p - ln b at decisions of right rollouts
    #[arg(long)]
    adaptive_betaneg: bool,
    /// Where it begins, and its greatest value [default: 1]
    #[arg(long, value_name = "B", requires = "adaptive_betaneg")]
    betaneg_init: Option<f64>,
    /// Factor where the trend falls [default: 0.7]
    #[arg(long, value_name = "F", requires = "adaptive_betaneg")]
    betaneg_decay: Option<f64>,
    /// Factor where it does not [default: 1.05]
    #[arg(long, value_name = "F", requires = "adaptive_betaneg")]
    betaneg_restore: Option<f64>,
    /// Least value [default: 0.05]
    #[arg(long, value_name = "B", requires = "adaptive_betaneg")]
    betaneg_min: Option<f64>,
    /// Weight of the newest slope [default: 0.3]
    #[arg(long, value_name = "W", requires = "adaptive_betaneg")]
    betaneg_ema_alpha: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Objective {
    #[value(alias = "adv-ce")]
    AdvCe,
    #[value(alias = "delta-hinge")]
    DeltaHinge,
    #[value(alias = "correct-sft")]
    CorrectSft,
    #[value(alias = "clipped-ratio")]
    ClippedRatio,
}

impl From<Objective> for DecisionObjective {
    fn from(objective: Objective) -> Self {
        match objective {
            Objective::AdvCe => Self::AdvCe,
            Objective::DeltaHinge => Self::DeltaHinge,
            Objective::CorrectSft => Self::CorrectSft,
            Objective::ClippedRatio => Self::ClippedRatio,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VariantName {
    Reasonmaxxer,
    Fullseq,
}

impl From<VariantName> for Variant {
    fn from(variant: VariantName) -> Self {
        match variant {
            VariantName::Reasonmaxxer => Self::Gated,
            VariantName::Fullseq => Self::Fullseq,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mean {
    Decisions,
    Completion,
    Window,
}

impl From<Mean> for DecisionMean {
    fn from(mean: Mean) -> Self {
        match mean {
            Mean::Decisions => Self::Decisions,
            Mean::Completion => Self::Completion,
            Mean::Window => Self::Window,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AnchorName {
    Exact,
    Bucketed,
}

impl From<AnchorName> for Anchor {
    fn from(anchor: AnchorName) -> Self {
        match anchor {
            AnchorName::Exact => Self::Exact,
            AnchorName::Bucketed => Self::Bucketed,
        }
    }
}

impl ObjectiveOptions {
    /// Puts what was given in its place.
    pub fn apply(&self, recipe: &mut Recipe) {
        let o = &mut recipe.objective;
        put! {
            self.objective => o.objective,
            self.variant => o.variant,
            self.decision_mean => o.decision_mean,
            self.kl_weight => o.kl_weight,
            self.kl_decision_weight => o.kl_decision_weight,
            self.kl_on_generated_only.then_some(true) => o.kl_on_generated_only,
            self.anchor => o.anchor,
            self.anchor_share => o.anchor_share,
            self.adv_clip => o.adv_clip,
            self.beta_neg => o.beta_neg,
            self.neg_prob_floor => o.neg_prob_floor,
            self.pos_only_decisions.then_some(true) => o.pos_only,
            self.pos_margin => o.pos_margin,
            self.neg_margin => o.neg_margin,
            self.clip_low => o.clip_low,
            self.clip_high => o.clip_high,
            self.dual_clip => o.dual_clip,
            self.separate_pos_neg_norm.then_some(true) => o.separate_pos_neg_norm,
            self.balance_pos_neg.then_some(true) => o.balance_pos_neg,
            self.normalize_by_problem.then_some(true) => o.normalize_by_problem,
        }
        if self.adaptive_betaneg {
            let mut adaptive = AdaptiveBeta::default();
            put! {
                self.betaneg_init => adaptive.init,
                self.betaneg_decay => adaptive.decay,
                self.betaneg_restore => adaptive.restore,
                self.betaneg_min => adaptive.min,
                self.betaneg_ema_alpha => adaptive.ema_alpha,
            }
            o.adaptive_beta = Some(adaptive);
        }
    }
}
