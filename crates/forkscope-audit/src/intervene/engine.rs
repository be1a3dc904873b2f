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
use forkscope_metrics::{MetricsError, PairMetrics, pair_rows};
use forkscope_policy::text::StreamDecoder;
use forkscope_policy::{Ended, Policy, SamplePrompt, SequenceId, Sequences};
use rayon::prelude::*;

use super::arm::{Arm, Kind, Versus};
use super::calibrate::{Calibrated, Calibration, Seen, Untouched};
use super::control::{Chosen, Forced, Material, Reference};
use super::rule::Rule;
use super::view::{TOP, View, draw, generator, noise};
use crate::AuditError;

/// Memory that keys and values of both policies may take, bytes.
const CACHE_BYTES: usize = 1 << 30;

/// Arms that run at once at most.
const MAX_WIDTH: usize = 2048;

/// What is run.
#[derive(Debug)]
pub struct Experiment<'a> {
    /// The base, b.
    pub base: &'a Policy,
    /// The tuned policy, p.
    pub tuned: &'a Policy,
    /// One per problem, in file order; its end tokens end every arm.
    pub prompts: &'a [SamplePrompt],
    /// Arms, in the order of the rows.
    pub arms: &'a [Arm],
    /// Temperatures, in the order of the rows.
    pub temperatures: &'a [f64],
    /// Samples per problem where the temperature is not 0; one where it is.
    pub samples: u32,
    /// Most tokens of a completion.
    pub max_tokens: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Asked before every step; true stops the run.
    pub interrupted: fn() -> bool,
    /// Arms that run at once at most; `None` chooses by memory.
    pub width: Option<usize>,
}

/// Arms that share their random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Place of the problem.
    pub problem: usize,
    /// Place of the temperature.
    pub temperature: usize,
    /// Sample.
    pub sample: u32,
}

/// One arm's completion.
#[derive(Debug, Clone)]
pub struct Grown {
    /// Completion ids.
    pub ids: Vec<u32>,
    /// Offsets at which a token was forced, ascending.
    pub touched: Vec<u32>,
    /// Of those, where it is not the generator's own.
    pub changed: Vec<u32>,
    /// Sum of the base's entropy over the touched, nats.
    pub touched_entropy_nats: f64,
    /// Why it ended.
    pub ended: Ended,
    trace: Vec<Trace>,
}

/// What is kept of a position of a node.
#[derive(Debug, Clone, Copy)]
struct Trace {
    seen: [Seen; 2],
    entropy: f64,
    differs: bool,
}

/// How an arm decides.
enum Deciding {
    /// The other policy's token everywhere, which is its own text.
    Other,
    /// By its guide.
    Guide(Rule),
    /// By its reference.
    Control(Chosen),
}

/// An arm that is growing.
struct Running {
    arm: usize,
    generator: usize,
    deciding: Deciding,
    touched: Vec<u32>,
    changed: Vec<u32>,
    mass: f64,
}

/// Arms with the same tokens so far.
struct Node<'a> {
    open: usize,
    base: SequenceId,
    tuned: SequenceId,
    ids: Vec<u32>,
    trace: Vec<Trace>,
    text: Option<StreamDecoder<'a>>,
    arms: Vec<Running>,
}

/// A stream in progress.
struct Open {
    place: usize,
    stream: Stream,
    key: Key,
    /// Arms that are next to start.
    waiting: Vec<usize>,
    /// Arms that wait for their references.
    controls: Vec<usize>,
    running: usize,
    grown: Vec<Option<Grown>>,
}

/// A prompt that is in the caches.
struct Root {
    base: SequenceId,
    tuned: SequenceId,
    /// Streams that start from it.
    users: usize,
}

impl<'a> Experiment<'a> {
    /// All streams, in the order of the rows.
    pub fn streams(&self) -> Vec<Stream> {
        let mut streams = Vec::new();
        for problem in 0..self.prompts.len() {
            for (temperature, t) in self.temperatures.iter().enumerate() {
                let samples = if *t == 0.0 { 1 } else { self.samples };
                streams.extend((0..samples).map(|sample| Stream {
                    problem,
                    temperature,
                    sample,
                }));
            }
        }
        streams
    }

