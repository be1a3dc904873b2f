//! The GRPO family's loss on one completion, and its derivative with respect
//! to the log-probability of every token. No logits here: numbers only.
//!
//! With l_t = ln p(x_t) under the policy that is trained, o_t under the one that
//! sampled, f_t under the reference (all nats, T = 1), A_t the token's
//! advantage, m_t in {0, 1} the entropy mask, n the completion's tokens:
//! - ratio: rho_t = exp(l_t - o_t), or for the whole completion
//!   rho = exp(mean_t (l_t - o_t)) (GSPO, arXiv 2507.18071);
//! - surrogate: s_t = -min(rho A_t, clip(rho, 1 - eps_low, 1 + eps_high) A_t)
//!   (arXiv 1707.06347; the two epsilons: DAPO, arXiv 2503.14476);
//! - KL to the reference, k3: k_t = exp(f_t - l_t) - (f_t - l_t) - 1 >= 0;
//! - loss = w sum_t (m_t s_t + beta k_t), w by [`Aggregation`].
//!
//! Derivatives: ds_t/dl_t = -rho_t A_t where the first argument of the minimum
//! is taken (ties, so the whole inside of the clipping range, included), else
//! 0; dk_t/dl_t = 1 - exp(f_t - l_t). For the ratio of a completion every token
//! receives 1/n of the sum of all m_t ds_t/d ln rho. Advantages and ratios of
//! the sampler are constants.

use crate::TrainError;

/// Where the importance ratio is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Importance {
    /// At every token.
    #[default]
    Token,
    /// Of the completion, its geometric mean over tokens (GSPO).
    Sequence,
}

/// What the sum over tokens is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aggregation {
    /// The number of completion tokens of the step (DAPO).
    #[default]
    Token,
    /// The completion's tokens, then the number of completions of the step
    /// (GRPO as it was first published).
    Sequence,
    /// Completions of the step x most tokens of a completion: a constant, so
    /// that length has no say (Dr. GRPO, arXiv 2503.20783).
    Constant,
}

/// Settings of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossSettings {
    /// Ratios below 1 - this gain nothing by falling further.
    pub epsilon_low: f64,
    /// Ratios above 1 + this gain nothing by rising further.
    pub epsilon_high: f64,
    /// Weight of the KL to the reference; 0 leaves it out.
    pub beta: f64,
    /// Where the ratio is taken.
    pub importance: Importance,
    /// What the sum is divided by.
    pub aggregation: Aggregation,
}

impl Default for LossSettings {
    fn default() -> Self {
        Self {
            epsilon_low: 0.2,
            epsilon_high: 0.2,
            beta: 0.0,
            importance: Importance::Token,
            aggregation: Aggregation::Token,
        }
    }
}

impl LossSettings {
    /// Refuses settings out of range.
    pub fn check(&self) -> Result<(), TrainError> {
        if !(0.0..1.0).contains(&self.epsilon_low) {
            return Err(TrainError::Setting(format!(
                "epsilon low {} is not from 0 to below 1; 0.2 is usual",
                self.epsilon_low
            )));
        }
        if !(self.epsilon_high >= 0.0 && self.epsilon_high.is_finite()) {
            return Err(TrainError::Setting(format!(
                "epsilon high {} is not a finite number of at least 0; 0.2 or 0.28 is usual",
                self.epsilon_high
            )));
        }
        if !(self.beta >= 0.0 && self.beta.is_finite()) {
            return Err(TrainError::Setting(format!(
                "beta {} is not a finite number of at least 0; 0 leaves the KL out",
                self.beta
            )));
        }
        Ok(())
    }

    /// The factor w of a completion of `tokens` tokens.
    pub fn weight(&self, tokens: usize, step: &StepCounts) -> f64 {
        let divisor = match self.aggregation {
            Aggregation::Token => step.tokens as f64,
            Aggregation::Sequence => tokens as f64 * step.completions as f64,
            Aggregation::Constant => step.completions as f64 * step.max_tokens as f64,
        };
        1.0 / divisor.max(1.0)
    }
}

/// What a step's sums are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepCounts {
    /// Completion tokens of the step that are not masked as truncated, those of
    /// skipped groups included.
    pub tokens: u64,
    /// Completions of the step, all of them.
    pub completions: u64,
    /// Most tokens of a completion.
    pub max_tokens: u64,
}

