//! A small training run whose batches depend on everything a checkpoint must
//! bring back.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forkscope_policy::ModelFiles;
use forkscope_records::{Mode, RunDir, RunManifest};
use forkscope_train::TrainError;
use forkscope_train::engine::{Head, Network, Pack, Shard, Sums, Trainable};
use forkscope_train::run::{
    AdamWSettings, Evaluate, Evaluation, Schedule, Source, Step, StepReport, TrainSettings,
    Trained, Trainer, Watch,
};
use serde_json::{Value, json};

use super::common::{CrossEntropy, lora, model, pack_of};

const VOCAB: u32 = 41;

/// Steps of a run.
pub const STEPS: u64 = 12;

/// What goes wrong, at a step counted from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    /// A loss that is NaN.
    Loss(u64),
    /// A gradient with an infinity in it.
    Gradient(u64),
    /// The source stops the run.
    Source(u64),
    /// The source is asked to stop while it makes a batch.
    Asked(u64),
}

/// Batches from a counter that only its state knows.
pub struct Toy {
    pub counter: u64,
    pub trouble: Option<Trouble>,
    pub pause: Duration,
}

impl Toy {
    pub fn new(trouble: Option<Trouble>) -> Self {
        Self {
            counter: 0,
            trouble,
            pause: Duration::ZERO,
        }
    }
}

impl Source for Toy {
    fn step(&mut self, step: u64, _network: &Network) -> Result<Step, TrainError> {
        std::thread::sleep(self.pause);
        self.counter += 1 + step % 3;
        match self.trouble {
            Some(Trouble::Source(s)) if s == step => {
                return Err(TrainError::Internal("the source broke".into()));
            }
            Some(Trouble::Asked(s)) if s == step => return Err(TrainError::Interrupted),
            _ => {}
        }
        let shard = |k: u64| -> Box<dyn Shard + Send> {
            let inner =
                CrossEntropy::new(pack_of(&[5, 8], (self.counter * 10 + k) as usize, VOCAB));
            match self.trouble {
                Some(Trouble::Loss(s)) if s == step => Box::new(Broken(inner, true)),
                Some(Trouble::Gradient(s)) if s == step => Box::new(Broken(inner, false)),
                _ => Box::new(inner),
            }
        };
        let learns = step % 5 != 3;
        Ok(Step {
            shards: (0..if learns { 3 } else { 0 }).map(shard).collect(),
            tokens: if learns { 60 + step } else { 0 },
            log: vec![
                ("reward".into(), self.counter as f64 / 7.0),
                ("completions/mean_length".into(), 6.5),
                ("reward_std".into(), if learns { 0.5 } else { f64::NAN }),
            ],
            inspect: json!({"counter": self.counter}),
        })
    }

    fn after(&mut self, sums: &Sums) -> Vec<(String, f64)> {
        vec![("sites".into(), sums.get("sites"))]
    }

    fn state(&self) -> Value {
        json!({"counter": self.counter})
    }

    fn restore(&mut self, state: &Value) -> Result<(), TrainError> {
        self.counter = state["counter"].as_u64().unwrap_or(u64::MAX);
        Ok(())
    }
}

struct Broken(CrossEntropy, bool);

impl Shard for Broken {
    fn pack(&self) -> &Pack {
        self.0.pack()
    }

    fn loss(&self, head: &mut Head<'_>) -> Result<Sums, TrainError> {
        let mut sums = self.0.loss(head)?;
        if self.1 {
            sums.add(Sums::LOSS, f64::NAN);
        } else {
            let site = forkscope_train::engine::Site { row: 0, token: 0 };
            head.pull(&[site], |_, logits| logits[0] = f32::INFINITY);
        }
        Ok(sums)
    }
}

/// Scores by a weight of the network; also a tie. It can be asked to stop.
#[derive(Default)]
pub struct Score {
    pub asked_at: Option<u64>,
}

impl Evaluate for Score {
    fn evaluate(&mut self, step: u64, network: &Network) -> Result<Evaluation, TrainError> {
        if self.asked_at == Some(step) {
            return Err(TrainError::Interrupted);
        }
        let value = f64::from(network.parameters()[0].values[3]);
        let score = if step > 8 { 1.0 } else { value };
        Ok(Evaluation {
            score: Some(score),
            log: vec![("eval_weight".into(), value)],
        })
    }
}

