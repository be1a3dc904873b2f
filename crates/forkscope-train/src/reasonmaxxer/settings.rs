//! Settings of the objective. The defaults are those of the published recipe
//! for Qwen2.5-1.5B.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// What is learned at a decision position. D = ln p(x_t) - ln b(x_t), A the
/// clipped advantage; a rollout with A = 0 has no decision positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionObjective {
    /// A (-ln p), A < 0 times beta_neg.
    #[default]
    AdvCe,
    /// A > 0: relu(m+ - D) |A|; A < 0: relu(D + m-) |A| beta_neg.
    DeltaHinge,
    /// A > 0: -ln p, whatever A is; A < 0: an anchor.
    CorrectSft,
    /// With r = e^D: -min(r A, clip(r, 1 - low, 1 + high) A), from above bounded
    /// by -c A where A < 0 (times beta_neg): no gradient outside the bounds.
    ClippedRatio,
}

/// Where the decision objective applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// At the gate's positions.
    #[default]
    Gated,
    /// At every completion position.
    Fullseq,
}

/// What the sum of decision losses of a rollout is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionMean {
    /// Its number of decision positions (the reference).
    #[default]
    Decisions,
    /// Its completion's length: a rollout with few decisions weighs less.
    Completion,
    /// The mean number of decision positions of the window's rollouts: every
    /// decision weighs the same.
    Window,
}

/// How KL(b || p) at the other positions is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// Over the whole vocabulary, from the base's hidden states.
    #[default]
    Exact,
    /// Over the base's 64 most probable tokens and one bucket for the rest: a
    /// lower bound of KL, never part of the reference recipe.
    Bucketed,
}

/// In which order rollouts are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Descending |A| |D| / length, then |A|, then |D|, then problem id and
    /// sample ascending; the same every epoch.
    #[default]
    SignalClarity,
    /// Problem id (as text) and sample, ascending; the same every epoch.
    Key,
    /// Shuffled anew every epoch.
    Shuffle,
}

/// In which order right and wrong rollouts stand in a balanced window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccumPattern {
    /// right, wrong, right, ...
    #[default]
    AlternatingPosFirst,
    /// wrong, right, wrong, ...
    AlternatingNegFirst,
    /// All right ones, then all wrong ones.
    GroupedPosFirst,
    /// All wrong ones, then all right ones.
    GroupedNegFirst,
}

/// Windows with fixed numbers of rollouts of A >= 0 and of A < 0, each kind
/// taken in turn and from the start again when it is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancedWindows {
    /// Rollouts with A >= 0 per window.
    pub pos: usize,
    /// Rollouts with A < 0 per window.
    pub neg: usize,
    /// Their order.
    pub pattern: AccumPattern,
}

/// beta_neg that follows the trend of D at decisions of right rollouts: at every
/// multiple of `log_every` micro-batches the slope's moving average is taken; where it falls,
/// beta_neg is multiplied by `decay` (not below `min`), else by `restore` (not
/// above `init`). A change takes effect at the next window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveBeta {
    /// Where it begins, and its greatest value.
    pub init: f64,
    /// Factor where the trend falls.
    pub decay: f64,
    /// Factor where it does not.
    pub restore: f64,
    /// Least value.
    pub min: f64,
    /// Weight of the newest slope.
    pub ema_alpha: f64,
}

impl Default for AdaptiveBeta {
    fn default() -> Self {
        Self {
            init: 1.0,
            decay: 0.7,
            restore: 1.05,
            min: 0.05,
            ema_alpha: 0.3,
        }
    }
}

/// Most micro-batches of an optimiser step.
const MOST_IN_A_WINDOW: usize = 1_000_000;

