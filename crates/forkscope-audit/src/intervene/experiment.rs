//! What is run: policies, prompts, arms, temperatures.

use forkscope_policy::{Ended, Policy, SamplePrompt};

use super::arm::{Arm, Kind};
use super::calibrate::{Calibration, Seen, Untouched};
use super::engine::Engine;
use super::guide::Signal;
use super::view::{View, generator};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    pub(super) trace: Vec<Trace>,
}

/// What is kept of a position of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace {
    /// Signals as a gate of either generator sees them: base, tuned.
    pub seen: [Seen; 2],
    /// H(b), nats.
    pub entropy: f64,
    /// Whether the policies would write different tokens.
    pub differs: bool,
    /// Whether their argmaxes differ.
    pub changed: bool,
}

impl Trace {
    pub(crate) fn of(view: &View) -> Self {
        Self {
            seen: [Seen::of(view, 0), Seen::of(view, 1)],
            entropy: view.entropy,
            differs: view.differs(),
            changed: view.changed(),
        }
    }

    pub(crate) fn signal(&self, signal: Signal, generator: usize) -> f64 {
        self.seen.get(generator).map_or(0.0, |s| s.signal(signal))
    }
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
        Engine::new(self, calibration).run(streams, done)
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

    pub(super) fn prompt(&self, stream: &Stream) -> Result<&'a SamplePrompt, AuditError> {
        let prompt = self.prompts.get(stream.problem);
        prompt.ok_or_else(|| AuditError::Internal("a stream has no prompt".into()))
    }

    pub(super) fn temperature(&self, stream: &Stream) -> f64 {
        let t = self.temperatures.get(stream.temperature);
        t.copied().unwrap_or(0.0)
    }
}
