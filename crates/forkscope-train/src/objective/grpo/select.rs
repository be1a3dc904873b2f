//! Which tokens the surrogate counts, and how much.
//!
//! - Top entropy (arXiv 2506.01939): a token counts if its entropy H (nats,
//!   policy that is trained, T = 1) is at least the (1 - rho) quantile of the
//!   entropies of all valid completion tokens of the step. The quantile is
//!   linear between order statistics, at index (1 - rho)(n - 1) counted from 0,
//!   as `torch.quantile` has it; tokens that tie with it count.
//! - Divergence weights (arXiv 2603.22446):
//!   A_t = A (1 + s (sigmoid(alpha KL_t) - 1/2)) with KL_t =
//!   KL(current || reference) over the whole vocabulary at the token's position,
//!   nats. KL_t = 0 leaves A; a large one gives A (1 + s/2) for alpha > 0. The
//!   weight is a constant to the gradient.

use crate::TrainError;

/// Divergence-weighted advantages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DivergenceWeights {
    /// s: twice the greatest relative change of an advantage.
    pub strength: f64,
    /// alpha, per nat; a negative one weakens where the policies differ.
    pub alpha: f64,
}

impl DivergenceWeights {
    /// Refuses settings out of range: beyond |s| = 2 an advantage could change
    /// its sign.
    pub fn check(&self) -> Result<(), TrainError> {
        if !(self.strength.abs() <= 2.0 && self.alpha.is_finite()) {
            return Err(TrainError::Setting(format!(
                "divergence weights of strength {} and alpha {} are out of range; \
                 the strength is from -2 to 2 and alpha finite",
                self.strength, self.alpha
            )));
        }
        Ok(())
    }

    /// The factor of an advantage where the divergence is `kl` nats.
    pub fn factor(&self, kl: f64) -> f64 {
        1.0 + self.strength * (1.0 / (1.0 + libm::exp(-self.alpha * kl)) - 0.5)
    }
}

/// Refuses a share of tokens that is not above 0 and at most 1.
pub fn check_share(rho: f64) -> Result<(), TrainError> {
    if !(rho > 0.0 && rho <= 1.0) {
        return Err(TrainError::Setting(format!(
            "the top entropy quantile {rho} is not above 0 and at most 1; \
             0.2 keeps the fifth of the tokens with the highest entropy"
        )));
    }
    Ok(())
}

/// The entropy from which on tokens count; `None` without any token.
pub fn entropy_threshold(entropies: &[f64], rho: f64) -> Option<f64> {
    quantile(entropies, 1.0 - rho)
}

/// Linear between order statistics at index q (n - 1); `None` of nothing.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let share = place - below as f64;
    Some(sorted[below] + share * (sorted[above] - sorted[below]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_those_of_torch() {
        // torch.quantile(tensor([3., 1., 2., 10.], dtype=float64), q)
        let values = [3.0, 1.0, 2.0, 10.0];
        for (q, expected) in [(0.0, 1.0), (0.5, 2.5), (0.8, 5.8), (0.9, 7.9), (1.0, 10.0)] {
            let found = quantile(&values, q).unwrap();
            assert!((found - expected).abs() < 1e-12, "{q}: {found}");
        }
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[4.0], 0.3), Some(4.0));
    }

    #[test]
    fn the_weight_is_one_without_divergence_and_bounded() {
        let weights = DivergenceWeights {
            strength: 0.8,
            alpha: 5.0,
        };
        assert_eq!(weights.factor(0.0), 1.0);
        assert!((weights.factor(1e9) - 1.4).abs() < 1e-12);
        // 1 + 0.8 (sigmoid(0.5) - 0.5)
        assert!((weights.factor(0.1) - 1.097_967_464_961_483_7).abs() < 1e-12);
        assert!(
            DivergenceWeights {
                strength: 2.1,
                alpha: 1.0
            }
            .check()
            .is_err()
        );
        assert!(
            DivergenceWeights {
                strength: f64::NAN,
                alpha: 1.0
            }
            .check()
            .is_err()
        );
        assert!(check_share(0.0).is_err() && check_share(f64::NAN).is_err());
        assert!(check_share(1.0).is_ok());
    }

    proptest! {
        #[test]
        fn about_the_share_of_tokens_is_kept(
            entropies in prop::collection::vec(0.0f64..5.0, 1..200),
            rho in 0.01f64..1.0,
        ) {
            let threshold = entropy_threshold(&entropies, rho).unwrap();
            let kept = entropies.iter().filter(|h| **h >= threshold).count();
            let expected = rho * (entropies.len() - 1) as f64;
            prop_assert!(kept as f64 >= expected.floor() && kept as f64 <= expected + 2.0);
        }

        #[test]
        fn all_of_equal_entropies_are_kept(n in 1usize..50, rho in 0.01f64..1.0) {
            let entropies = vec![0.7; n];
            let threshold = entropy_threshold(&entropies, rho).unwrap();
            prop_assert!(entropies.iter().all(|h| *h >= threshold));
        }
    }
}