/// Everything that decides the loss and the order of rollouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReasonMaxxerSettings {
    /// At decision positions.
    pub objective: DecisionObjective,
    /// Which positions those are.
    pub variant: Variant,
    /// What their sum is divided by.
    pub decision_mean: DecisionMean,
    /// lambda, the weight of the KL to the base.
    pub kl_weight: f64,
    /// Weight of the KL at decision positions too, mean over them; 0 leaves them
    /// free.
    pub kl_decision_weight: f64,
    /// Leave prompt positions out of the KL.
    pub kl_on_generated_only: bool,
    /// How it is computed.
    pub anchor: Anchor,
    /// Share of a rollout's anchor positions that is drawn, anew every epoch:
    /// an unbiased estimate of their mean. In (0, 1].
    pub anchor_share: f64,
    /// Advantages are clipped to +-this; 0 does not clip.
    pub adv_clip: f64,
    /// Weight of wrong rollouts' decisions.
    pub beta_neg: f64,
    /// beta_neg that adapts, starting from its own `init`.
    pub adaptive_beta: Option<AdaptiveBeta>,
    /// Decisions of wrong rollouts whose p(x_t) is at most this are anchors.
    pub neg_prob_floor: f64,
    /// Decisions of wrong rollouts are anchors.
    pub pos_only: bool,
    /// m+ of the hinge.
    pub pos_margin: f64,
    /// m- of the hinge.
    pub neg_margin: f64,
    /// Clipped ratio: 1 - low.
    pub clip_low: f64,
    /// Clipped ratio: 1 + high.
    pub clip_high: f64,
    /// Clipped ratio: c of the bound for A < 0; 0 for none.
    pub dual_clip: f64,
    /// Divide decisions of right and of wrong rollouts by their own counts.
    /// With one rollout per micro-batch this changes nothing; it does with
    /// `decision_mean = window`.
    pub separate_pos_neg_norm: bool,
    /// Halve the sum of the two where a window has both.
    pub balance_pos_neg: bool,
    /// Weigh rollouts by mean rollouts per problem / rollouts of their problem.
    pub normalize_by_problem: bool,
    /// Order of the rollouts.
    pub order: Order,
    /// Windows of fixed composition.
    pub balanced: Option<BalancedWindows>,
    /// Micro-batches (rollouts) per optimiser step; a shorter last window of an
    /// epoch is still divided by it.
    pub grad_accum_steps: usize,
    /// Longest sequence; longer ones are cut on the right, and decisions with
    /// them. 0 cuts none.
    pub max_seq_len: usize,
    /// Stop at the end of an epoch whose mean D over decisions of right
    /// rollouts is below this.
    pub early_stop_delta_logp_pos: Option<f64>,
    /// Micro-batches between lines of the log.
    pub log_every: u64,
    /// Seed of orders and anchor samples.
    pub seed: u64,
    /// Rows of a shard: less memory, same loss, other rounding.
    pub shard_rows: usize,
    /// Bytes of base hidden states that are kept; beyond, they are computed
    /// again whenever they are needed, to the same bits.
    pub keep_bytes: u64,
}

impl Default for ReasonMaxxerSettings {
    fn default() -> Self {
        Self {
            objective: DecisionObjective::AdvCe,
            variant: Variant::Gated,
            decision_mean: DecisionMean::Decisions,
            kl_weight: 0.2,
            kl_decision_weight: 0.0,
            kl_on_generated_only: false,
            anchor: Anchor::Exact,
            anchor_share: 1.0,
            adv_clip: 2.5,
            beta_neg: 1.0,
            adaptive_beta: None,
            neg_prob_floor: 0.0,
            pos_only: false,
            pos_margin: 0.0,
            neg_margin: 0.0,
            clip_low: 0.2,
            clip_high: 0.2,
            dual_clip: 3.0,
            separate_pos_neg_norm: false,
            balance_pos_neg: false,
            normalize_by_problem: false,
            order: Order::SignalClarity,
            balanced: None,
            grad_accum_steps: 8,
            max_seq_len: 8192,
            early_stop_delta_logp_pos: None,
            log_every: 8,
            seed: 42,
            shard_rows: 512,
            keep_bytes: 2 << 30,
        }
    }
}

