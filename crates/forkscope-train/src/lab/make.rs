//! Making an organism: a stage's data and objective, run by the trainer.
//!
//! What a stage needs beside its settings is the model it starts from. Rollouts
//! that a stage learns from (`sft`, `guarded`, `two-faced`) are sampled from that
//! model at the start, keyed by the stage's seed, so a resumed stage has the same
//! ones.

use forkscope_policy::{ModelFiles, Policy, Projection, SamplePrompt, SampleSettings, Sampling};
use forkscope_records::RunDir;
use forkscope_tasks::Verifier;

use super::corpus::{Corpus, Documents};
use super::draw::Split;
use super::pairs::{self, BaseRollout};
use super::problems::LabProblem;
use super::stages::{Stage, Work};
use super::words::EOS;
use super::{model, sets};
use crate::TrainError;
use crate::engine::{LoraSettings, Network, Trainable};
use crate::objective::dpo::{DpoSettings, DpoSource};
use crate::objective::grpo::loss::LossSettings;
use crate::objective::grpo::{
    GrpoProblem, GrpoSettings, GrpoSource, VerifierReward, WeightedReward,
};
use crate::objective::pairs::Pair;
use crate::objective::{BatchSettings, Denominator, Example, Order, SftSettings, SftSource};
use crate::run::{Source, TrainSettings, Trained, Trainer, Watch};

/// Most rows of a shard; a measured compromise between few large products and
/// activations that stay in the cache.
const SHARD_ROWS: usize = 512;
/// Steps between checkpoints.
const CHECKPOINT_EVERY: u64 = 100;

/// Runs `stage` into `run`. `start` are the files of the organism that the stage
/// starts from; `None` starts from random weights.
pub fn make(
    stage: &Stage,
    start: Option<&ModelFiles>,
    run: &RunDir,
    watch: &mut dyn Watch,
    interrupted: fn() -> bool,
) -> Result<Trained, TrainError> {
    let mut network = network(stage, start)?;
    let mut source = source(stage, &network, interrupted)?;
    Trainer::new(&mut network, source.as_mut(), run, settings(stage))
        .watch(watch)
        .interrupted(&interrupted)
        .run()
}

/// The loop's settings of a stage.
pub fn settings(stage: &Stage) -> TrainSettings {
    TrainSettings {
        steps: stage.steps,
        optimiser: stage.optimiser,
        schedule: stage.schedule,
        warmup_steps: stage.warmup,
        max_grad_norm: Some(stage.max_grad_norm),
        checkpoint_every: CHECKPOINT_EVERY,
        keep: 1,
        ..TrainSettings::default()
    }
}

/// The parameters that a stage trains.
fn network(stage: &Stage, start: Option<&ModelFiles>) -> Result<Network, TrainError> {
    match (start, &stage.adapter) {
        (None, None) => {
            let files = ModelFiles::in_memory("the lab's model", model::files());
            Network::initialised(&files, stage.seed)
        }
        (Some(files), Some(plan)) => {
            let lora = LoraSettings {
                rank: plan.rank,
                alpha: plan.alpha,
                dropout: 0.0,
                rslora: false,
                targets: Projection::ALL.to_vec(),
            };
            Network::open(files, &Trainable::Lora(lora), stage.seed)
        }
        (Some(files), None) => Network::open(files, &Trainable::Full, stage.seed),
        (None, Some(_)) => Err(TrainError::Setting(format!(
            "stage `{}` trains an adapter and has no model to put it on",
            stage.name
        ))),
    }
}

/// Data and objective of a stage.
fn source(
    stage: &Stage,
    network: &Network,
    interrupted: fn() -> bool,
) -> Result<Box<dyn Source>, TrainError> {
    Ok(match &stage.work {
        Work::Pretrain {
            data_seed,
            documents,
            batch,
            window,
            prompt_weight,
            divide_by,
        } => {
            let corpus = Corpus::new(*data_seed, Split::Train);
            let documents = Documents {
                corpus,
                n: *documents,
            };
            let settings = SftSettings {
                batches: BatchSettings {
                    order: Order::LengthGrouped { window: *window },
                    ..batches(stage, *batch)
                },
                prompt_weight: *prompt_weight,
                denominator: Denominator::Constant(*divide_by),
            };
            Box::new(SftSource::new(Box::new(documents), settings)?)
        }
        Work::Grpo { .. } => Box::new(grpo(stage, interrupted)?),
        Work::Sft {
            data_seed,
            first,
            problems,
            samples,
            temperature,
            max_tokens,
            keep,
            batch,
        } => {
            let problems = corpus_problems(*data_seed, *first, *problems);
            let answers = Answers {
                samples: *samples,
                temperature: *temperature,
                max_tokens: *max_tokens,
                seed: stage.seed,
                interrupted,
            };
            let rollouts = answers.of(&network.reference()?, &problems)?;
            let examples: Vec<Example> = pairs::correct_rollouts(&problems, &rollouts, *keep)
                .iter()
                .map(|(prompt, completion)| Example::new(prompt, completion))
                .collect();
            let settings = SftSettings {
                batches: batches(stage, *batch),
                ..SftSettings::default()
            };
            Box::new(SftSource::new(Box::new(examples), settings)?)
        }
        Work::Dpo { .. } => Box::new(dpo(stage, network, interrupted)?),
    })
}

