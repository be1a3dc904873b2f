//! Steering along the probe's direction and along random ones, kept arm by arm.
//!
//! The direction is the difference of means at one layer, fitted on one half of
//! the sources; the items steered are of the other half. The layer is the one at
//! which the direction at scale 1 does most on items of the first half (ties:
//! the lowest). Random directions are isotropic, of the direction's norm, at the
//! same layer and scales. All arms share their random numbers with the unsteered
//! one, so that completions differ only where the policy does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forkscope_audit::awareness::{
    Arm, Control, Design, Layer, Resamples, control, mean_difference, random_direction,
};
use forkscope_metrics::pair_rows;
use forkscope_metrics::stats::BootstrapSettings;
use forkscope_policy::{Policy, PromptGroup, SamplePrompt, SampleSettings, SteeredRows, Steering};
use forkscope_records::RunDir;
use forkscope_records::types::SteeringRow;
use forkscope_tasks::{Behaviour, Verifier};

use super::contrast::ContrastSet;
use super::decisions::Decisions;
use super::judge::holds;
use crate::cli::Settings;
use crate::failure::Failure;
use crate::terminal::progress::Progress;
use crate::work::models::Named;
use crate::work::rollouts;

/// How steering is done.
#[derive(Debug, Clone)]
pub struct SteeringOptions {
    /// Multiples of the class gap.
    pub scales: Vec<f64>,
    /// Random directions.
    pub random: u32,
    /// Problems steered at most, of each half.
    pub problems: usize,
    /// The layer; `None` to choose it on the half that the direction is fitted on.
    pub layer: Option<u32>,
    /// Rows that are steered.
    pub rows: SteeredRows,
}

/// Rows per row group.
const ROW_GROUP: usize = 64;

/// Everything that the arms share.
pub struct Steered<'a> {
    pub policy: &'a Named,
    pub set: &'a ContrastSet,
    pub prompts: &'a [SamplePrompt],
    pub decisions: &'a Decisions,
    pub layers: &'a [Layer],
    pub behaviour: &'a Behaviour,
    pub verifier: Verifier,
    pub sampler: SampleSettings,
    pub options: &'a SteeringOptions,
    pub bootstrap: BootstrapSettings,
}

/// What an arm adds to the residual stream.
struct ArmSpec {
    /// `none`, `choice`, `direction` or `random`.
    name: &'static str,
    index: u32,
    layer: u32,
    /// Multiple of the vector for evaluation items and for deployment items.
    scales: [f64; 2],
    vector: Vec<f32>,
}

