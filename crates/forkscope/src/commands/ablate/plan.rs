//! What a grid will cost: `--dry-run`, the bar's units, and the warning about
//! unequal budgets.

use serde_json::json;

use super::Ablation;
use super::grid::{Arm, Kind};
use crate::failure::{Failure, Outcome};
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;

/// What one cell of an arm will do.
struct Row<'a> {
    arm: &'a Arm,
    kind: &'static str,
    /// Rollouts that it learns from.
    rollouts: u64,
    /// Optimiser steps at most, where they are known.
    steps: Option<u64>,
    /// Completions for its evaluation.
    answers: u64,
}

/// A sum that stays at the greatest number.
fn sum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}

impl Ablation<'_> {
    fn rows(&self) -> Vec<Row<'_>> {
        let row = |arm| {
            let (kind, rollouts, steps) = self.cost_of(arm);
            Row {
                arm,
                kind,
                rollouts,
                steps,
                answers: self.answers(),
            }
        };
        self.grid.arms.iter().map(row).collect()
    }

    fn cost_of(&self, arm: &Arm) -> (&'static str, u64, Option<u64>) {
        match &arm.kind {
            Kind::Base => ("base", 0, Some(0)),
            Kind::ReasonMaxxer(s) => {
                let rollouts = self.problems_of(&s.store) as u64 * u64::from(s.store.samples);
                // A round's pool is at most what is left of its rollouts.
                let rounds = u64::from(s.rounds).max(1);
                let kept = (rollouts as f64 / rounds as f64 * s.pool.trim_fraction).ceil();
                let epoch = (kept as u64).div_ceil(s.objective.grad_accum_steps.max(1) as u64);
                let spanned = epoch.max(1).saturating_mul(s.optimiser.epochs);
                let round = match s.optimiser.max_steps {
                    0 => spanned,
                    most => spanned.min(most),
                };
                ("reasonmaxxer", rollouts, Some(round.saturating_mul(rounds)))
            }
            Kind::Grpo(s) => {
                let rounds = self.grpo_rounds(arm, s);
                let steps = rounds.saturating_mul(s.iterations.into());
                ("grpo", rounds.saturating_mul(s.per_round()), Some(steps))
            }
        }
    }

    /// Completions of one evaluation.
    fn answers(&self) -> u64 {
        let each = u64::from(self.grid.eval.samples) + u64::from(self.grid.eval.greedy);
        self.held_out.problems.len() as u64 * each
    }

    /// What the bar counts of a cell.
    pub fn units(&self, arm: &Arm) -> u64 {
        let learning = match &arm.kind {
            Kind::Base => 0,
            Kind::ReasonMaxxer(s) => self.reasonmaxxer_units(s),
            Kind::Grpo(s) => self.grpo_units(arm, s),
        };
        learning.saturating_add(self.answers())
    }

    /// What the bar counts of everything.
    pub fn all_units(&self) -> u64 {
        let seeds = self.grid.seeds.len() as u64;
        let cells = self.grid.arms.iter().map(|arm| self.units(arm));
        let stores = self.stores().into_iter().map(|(_, n)| n);
        seeds.saturating_mul(sum(cells.chain(stores)))
    }

    /// Different stores of a seed with their rollouts.
    fn stores(&self) -> Vec<(&super::Store, u64)> {
        let mut out: Vec<(&super::Store, u64)> = Vec::new();
        for arm in &self.grid.arms {
            let Kind::ReasonMaxxer(s) = &arm.kind else {
                continue;
            };
            if !out.iter().any(|(store, _)| **store == s.store) {
                let n = self.problems_of(&s.store) as u64 * u64::from(s.store.samples);
                out.push((&s.store, n));
            }
        }
        out
    }

    /// Says where budgets differ.
    pub fn warn(&self) -> Result<(), Failure> {
        let budget = self.store_rollouts();
        for row in self.rows().iter().filter(|r| r.kind != "base") {
            let asked = (budget as f64 * row.arm.budget).round() as u64;
            if row.arm.budget != 1.0 {
                eprintln!(
                    "warning: arm {} samples {} rollouts where the store has {budget} ({}x, as the grid says); it is no comparison at equal budget",
                    sanitise(&row.arm.name),
                    row.rollouts,
                    row.arm.budget
                );
            } else if row.rollouts != asked {
                eprintln!(
                    "warning: arm {} samples {} of the {asked} rollouts of its budget: steps take whole rounds",
                    sanitise(&row.arm.name),
                    row.rollouts
                );
            }
        }
        Ok(())
    }

    /// Prints what would be done.
    pub fn plan(&self) -> Outcome {
        let rows = self.rows();
        let seeds = self.grid.seeds.len() as u64;
        let stored = self.stores().into_iter().map(|(_, n)| n);
        let online = rows.iter().filter(|r| r.kind == "grpo");
        let rollouts = seeds.saturating_mul(sum(stored.chain(online.map(|r| r.rollouts))));
        let answers = seeds.saturating_mul(sum(rows.iter().map(|r| r.answers)));
        let longest = self.grid.store.max_tokens.max(self.grid.eval.max_tokens);
        let tokens = rollouts
            .saturating_add(answers)
            .saturating_mul(longest.into());
        let mut out = Output::open();
        if self.a.run.json {
            let arms: Vec<_> = rows
                .iter()
                .map(|r| {
                    json!({
                        "name": r.arm.name, "kind": r.kind, "budget": r.arm.budget,
                        "rollouts": r.rollouts, "steps_at_most": r.steps, "answers": r.answers,
                    })
                })
                .collect();
            out.json(&json!({
                "schema": "forkscope/ablation-plan/1",
                "seeds": self.grid.seeds,
                "cells": seeds * rows.len() as u64,
                "store_rollouts": self.store_rollouts(),
                "held_out_problems": self.held_out.problems.len(),
                "rollouts": rollouts,
                "answers": answers,
                "completion_tokens_at_most": tokens,
                "arms": arms,
            }))?;
            return out.finish();
        }
        let mut columns = Columns::new([
            ("arm", Align::Left),
            ("kind", Align::Left),
            ("budget", Align::Right),
            ("rollouts", Align::Right),
            ("steps at most", Align::Right),
            ("answers", Align::Right),
        ]);
        for row in &rows {
            columns.row([
                sanitise(&row.arm.name).into_owned(),
                row.kind.to_owned(),
                match row.kind {
                    "base" => String::new(),
                    _ => format!("{}x", row.arm.budget),
                },
                row.rollouts.to_string(),
                row.steps
                    .map_or_else(|| "epochs".to_owned(), |n| n.to_string()),
                row.answers.to_string(),
            ]);
        }
        columns.write(&mut out)?;
        out.line("")?;
        let cells = seeds * rows.len() as u64;
        out.labelled("seeds", &format!("{seeds}, so {cells} cells"))?;
        out.labelled(
            "rollouts",
            &format!(
                "{} to learn from, stores shared by the arms of a seed",
                rollouts
            ),
        )?;
        out.labelled(
            "answers",
            &format!(
                "{} to {} held-out problems",
                answers,
                self.held_out.problems.len()
            ),
        )?;
        out.labelled("tokens", &format!("{tokens} sampled at most"))?;
        out.finish()
    }
}
