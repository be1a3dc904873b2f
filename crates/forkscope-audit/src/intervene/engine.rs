//! Two policies in lock step over many arms.
//!
//! Arms of one (problem, temperature, sample) whose tokens so far are the same
//! are one node: one sequence and one forward pass per policy and position, for
//! both directions. Where their next tokens differ the node is forked. All nodes
//! of all problems that are open go through a forward pass together; a
//! sequence's numbers do not depend on the others, so neither the width nor the
//! number of threads changes a token.

use std::collections::BTreeMap;

use forkscope_metrics::rng::Key;
use forkscope_policy::text::StreamDecoder;
use forkscope_policy::{SequenceId, Sequences};

use super::arm::{Arm, Kind, Versus};
use super::calibrate::{Calibrated, Calibration};
use super::control::{Chosen, Material, Reference};
use super::experiment::{Experiment, Grown, Stream, Trace};
use super::guide::Guide;
use super::rule::Rule;
use super::view::generator;
use crate::AuditError;

/// How an arm decides.
pub(super) enum Deciding {
    /// The other policy's token everywhere, which is its own text.
    Other,
    /// By its guide.
    Guide(Rule),
    /// By its reference.
    Control(Box<Chosen>),
}

/// An arm that is growing.
pub(super) struct Running {
    pub(super) arm: usize,
    pub(super) generator: usize,
    pub(super) deciding: Deciding,
    pub(super) touched: Vec<u32>,
    pub(super) changed: Vec<u32>,
    pub(super) mass: f64,
}

/// Arms with the same tokens so far.
pub(super) struct Node<'a> {
    pub(super) open: usize,
    pub(super) base: SequenceId,
    pub(super) tuned: SequenceId,
    pub(super) ids: Vec<u32>,
    pub(super) trace: Vec<Trace>,
    pub(super) text: Option<StreamDecoder<'a>>,
    pub(super) arms: Vec<Running>,
}

/// A stream in progress.
pub(super) struct Open {
    pub(super) place: usize,
    pub(super) stream: Stream,
    pub(super) key: Key,
    /// Arms that are next to start.
    pub(super) waiting: Vec<usize>,
    /// Arms that wait for their references.
    pub(super) controls: Vec<usize>,
    pub(super) running: usize,
    pub(super) grown: Vec<Option<Grown>>,
}

/// A prompt that is in the caches.
pub(super) struct Root {
    pub(super) base: SequenceId,
    pub(super) tuned: SequenceId,
    /// Streams that start from it.
    pub(super) users: usize,
}

pub(super) struct Engine<'e, 'a> {
    pub(super) x: &'e Experiment<'a>,
    pub(super) calibration: &'e Calibration,
    pub(super) base: Sequences<'a>,
    pub(super) tuned: Sequences<'a>,
    /// Ids that both vocabularies have.
    pub(super) shared: usize,
    pub(super) roots: BTreeMap<usize, Root>,
    pub(super) open: BTreeMap<usize, Open>,
    pub(super) nodes: Vec<Node<'a>>,
    /// Streams opened so far.
    pub(super) started: usize,
    pub(super) width: usize,
}

impl<'e, 'a> Engine<'e, 'a> {
    pub(super) fn new(x: &'e Experiment<'a>, calibration: &'e Calibration) -> Self {
        Self {
            x,
            calibration,
            base: x.base.sequences(),
            tuned: x.tuned.sequences(),
            shared: x.base.vocab_size().min(x.tuned.vocab_size()),
            roots: BTreeMap::new(),
            open: BTreeMap::new(),
            nodes: Vec::new(),
            started: 0,
            width: x.width(),
        }
    }

    /// Grows all arms of all streams.
    pub(super) fn run(
        mut self,
        streams: &[Stream],
        done: &mut dyn FnMut(Stream, Vec<Grown>) -> bool,
    ) -> Result<bool, AuditError> {
        loop {
            self.start(streams)?;
            if self.nodes.is_empty() {
                return Ok(true);
            }
            if (self.x.interrupted)() {
                return Ok(false);
            }
            let views = self.look()?;
            self.grow(&views)?;
            if !self.finish(done)? {
                return Ok(false);
            }
        }
    }

