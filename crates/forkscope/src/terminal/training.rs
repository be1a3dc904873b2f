//! The progress bar of a training run: loss, reward, tokens per second, time
//! left.

use std::time::Instant;

use forkscope_train::run::{StepReport, Watch};

use crate::cli::Settings;
use crate::terminal::progress::Progress;
use crate::terminal::sanitise::sanitise;

/// Follows a run on stderr.
pub struct TrainingBar {
    progress: Progress,
    what: String,
    began: Instant,
    tokens: u64,
    score: Option<f64>,
}

impl TrainingBar {
    /// A bar over the steps of a run.
    pub fn new(steps: u64, what: &str, settings: &Settings) -> Self {
        Self {
            progress: Progress::new(steps, what, settings),
            what: what.to_owned(),
            began: Instant::now(),
            tokens: 0,
            score: None,
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.progress.finish();
    }
}

impl Watch for TrainingBar {
    fn step(&mut self, report: &StepReport) {
        self.tokens += report.tokens;
        let rate = self.tokens as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
        let mut said = self.what.clone();
        if let Some(loss) = report.loss {
            said.push_str(&format!(" loss {loss:.4}"));
        }
        if let Some(reward) = report.reward {
            said.push_str(&format!(" reward {reward:.3}"));
        }
        if let Some(score) = self.score {
            said.push_str(&format!(" held out {score:.3}"));
        }
        said.push_str(&format!(" {rate:.0} tok/s"));
        self.progress.rename(&said);
        self.progress.inc(1);
    }

    fn evaluated(&mut self, _step: u64, score: Option<f64>) {
        self.score = score;
    }

    fn resumed(&mut self, step: u64) {
        self.progress.skip(step);
    }

    fn notice(&mut self, text: &str) {
        eprintln!("warning: {}", sanitise(text));
    }
}
