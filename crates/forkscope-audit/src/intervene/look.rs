//! Both policies at the next position of every node.

use forkscope_metrics::{MetricsError, PairMetrics, pair_rows};
use forkscope_policy::SequenceId;
use rayon::prelude::*;

use super::arm::{Arm, Kind, Versus};
use super::engine::{Engine, Node, get};
use super::view::{TOP, View, draw, noise};
use crate::AuditError;

/// A node, what both rows of logits say, and the rows: base, tuned.
type Seen<'n, 'a> = (&'n Node<'a>, PairMetrics, &'n [f32], &'n [f32]);

impl<'a> Engine<'_, 'a> {
    /// Both policies at the next position of every node.
    pub(super) fn look(&self) -> Result<Vec<View>, AuditError> {
        let top = match self.x.arms.iter().any(draws_tokens) {
            true => TOP,
            false => 0,
        };
        let block = self.x.base.block_rows().min(self.x.tuned.block_rows());
        let (mut base, mut tuned) = (Vec::new(), Vec::new());
        let mut views = Vec::with_capacity(self.nodes.len());
        for nodes in self.nodes.chunks(block) {
            let ids: Vec<SequenceId> = nodes.iter().map(|n| n.base).collect();
            self.base.logits(&ids, &mut base)?;
            let ids: Vec<SequenceId> = nodes.iter().map(|n| n.tuned).collect();
            self.tuned.logits(&ids, &mut tuned)?;
            let (vb, vt) = (self.x.base.vocab_size(), self.x.tuned.vocab_size());
            let metrics = pair_rows(&base, vb, &tuned, vt, &vec![0; nodes.len()], top)
                .map_err(|e| self.broken(e, nodes))?;
            let rows: Vec<Seen<'_, 'a>> = nodes
                .iter()
                .zip(metrics)
                .zip(base.chunks_exact(vb).zip(tuned.chunks_exact(vt)))
                .map(|((node, m), (b, t))| (node, m, b, t))
                .collect();
            // Nodes of one stream at one position share their noise.
            let same = |a: &(&Node<'a>, PairMetrics, &[f32], &[f32]),
                        b: &(&Node<'a>, PairMetrics, &[f32], &[f32])| {
                a.0.open == b.0.open && a.0.ids.len() == b.0.ids.len()
            };
            let groups: Vec<&[Seen<'_, 'a>]> = rows.chunk_by(same).collect();
            let chosen: Result<Vec<Vec<View>>, AuditError> = groups
                .into_par_iter()
                .map_init(Vec::new, |g, group| self.draw(group, g))
                .collect();
            views.extend(chosen?.into_iter().flatten());
        }
        Ok(views)
    }

    /// The coupled draws of nodes at one position of one stream.
    fn draw(&self, group: &[Seen<'_, 'a>], g: &mut Vec<f64>) -> Result<Vec<View>, AuditError> {
        let Some((node, ..)) = group.first() else {
            return Ok(Vec::new());
        };
        let open = get(&self.open, node.open)?;
        let prompt = self.x.prompt(&open.stream)?;
        let temperature = self.x.temperature(&open.stream);
        if temperature > 0.0 {
            let t = prompt.ids.len() + node.ids.len();
            noise(&open.key, t, self.shared, g);
        }
        Ok(group
            .iter()
            .map(|(_, m, base, tuned)| {
                let tokens = match temperature > 0.0 {
                    // The noise ends with the ids that both have, and so does a draw.
                    true => [draw(base, temperature, g), draw(tuned, temperature, g)],
                    false => [m.base.argmax, m.tuned.argmax],
                };
                View::new(m, tokens, [base, tuned])
            })
            .collect())
    }

    fn broken(&self, error: MetricsError, nodes: &[Node<'a>]) -> AuditError {
        let row = match &error {
            MetricsError::NotFinite { row, .. } | MetricsError::AllMasked { row, .. } => Some(*row),
            _ => None,
        };
        let node = row.and_then(|row| nodes.get(row));
        let open = node.and_then(|node| self.open.get(&node.open));
        let prompt = open.and_then(|open| self.x.prompts.get(open.stream.problem));
        match (node, open, prompt) {
            (Some(node), Some(open), Some(prompt)) => AuditError::Broken {
                problem_id: prompt.problem_id.clone(),
                sample: open.stream.sample,
                t: prompt.ids.len() + node.ids.len(),
                source: error,
            },
            _ => AuditError::Metrics(error),
        }
    }
}

fn draws_tokens(arm: &Arm) -> bool {
    matches!(arm.kind, Kind::Control(Versus::RandomToken, _))
}
