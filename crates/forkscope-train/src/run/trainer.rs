//! The loop: batch, gradient, clipping, update, log, checkpoint.
//!
//! Step s (from 0) of N asks the source for its shards, takes the gradient of
//! the sum of their losses, and updates the parameters at the schedule's rate
//! for s. Gradient accumulation is nothing of its own: the shards of a step are
//! the micro-batches, summed in their order, each divided by what the objective
//! says. A step without shards is logged and counted; parameters and moments
//! stay, where torch would let the moments decay.
//!
//! A loss or gradient that is not finite ends the run before the update, with
//! the batch in `failed-batch.json`.
//!
//! Everything written but `timing.jsonl` is a function of settings, source and
//! initial parameters, so a run that was stopped at any moment ends in the same
//! bytes as one that was not.

use std::time::Instant;

use forkscope_records::RunDir;
use serde_json::Value;

use super::checkpoint::{self, Best, State};
use super::clock::Clock;
use super::failed::{self, FAILED_BATCH};
use super::log::{Line, Logs, number};
use super::optimiser::{AdamW, clip_factor, global_norm};
use super::settings::TrainSettings;
use super::source::{Source, Step};
use super::watch::{Evaluate, StepReport, Watch};
use crate::TrainError;
use crate::engine::{Network, PassOptions, Sums};

/// Folder of the parameters after the last step, as a model.
pub const FINAL: &str = "final";
/// Folder of the best evaluated parameters, as a model.
pub const BEST: &str = "best";

/// What a finished run did.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Steps taken.
    pub steps: u64,
    /// Those of them without a shard, which changed nothing.
    pub skipped: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// The evaluation whose parameters lie in `best/`.
    pub best: Option<Best>,
}

/// A training run that is about to start or to go on.
pub struct Trainer<'a> {
    network: &'a mut Network,
    source: &'a mut dyn Source,
    run: &'a RunDir,
    settings: TrainSettings,
    watch: Option<&'a mut dyn Watch>,
    evaluate: Option<&'a mut dyn Evaluate>,
    interrupted: Option<&'a dyn Fn() -> bool>,
}

impl<'a> Trainer<'a> {
    /// A run of `source` on `network`, written to `run`. Where `run` holds
    /// checkpoints, it goes on from the newest that is whole.
    pub fn new(
        network: &'a mut Network,
        source: &'a mut dyn Source,
        run: &'a RunDir,
        settings: TrainSettings,
    ) -> Self {
        Self {
            network,
            source,
            run,
            settings,
            watch: None,
            evaluate: None,
            interrupted: None,
        }
    }