    /// Longest sequence, prompt included.
    pub fn max_len(&self) -> usize {
        self.base.context_len().min(self.tuned.context_len())
    }

    /// Runs the untouched generators and sets every threshold.
    ///
    /// # Errors
    /// Fewer than two problems where an arm needs other problems' rollouts.
    pub fn calibrate(&self) -> Result<Option<Calibration>, AuditError> {
        if !self.arms.iter().any(Arm::needs_calibration) {
            return Ok(Some(Calibration::nothing(self.temperatures.len())));
        }
        if self.prompts.len() < 2 {
            return Err(AuditError::Calibration(
                "budgets and entropy matching take their thresholds from other problems, and there is one; give at least two, or a gate with a threshold such as js:0.1".into(),
            ));
        }
        let mut untouched: Vec<Arm> = Vec::new();
        for arm in self.arms {
            let none = Arm {
                direction: arm.direction,
                kind: Kind::None,
            };
            if !untouched.contains(&none) {
                untouched.push(none);
            }
        }
        let own = Experiment {
            arms: &untouched,
            ..*self
        };
        let streams = own.streams();
        let mut rollouts = Vec::new();
        let nothing = Calibration::nothing(self.temperatures.len());
        let whole = own.run(&nothing, &streams, &mut |stream, grown| {
            for (arm, grown) in untouched.iter().zip(grown) {
                let side = generator(arm.direction);
                rollouts.push(Untouched {
                    problem: stream.problem,
                    temperature: stream.temperature,
                    direction: arm.direction,
                    seen: grown.trace.iter().map(|t| t.seen[side]).collect(),
                });
            }
            true
        })?;
        if !whole {
            return Ok(None);
        }
        Calibration::new(self.arms, self.temperatures.len(), &rollouts).map(Some)
    }

    /// Grows all arms of `streams` and hands each stream's to `done`, in the
    /// order of the arms; streams come in the order in which they end. False if
    /// it was stopped.
    pub fn run(
        &self,
        calibration: &Calibration,
        streams: &[Stream],
        done: &mut dyn FnMut(Stream, Vec<Grown>) -> bool,
    ) -> Result<bool, AuditError> {
        Engine {
            x: self,
            calibration,
            base: self.base.sequences(),
            tuned: self.tuned.sequences(),
            shared: self.base.vocab_size().min(self.tuned.vocab_size()),
            roots: BTreeMap::new(),
            open: BTreeMap::new(),
            nodes: Vec::new(),
            started: 0,
            width: self.width(),
        }
        .run(streams, done)
    }

    /// Arms that run at once under the memory budget.
    pub fn width(&self) -> usize {
        let bytes = |policy: &Policy| {
            let c = policy.config();
            8 * c.layers * c.kv_heads * c.head_dim * self.max_tokens.min(self.max_len())
        };
        let one = (bytes(self.base) + bytes(self.tuned)).max(1);
        let width = self.width.unwrap_or(CACHE_BYTES / one);
        width.clamp(1, MAX_WIDTH)
    }

    fn prompt(&self, stream: &Stream) -> Result<&'a SamplePrompt, AuditError> {
        let prompt = self.prompts.get(stream.problem);
        prompt.ok_or_else(|| AuditError::Internal("a stream has no prompt".into()))
    }

    fn temperature(&self, stream: &Stream) -> f64 {
        let t = self.temperatures.get(stream.temperature);
        t.copied().unwrap_or(0.0)
    }
}

struct Engine<'e, 'a> {
    x: &'e Experiment<'a>,
    calibration: &'e Calibration,
    base: Sequences<'a>,
    tuned: Sequences<'a>,
    /// Ids that both vocabularies have.
    shared: usize,
    roots: BTreeMap<usize, Root>,
    open: BTreeMap<usize, Open>,
    nodes: Vec<Node<'a>>,
    /// Streams opened so far.
    started: usize,
    width: usize,
}