impl ReasonMaxxerSettings {
    /// Refuses settings outside their range.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |what: String| Err(TrainError::Setting(what));
        let at_least_zero = [
            ("kl_weight", self.kl_weight),
            ("kl_decision_weight", self.kl_decision_weight),
            ("adv_clip", self.adv_clip),
            ("beta_neg", self.beta_neg),
            ("clip_low", self.clip_low),
            ("clip_high", self.clip_high),
            ("dual_clip", self.dual_clip),
        ];
        for (name, value) in at_least_zero {
            if !(value.is_finite() && value >= 0.0) {
                return refuse(format!("{name} is {value}; give a number of at least 0"));
            }
        }
        for (name, value) in [
            ("pos_margin", self.pos_margin),
            ("neg_margin", self.neg_margin),
        ] {
            if !value.is_finite() {
                return refuse(format!("{name} is {value}; give a number of nats"));
            }
        }
        if !(0.0..1.0).contains(&self.neg_prob_floor) {
            return refuse(format!(
                "neg_prob_floor is {}; give a probability below 1",
                self.neg_prob_floor
            ));
        }
        if self.clip_low > 1.0 || (self.dual_clip > 0.0 && self.dual_clip <= 1.0) {
            return refuse(format!(
                "clip_low is {} and dual_clip {}; the first is at most 1, the second above 1 or 0",
                self.clip_low, self.dual_clip
            ));
        }
        if !(self.anchor_share > 0.0 && self.anchor_share <= 1.0) {
            return refuse(format!(
                "anchor_share is {}; give a share above 0 and up to 1",
                self.anchor_share
            ));
        }
        if !(1..=MOST_IN_A_WINDOW).contains(&self.grad_accum_steps) {
            return refuse(format!(
                "grad_accum_steps is {}; give a number from 1 to {MOST_IN_A_WINDOW}",
                self.grad_accum_steps
            ));
        }
        if self.shard_rows == 0 || self.log_every == 0 {
            return refuse("shard_rows and log_every are at least 1".to_owned());
        }
        if self.decision_mean == DecisionMean::Window && self.neg_prob_floor > 0.0 {
            return refuse(
                "neg_prob_floor changes how many decisions a rollout has while the window is \
                 computed; give decision_mean decisions or completion with it"
                    .to_owned(),
            );
        }
        if let Some(below) = self.early_stop_delta_logp_pos.filter(|x| !x.is_finite()) {
            return refuse(format!(
                "early_stop_delta_logp_pos is {below}; give a number of nats"
            ));
        }
        if self.max_seq_len == 1 {
            return refuse("max_seq_len is 1, and one token predicts nothing".to_owned());
        }
        self.check_adaptive()?;
        let together = |b: BalancedWindows| b.pos.checked_add(b.neg);
        match self.balanced {
            Some(_) if self.order == Order::Shuffle => refuse(
                "balanced windows take either kind in a fixed order; give order signal-clarity or key with them"
                    .to_owned(),
            ),
            Some(b)
                if b.pos == 0 || b.neg == 0 || together(b) != Some(self.grad_accum_steps) =>
            {
                refuse(format!(
                    "balanced windows of {} right and {} wrong rollouts do not make up windows of {}; \
                     give at least one of each, and {} together",
                    b.pos, b.neg, self.grad_accum_steps, self.grad_accum_steps
                ))
            }
            _ => Ok(()),
        }
    }

    /// Whether decisions of wrong rollouts are pushed.
    pub(super) fn learns_from_wrong(&self) -> bool {
        !self.pos_only && self.objective != DecisionObjective::CorrectSft
    }

    fn check_adaptive(&self) -> Result<(), TrainError> {
        let Some(a) = self.adaptive_beta else {
            return Ok(());
        };
        let ok = a.init.is_finite()
            && (0.0..=a.init).contains(&a.min)
            && (0.0..=1.0).contains(&a.decay)
            && a.restore.is_finite()
            && a.restore >= 1.0
            && (0.0..=1.0).contains(&a.ema_alpha);
        match ok {
            true => Ok(()),
            false => Err(TrainError::Setting(
                "an adaptive beta_neg needs 0 <= min <= init, decay and ema_alpha in [0, 1], restore of at least 1".into(),
            )),
        }
    }
}
