//! What a run cost, stage by stage: `costs.json`.
//!
//! Every stage of every attempt is one entry: tokens, FLOPs, seconds, peak
//! memory. A resumed run appends its attempts, so totals are what was spent, the
//! work that a kill threw away included (to within a second of it). Like
//! `timing.jsonl` it differs from run to run and is no part of a run's bytes.
//!
//! - `prompt_tokens`, `completion_tokens`: tokens that went through a forward
//!   pass of sampling or scoring; a prompt that rollouts share counts once.
//! - `trained_tokens`: tokens that went forward and backward, prompts included.
//! - `flops`: an estimate, the same on every machine: 2 per parameter and token
//!   forward, and attention's 4 x width per token and visible position; see
//!   [`work`](self::Work).
//! - `seconds`: wall-clock. Dollars are seconds x price.
//! - `peak_memory_bytes`: greatest resident memory (VmHWM), mapped weights
//!   included; `peak_of` says whether it is the stage's own or, where the system
//!   does not let us reset it, that of the process so far.

mod memory;
mod meter;
mod print;
mod record;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forkscope_records::RunDir;

pub use meter::{Meter, Work, forward};
pub use print::write as write_costs;
pub use record::{Costs, read_costs};

use crate::failure::Failure;
use record::Attempt;

/// File name of the ledger.
pub const COSTS: &str = "costs.json";

/// How often an attempt that goes on is written down.
const BEAT: Duration = Duration::from_secs(1);

/// The ledger of an open run.
pub struct Ledger {
    shared: Arc<Shared>,
}

/// What the stage and the thread that writes it down share.
struct Shared {
    path: PathBuf,
    temporary: PathBuf,
    costs: Mutex<Costs>,
}

impl Ledger {
    /// The ledger of a run that is open: what is there is kept. `price` is in
    /// dollars per hour; without one the recorded price stands.
    pub fn open(run: &RunDir, price: Option<f64>) -> Result<Self, Failure> {
        let path = run.path().join(COSTS);
        let mut costs = match path.is_file() {
            true => read_costs(&path)?,
            false => Costs::default(),
        };
        costs.price_per_hour_usd = price.or(costs.price_per_hour_usd);
        let shared = Shared {
            path,
            // Where an unfinished file is swept away with the rest.
            temporary: run.path().join(".spool").join("costs.json.tmp"),
            costs: Mutex::new(costs),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Begins a stage; it ends when what is returned is dropped.
    pub fn stage(&self, name: &str) -> Result<Stage, Failure> {
        let own = memory::reset_peak();
        let at = match self.shared.costs.lock() {
            Ok(mut costs) => {
                costs.attempts.push(Attempt::begin(name, own));
                costs.attempts.len() - 1
            }
            Err(_) => return Err(Failure::Internal("the ledger is poisoned".into())),
        };
        let clock = Arc::new(Clock {
            began: Instant::now(),
            ended: Mutex::new(false),
            bell: Condvar::new(),
        });
        let meter = Arc::new(Meter::default());
        let beat = {
            let (shared, clock, meter) = (self.shared.clone(), clock.clone(), meter.clone());
            std::thread::Builder::new()
                .name("ledger".into())
                .spawn(move || clock.beat(&shared, &meter, at))
                .map_err(|e| Failure::Internal(format!("cannot start a thread: {e}")))?
        };
        let stage = Stage {
            shared: self.shared.clone(),
            clock,
            meter,
            at,
            beat: Some(beat),
        };
        stage.write(false)?;
        Ok(stage)
    }
}

/// A stage that is going on.
pub struct Stage {
    shared: Arc<Shared>,
    clock: Arc<Clock>,
    meter: Arc<Meter>,
    at: usize,
    beat: Option<JoinHandle<()>>,
}

impl Stage {
    /// Where its work is counted.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Ends it, and says if the ledger could not be written.
    pub fn end(mut self) -> Result<(), Failure> {
        self.stop();
        self.write(true)
    }

    fn stop(&mut self) {
        if let Ok(mut ended) = self.clock.ended.lock() {
            *ended = true;
        }
        self.clock.bell.notify_all();
        if let Some(beat) = self.beat.take() {
            let _ = beat.join();
        }
    }

    fn write(&self, whole: bool) -> Result<(), Failure> {
        let seconds = self.clock.began.elapsed().as_secs_f64();
        self.shared.write(self.at, &self.meter, seconds, whole)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.beat.is_some() {
            self.stop();
            // An error is on its way already; what it cost is written if it can be.
            let _ = self.write(false);
        }
    }
}

struct Clock {
    began: Instant,
    ended: Mutex<bool>,
    bell: Condvar,
}

impl Clock {
    /// Writes the attempt down every second until it ends.
    fn beat(&self, shared: &Shared, meter: &Meter, at: usize) {
        let Ok(mut ended) = self.ended.lock() else {
            return;
        };
        while !*ended {
            let Ok((guard, timeout)) = self.bell.wait_timeout(ended, BEAT) else {
                return;
            };
            ended = guard;
            if timeout.timed_out() && !*ended {
                // A disk that is full is said by the stage itself.
                let _ = shared.write(at, meter, self.began.elapsed().as_secs_f64(), false);
            }
        }
    }
}

impl Shared {
    fn write(&self, at: usize, meter: &Meter, seconds: f64, whole: bool) -> Result<(), Failure> {
        let Ok(mut costs) = self.costs.lock() else {
            return Err(Failure::Internal("the ledger is poisoned".into()));
        };
        if let Some(attempt) = costs.attempts.get_mut(at) {
            attempt.update(meter.work(), seconds, memory::peak(), whole);
        }
        let bytes = costs.to_bytes()?;
        let unwritable = |e| Failure::Input(format!("cannot write {}: {e}", self.path.display()));
        fs::write(&self.temporary, bytes).map_err(unwritable)?;
        fs::rename(&self.temporary, &self.path).map_err(unwritable)
    }
}

#[cfg(test)]
mod tests;
