//! How long a step took, and its parts.

use std::time::Instant;

use super::log::{Line, number};
use super::watch::StepReport;

/// Times the parts of a step, in seconds.
pub(super) struct Clock {
    began: Instant,
    last: Instant,
    laps: Line,
}

impl Clock {
    pub fn start() -> Self {
        let began = Instant::now();
        Self {
            began,
            last: began,
            laps: Line::default(),
        }
    }

    /// The part that ends now took all the time since the one before.
    pub fn lap(&mut self, part: &str) {
        let seconds = self.last.elapsed().as_secs_f64();
        self.laps.put(part, number(seconds));
        self.last = Instant::now();
    }

    /// Seconds since the start.
    pub fn total(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// The line of `timing.jsonl`.
    pub fn line(self, report: &StepReport) -> Line {
        let mut line = Line::default();
        line.put("step", report.step);
        line.put("seconds", number(report.seconds));
        line.put("tokens", report.tokens);
        let rate = report.tokens as f64 / report.seconds;
        line.put("tokens_per_second", number(rate));
        line.extend(self.laps);
        line
    }
}
