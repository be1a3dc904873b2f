//! Advantages of a group of completions of one problem.
//!
//! A_i = (r_i - mean) / (s + eps), with the mean over the group and s by
//! [`Scale`]: the group's standard deviation (GRPO, arXiv 2402.03300), that of
//! all rewards of the step, or no division at all (Dr. GRPO, arXiv 2503.20783).
//! The deviation is the sample one (over n - 1) unless [`Deviation::Population`]
//! is asked for. A group whose rewards are all equal has nothing to teach: it
//! gets no advantages, so nothing is ever divided by a deviation of zero.
//! Rewards and advantages have no unit; sums are in f64, in order.

use crate::TrainError;

/// By what a group's centred rewards are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// The group's own deviation.
    #[default]
    Group,
    /// The deviation of all rewards of the step.
    Batch,
    /// Nothing.
    None,
}

/// Which standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deviation {
    /// Divided by n - 1.
    #[default]
    Sample,
    /// Divided by n.
    Population,
}

/// How rewards become advantages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdvantageSettings {
    /// The divisor.
    pub scale: Scale,
    /// Its definition.
    pub deviation: Deviation,
    /// Added to it.
    pub epsilon: f64,
}

impl Default for AdvantageSettings {
    fn default() -> Self {
        Self {
            scale: Scale::Group,
            deviation: Deviation::Sample,
            epsilon: 1e-4,
        }
    }
}

impl AdvantageSettings {
    /// Refuses settings out of range.
    pub fn check(&self) -> Result<(), TrainError> {
        if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            return Err(TrainError::Setting(format!(
                "the advantage epsilon {} is not a finite number of at least 0",
                self.epsilon
            )));
        }
        Ok(())
    }

    /// The advantages of each group, in order; `None` for a group whose rewards
    /// are all equal. A reward that is not finite is refused by the group's
    /// name.
    pub fn of(&self, groups: &[(&str, &[f64])]) -> Result<Vec<Option<Vec<f64>>>, TrainError> {
        for (problem, rewards) in groups {
            if let Some(at) = rewards.iter().position(|r| !r.is_finite()) {
                return Err(TrainError::Setting(format!(
                    "the reward of sample {at} of problem `{}` is {}; a reward must be a finite \
                     number: mend the reward or leave the problem out",
                    problem.escape_debug(),
                    rewards[at]
                )));
            }
        }
        let all = groups
            .iter()
            .flat_map(|(_, rewards)| rewards.iter().copied());
        let batch = deviation(all, self.deviation);
        Ok(groups
            .iter()
            .map(|(_, rewards)| {
                if all_equal(rewards) {
                    return None;
                }
                let own = || deviation(rewards.iter().copied(), self.deviation);
                let divisor = match self.scale {
                    Scale::Group => own() + self.epsilon,
                    Scale::Batch => batch + self.epsilon,
                    Scale::None => 1.0,
                };
                let mean = mean(rewards.iter().copied());
                Some(rewards.iter().map(|r| (r - mean) / divisor).collect())
            })
            .collect())
    }
}

/// Whether no reward differs from the first; so for none and for one.
pub fn all_equal(rewards: &[f64]) -> bool {
    rewards.windows(2).all(|pair| pair[0] == pair[1])
}

/// The mean; 0 of nothing.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0u64, 0.0), |(n, sum), x| (n + 1, sum + x));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

/// The standard deviation, by the mean and then the squares around it; 0 of
/// fewer than two values.
pub fn deviation(values: impl Iterator<Item = f64> + Clone, which: Deviation) -> f64 {
    let centre = mean(values.clone());
    let (n, squares) = values.fold((0u64, 0.0), |(n, sum), x| {
        (n + 1, sum + (x - centre) * (x - centre))
    });
    let divisor = match which {
        Deviation::Sample => n.saturating_sub(1),
        Deviation::Population => n,
    };
    if n < 2 {
        0.0
    } else {
        (squares / divisor as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_group_is_centred_and_scaled_by_its_sample_deviation() {
        // torch: r = tensor([1., 0., 0., 1.]); (r - r.mean()) / (r.std() + 1e-4)
        let of = AdvantageSettings::default()
            .of(&[("p", &[1.0, 0.0, 0.0, 1.0])])
            .unwrap();
        let expected = 0.5 / ((1.0f64 / 3.0).sqrt() + 1e-4);
        for (a, sign) in of[0].as_ref().unwrap().iter().zip([1.0, -1.0, -1.0, 1.0]) {
            assert!((a - sign * expected).abs() < 1e-15, "{a}");
        }
    }

    #[test]
    fn the_divisor_follows_the_settings() {
        let groups: [(&str, &[f64]); 2] = [("a", &[1.0, 0.0]), ("b", &[3.0, 3.0])];
        let first =
            |settings: AdvantageSettings| settings.of(&groups).unwrap()[0].clone().unwrap()[0];
        let settings = |scale, deviation| AdvantageSettings {
            scale,
            deviation,
            epsilon: 0.0,
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
        close(first(settings(Scale::None, Deviation::Sample)), 0.5);
        close(first(settings(Scale::Group, Deviation::Population)), 1.0);
        close(
            first(settings(Scale::Group, Deviation::Sample)),
            0.5 / 0.5f64.sqrt(),
        );
        // All four rewards: mean 1.75, squares 6.75.
        close(
            first(settings(Scale::Batch, Deviation::Sample)),
            0.5 / 2.25f64.sqrt(),
        );
        assert_eq!(
            settings(Scale::Batch, Deviation::Sample)
                .of(&groups)
                .unwrap()[1],
            None
        );
    }

    #[test]
    fn equal_rewards_are_skipped_and_broken_ones_refused_by_name() {
        let settings = AdvantageSettings {
            epsilon: 0.0,
            ..Default::default()
        };
        let of = settings
            .of(&[("a", &[0.1; 7]), ("b", &[1.0]), ("c", &[])])
            .unwrap();
        assert_eq!(of, [None, None, None]);
        for bad in [f64::NAN, f64::INFINITY] {
            let error = settings
                .of(&[("p-7", &[1.0, bad])])
                .unwrap_err()
                .to_string();
            assert!(error.contains("sample 1 of problem `p-7`"), "{error}");
        }
        let error = AdvantageSettings {
            epsilon: f64::NAN,
            ..settings
        };
        assert!(error.check().is_err());
    }

    proptest! {
        #[test]
        fn advantages_sum_to_zero_and_keep_the_order(
            rewards in prop::collection::vec(-5.0f64..5.0, 2..20),
            scale in prop::sample::select(vec![Scale::Group, Scale::Batch, Scale::None]),
        ) {
            prop_assume!(!all_equal(&rewards));
            let settings = AdvantageSettings { scale, ..Default::default() };
            let of = settings.of(&[("p", &rewards)]).unwrap();
            let a = of[0].as_ref().unwrap();
            prop_assert!(a.iter().sum::<f64>().abs() < 1e-9);
            for (i, j) in (1..a.len()).map(|i| (i, i - 1)) {
                prop_assert!(rewards[i] < rewards[j] || a[i] >= a[j]);
                prop_assert!(rewards[i] > rewards[j] || a[i] <= a[j]);
            }
        }
    }
}