    /// Fills the width: first what waits in open streams, then new streams.
    fn start(&mut self, streams: &[Stream]) -> Result<(), AuditError> {
        let mut running: usize = self.open.values().map(|o| o.running).sum();
        let mut batches: Vec<(usize, Vec<usize>)> = Vec::new();
        for (place, open) in &mut self.open {
            let room = self.width.saturating_sub(running);
            let n = open.waiting.len().min(room);
            if n > 0 {
                batches.push((*place, open.waiting.drain(..n).collect()));
                running += n;
            }
        }
        let mut roots = Vec::new();
        let arms = self.x.arms;
        while let Some(stream) = streams.get(self.started) {
            let (controls, first): (Vec<usize>, Vec<usize>) =
                (0..arms.len()).partition(|i| is_control(&arms[*i]));
            if running > 0 && running + first.len() > self.width {
                break;
            }
            match self.roots.get_mut(&stream.problem) {
                Some(root) => root.users += 1,
                None if roots.contains(&stream.problem) => {}
                None => roots.push(stream.problem),
            }
            let prompt = self.x.prompt(stream)?;
            let key = Key::new(self.x.seed, &prompt.problem_id, stream.sample, "gumbel");
            let mut open = Open {
                place: self.started,
                stream: *stream,
                key,
                waiting: first,
                controls,
                running: 0,
                grown: (0..arms.len()).map(|_| None).collect(),
            };
            let n = open.waiting.len().min(self.width);
            batches.push((open.place, open.waiting.drain(..n).collect()));
            running += n;
            self.open.insert(open.place, open);
            self.started += 1;
        }
        self.open_roots(&roots)?;
        for (place, arms) in batches {
            self.start_arms(place, &arms)?;
        }
        Ok(())
    }

    fn open_roots(&mut self, problems: &[usize]) -> Result<(), AuditError> {
        let prompts: Vec<&[u32]> = problems
            .iter()
            .filter_map(|p| self.x.prompts.get(*p))
            .map(|p| p.ids.as_slice())
            .collect();
        let base = self.base.open(&prompts)?;
        let tuned = self.tuned.open(&prompts)?;
        for ((problem, base), tuned) in problems.iter().zip(base).zip(tuned) {
            let of = |o: &&Open| o.stream.problem == *problem;
            let users = self.open.values().filter(of).count();
            self.roots.insert(*problem, Root { base, tuned, users });
        }
        Ok(())
    }

    /// One node at the prompt for these arms of a stream.
    fn start_arms(&mut self, place: usize, arms: &[usize]) -> Result<(), AuditError> {
        let open = get(&self.open, place)?;
        let root = get(&self.roots, open.stream.problem)?;
        let running: Result<Vec<Running>, AuditError> =
            arms.iter().map(|arm| self.running(open, *arm)).collect();
        let prompt = self.x.prompt(&open.stream)?;
        let text = self.x.base.text().filter(|_| !prompt.stop.is_empty());
        self.nodes.push(Node {
            open: place,
            base: self.base.fork(root.base)?,
            tuned: self.tuned.fork(root.tuned)?,
            ids: Vec::new(),
            trace: Vec::new(),
            text: text.map(|t| t.tokenizer.stream(true)),
            arms: running?,
        });
        if let Some(open) = self.open.get_mut(&place) {
            open.running += arms.len();
        }
        Ok(())
    }

    /// An arm at its start.
    fn running(&self, open: &Open, at: usize) -> Result<Running, AuditError> {
        let arm = arm(self.x.arms, at)?;
        let s = open.stream;
        let limits = self
            .calibration
            .of(s.problem, s.temperature, arm.direction)?;
        let deciding = match &arm.kind {
            Kind::None => Deciding::Guide(Rule::Never),
            Kind::Other => Deciding::Other,
            Kind::Guided(guide) => Deciding::Guide(limits.rule(guide, || self.chance(open))),
            Kind::Control(versus, guide) => Deciding::Control(Box::new(self.control(
                open,
                limits,
                (arm, versus, guide),
            )?)),
        };
        Ok(Running {
            arm: at,
            generator: generator(arm.direction),
            deciding,
            touched: Vec::new(),
            changed: Vec::new(),
            mass: 0.0,
        })
    }