/// One completion's tokens, all slices of the same length.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// ln p under the policy that is trained.
    pub current: &'a [f64],
    /// ln p under the policy that sampled.
    pub old: &'a [f32],
    /// ln p under the reference; not looked at if beta is 0.
    pub reference: &'a [f64],
    /// A of each token.
    pub advantages: &'a [f64],
    /// Whether the surrogate counts at each token; `None` for everywhere.
    pub mask: Option<&'a [bool]>,
    /// w.
    pub weight: f64,
}

/// What a completion adds to the loss and to the log.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Found {
    /// w sum (m s + beta k).
    pub loss: f64,
    /// Sum of k over tokens, nats.
    pub kl: f64,
    /// Ratios below 1 - eps_low at a negative advantage.
    pub clipped_low: f64,
    /// Ratios above 1 + eps_high at a positive advantage.
    pub clipped_high: f64,
    /// Ratios: tokens, or 1 for the ratio of the completion.
    pub ratios: f64,
}

/// Surrogate at one token and its derivative with respect to ln rho.
fn surrogate(s: &LossSettings, rho: f64, advantage: f64) -> (f64, f64) {
    if advantage == 0.0 {
        return (0.0, 0.0);
    }
    let clipped = rho.clamp(1.0 - s.epsilon_low, 1.0 + s.epsilon_high);
    let (plain, bounded) = (rho * advantage, clipped * advantage);
    if plain <= bounded {
        (-plain, -plain)
    } else if bounded < plain {
        (-bounded, 0.0)
    } else {
        (f64::NAN, f64::NAN)
    }
}

/// k3 estimate of KL(current || reference) at one token, nats, and its
/// derivative with respect to the current log-prob.
pub fn k3(current: f64, reference: f64) -> (f64, f64) {
    let d = reference - current;
    let e = libm::expm1(d);
    (e - d, -e)
}

/// The loss of a completion; d loss / d ln p of each token goes to
/// `coefficients`.
pub fn completion(s: &LossSettings, terms: &Terms<'_>, coefficients: &mut Vec<f64>) -> Found {
    coefficients.clear();
    coefficients.resize(terms.current.len(), 0.0);
    let mut found = match s.importance {
        Importance::Token => by_token(s, terms, coefficients),
        Importance::Sequence => by_sequence(s, terms, coefficients),
    };
    if s.beta > 0.0 {
        let pairs = terms.current.iter().zip(terms.reference);
        for ((current, reference), c) in pairs.zip(coefficients.iter_mut()) {
            let (kl, slope) = k3(*current, *reference);
            found.kl += kl;
            *c += terms.weight * s.beta * slope;
        }
        found.loss += terms.weight * s.beta * found.kl;
    }
    found
}

/// Whether the surrogate counts at a token.
fn counts(mask: Option<&[bool]>, t: usize) -> bool {
    mask.is_none_or(|mask| mask.get(t).copied().unwrap_or(false))
}

fn by_token(s: &LossSettings, terms: &Terms<'_>, coefficients: &mut [f64]) -> Found {
    let mut found = Found::default();
    let tokens = terms.current.iter().zip(terms.old).zip(terms.advantages);
    for (t, (((current, old), advantage), c)) in tokens.zip(coefficients.iter_mut()).enumerate() {
        let rho = libm::exp(current - f64::from(*old));
        if counts(terms.mask, t) {
            found.count(s, rho, *advantage);
            let (loss, slope) = surrogate(s, rho, *advantage);
            found.loss += terms.weight * loss;
            *c = terms.weight * slope;
        }
    }
    found
}

fn by_sequence(s: &LossSettings, terms: &Terms<'_>, coefficients: &mut [f64]) -> Found {
    let mut found = Found::default();
    let n = terms.current.len().max(1) as f64;
    let pairs = terms.current.iter().zip(terms.old);
    let rho = libm::exp(pairs.map(|(l, o)| l - f64::from(*o)).sum::<f64>() / n);
    let mut slopes = 0.0;
    for (t, advantage) in terms.advantages.iter().enumerate() {
        if counts(terms.mask, t) {
            let (loss, slope) = surrogate(s, rho, *advantage);
            found.loss += terms.weight * loss;
            slopes += terms.weight * slope;
        }
    }
    coefficients.fill(slopes / n);
    // The sign of the advantage is that of the completion at every token.
    if let Some(advantage) = terms.advantages.first() {
        found.count(s, rho, *advantage);
    }
    found
}

impl Found {
    fn count(&mut self, s: &LossSettings, rho: f64, advantage: f64) {
        self.ratios += 1.0;
        self.clipped_low += f64::from(u8::from(rho < 1.0 - s.epsilon_low && advantage < 0.0));
        self.clipped_high += f64::from(u8::from(rho > 1.0 + s.epsilon_high && advantage > 0.0));
    }
}
