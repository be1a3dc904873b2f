//! Fifty optimiser steps of SFT, full weights and LoRA, against torch: the same
//! initial weights, batches, AdamW, clipping and schedule
//! (`fixtures/make_trajectories.py`).

mod oracle;

use std::fmt::Write;

use forkscope_train::engine::{Network, PassOptions, Sums};
use forkscope_train::objective::{
    BatchSettings, Denominator, Example, Order, SftSettings, SftSource,
};
use forkscope_train::run::{AdamW, AdamWSettings, Schedule, Source, clip_factor, global_norm};
use oracle::fixture::{Gradients, Trajectories, Trajectory, json};
use oracle::page::section;

/// |loss - torch's| in the first ten steps, and after.
const EARLY: f64 = 1e-4;
const LATE: f64 = 1e-3;

/// Loss and gradient norm of every step.
fn train(all: &Trajectories, run: &Trajectory, network: &mut Network) -> Vec<(f64, f64)> {
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
    let settings = AdamWSettings {
        learning_rate: run.lr,
        weight_decay: run.weight_decay,
        ..AdamWSettings::default()
    };
    let mut optimiser = AdamW::new(settings, network.parameters()).unwrap();
    let mut out = Vec::new();
    for step in 0..all.steps as u64 {
        let (warm_up, steps) = (all.warm_up as u64, all.steps as u64);
        let rate = run.lr * Schedule::Linear.multiplier(step, warm_up, steps);
        let golden = run.lr_of_step[step as usize];
        assert!(
            (rate - golden).abs() <= 1e-12 * run.lr,
            "step {step}: rate {rate} not {golden}"
        );
        let shards = source.step(step, network).unwrap().shards;
        let (gradients, sums) = network.gradients(&shards, &PassOptions::default()).unwrap();
        let norm = global_norm(&gradients);
        let factor = clip_factor(norm, all.clip);
        let parameters = network.parameters_mut();
        optimiser
            .update(parameters, &gradients, rate, factor)
            .unwrap();
        out.push((sums.get(Sums::LOSS), norm));
    }
    out
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
        for (step, (loss, norm)) in train(&all, run, &mut network).into_iter().enumerate() {
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
