//! One token more for every arm; nodes part where arms do.

use std::collections::BTreeMap;

use forkscope_policy::{Ended, SequenceId};

use super::control::Forced;
use super::engine::{Deciding, Engine, Node, Running, get};
use super::experiment::{Grown, Trace};
use super::view::View;
use crate::AuditError;

impl<'a> Engine<'_, 'a> {
    /// Appends a token to every arm; nodes part where arms do.
    pub(super) fn grow(&mut self, views: &[View]) -> Result<(), AuditError> {
        let nodes = std::mem::take(&mut self.nodes);
        let mut grown: Vec<(Node<'a>, u32)> = Vec::with_capacity(nodes.len());
        for (mut node, view) in nodes.into_iter().zip(views) {
            let trace = Trace::of(view);
            node.trace.push(trace);
            let offset = node.ids.len();
            let mut parts: BTreeMap<u32, Vec<Running>> = BTreeMap::new();
            for mut arm in std::mem::take(&mut node.arms) {
                parts
                    .entry(arm.next(view, &trace, offset))
                    .or_default()
                    .push(arm);
            }
            let mut going = Vec::new();
            for (token, arms) in parts {
                match self.ended(&node, token)? {
                    Some(ended) => self.end(&node, token, arms, ended)?,
                    None => going.push((token, arms)),
                }
            }
            self.part(node, going, &mut grown)?;
        }
        let base: Vec<(SequenceId, [u32; 1])> =
            grown.iter().map(|(n, token)| (n.base, [*token])).collect();
        let tuned: Vec<(SequenceId, [u32; 1])> =
            grown.iter().map(|(n, token)| (n.tuned, [*token])).collect();
        self.base.extend(&slices(&base))?;
        self.tuned.extend(&slices(&tuned))?;
        self.nodes = grown
            .into_iter()
            .map(|(mut node, token)| {
                node.ids.push(token);
                node
            })
            .collect();
        Ok(())
    }

    /// The last part keeps the sequences, the others fork them.
    fn part(
        &mut self,
        node: Node<'a>,
        mut going: Vec<(u32, Vec<Running>)>,
        grown: &mut Vec<(Node<'a>, u32)>,
    ) -> Result<(), AuditError> {
        let Some((last, arms_of_last)) = going.pop() else {
            self.base.close(node.base);
            self.tuned.close(node.tuned);
            return Ok(());
        };
        for (token, arms) in going {
            let mut text = node.text.clone();
            if let Some(text) = &mut text {
                text.push(token);
            }
            let forked = Node {
                open: node.open,
                base: self.base.fork(node.base)?,
                tuned: self.tuned.fork(node.tuned)?,
                ids: node.ids.clone(),
                trace: node.trace.clone(),
                text,
                arms,
            };
            grown.push((forked, token));
        }
        let mut node = Node {
            arms: arms_of_last,
            ..node
        };
        if let Some(text) = &mut node.text {
            text.push(last);
        }
        grown.push((node, last));
        Ok(())
    }

    /// Whether the token ends the node's text, and why.
    fn ended(&self, node: &Node<'a>, token: u32) -> Result<Option<Ended>, AuditError> {
        let open = get(&self.open, node.open)?;
        let prompt = self.x.prompt(&open.stream)?;
        let len = node.ids.len() + 1;
        let stopped = node.text.as_ref().is_some_and(|text| {
            let mut text = text.clone();
            let added = text.push(token).len();
            ends_in_stop(text.text(), added, &prompt.stop)
        });
        Ok(if prompt.eos.contains(&token) {
            Some(Ended::Eos)
        } else if stopped {
            Some(Ended::Stop)
        } else if len >= self.x.max_tokens {
            Some(Ended::Length)
        } else if prompt.ids.len() + len >= self.x.max_len() {
            Some(Ended::Context)
        } else {
            None
        })
    }

    fn end(
        &mut self,
        node: &Node<'a>,
        token: u32,
        arms: Vec<Running>,
        ended: Ended,
    ) -> Result<(), AuditError> {
        let open = self
            .open
            .get_mut(&node.open)
            .ok_or_else(|| AuditError::Internal("a node has no stream".into()))?;
        open.running = open.running.saturating_sub(arms.len());
        for arm in arms {
            let mut ids = node.ids.clone();
            ids.push(token);
            let grown = Grown {
                ids,
                touched: arm.touched,
                changed: arm.changed,
                touched_entropy_nats: arm.mass,
                ended,
                trace: node.trace.clone(),
            };
            if let Some(slot) = open.grown.get_mut(arm.arm) {
                *slot = Some(grown);
            }
        }
        Ok(())
    }
}

impl Running {
    /// The arm's next token; notes what was forced.
    fn next(&mut self, view: &View, trace: &Trace, offset: usize) -> u32 {
        let own = view.tokens.get(self.generator).copied().unwrap_or(0);
        let other = view.tokens.get(1 - self.generator).copied().unwrap_or(0);
        let forced = match &mut self.deciding {
            Deciding::Other => return other,
            Deciding::Guide(rule) => rule
                .chooses(trace, self.generator, offset)
                .then_some(Forced::Other),
            Deciding::Control(chosen) => chosen.chooses(view, trace, self.generator, offset),
        };
        let token = match forced {
            None => return own,
            Some(Forced::Other) => other,
            Some(Forced::Token(token)) => token,
        };
        self.touched.push(offset as u32);
        self.mass += view.entropy;
        if token != own {
            self.changed.push(offset as u32);
        }
        token
    }
}

fn slices(tokens: &[(SequenceId, [u32; 1])]) -> Vec<(SequenceId, &[u32])> {
    tokens.iter().map(|(id, t)| (*id, t.as_slice())).collect()
}

/// Whether a stop string occurs in `text`, of which all but the last `added`
/// bytes have been searched before.
fn ends_in_stop(text: &str, added: usize, stop: &[String]) -> bool {
    stop.iter().any(|s| {
        let mut from = text.len().saturating_sub(added + s.len());
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        text.get(from..).is_some_and(|end| end.contains(s.as_str()))
    })
}
