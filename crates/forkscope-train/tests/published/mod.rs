//! What `fixtures/reasonmaxxer/make.py` recorded of the published trainer, and
//! the same runs in our terms.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forkscope_policy::{ModelConfig, ModelFiles, Policy};
use forkscope_records::import::read_reference_bytes;
use forkscope_train::engine::{Network, Trainable};
use forkscope_train::reasonmaxxer::{
    AccumPattern, AdaptiveBeta, BalancedWindows, DecisionObjective, Order, PoolRollout,
    ReasonMaxxerSettings, ReasonMaxxerSource, Variant, from_processed,
};
use forkscope_train::run::{AdamWSettings, Schedule, TrainSettings};
use forkscope_train::{adapter_settings, start_from_adapter};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::Value;

use super::oracle::fixture::Recipe;
use super::oracle::models::model_files;

/// Columns of the published log.
#[derive(Deserialize)]
pub struct Steps {
    pub global_step: Vec<u64>,
    pub optimizer_step: Vec<u64>,
    pub loss: Vec<f64>,
    pub decision_loss: Vec<f64>,
    pub kl_loss: Vec<f64>,
    pub decision_tokens: Vec<u64>,
    pub pos_decision_tokens: Vec<u64>,
    pub neg_decision_tokens: Vec<u64>,
    pub nondecision_tokens: Vec<u64>,
    pub delta_logp_pos_mean: Vec<f64>,
    pub delta_logp_neg_mean: Vec<f64>,
    pub pos_pressure_sum: Vec<f64>,
    pub neg_pressure_sum: Vec<f64>,
    pub lr: Vec<f64>,
    pub beta_neg_current: Option<Vec<f64>>,
}

/// A run of the published trainer.
#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    /// The first so many rollouts of the file.
    rollouts: usize,
    /// What the initial adapter's B is divided by.
    b_divided_by: f32,
    flags: Vec<String>,
    pub steps: Steps,
    pub optimizer_steps: u64,
    /// Flags of every case.
    #[serde(skip)]
    common: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct File {
    name: String,
    config: Value,
    weights: Vec<Recipe>,
    common: BTreeMap<String, String>,
    cases: Vec<Case>,
}

/// All of it.
pub struct Published {
    files: ModelFiles,
    adapter: ModelFiles,
    rollouts: Vec<PoolRollout>,
    finals: Vec<u8>,
    pub cases: Vec<Case>,
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/reasonmaxxer")
        .join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

impl Published {
    pub fn open() -> Self {
        let mut file: File = serde_json::from_slice(&read("cases.json")).unwrap();
        for case in &mut file.cases {
            case.common = file.common.clone();
        }
        let tensors: Vec<_> = file
            .weights
            .iter()
            .map(|r| (r.0.clone(), r.1.clone(), r.values(&file.name)))
            .collect();
        let rows = read_reference_bytes(&read("processed.json"), &path("processed.json")).unwrap();
        Self {
            files: model_files(&file.name, &file.config, &tensors),
            adapter: ModelFiles::dir_at(path("init")),
            rollouts: from_processed(rows).unwrap(),
            finals: read("finals.safetensors"),
            cases: file.cases,
        }
    }

    /// The network with the initial adapter.
    pub fn network(&self, case: &Case) -> Network {
        let config = ModelConfig::open(&self.files).unwrap();
        let lora = adapter_settings(&self.adapter, &config, 0.0).unwrap();
        let mut network = Network::open(&self.files, &Trainable::Lora(lora), 42).unwrap();
        start_from_adapter(&mut network, &self.adapter).unwrap();
        for parameter in network.parameters_mut() {
            if parameter.name.contains("lora_B") {
                for value in &mut parameter.values {
                    *value /= case.b_divided_by;
                }
            }
        }
        network
    }

    /// The case's rollouts under any settings.
    pub fn source(&self, case: &Case, settings: ReasonMaxxerSettings) -> ReasonMaxxerSource {
        let rollouts = self.rollouts[..case.rollouts].to_vec();
        let base = Policy::open_files(self.files.clone(), None).unwrap();
        ReasonMaxxerSource::new(rollouts, base, settings).unwrap()
    }

    /// A tensor of the adapter after the last step.
    pub fn last(&self, case: &Case, tensor: &str) -> Vec<f64> {
        let parts: Vec<&str> = tensor.split('.').collect();
        let name = format!(
            "{}/{}.{}.{}",
            case.name,
            parts[4],
            &parts[6][..1],
            &parts[7][5..]
        );
        let file = SafeTensors::deserialize(&self.finals).unwrap();
        let bytes = file.tensor(&name).unwrap().data().to_vec();
        bytes
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
            .collect()
    }
}

impl Case {
    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    fn text(&self, flag: &str) -> Option<&str> {
        let at = self.flags.iter().position(|f| f == flag);
        let own = at.and_then(|i| self.flags.get(i + 1));
        own.or_else(|| self.common.get(flag)).map(String::as_str)
    }

