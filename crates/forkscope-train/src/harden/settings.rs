//! Settings of the lessons and of the loss.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How a tuned policy is hardened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HardenSettings {
    /// Recoveries made of each guarded prompt.
    pub recoveries: u32,
    /// Most tokens that are forced in a row.
    pub depth: usize,
    /// Sampled answers of either policy to each guarded prompt, beside the greedy
    /// one.
    pub samples: u32,
    /// Answers of the tuned policy to each kept prompt.
    pub anchors: u32,
    /// Temperature of all sampled answers.
    pub temperature: f64,
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// JS divergence of the pair, nats, above which a token of the guarded answer
    /// decides; its first one always does.
    pub js_gate: f64,
    /// m, nats.
    pub margin: f64,
    /// w_R.
    pub recovery_weight: f64,
    /// w_M.
    pub margin_weight: f64,
    /// w_K.
    pub anchor_weight: f64,
    /// Recoveries per optimiser step.
    pub batch: usize,
    /// Anchors per optimiser step; 0 for none.
    pub anchor_batch: usize,
    /// Rows after which a shard is closed.
    pub shard_rows: usize,
    /// Seed of answers, cuts and order.
    pub seed: u64,
}

impl Default for HardenSettings {
    fn default() -> Self {
        Self {
            recoveries: 8,
            depth: 24,
            samples: 2,
            anchors: 2,
            temperature: 1.0,
            max_tokens: 256,
            js_gate: 0.1,
            margin: 5.0,
            recovery_weight: 1.0,
            margin_weight: 0.1,
            anchor_weight: 1.0,
            batch: 16,
            anchor_batch: 8,
            shard_rows: 512,
            seed: 0,
        }
    }
}

impl HardenSettings {
    /// Refuses settings out of range.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |text: String| Err(TrainError::Setting(text));
        let not_negative = [
            ("the JS gate", self.js_gate),
            ("the margin", self.margin),
            ("the weight of recoveries", self.recovery_weight),
            ("the weight of margins", self.margin_weight),
            ("the weight of anchors", self.anchor_weight),
            ("the temperature", self.temperature),
        ];
        for (what, value) in not_negative {
            if !(value.is_finite() && value >= 0.0) {
                return refuse(format!(
                    "{what} is {value}; give a finite number of at least 0"
                ));
            }
        }
        if self.recovery_weight + self.margin_weight == 0.0 {
            return refuse(
                "recoveries and margins both weigh 0, so nothing would be learned; give one of them a weight".into(),
            );
        }
        let counts = [
            ("recoveries per prompt", u64::from(self.recoveries)),
            ("tokens forced in a row", self.depth as u64),
            ("tokens of an answer", self.max_tokens as u64),
            ("recoveries per step", self.batch as u64),
            ("rows of a shard", self.shard_rows as u64),
        ];
        for (what, n) in counts {
            if n == 0 {
                return refuse(format!("the number of {what} is 0; give at least 1"));
            }
        }
        const MOST: u64 = 100_000;
        let most = u64::from(self.recoveries.max(self.samples).max(self.anchors));
        if most > MOST || self.depth as u64 > MOST {
            return refuse(format!(
                "recoveries, answers and forced tokens go up to {MOST} per prompt"
            ));
        }
        Ok(())
    }

    /// Whether anything is anchored.
    pub fn anchored(&self) -> bool {
        self.anchor_weight > 0.0 && self.anchors > 0 && self.anchor_batch > 0
    }
}