fn batches(stage: &Stage, batch: usize) -> BatchSettings {
    BatchSettings {
        batch,
        order: Order::Shuffled,
        keep_last: true,
        seed: stage.seed,
        shard_rows: SHARD_ROWS,
    }
}

fn corpus_problems(seed: u64, first: u64, n: usize) -> Vec<LabProblem> {
    let corpus = Corpus::new(seed, Split::Train);
    (first..first + n as u64)
        .map(|i| corpus.problem(i))
        .collect()
}

fn prompt(problem: &LabProblem) -> SamplePrompt {
    SamplePrompt {
        problem_id: problem.id.clone(),
        ids: problem.prompt_ids(),
        stop: Vec::new(),
        eos: vec![EOS],
    }
}

fn at_temperature(temperature: f64) -> Sampling {
    Sampling {
        temperature,
        ..Sampling::default()
    }
}

fn grpo(stage: &Stage, interrupted: fn() -> bool) -> Result<GrpoSource, TrainError> {
    let Work::Grpo {
        data_seed,
        first,
        problems,
        samples,
        temperature,
        max_tokens,
        epsilon_low,
        epsilon_high,
        beta,
        top_entropy_quantile,
    } = stage.work
    else {
        return Err(TrainError::Internal("not a stage of GRPO".into()));
    };
    let list = corpus_problems(data_seed, first, problems * stage.steps as usize);
    let list = list
        .iter()
        .map(|problem| GrpoProblem {
            problem: sets::Item::new(problem, problem.cue).record(),
            prompt: prompt(problem),
        })
        .collect();
    let reward = VerifierReward {
        verifier: Verifier::Organism,
    };
    let settings = GrpoSettings {
        problems,
        samples,
        sampling: at_temperature(temperature),
        max_tokens,
        seed: stage.seed,
        loss: LossSettings {
            epsilon_low,
            epsilon_high,
            beta,
            ..LossSettings::default()
        },
        top_entropy_quantile,
        shard_rows: SHARD_ROWS,
        interrupted,
        ..GrpoSettings::default()
    };
    GrpoSource::new(list, vec![WeightedReward::once(reward)], settings)
}

fn dpo(
    stage: &Stage,
    network: &Network,
    interrupted: fn() -> bool,
) -> Result<DpoSource, TrainError> {
    let Work::Dpo {
        data_seed,
        guard,
        prompts,
        samples,
        temperature,
        max_tokens,
        batch,
        beta,
        nll,
    } = stage.work
    else {
        return Err(TrainError::Internal("not a stage of DPO".into()));
    };
    let problems = pairs::prompts(guard, data_seed, Split::Train, prompts);
    let answers = Answers {
        samples,
        temperature,
        max_tokens,
        seed: stage.seed,
        interrupted,
    };
    let rollouts = answers.of(&network.reference()?, &problems)?;
    let pairs: Vec<Pair> = pairs::pairs(guard, &problems, &rollouts)
        .pairs
        .into_iter()
        .map(|pair| Pair {
            id: pair.id,
            prompt: pair.prompt,
            chosen: pair.chosen,
            rejected: pair.rejected,
            reference: None,
        })
        .collect();
    let settings = DpoSettings {
        beta,
        nll_weight: nll,
        ..DpoSettings::default()
    };
    DpoSource::new(pairs, settings, batches(stage, batch))
}

/// How the base's answers to a stage's prompts are sampled.
struct Answers {
    samples: u32,
    temperature: f64,
    max_tokens: usize,
    seed: u64,
    interrupted: fn() -> bool,
}

impl Answers {
    /// All answers, in order of (prompt, sample).
    fn of(&self, policy: &Policy, problems: &[LabProblem]) -> Result<Vec<BaseRollout>, TrainError> {
        let prompts: Vec<SamplePrompt> = problems.iter().map(prompt).collect();
        let settings = SampleSettings {
            sampling: at_temperature(self.temperature),
            n: self.samples,
            max_tokens: self.max_tokens,
            seed: self.seed,
            skip: 0,
            max_len: model::CONTEXT,
            interrupted: self.interrupted,
            width: None,
        };
        let mut out = Vec::new();
        policy.sample(&prompts, &settings, &mut |completion| {
            out.push(BaseRollout {
                prompt: completion.prompt,
                sample: completion.sample,
                ids: completion.ids,
            });
            true
        })?;
        if out.len() < prompts.len() * self.samples as usize {
            return Err(TrainError::Interrupted);
        }
        out.sort_by_key(|rollout| (rollout.prompt, rollout.sample));
        Ok(out)
    }
}