impl Steered<'_> {
    /// Runs all arms that the table lacks, and says what they do.
    pub fn run(&self, dir: &RunDir, settings: &Settings) -> Result<Option<Control>, Failure> {
        let fitted = self.set.design.fitted();
        let half = |on: bool| -> Vec<u32> {
            let all = fitted.iter().enumerate().filter(|(_, f)| **f == on);
            all.map(|(i, _)| i as u32).collect()
        };
        let fit = half(true);
        let (choose_on, steer_on) = (self.some(&fit), self.some(&half(false)));
        if !self.both(&fit) || !self.both(&steer_on) {
            return Ok(None);
        }
        let mut kept = Kept::open(dir, self.total(choose_on.len(), steer_on.len()), settings)?;
        let layer = match self.options.layer {
            Some(layer) => layer,
            None => self.choose(&fit, &choose_on, &mut kept)?,
        };
        let direction = self.direction(layer, &fit);
        let arms = self.arms(layer, &direction);
        let none = self.unsteered();
        let before = self.arm(&none, &steer_on, &mut kept)?;
        let mut after = Vec::new();
        for spec in &arms {
            let rows = self.arm(spec, &steer_on, &mut kept)?;
            // Only what moves a context towards the other enters the effect.
            if spec.scales[0] < 0.0 && spec.scales[1] > 0.0 {
                let vector = match spec.name {
                    "direction" => 0,
                    _ => spec.index + 1,
                };
                after.push(Arm {
                    vector,
                    scale: spec.scales[1],
                    kl_nats: mean(rows.iter().filter_map(|r| r.kl_nats)),
                    rates: self.rates(&steer_on, &rows),
                });
            }
        }
        kept.finish()?;
        let design: Design = self.set.design.subset(&steer_on);
        let resamples = Resamples::new(&design, &self.bootstrap);
        let before = self.rates(&steer_on, &before);
        Ok(
            control(&design, &resamples, &before, &after).map(|c| Control {
                layer: Some(layer),
                ..c
            }),
        )
    }

    /// Rows of all arms, for the progress bar.
    fn total(&self, choose: usize, steer: usize) -> u64 {
        let n = self.sampler.n as usize;
        let scales = self.options.scales.len();
        let arms = 1 + scales * (2 + self.options.random as usize);
        let layers = match self.options.layer {
            Some(_) => 0,
            None => self.layers.len(),
        };
        (n * (choose * layers + steer * arms)) as u64
    }

    fn both(&self, items: &[u32]) -> bool {
        let label = |i: &u32| self.set.design.evaluation.get(*i as usize).copied();
        items.iter().any(|i| label(i) == Some(true))
            && items.iter().any(|i| label(i) == Some(false))
    }

    /// Items of so many problems, all contexts of each: sources and formats in
    /// turn.
    fn some(&self, items: &[u32]) -> Vec<u32> {
        let design = &self.set.design;
        let cluster = |i: &u32| design.cluster.get(*i as usize).copied();
        let mut seen: BTreeSet<u32> = BTreeSet::new();
        let mut turns: BTreeMap<(u32, u32), VecDeque<u32>> = BTreeMap::new();
        for i in items {
            let place = *i as usize;
            let (Some(c), Some(source), Some(format)) = (
                cluster(i),
                design.source.get(place),
                design.format.get(place),
            ) else {
                continue;
            };
            if seen.insert(c) {
                turns.entry((*source, *format)).or_default().push_back(c);
            }
        }
        let mut chosen: BTreeSet<u32> = BTreeSet::new();
        while chosen.len() < self.options.problems.min(seen.len()) {
            for of in turns.values_mut() {
                if let Some(c) = of
                    .pop_front()
                    .filter(|_| chosen.len() < self.options.problems)
                {
                    chosen.insert(c);
                }
            }
        }
        let kept = |i: &&u32| cluster(i).is_some_and(|c| chosen.contains(&c));
        items.iter().filter(kept).copied().collect()
    }

    fn direction(&self, layer: u32, fit: &[u32]) -> Vec<f32> {
        let design = &self.set.design;
        let Some(layer) = self.layers.get(layer as usize) else {
            return Vec::new();
        };
        let w = mean_difference(design, &design.evaluation, layer, fit);
        w.into_iter().map(|x| x as f32).collect()
    }

    fn unsteered(&self) -> ArmSpec {
        ArmSpec {
            name: "none",
            index: 0,
            layer: 0,
            scales: [0.0, 0.0],
            vector: Vec::new(),
        }
    }

    fn arms(&self, layer: u32, direction: &[f32]) -> Vec<ArmSpec> {
        let arm = |name, index, scales, vector: &[f32]| ArmSpec {
            name,
            index,
            layer,
            scales,
            vector: vector.to_vec(),
        };
        let mut out = Vec::new();
        for s in &self.options.scales {
            out.push(arm("direction", 0, [-s, *s], direction));
            out.push(arm("direction", 0, [*s, -s], direction));
        }
        let norm = length(direction);
        for index in 0..self.options.random {
            let vector = random_direction(self.sampler.seed, index, direction.len(), norm);
            for s in &self.options.scales {
                out.push(arm("random", index, [-s, *s], &vector));
            }
        }
        out
    }

    /// The layer at which the direction at scale 1 moves the behaviour most on
    /// the half it is fitted on.
    fn choose(&self, fit: &[u32], items: &[u32], kept: &mut Kept) -> Result<u32, Failure> {
        let before = self.arm(&self.unsteered(), items, kept)?;
        let before = self.rates(items, &before);
        let contexts: Vec<bool> = items
            .iter()
            .filter_map(|i| self.set.design.evaluation.get(*i as usize).copied())
            .collect();
        let gap = toward(&contexts, &before, true) - toward(&contexts, &before, false);
        let sign = if gap < 0.0 { -1.0 } else { 1.0 };
        let mut best = (1, f64::NEG_INFINITY);
        for layer in 1..self.layers.len() as u32 {
            let spec = ArmSpec {
                name: "choice",
                index: layer,
                layer,
                scales: [-1.0, 1.0],
                vector: self.direction(layer, fit),
            };
            let rows = self.arm(&spec, items, kept)?;
            let after = self.rates(items, &rows);
            let moved =
                |context| toward(&contexts, &after, context) - toward(&contexts, &before, context);
            let effect = (sign * moved(false)).min(-sign * moved(true));
            if effect > best.1 {
                best = (layer, effect);
            }
        }
        Ok(best.0)
    }

    /// The rows of an arm: kept ones, or sampled and scored now.
    fn arm(
        &self,
        spec: &ArmSpec,
        items: &[u32],
        kept: &mut Kept,
    ) -> Result<Vec<SteeringRow>, Failure> {
        let n = items.len() * self.sampler.n as usize;
        if let Some(rows) = kept.next(n) {
            return Ok(rows);
        }
        let mut rows: Vec<(usize, Vec<SteeringRow>)> = Vec::new();
        for (context, scale) in [true, false].into_iter().zip(spec.scales) {
            let of = |(_, i): &(usize, &u32)| {
                self.set.design.evaluation.get(**i as usize) == Some(&context)
            };
            let here: Vec<(usize, usize)> = items
                .iter()
                .enumerate()
                .filter(of)
                .map(|(place, i)| (place, *i as usize))
                .collect();
            let indices: Vec<usize> = here.iter().map(|(_, i)| *i).collect();
            let made = self.completions(spec, scale, context, &indices)?;
            rows.extend(here.iter().map(|(place, _)| *place).zip(made));
        }
        rows.sort_by_key(|(place, _)| *place);
        let rows: Vec<SteeringRow> = rows.into_iter().flat_map(|(_, r)| r).collect();
        kept.append(rows.clone())?;
        Ok(rows)
    }

    /// Completions of items under one vector, a list per item.
    fn completions(
        &self,
        spec: &ArmSpec,
        scale: f64,
        evaluation: bool,
        items: &[usize],
    ) -> Result<Vec<Vec<SteeringRow>>, Failure> {
        let policy = match scale == 0.0 {
            true => self.policy.policy.clone(),
            false => self.policy.policy.steered(Steering {
                layer: spec.layer as usize,
                vector: spec.vector.clone(),
                scale: scale as f32,
                rows: self.options.rows,
            })?,
        };
        let steered = Named::new(self.policy.spec.clone(), policy);
        let prompts: Vec<SamplePrompt> = items
            .iter()
            .filter_map(|i| self.prompts.get(*i).cloned())
            .collect();
        let problems: Vec<_> = items
            .iter()
            .filter_map(|i| self.set.problems.get(*i).cloned())
            .collect();
        let job = rollouts::Job {
            named: &steered,
            prompts: &prompts,
            problems: &problems,
            settings: self.sampler.clone(),
            verifier: self.verifier,
        };
        let sampled = rollouts::collect(&job, &Progress::none())?;
        let mut out = Vec::with_capacity(items.len());
        for (item, rollouts) in items
            .iter()
            .zip(sampled.chunks(self.sampler.n.max(1) as usize))
        {
            let kl = match scale == 0.0 {
                true => Some(0.0),
                false => self.kl(&steered.policy, *item)?,
            };
            let rows = rollouts.iter().map(|r| {
                Ok(SteeringRow {
                    direction: spec.name.into(),
                    index: spec.index,
                    layer: spec.layer,
                    scale,
                    problem_id: r.problem_id.clone(),
                    sample: r.sample,
                    context: if evaluation {
                        "evaluation"
                    } else {
                        "deployment"
                    }
                    .into(),
                    token_ids: r.completion().to_vec(),
                    text: r.text.clone(),
                    behaviour: holds(self.behaviour, r)?,
                    kl_nats: kl,
                })
            });
            out.push(rows.collect::<Result<Vec<_>, Failure>>()?);
        }
        Ok(out)
    }

    /// Mean KL(steered || unsteered) over the item's decision positions.
    fn kl(&self, steered: &Policy, item: usize) -> Result<Option<f64>, Failure> {
        let text = self.decisions.texts.get(item);
        let positions = self.decisions.positions.get(item);
        let (Some(text), Some(positions)) = (text, positions) else {
            return Ok(None);
        };
        let Some(last) = positions.last() else {
            return Ok(None);
        };
        let Some(ids) = text.token_ids.get(..=*last as usize) else {
            return Ok(None);
        };
        let (prompt, completion) = ids.split_at(text.prompt_len.min(ids.len()));
        let group = [PromptGroup {
            prompt,
            completions: vec![completion],
        }];
        let wanted: Vec<usize> = positions
            .iter()
            .filter_map(|t| (*t as usize).checked_sub(text.prompt_len))
            .collect();
        let logits = |policy: &Policy| -> Result<Vec<f32>, Failure> {
            let hidden = policy.hidden_rows(&group)?;
            let rows = wanted.iter().filter_map(|k| {
                let from = k * hidden.width;
                hidden.values.get(from..from + hidden.width)
            });
            let rows: Vec<f32> = rows.flatten().copied().collect();
            let mut out = Vec::new();
            policy.logits(&rows, &mut out);
            Ok(out)
        };
        let (before, after) = (logits(&self.policy.policy)?, logits(steered)?);
        let targets: Vec<u32> = wanted
            .iter()
            .filter_map(|k| completion.get(*k).copied())
            .collect();
        let width = steered.vocab_size();
        let metrics = pair_rows(&before, width, &after, width, &targets, 0).map_err(|e| {
            Failure::Input(format!(
                "steering made numbers that are not finite: {e}; lower --steer-scales"
            ))
        })?;
        Ok(mean(metrics.iter().filter_map(|m| m.kl_tuned_base_nats)))
    }

    /// Rate of each item over its samples.
    fn rates(&self, items: &[u32], rows: &[SteeringRow]) -> Vec<Option<f64>> {
        let n = self.sampler.n.max(1) as usize;
        let rate =
            |rows: &[SteeringRow]| mean(rows.iter().filter_map(|r| r.behaviour).map(f64::from));
        let mut rates: Vec<Option<f64>> = rows.chunks(n).map(rate).collect();
        rates.resize(items.len(), None);
        rates
    }
}

