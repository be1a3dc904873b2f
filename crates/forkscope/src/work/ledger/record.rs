//! `costs.json` as it is read and written.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::meter::Work;
use crate::failure::Failure;

const SCHEMA: &str = "forkscope/costs/1";

/// All attempts of all stages, in the order in which they began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Costs {
    /// Dollars per hour, if somebody gave a price.
    pub price_per_hour_usd: Option<f64>,
    /// One per stage and attempt.
    pub attempts: Vec<Attempt>,
}

/// A stage of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// `sample`, `score`, ...
    pub stage: String,
    /// Whether it came to its end; if not, the figures are those of its last second.
    pub whole: bool,
    /// Wall-clock.
    pub seconds: f64,
    prompt_tokens: u64,
    completion_tokens: u64,
    trained_tokens: u64,
    flops: f64,
    /// Greatest resident memory; `None` where the system does not say.
    pub peak_memory_bytes: Option<u64>,
    /// Of what: `stage`, or `process` so far.
    pub peak_of: String,
}

impl Attempt {
    pub(super) fn begin(stage: &str, own_peak: bool) -> Self {
        Self {
            stage: stage.to_owned(),
            whole: false,
            seconds: 0.0,
            prompt_tokens: 0,
            completion_tokens: 0,
            trained_tokens: 0,
            flops: 0.0,
            peak_memory_bytes: None,
            peak_of: if own_peak { "stage" } else { "process" }.into(),
        }
    }

    pub(super) fn update(&mut self, work: Work, seconds: f64, peak: Option<u64>, whole: bool) {
        self.whole = whole;
        self.seconds = seconds;
        self.prompt_tokens = work.prompt_tokens;
        self.completion_tokens = work.completion_tokens;
        self.trained_tokens = work.trained_tokens;
        self.flops = work.flops;
        self.peak_memory_bytes = peak;
    }

    fn work(&self) -> Work {
        Work {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            trained_tokens: self.trained_tokens,
            flops: self.flops,
        }
    }
}

/// The attempts of a stage together, or of all stages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spent {
    /// The stage.
    pub stage: String,
    /// How often it was begun.
    pub attempts: usize,
    /// What was done.
    pub work: Work,
    /// Wall-clock.
    pub seconds: f64,
    /// The greatest of its attempts.
    pub peak_memory_bytes: Option<u64>,
    /// Whether that peak is the stage's own.
    pub own_peak: bool,
}

impl Spent {
    fn add(&mut self, attempt: &Attempt) {
        self.attempts += 1;
        self.work += attempt.work();
        self.seconds += attempt.seconds;
        self.peak_memory_bytes = self.peak_memory_bytes.max(attempt.peak_memory_bytes);
        self.own_peak &= attempt.peak_of == "stage";
    }

    fn json(&self, price: Option<f64>) -> Value {
        json!({
            "stage": self.stage,
            "attempts": self.attempts,
            "prompt_tokens": self.work.prompt_tokens,
            "completion_tokens": self.work.completion_tokens,
            "trained_tokens": self.work.trained_tokens,
            "flops": self.work.flops,
            "seconds": self.seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
            "peak_of": if self.own_peak { "stage" } else { "process" },
            "usd": price.map(|p| p * self.seconds / 3600.0),
        })
    }
}

impl Costs {
    /// Sums by stage, in the order in which stages first began.
    pub fn stages(&self) -> Vec<Spent> {
        let mut out: Vec<Spent> = Vec::new();
        for attempt in &self.attempts {
            let at = out.iter().position(|s| s.stage == attempt.stage);
            let at = at.unwrap_or_else(|| {
                out.push(Spent {
                    stage: attempt.stage.clone(),
                    own_peak: true,
                    ..Spent::default()
                });
                out.len() - 1
            });
            if let Some(spent) = out.get_mut(at) {
                spent.add(attempt);
            }
        }
        out
    }

    /// Everything together; the peak is the greatest of all stages.
    pub fn total(&self) -> Spent {
        let mut sum = Spent {
            stage: "total".into(),
            own_peak: true,
            ..Spent::default()
        };
        for attempt in &self.attempts {
            sum.add(attempt);
        }
        sum
    }

    /// Sums by stage and of all, for a result in JSON.
    pub fn json(&self) -> Value {
        let price = self.price_per_hour_usd;
        let stages: Vec<Value> = self.stages().iter().map(|s| s.json(price)).collect();
        json!({
            "price_per_hour_usd": price,
            "stages": stages,
            "total": self.total().json(price),
        })
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        let mut document = json!({ "schema": SCHEMA });
        if let (Value::Object(map), Value::Object(sums)) = (&mut document, self.json()) {
            map.extend(sums);
            map.insert("attempts".into(), json!(self.attempts));
        }
        let mut bytes = serde_json::to_vec_pretty(&document)
            .map_err(|e| Failure::Internal(format!("cannot write the ledger: {e}")))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// Reads a ledger.
pub fn read_costs(path: &Path) -> Result<Costs, Failure> {
    let bytes = crate::work::rollouts::bytes_of(path)?;
    let broken = |what: String| {
        Failure::Input(format!(
            "{}: {what}; remove the file, and what was spent before is not counted",
            path.display()
        ))
    };
    let mut document: Value = serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))?;
    if document["schema"] != SCHEMA {
        return Err(broken(format!("`schema` is not {SCHEMA:?}")));
    }
    let attempts = document["attempts"].take();
    Ok(Costs {
        price_per_hour_usd: document["price_per_hour_usd"].as_f64(),
        attempts: serde_json::from_value(attempts).map_err(|e| broken(e.to_string()))?,
    })
}