    fn number(&self, flag: &str, default: f64) -> f64 {
        self.text(flag).map_or(default, |t| t.parse().unwrap())
    }

    fn count(&self, flag: &str) -> u64 {
        self.number(flag, 0.0) as u64
    }

    /// The flags that differ from the first case's.
    pub fn words(&self) -> String {
        let shown = self.flags.iter().filter(|f| *f != "--curriculum_ordering");
        let words: Vec<&str> = shown.map(String::as_str).collect();
        words
            .join(" ")
            .replace("--curriculum_key deterministic_key", "(key order)")
    }

    pub fn log_every(&self) -> u64 {
        self.count("--logging_steps")
    }

    /// The published pressures carry the problems' weights.
    pub fn same_pressure(&self) -> bool {
        !self.has("--normalize_by_problem")
    }

    fn balanced(&self) -> Option<BalancedWindows> {
        let pattern = match self.text("--accum_window_pattern")? {
            "alternating_neg_first" => AccumPattern::AlternatingNegFirst,
            "grouped_pos_first" => AccumPattern::GroupedPosFirst,
            "grouped_neg_first" => AccumPattern::GroupedNegFirst,
            _ => AccumPattern::AlternatingPosFirst,
        };
        Some(BalancedWindows {
            pos: self.count("--accum_window_pos") as usize,
            neg: self.count("--accum_window_neg") as usize,
            pattern,
        })
    }

    pub fn settings(&self) -> ReasonMaxxerSettings {
        ReasonMaxxerSettings {
            objective: match self.text("--decision_objective") {
                Some("delta_hinge") => DecisionObjective::DeltaHinge,
                Some("correct_sft") => DecisionObjective::CorrectSft,
                _ => DecisionObjective::AdvCe,
            },
            variant: match self.text("--variant") {
                Some("fullseq") => Variant::Fullseq,
                _ => Variant::Gated,
            },
            kl_weight: self.number("--kl_weight", 0.2),
            kl_on_generated_only: self.has("--kl_on_generated_only"),
            adv_clip: self.number("--adv_clip", 2.5),
            beta_neg: self.number("--beta_neg", 1.0),
            adaptive_beta: self.has("--adaptive_betaneg").then(|| AdaptiveBeta {
                init: self.number("--betaneg_init", 1.0),
                ..AdaptiveBeta::default()
            }),
            neg_prob_floor: self.number("--neg_prob_floor", 0.0),
            pos_only: self.has("--pos_only_decisions"),
            pos_margin: self.number("--pos_margin", 0.0),
            neg_margin: self.number("--neg_margin", 0.0),
            separate_pos_neg_norm: self.has("--separate_pos_neg_norm"),
            balance_pos_neg: self.has("--balance_pos_neg"),
            // `--normalize_by_problem` divides by the weights again where a
            // micro-batch is one rollout, and changes nothing but the pressures.
            order: match self.text("--curriculum_key") {
                Some("deterministic_key") => Order::Key,
                _ => Order::SignalClarity,
            },
            balanced: self.balanced(),
            grad_accum_steps: self.count("--grad_accum_steps") as usize,
            max_seq_len: self.count("--max_seq_len") as usize,
            early_stop_delta_logp_pos: self
                .text("--early_stop_delta_logp_pos_lt")
                .map(|t| t.parse().unwrap()),
            log_every: self.log_every(),
            ..ReasonMaxxerSettings::default()
        }
    }

    /// The loop's settings, for so many windows in an epoch.
    pub fn train_settings(&self, per_epoch: u64) -> TrainSettings {
        let spanned = per_epoch * self.count("--epochs");
        let most = match self.count("--max_optimizer_steps") {
            0 => spanned,
            most => most.min(spanned),
        };
        TrainSettings {
            steps: most,
            schedule_steps: Some(spanned),
            optimiser: AdamWSettings {
                learning_rate: self.number("--lr", 0.0),
                weight_decay: self.number("--weight_decay", 0.0),
                ..AdamWSettings::default()
            },
            schedule: Schedule::Linear,
            warmup_steps: self.count("--warmup_steps").min(spanned - 1),
            max_grad_norm: Some(self.number("--max_grad_norm", 1.0)),
            checkpoint_every: 0,
            tensorboard: false,
            ..TrainSettings::default()
        }
    }
}
