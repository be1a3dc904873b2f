//! One progress bar on stderr with rate and time left. Where stderr is not a
//! terminal, or with `--quiet`, it writes nothing.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::Settings;
use crate::terminal::sanitise::sanitise;

/// Progress over a known number of units. Shared by reference between threads.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar over `total_units` of `what`, e.g. `rollouts scored`.
    pub fn new(total_units: u64, what: &str, settings: &Settings) -> Self {
        if settings.quiet || !io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let bar =
            ProgressBar::with_draw_target(Some(total_units), ProgressDrawTarget::stderr_with_hz(5));
        // The template is a constant; a default bar is as good if it is wrong.
        let style =
            ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {per_sec} {eta} left")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_prefix(sanitise(what).into_owned());
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar }
    }

    /// A bar that nobody sees.
    pub fn none() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
    }

    /// Another name before the bar.
    pub fn rename(&self, what: &str) {
        self.bar.set_prefix(sanitise(what).into_owned());
    }

    /// `units` more are done.
    pub fn inc(&self, units: u64) {
        self.bar.inc(units);
    }

    /// Units that were done before, by a run that is resumed: they move the bar, not the rate.
    pub fn skip(&self, units: u64) {
        self.bar.inc(units);
        self.bar.reset_eta();
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
