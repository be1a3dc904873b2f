//! The fixtures' cases as shards of our own objectives.

use forkscope_policy::Policy;
use forkscope_train::TrainError;
use forkscope_train::engine::{Network, Shard, Trainable};
use forkscope_train::objective::dpo::{DpoSettings, DpoSource};
use forkscope_train::objective::pairs::Pair;
use forkscope_train::objective::{
    BatchSettings, Denominator, DistillSettings, DistillSource, Example, Order, SftSettings,
    SftSource, Teacher, cache_teacher,
};
use forkscope_train::run::Source;

use super::fixture::{Case, Goldens, Gradients};
use super::hash;

pub type Shards = Vec<Box<dyn Shard + Send>>;

/// What a case needs.
pub struct Inputs<'a> {
    pub fixture: &'a Gradients,
    pub goldens: &'a Goldens,
    pub case: &'a Case,
    pub network: &'a Network,
    /// Most rows of a shard.
    pub rows: usize,
}

impl Inputs<'_> {
    /// Shards of the case's objective.
    pub fn shards(&self) -> Shards {
        let full = self.case.trainable == "full";
        match self.case.objective.as_str() {
            "sft-completion" | "sft-all" => self.sft(),
            "dpo" | "dpo-nll" => self.dpo(),
            "distill-full" | "distill-top" => self.distill(),
            name if name.starts_with("grpo") && (!full || name == "grpo-flat") => {
                self.grpo_source()
            }
            name if name.starts_with("grpo") => self.grpo(),
            name => panic!("no objective {name}"),
        }
    }

    fn sft(&self) -> Shards {
        let all = self.case.objective == "sft-all";
        let examples: Vec<Example> = self
            .fixture
            .sequences()
            .iter()
            .enumerate()
            .map(|(s, (prompt, completion))| {
                let mut example = Example::new(prompt, completion);
                example.weights = all.then(|| {
                    let predicted = (0..example.ids.len() - 1).map(|i| {
                        let zero = hash::splitmix(&format!("zero/{s}"), i).is_multiple_of(5);
                        let weight = hash::uniform(&format!("weight/{s}"), i).abs() as f32;
                        if zero { 0.0 } else { weight }
                    });
                    std::iter::once(1.0).chain(predicted).collect()
                });
                example
            })
            .collect();
        let settings = SftSettings {
            batches: self.batches(examples.len()),
            prompt_weight: if all { 1.0 } else { 0.0 },
            denominator: match all {
                true => Denominator::Constant(self.case.setting("constant")),
                false => Denominator::Tokens,
            },
        };
        let mut source = SftSource::new(Box::new(examples), settings).unwrap();
        source.step(0, self.network).unwrap().shards
    }

    /// Everything in one step, in order.
    fn batches(&self, batch: usize) -> BatchSettings {
        BatchSettings {
            batch,
            order: Order::InOrder,
            keep_last: true,
            seed: 0,
            shard_rows: self.rows,
        }
    }

    /// Pairs of neighbours; the reference is recorded where it is made up.
    fn dpo(&self) -> Shards {
        let references: Vec<f64> = self.columns().iter().map(|c| c[2].iter().sum()).collect();
        let recorded = *self.network.trainable() == Trainable::Full;
        let pairs: Vec<Pair> = self
            .fixture
            .sequences()
            .chunks(2)
            .zip(references.chunks(2))
            .enumerate()
            .map(|(i, (pair, references))| Pair {
                id: i.to_string(),
                prompt: pair[0].0.to_vec(),
                chosen: pair[0].1.to_vec(),
                rejected: pair[1].1.to_vec(),
                reference: recorded.then(|| (references[0], references[1])),
            })
            .collect();
        let settings = DpoSettings {
            beta: self.case.setting("beta"),
            label_smoothing: 0.0,
            nll_weight: self.case.setting("nll"),
        };
        let batches = self.batches(pairs.len());
        let mut source = DpoSource::new(pairs, settings, batches).unwrap();
        source.step(0, self.network).unwrap().shards
    }

    /// The fixture's teacher, by its logits or by its most probable tokens.
    fn distill(&self) -> Shards {
        let name = &self.fixture.model(&self.case.model).teacher;
        let files = self.fixture.model(name).files();
        let policy = Policy::open_files(files, None).unwrap();
        let examples: Vec<Example> = self
            .fixture
            .sequences()
            .iter()
            .map(|(prompt, completion)| Example::new(prompt, completion))
            .collect();
        let teacher = match self.case.setting("top_k") as usize {
            0 => Teacher::Policy(policy),
            k => {
                let vocab = self.network.config().vocab_size;
                Teacher::Cached(cache_teacher(&policy, &examples, k, vocab).unwrap())
            }
        };
        let settings = DistillSettings {
            batches: self.batches(examples.len()),
            ..DistillSettings::default()
        };
        let mut source = DistillSource::new(Box::new(examples), teacher, settings).unwrap();
        source.step(0, self.network).unwrap().shards
    }

    /// Per completion: ln p now, of the sampler, of the reference; from torch.
    pub(super) fn columns(&self) -> Vec<[Vec<f64>; 3]> {
        let of = |what: &str| {
            self.goldens
                .values(&format!("{}/{what}", self.case.owner()))
        };
        let (current, reference) = (of("log_probs"), of("reference"));
        let mut from = 0;
        let mut out = Vec::new();
        for (s, (_, completion)) in self.fixture.sequences().into_iter().enumerate() {
            let part = from..from + completion.len();
            from = part.end;
            let noise = hash::uniforms(&format!("old/{s}"));
            let now = current[part.clone()].to_vec();
            let old = now.iter().zip(noise).map(|(l, u)| l + 0.5 * u).collect();
            out.push([now, old, reference[part].to_vec()]);
        }
        out
    }
}

/// Refused settings must not pass for an answer.
pub fn unwrap<T>(result: Result<T, TrainError>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}