/// Remembers what it is told.
#[derive(Default)]
pub struct Seen {
    pub steps: Vec<StepReport>,
    pub notices: Vec<String>,
    pub resumed: Option<u64>,
}

impl Watch for Seen {
    fn step(&mut self, report: &StepReport) {
        self.steps.push(report.clone());
    }

    fn resumed(&mut self, step: u64) {
        self.resumed = Some(step);
    }

    fn notice(&mut self, text: &str) {
        self.notices.push(text.to_owned());
    }
}

pub fn settings() -> TrainSettings {
    TrainSettings {
        steps: STEPS,
        optimiser: AdamWSettings {
            learning_rate: 0.01,
            weight_decay: 0.1,
            ..AdamWSettings::default()
        },
        schedule: Schedule::Cosine { min_share: 0.1 },
        warmup_steps: 2,
        checkpoint_every: 4,
        eval_every: 3,
        ..TrainSettings::default()
    }
}

/// The toy model's weights as drawn: what a base model would be.
pub fn base() -> ModelFiles {
    let drawn = Network::initialised(&model("qwen3"), 7).unwrap();
    ModelFiles::in_memory("toy", drawn.saved_files().unwrap())
}

/// All weights, or an adapter on the drawn ones.
pub fn network(adapter: bool) -> Network {
    if adapter {
        let mut settings = lora(3);
        settings.dropout = 0.25;
        Network::open(&base(), &Trainable::Lora(settings), 5).unwrap()
    } else {
        Network::initialised(&model("qwen3"), 7).unwrap()
    }
}

/// A run directory, new or to be continued.
pub fn open(path: &Path) -> RunDir {
    let manifest = RunManifest::new("train").setting("steps", STEPS);
    RunDir::open(path, manifest, Mode::Resume)
        .unwrap()
        .to_write()
        .expect("a run that is not complete")
}

/// How one attempt goes.
pub struct Attempt<'a> {
    pub adapter: bool,
    pub toy: Toy,
    pub settings: TrainSettings,
    pub stop_before: Option<u64>,
    pub score: Score,
    pub seen: &'a mut Seen,
}

impl<'a> Attempt<'a> {
    pub fn new(seen: &'a mut Seen) -> Self {
        Self {
            adapter: false,
            toy: Toy::new(None),
            settings: settings(),
            stop_before: None,
            score: Score::default(),
            seen,
        }
    }

    /// Trains; a run that ends well is completed, any other is left as a killed
    /// process leaves it.
    pub fn go(mut self, path: &Path) -> Result<Trained, TrainError> {
        let run = open(path);
        let mut network = network(self.adapter);
        if self.adapter {
            self.settings.dropout_seed = Some(11);
        }
        let asked = std::cell::Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            self.stop_before.is_some_and(|s| asked.get() > s)
        };
        let result = Trainer::new(&mut network, &mut self.toy, &run, self.settings)
            .watch(self.seen)
            .evaluate(&mut self.score)
            .interrupted(&stop)
            .run();
        match result {
            Ok(_) => drop(run.complete().unwrap()),
            Err(_) => run.abandon(),
        }
        result
    }
}

/// Trains without a break.
pub fn whole(path: &Path, adapter: bool) -> Trained {
    let mut attempt_seen = Seen::default();
    let mut attempt = Attempt::new(&mut attempt_seen);
    attempt.adapter = adapter;
    attempt.go(path).unwrap()
}

/// Every file of a run but the times.
pub fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![path.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else if !["timing.jsonl", "run.json"].contains(&entry.file_name().to_str().unwrap()) {
                let name = entry.path().strip_prefix(path).unwrap().to_owned();
                all.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    all
}

/// Names the first file in which two runs differ.
pub fn assert_same(ours: &Path, theirs: &Path, what: &str) {
    let (a, b) = (files(ours), files(theirs));
    let names = |f: &BTreeMap<PathBuf, Vec<u8>>| f.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b), "{what}");
    for (name, bytes) in &a {
        assert!(*bytes == b[name], "{what}: {} differs", name.display());
    }
}