impl<'a> Engine<'_, 'a> {
    fn run(
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
            Kind::Control(versus, guide) => {
                let reference = self.reference(open, arm)?;
                Deciding::Control(self.control(open, limits, versus, guide, &reference)?)
            }
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
        versus: &Versus,
        guide: &super::guide::Guide,
        reference: &Reference,
    ) -> Result<Chosen, AuditError> {
        let prompt = self.x.prompt(&open.stream)?;
        Ok(Chosen::new(
            versus,
            Material {
                reference,
                tenths: &limits.tenths,
                guide: limits.rule(guide, || self.chance(open)),
                seed: self.x.seed,
                problem_id: &prompt.problem_id,
                sample: open.stream.sample,
            },
        ))
    }

    /// The completed rollout of the arm that a control is matched to.
    fn reference(&self, open: &Open, control: &Arm) -> Result<Reference, AuditError> {
        let missing = || {
            AuditError::Internal(format!(
                "{} was started before its reference",
                control.name()
            ))
        };
        let guide = control.guide().ok_or_else(missing)?;
        let is = |arm: &Arm| arm.direction == control.direction && arm.kind == Kind::Guided(*guide);
        let at = self.x.arms.iter().position(is).ok_or_else(missing)?;
        let grown = open
            .grown
            .get(at)
            .and_then(Option::as_ref)
            .ok_or_else(missing)?;
        Ok(Reference {
            entropies: grown.trace.iter().map(|t| t.entropy).collect(),
            differs: grown.trace.iter().map(|t| t.differs).collect(),
            touched: grown.touched.clone(),
            changed: grown.changed.len(),
        })
    }

    /// Both policies at the next position of every node.
    fn look(&self) -> Result<Vec<View>, AuditError> {
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
            let rows: Vec<(&Node<'a>, PairMetrics, &[f32], &[f32])> = nodes
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
            let groups: Vec<&[(&Node<'a>, PairMetrics, &[f32], &[f32])]> =
                rows.chunk_by(same).collect();
            let chosen: Result<Vec<Vec<View>>, AuditError> = groups
                .into_par_iter()
                .map_init(Vec::new, |g, group| self.draw(group, g))
                .collect();
            views.extend(chosen?.into_iter().flatten());
        }
        Ok(views)
    }

    /// The coupled draws of nodes at one position of one stream.
    fn draw(
        &self,
        group: &[(&Node<'a>, PairMetrics, &[f32], &[f32])],
        g: &mut Vec<f64>,
    ) -> Result<Vec<View>, AuditError> {
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

    /// Appends a token to every arm; nodes part where arms do.
    fn grow(&mut self, views: &[View]) -> Result<(), AuditError> {
        let nodes = std::mem::take(&mut self.nodes);
        let mut grown: Vec<(Node<'a>, u32)> = Vec::with_capacity(nodes.len());
        for (mut node, view) in nodes.into_iter().zip(views) {
            node.trace.push(Trace {
                seen: [Seen::of(view, 0), Seen::of(view, 1)],
                entropy: view.entropy,
                differs: view.differs(),
            });
            let offset = node.ids.len();
            let mut parts: BTreeMap<u32, Vec<Running>> = BTreeMap::new();
            for mut arm in std::mem::take(&mut node.arms) {
                parts.entry(arm.next(view, offset)).or_default().push(arm);
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

impl Running {
    /// The arm's next token; notes what was forced.
    fn next(&mut self, view: &View, offset: usize) -> u32 {
        let own = view.tokens.get(self.generator).copied().unwrap_or(0);
        let other = view.tokens.get(1 - self.generator).copied().unwrap_or(0);
        let forced = match &mut self.deciding {
            Deciding::Other => return other,
            Deciding::Guide(rule) => rule
                .chooses(view, self.generator, offset)
                .then_some(Forced::Other),
            Deciding::Control(chosen) => chosen.chooses(view, self.generator, offset),
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

fn is_control(arm: &Arm) -> bool {
    matches!(arm.kind, Kind::Control(..))
}

fn draws_tokens(arm: &Arm) -> bool {
    matches!(arm.kind, Kind::Control(Versus::RandomToken, _))
}

fn arm(arms: &[Arm], at: usize) -> Result<&Arm, AuditError> {
    arms.get(at)
        .ok_or_else(|| AuditError::Internal("an arm that is not there was started".into()))
}

fn get<T>(map: &BTreeMap<usize, T>, key: usize) -> Result<&T, AuditError> {
    map.get(&key)
        .ok_or_else(|| AuditError::Internal("a stream or prompt is not open".into()))
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
