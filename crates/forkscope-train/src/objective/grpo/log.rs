//! What a GRPO step logs, under TRL's names where they exist.
//!
//! Means of rewards and lengths are over all completions of the round, sampled
//! groups that are skipped included; `kl` is the mean of k3 and `entropy` that
//! of H, nats, over the tokens that the loss looked at (`entropy` over all
//! valid tokens of the step where the top-entropy mask needed them);
//! `clip_ratio/*` are shares of the ratios that the surrogate counts.

use super::advantage::{Deviation, deviation, mean};
use super::reward::WeightedReward;
use super::rollout::{Group, Rollout};
use super::settings::GrpoSettings;
use super::shard::sums;
use super::work::{Work, flat};
use crate::engine::Sums;

/// Values of a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    before: Vec<(String, f64)>,
    entropy: Option<f64>,
}

impl Log {
    /// What is known before the backward pass.
    pub fn of(
        groups: &[Group],
        work: &Work,
        rewards: &[WeightedReward],
        settings: &GrpoSettings,
    ) -> Self {
        let all: Vec<&Rollout> = groups.iter().flat_map(|g| &g.rollouts).collect();
        let mut log = Self {
            before: Vec::new(),
            entropy: work.entropy,
        };
        log.spread("reward", "reward_std", all.iter().map(|r| r.reward));
        let names = rewards.iter().map(|r| r.reward.name());
        let overlong = settings.overlong.map(|_| "soft_overlong_punishment");
        for (i, name) in names.chain(overlong).enumerate() {
            let of = |r: &&Rollout| r.rewards.get(i).copied().unwrap_or(f64::NAN);
            let (mean, std) = (
                format!("rewards/{name}/mean"),
                format!("rewards/{name}/std"),
            );
            log.spread(&mean, &std, all.iter().map(of));
        }
        let skipped = flat(groups);
        log.add(
            "frac_reward_zero_std",
            skipped as f64 / groups.len().max(1) as f64,
        );
        log.add("skipped_groups", skipped as f64);
        log.lengths(&all);
        for (name, value) in [
            ("top_entropy/threshold", work.threshold),
            ("top_entropy/kept", work.kept),
            ("divergence", work.divergence),
        ] {
            if let Some(value) = value {
                log.add(name, value);
            }
        }
        log
    }

    fn add(&mut self, name: &str, value: f64) {
        self.before.push((name.to_owned(), value));
    }

    fn spread(
        &mut self,
        mean_name: &str,
        std_name: &str,
        values: impl Iterator<Item = f64> + Clone,
    ) {
        self.add(mean_name, mean(values.clone()));
        self.add(std_name, deviation(values, Deviation::Sample));
    }

    fn lengths(&mut self, all: &[&Rollout]) {
        let length = |r: &&Rollout| r.ids.len() as f64;
        let whole = || all.iter().filter(|r| r.ended);
        let least = all.iter().map(|r| r.ids.len()).min().unwrap_or(0);
        let most = all.iter().map(|r| r.ids.len()).max().unwrap_or(0);
        let cut = all.len() - whole().count();
        self.add("completions/mean_length", mean(all.iter().map(length)));
        self.add("completions/min_length", least as f64);
        self.add("completions/max_length", most as f64);
        self.add(
            "completions/clipped_ratio",
            cut as f64 / all.len().max(1) as f64,
        );
        self.add(
            "completions/mean_terminated_length",
            mean(whole().map(length)),
        );
    }

    /// Values for the log before the backward pass.
    pub fn before(&self) -> Vec<(String, f64)> {
        self.before.clone()
    }

    /// Values that the backward pass found.
    pub fn after(&self, found: &Sums, settings: &GrpoSettings) -> Vec<(String, f64)> {
        let sites = found.get(sums::SITES);
        let mut out = Vec::new();
        let mut add = |name: &str, value: f64| out.push((name.to_owned(), value));
        if let Some(entropy) = self.entropy {
            add("entropy", entropy);
        } else if sites > 0.0 {
            add("entropy", found.get(sums::ENTROPY) / sites);
        }
        if settings.loss.beta > 0.0 && sites > 0.0 {
            add("kl", found.get(sums::KL) / sites);
        }
        let ratios = found.get(sums::RATIOS);
        if ratios > 0.0 {
            let (low, high) = (found.get(sums::CLIPPED_LOW), found.get(sums::CLIPPED_HIGH));
            add("clip_ratio/low_mean", low / ratios);
            add("clip_ratio/high_mean", high / ratios);
            add("clip_ratio/region_mean", (low + high) / ratios);
        }
        out
    }
}