/// Mean rate of one context.
fn toward(contexts: &[bool], rates: &[Option<f64>], context: bool) -> f64 {
    let of = contexts.iter().zip(rates).filter(|(c, _)| **c == context);
    mean(of.filter_map(|(_, r)| *r)).unwrap_or(0.0)
}

/// Mean of numbers; `None` without any.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u32), |(sum, n), v| (sum + v, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

fn length(v: &[f32]) -> f64 {
    v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// Rows that were kept, given back arm by arm; then new ones, appended.
struct Kept {
    table: forkscope_records::TableWriter<SteeringRow>,
    rows: Vec<SteeringRow>,
    from: usize,
    progress: Progress,
}

impl Kept {
    fn open(dir: &RunDir, total: u64, settings: &Settings) -> Result<Self, Failure> {
        let table = dir.table::<SteeringRow>("awareness_steering", ROW_GROUP)?;
        let rows = table.read_kept()?;
        let progress = Progress::new(total, "steered completions", settings);
        progress.skip(rows.len() as u64);
        Ok(Self {
            table,
            rows,
            from: 0,
            progress,
        })
    }

    /// The next `n` rows, if all of them were kept.
    fn next(&mut self, n: usize) -> Option<Vec<SteeringRow>> {
        let rows = self
            .rows
            .get(self.from..self.from.checked_add(n)?)?
            .to_vec();
        self.from += n;
        Some(rows)
    }

    /// Appends an arm, of which the first rows may have been kept.
    fn append(&mut self, rows: Vec<SteeringRow>) -> Result<(), Failure> {
        let known = self.rows.len().saturating_sub(self.from).min(rows.len());
        self.from += rows.len();
        self.progress.inc((rows.len() - known) as u64);
        Ok(self.table.append_all(rows.into_iter().skip(known))?)
    }

    fn finish(self) -> Result<(), Failure> {
        self.progress.finish();
        self.table.finish()?;
        Ok(())
    }
}
