//! The next token of every answer, by its rule, and what is noted about it.

use forkscope_metrics::rng::Key;
use forkscope_metrics::{MetricsError, PairMetrics, normaliser, pair_rows};
use forkscope_policy::SequenceId;
use rayon::prelude::*;

use super::{Growing, Needs, Rule, Start, Step, Walker};
use crate::AuditError;
use crate::revert::Donor;
use crate::revert::choose::{choose, js_to_certainty, mix, permuted};

/// Where a token is chosen.
struct Place<'g> {
    growing: &'g Growing<'g>,
    start: &'g Start,
    compared: Option<&'g PairMetrics>,
    traced: bool,
}

impl Walker<'_> {
    /// The next token of every active answer, and what is noted about it.
    pub(super) fn choose(
        &self,
        active: &[usize],
        growing: &[Growing<'_>],
        starts: &[Start],
        needs: Needs,
    ) -> Result<Vec<(u32, Option<Step>)>, AuditError> {
        let ids = |id: fn(&Growing<'_>) -> Option<SequenceId>| -> Vec<SequenceId> {
            active.iter().filter_map(|i| id(&growing[*i])).collect()
        };
        let (mut tuned, mut base) = (Vec::new(), Vec::new());
        if needs.tuned {
            self.tuned.logits(&ids(|g| g.tuned), &mut tuned)?;
        }
        if needs.base {
            self.base.logits(&ids(|g| g.base), &mut base)?;
        }
        let widths = (self.pair.tuned.vocab_size(), self.pair.base.vocab_size());
        let compared = match needs.top {
            Some(k) if *self.donor == Donor::Base => {
                let targets = vec![0; active.len()];
                let found = pair_rows(&base, widths.1, &tuned, widths.0, &targets, k.max(1));
                Some(found.map_err(|e| self.broken(active, growing, starts, e))?)
            }
            _ => None,
        };
        let shared = self.shared;
        let row = |all: &[f32], width: usize, i: usize| -> Vec<f32> {
            let from = i * width;
            all.get(from..from + shared)
                .map(<[f32]>::to_vec)
                .unwrap_or_default()
        };
        (0..active.len())
            .into_par_iter()
            .map_init(Vec::new, |buffer, i| {
                let g = &growing[active[i]];
                let place = Place {
                    growing: g,
                    start: &starts[g.start],
                    compared: compared.as_ref().and_then(|all| all.get(i)),
                    traced: needs.top.is_some(),
                };
                let rows = (row(&tuned, widths.0, i), row(&base, widths.1, i));
                self.next(&place, rows, buffer)
                    .map_err(|e| self.broken(&active[i..=i], growing, starts, e))
            })
            .collect()
    }

    fn next(
        &self,
        place: &Place<'_>,
        (mut tuned, base): (Vec<f32>, Vec<f32>),
        buffer: &mut Vec<f64>,
    ) -> Result<(u32, Option<Step>), MetricsError> {
        let Place { growing, start, .. } = place;
        let index = growing.ids.len();
        let prompt = self.prompts.get(start.prompt).map_or(0, |p| p.ids.len());
        let position = (prompt + index) as u64;
        let t = self.settings.temperature;
        let uniform = match t == 0.0 {
            true => 0.0,
            false => growing.key.uniform(position),
        };
        let donor = match (self.donor, base.is_empty()) {
            (Donor::Base, false) => Some(choose(&base, t, uniform, buffer)?),
            (Donor::Base, true) => None,
            (Donor::Text(ids), _) => ids
                .strip_prefix(growing.ids.as_slice())
                .and_then(|rest| rest.first().copied()),
        };
        let step = match place.traced {
            true => Some(step(&tuned, donor, place.compared)?),
            false => None,
        };
        let token = match &start.rule {
            Rule::Base => choose(&base, t, uniform, buffer)?,
            Rule::DonorAt(at) if at.contains(&index) && donor.is_some() => {
                donor.unwrap_or_default()
            }
            Rule::Tuned | Rule::DonorAt(_) => choose(&tuned, t, uniform, buffer)?,
            Rule::Mix(alpha) => {
                mix(&mut tuned, &base, *alpha);
                choose(&tuned, t, uniform, buffer)?
            }
            Rule::Permuted(alpha) => {
                let seed = self.settings.seed;
                let id = self.prompts.get(start.prompt).map_or("", |p| &p.problem_id);
                let key = Key::new(seed, id, start.sample, "revert-permuted");
                permuted(&mut tuned, &base, *alpha, &key, position);
                choose(&tuned, t, uniform, buffer)?
            }
        };
        Ok((token, step))
    }

    /// The first of these answers whose logits are no numbers.
    fn broken(
        &self,
        active: &[usize],
        growing: &[Growing<'_>],
        starts: &[Start],
        source: MetricsError,
    ) -> AuditError {
        let row = match &source {
            MetricsError::NotFinite { row, .. } => *row,
            _ => 0,
        };
        let at = active.get(row).or(active.first());
        let found = at.and_then(|i| {
            let start = starts.get(*i)?;
            Some((self.prompts.get(start.prompt)?, start, growing.get(*i)?))
        });
        match found {
            Some((prompt, start, growing)) => AuditError::Broken {
                problem_id: prompt.problem_id.clone(),
                sample: start.sample,
                t: prompt.ids.len() + growing.ids.len(),
                source,
            },
            None => AuditError::Metrics(source),
        }
    }
}

fn step(
    tuned: &[f32],
    donor: Option<u32>,
    compared: Option<&PairMetrics>,
) -> Result<Step, MetricsError> {
    let norm = normaliser(tuned)?;
    let greatest = norm.logprob(norm.max);
    let of = |token: u32| {
        let logit = tuned.get(token as usize);
        let logprob = logit.map_or(f64::NEG_INFINITY, |z| norm.logprob(*z));
        (greatest - logprob, -logprob)
    };
    let (margin, kl) = donor.map_or((0.0, 0.0), of);
    let js = match (compared, donor) {
        (Some(m), _) => m.js_nats,
        (None, Some(_)) => js_to_certainty(-kl),
        (None, None) => 0.0,
    };
    let top = compared.map(|m| {
        m.base
            .topk
            .iter()
            .map(|(token, _)| {
                let (margin, kl) = of(*token);
                (*token, margin, kl)
            })
            .collect()
    });
    Ok(Step {
        donor,
        margin,
        kl,
        js,
        top: top.unwrap_or_default(),
    })
}
