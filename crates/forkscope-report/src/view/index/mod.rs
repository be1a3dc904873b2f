//! The list of rollouts with their numbers, made once somebody asks for it.
//!
//! A thread reads the narrow columns of `rollouts.parquet` first (the list in
//! the order of the file is there at once), then streams the columns of
//! `tokens.parquet` that the numbers are made of, row group by row group.
//! Everybody else sees what is known so far. About 150 bytes are kept per
//! rollout, none per token.

mod build;
mod metrics;
mod query;
mod state;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

pub use metrics::Kind;
pub use query::{PARAMETERS, page};
pub use state::{Entry, State};

use super::tables::Tables;

/// The index of one run.
pub struct Index {
    state: Mutex<State>,
    grown: Condvar,
    begun: Once,
    stop: AtomicBool,
}

impl Index {
    /// An index that nobody has asked for yet.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State::default()),
            grown: Condvar::new(),
            begun: Once::new(),
            stop: AtomicBool::new(false),
        }
    }

    /// Begins to build it, unless somebody has.
    pub fn begin(self: &Arc<Self>, tables: &Arc<Tables>) {
        self.begun.call_once(|| {
            let (index, tables) = (Arc::clone(self), Arc::clone(tables));
            std::thread::spawn(move || {
                let outcome = build::run(&index, &tables);
                index.change(|state| {
                    state.progress.whole = outcome.is_ok();
                    state.progress.ended = true;
                    state.progress.error = outcome.err().map(|e| e.to_string());
                });
            });
        });
    }

    /// Ends the building, as soon as it looks.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What is known so far.
    pub fn now(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known once `enough` holds, or when nothing more comes, or after
    /// the patience is used up.
    pub fn when(
        &self,
        patience: Duration,
        enough: impl Fn(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let begun = Instant::now();
        let mut state = self.now();
        while !enough(&state) && !state.progress.ended {
            let Some(left) = patience.checked_sub(begun.elapsed()) else {
                break;
            };
            let waited = self.grown.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    fn change(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.now());
        self.grown.notify_all();
    }
}