    /// Random words of `random/SHARE`.
    fn chance(&self, open: &Open) -> Key {
        let id = self.x.prompts.get(open.stream.problem);
        let id = id.map_or("", |p| p.problem_id.as_str());
        Key::new(self.x.seed, id, open.stream.sample, "intervene/chance")
    }

    fn control(
        &self,
        open: &Open,
        limits: &Calibrated,
        (arm, versus, guide): (&Arm, &Versus, &Guide),
    ) -> Result<Chosen, AuditError> {
        let prompt = self.x.prompt(&open.stream)?;
        let guided = self.grown(open, arm, Kind::Guided(*guide))?;
        let untouched = self.grown(open, arm, Kind::None)?;
        Ok(Chosen::new(
            versus,
            Material {
                reference: Reference {
                    trace: &guided.trace,
                    touched: &guided.touched,
                    changed: guided.changed.len(),
                },
                untouched: &untouched.trace,
                generator: generator(arm.direction),
                tenths: &limits.tenths,
                guide: limits.rule(guide, || self.chance(open)),
                seed: self.x.seed,
                problem_id: &prompt.problem_id,
                sample: open.stream.sample,
            },
        ))
    }

    /// What an arm of the control's direction has grown, which is done by then.
    fn grown<'o>(
        &self,
        open: &'o Open,
        control: &Arm,
        kind: Kind,
    ) -> Result<&'o Grown, AuditError> {
        let is = |arm: &Arm| arm.direction == control.direction && arm.kind == kind;
        let at = self.x.arms.iter().position(is);
        let grown = at.and_then(|at| open.grown.get(at)?.as_ref());
        grown.ok_or_else(|| {
            AuditError::Internal(format!("{} was started too early", control.name()))
        })
    }
    /// Streams without a running arm go on to their controls, or are handed out.
    fn finish(
        &mut self,
        done: &mut dyn FnMut(Stream, Vec<Grown>) -> bool,
    ) -> Result<bool, AuditError> {
        let idle: Vec<usize> = self
            .open
            .values_mut()
            .filter(|o| o.running == 0 && o.waiting.is_empty())
            .filter_map(|o| {
                o.waiting = std::mem::take(&mut o.controls);
                o.waiting.is_empty().then_some(o.place)
            })
            .collect();
        let mut go_on = true;
        for place in idle {
            let Some(open) = self.open.remove(&place) else {
                continue;
            };
            let grown: Option<Vec<Grown>> = open.grown.into_iter().collect();
            let grown = grown.ok_or_else(|| {
                AuditError::Internal("a stream ended before all of its arms".into())
            })?;
            go_on &= done(open.stream, grown);
            self.leave(open.stream.problem);
        }
        Ok(go_on)
    }

    /// One stream less starts from a prompt.
    fn leave(&mut self, problem: usize) {
        let Some(root) = self.roots.get_mut(&problem) else {
            return;
        };
        root.users = root.users.saturating_sub(1);
        if root.users == 0 {
            self.base.close(root.base);
            self.tuned.close(root.tuned);
            self.roots.remove(&problem);
        }
    }
}

fn is_control(arm: &Arm) -> bool {
    matches!(arm.kind, Kind::Control(..))
}

fn arm(arms: &[Arm], at: usize) -> Result<&Arm, AuditError> {
    arms.get(at)
        .ok_or_else(|| AuditError::Internal("an arm that is not there was started".into()))
}

pub(super) fn get<T>(map: &BTreeMap<usize, T>, key: usize) -> Result<&T, AuditError> {
    map.get(&key)
        .ok_or_else(|| AuditError::Internal("a stream or prompt is not open".into()))
}