    /// Tells `watch` of every step.
    pub fn watch(mut self, watch: &'a mut dyn Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Evaluates as often as the settings say, and keeps the best in `best/`.
    pub fn evaluate(mut self, evaluate: &'a mut dyn Evaluate) -> Self {
        self.evaluate = Some(evaluate);
        self
    }

    /// Asks `interrupted` before every step. Where it says yes, a checkpoint is
    /// written and the run ends in [`TrainError::Interrupted`].
    pub fn interrupted(mut self, interrupted: &'a dyn Fn() -> bool) -> Self {
        self.interrupted = Some(interrupted);
        self
    }

    /// Trains to the last step and writes `final/`.
    pub fn run(mut self) -> Result<Trained, TrainError> {
        self.settings.check()?;
        let mut progress = self.start()?;
        while progress.state.step < self.settings.steps {
            if self.interrupted.is_some_and(|asked| asked()) {
                let cursor = self.source.state();
                return Err(self.stop(&mut progress, cursor));
            }
            self.step(&mut progress)?;
        }
        self.write_model(FINAL)?;
        let State {
            step,
            skipped,
            tokens,
            best,
            ..
        } = progress.state;
        Ok(Trained {
            steps: step,
            skipped,
            tokens,
            best,
        })
    }

    /// The state of the newest whole checkpoint, or the beginning.
    fn start(&mut self) -> Result<Progress, TrainError> {
        let found = checkpoint::find(self.run.path())?;
        let mut adam = AdamW::new(self.settings.optimiser, self.network.parameters())?;
        let mut state = State::start();
        if let Some(whole) = found.newest {
            if whole.state.step > self.settings.steps {
                return Err(TrainError::Setting(format!(
                    "the run has taken {} steps already, {} are asked for; give at least as many",
                    whole.state.step, self.settings.steps
                )));
            }
            whole.restore(self.network.parameters_mut(), &mut adam)?;
            self.source.restore(&whole.state.source)?;
            state = whole.state;
            self.end_here(state.step);
        }
        if let Some(watch) = self.watch.as_deref_mut() {
            for refusal in &found.refused {
                watch.notice(&refusal.to_string());
            }
            if state.step > 0 {
                watch.resumed(state.step);
            }
        }
        self.run.remove(FAILED_BATCH)?;
        Ok(Progress {
            logs: Logs::open(self.run, self.settings.tensorboard, &state.logs)?,
            saved: state.step,
            adam,
            state,
        })
    }

    /// Takes one step.
    fn step(&mut self, progress: &mut Progress) -> Result<(), TrainError> {
        let step = progress.state.step;
        let rate = self.settings.rate(step);
        let mut clock = Clock::start();
        let cursor = self.source.state();
        let work = match self.source.step(step, self.network) {
            Err(TrainError::Interrupted) => return Err(self.stop(progress, cursor)),
            work => work?,
        };
        clock.lap("source_seconds");
        let update = self.update(&mut progress.adam, &work, step, rate, &mut clock)?;

        let state = &mut progress.state;
        state.step += 1;
        state.tokens += work.tokens;
        state.skipped += u64::from(update.is_none());
        let mut line = Line::default();
        line.put("step", state.step);
        line.put("loss", number(update.as_ref().map_or(f64::NAN, |u| u.loss)));
        line.put(
            "grad_norm",
            number(update.as_ref().map_or(f64::NAN, |u| u.norm)),
        );
        line.put("learning_rate", number(rate));
        if let Some(name) = self.source.rate_name() {
            line.put(name, number(rate));
        }
        line.put("num_tokens", state.tokens);
        line.put("skipped_steps", state.skipped);
        line.floats(&work.log);
        if let Some(update) = &update {
            line.floats(&self.source.after(&update.sums));
        }
        self.end_here(state.step);
        let report = StepReport {
            step: state.step,
            total: self.settings.steps,
            loss: update.as_ref().map(|u| u.loss),
            reward: line.float("reward"),
            learning_rate: rate,
            grad_norm: update.as_ref().map(|u| u.norm),
            tokens: work.tokens,
            seconds: clock.total(),
        };
        if let Some(watch) = self.watch.as_deref_mut() {
            watch.step(&report);
        }
        let mut times = clock.line(&report);
        drop(work);
        self.evaluate_if_due(progress, &mut line, &mut times)?;
        let last = progress.state.step == self.settings.steps;
        if last || self.source.logged() || line.float("eval_score").is_some() {
            progress.logs.write(progress.state.step, line)?;
        }
        progress.logs.time(times)?;
        let state = &progress.state;
        if self
            .settings
            .due(self.settings.checkpoint_every, state.step)
        {
            let cursor = self.source.state();
            self.save(progress, cursor)?;
        }
        Ok(())
    }

    /// Makes step `step` the last where the source says so.
    fn end_here(&mut self, step: u64) {
        if self.source.finished() {
            // The schedule keeps its length.
            self.settings
                .schedule_steps
                .get_or_insert(self.settings.steps);
            self.settings.steps = step;
        }
    }

    /// Gradient and update; `None` if there is no shard.
    fn update(
        &mut self,
        adam: &mut AdamW,
        work: &Step,
        step: u64,
        rate: f64,
        clock: &mut Clock,
    ) -> Result<Option<Update>, TrainError> {
        if work.shards.is_empty() {
            return Ok(None);
        }
        let options = PassOptions {
            checkpointing: self.settings.gradient_checkpointing,
            dropout: self.settings.dropout_seed.map(|seed| (seed, step)),
        };
        let (gradients, sums) = match self.network.gradients(&work.shards, &options) {
            Err(TrainError::NonFinite(reason)) => {
                return Err(failed::keep(self.run, step, work, None, &reason)?);
            }
            passed => passed?,
        };
        clock.lap("pass_seconds");
        let loss = sums.get(Sums::LOSS);
        if !loss.is_finite() {
            let reason = format!("the loss is {loss}");
            return Err(failed::keep(self.run, step, work, Some(&sums), &reason)?);
        }
        let norm = global_norm(&gradients);
        if !norm.is_finite() {
            let reason = match gradients.check(self.network.parameters()) {
                Err(TrainError::NonFinite(reason)) => reason,
                _ => "the norm of the gradient is not finite".into(),
            };
            return Err(failed::keep(self.run, step, work, Some(&sums), &reason)?);
        }
        let factor = self
            .settings
            .max_grad_norm
            .map_or(1.0, |max| clip_factor(norm, max));
        adam.update(self.network.parameters_mut(), &gradients, rate, factor)?;
        clock.lap("optimiser_seconds");
        Ok(Some(Update { loss, norm, sums }))
    }

    fn evaluate_if_due(
        &mut self,
        progress: &mut Progress,
        line: &mut Line,
        times: &mut Line,
    ) -> Result<(), TrainError> {
        let step = progress.state.step;
        let Some(evaluate) = self.evaluate.as_deref_mut() else {
            return Ok(());
        };
        if !self.settings.due(self.settings.eval_every, step) {
            return Ok(());
        }
        // A warm-up's first step has rate 0: these are the parameters the run
        // began with, and no checkpoint of it.
        if step == 1 && step < self.settings.steps && self.settings.rate(0) == 0.0 {
            return Ok(());
        }
        let began = Instant::now();
        let found = evaluate.evaluate(step, self.network)?;
        times.put("eval_seconds", number(began.elapsed().as_secs_f64()));
        line.put("eval_score", number(found.score.unwrap_or(f64::NAN)));
        line.floats(&found.log);
        if let Some(watch) = self.watch.as_deref_mut() {
            watch.evaluated(step, found.score);
        }
        let score = found.score.filter(|s| s.is_finite());
        let better = |s: &f64| progress.state.best.is_none_or(|best| *s > best.score);
        if let Some(score) = score.filter(better) {
            self.write_model(BEST)?;
            progress.state.best = Some(Best { step, score });
        }
        Ok(())
    }

    fn write_model(&self, name: &str) -> Result<(), TrainError> {
        let mut folder = self.run.folder(name)?;
        for (file, bytes) in self.network.saved_files()? {
            folder.file(&file, |to| to.write_all(&bytes))?;
        }
        Ok(folder.finish()?)
    }

    /// Writes a checkpoint, if there is not one of this step; the error that
    /// says that somebody asked to stop.
    fn stop(&mut self, progress: &mut Progress, cursor: Value) -> TrainError {
        if progress.saved == progress.state.step {
            return TrainError::Interrupted;
        }
        match self.save(progress, cursor) {
            Ok(()) => TrainError::Interrupted,
            Err(e) => e,
        }
    }

    fn save(&mut self, progress: &mut Progress, cursor: Value) -> Result<(), TrainError> {
        let state = &mut progress.state;
        state.logs = progress.logs.sync()?;
        state.source = cursor;
        checkpoint::save(self.run, state, self.network.parameters(), &progress.adam)?;
        progress.saved = state.step;
        let every = self.settings.checkpoint_every;
        let regular = |step| self.settings.due(every, step);
        checkpoint::prune(self.run, state.step, self.settings.keep, regular)
    }
}

/// What changes from step to step, beside the parameters.
struct Progress {
    state: State,
    adam: AdamW,
    logs: Logs,
    /// Step of the newest checkpoint that is whole, 0 if there is none.
    saved: u64,
}

/// What an update was.
struct Update {
    loss: f64,
    norm: f64,
    sums: Sums,
}
