//! Fifty optimiser steps of SFT, full weights and LoRA, against torch: the same
//! initial weights, batches, AdamW, clipping and schedule
//! (`fixtures/make_trajectories.py`).

mod oracle;

use std::fmt::Write;

use forkscope_records::{Mode, RunDir, RunManifest};
use forkscope_train::engine::Network;
use forkscope_train::objective::{
    BatchSettings, Denominator, Example, Order, SftSettings, SftSource,
};
use forkscope_train::run::{AdamWSettings, Schedule, StepReport, TrainSettings, Trainer, Watch};
use oracle::fixture::{Gradients, Trajectories, Trajectory, json};
use oracle::page::section;

/// |loss - torch's| in the first ten steps, and after.
const EARLY: f64 = 1e-4;
const LATE: f64 = 1e-3;

/// Loss, gradient norm and learning rate of every step.
#[derive(Default, PartialEq)]
struct Seen(Vec<(f64, f64, f64)>);

impl Watch for Seen {
    fn step(&mut self, report: &StepReport) {
        let (loss, norm) = (report.loss.unwrap(), report.grad_norm.unwrap());
        self.0.push((loss, norm, report.learning_rate));
    }
}

/// The run's own loop over the fixture's rows.
fn train(all: &Trajectories, run: &Trajectory, network: &mut Network) -> Seen {
    let examples: Vec<Example> = all
        .rows
        .iter()
        .map(|row| Example::new(&row.prompt, &row.completion))
        .collect();
    let settings = SftSettings {
        batches: BatchSettings {
            batch: all.batch,
            order: Order::InOrder,
            keep_last: true,
            seed: 0,
            shard_rows: 40,
        },
        prompt_weight: 0.0,
        denominator: Denominator::Tokens,
    };
    let mut source = SftSource::new(Box::new(examples), settings).unwrap();
    let settings = TrainSettings {
        steps: all.steps as u64,
        optimiser: AdamWSettings {
            learning_rate: run.lr,
            weight_decay: run.weight_decay,
            ..AdamWSettings::default()
        },
        schedule: Schedule::Linear,
        warmup_steps: all.warm_up as u64,
        max_grad_norm: Some(all.clip),
        tensorboard: false,
        ..TrainSettings::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let opened = RunDir::open(
        dir.path().join("run"),
        RunManifest::new("train sft"),
        Mode::Fresh,
    );
    let written = opened.unwrap().to_write().unwrap();
    let mut seen = Seen::default();
    Trainer::new(network, &mut source, &written, settings)
        .watch(&mut seen)
        .run()
        .unwrap();
    seen
}

#[test]
fn fifty_steps_follow_torch() {
    let (fixture, all): (Gradients, Trajectories) = (Gradients::open(), json("trajectories.json"));
    let mut table = String::from(
        "Fifty steps of SFT (AdamW, clipping at 1, linear warm-up and decay), largest |loss - torch's| in f32; beside \
         it torch's own\ndistance between f32 and f64. Tolerance 1e-4 in the first ten steps, 1e-3 after.\n\n\
         | model | trained | loss from | to | steps 1-10 | steps 11-50 | torch f32 - f64 |\n|---|---|---|---|---|---|---|\n",
    );
    for run in &all.runs {
        let what = format!("{}/{}", run.model, run.trainable);
        let mut network = fixture.model(&run.model).network(&run.trainable);
        let (mut early, mut late, mut own): (f64, f64, f64) = (0.0, 0.0, 0.0);
        let seen = train(&all, run, &mut network);
        assert_eq!(seen.0.len(), all.steps);
        for (step, (loss, norm, rate)) in seen.0.into_iter().enumerate() {
            let golden = run.lr_of_step[step];
            assert!(
                (rate - golden).abs() <= 1e-12 * run.lr,
                "{what}, step {step}: rate {rate} not {golden}"
            );
            let apart = (loss - run.loss[step]).abs();
            let bound = if step < 10 { EARLY } else { LATE };
            assert!(
                apart <= bound,
                "{what}, step {step}: loss {loss} not {}",
                run.loss[step]
            );
            let golden = run.grad_norm[step];
            assert!(
                (norm - golden).abs() <= 1e-3 * golden,
                "{what}, step {step}: gradient norm {norm} not {golden}"
            );
            let worst = if step < 10 { &mut early } else { &mut late };
            *worst = worst.max(apart);
            own = own.max((run.loss[step] - run.loss_f64[step]).abs());
        }
        let (first, last) = (run.loss[0], run.loss[all.steps - 1]);
        assert!(last < first - 1.0, "{what} did not learn");
        let _ = writeln!(
            table,
            "| {} | {} | {first:.3} | {last:.3} | {early:.1e} | {late:.1e} | {own:.1e} |",
            run.model, run.trainable
        );
    }
    println!("{table}");
    section("Trajectories", &table);
}

/// Fifty steps on one thread and on two end in the same bits.
#[test]
fn threads_change_no_bit_of_a_trajectory() {
    let (fixture, all): (Gradients, Trajectories) = (Gradients::open(), json("trajectories.json"));
    for run in &all.runs {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let mut network = fixture.model(&run.model).network(&run.trainable);
                let losses = train(&all, run, &mut network);
                (losses, network.parameters().clone())
            })
        };
        assert!(on(1) == on(2), "{}/{}", run.model, run.trainable);
    }
}
