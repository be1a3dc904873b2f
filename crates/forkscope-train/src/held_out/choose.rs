//! The evaluation that a training run chooses its best checkpoint by.

use forkscope_policy::SamplePrompt;
use forkscope_records::types::Problem;

use super::{HeldOutSettings, evaluate};
use crate::TrainError;
use crate::engine::Network;
use crate::run::{Evaluate, Evaluation};

/// Held-out problems as a run asks them: the score is `pass_at_1`.
#[derive(Debug, Clone)]
pub struct HeldOutEvaluation {
    /// The problems as prompts, in their order.
    pub prompts: Vec<SamplePrompt>,
    /// The problems.
    pub problems: Vec<Problem>,
    /// How they are answered and graded.
    pub settings: HeldOutSettings,
}

impl Evaluate for HeldOutEvaluation {
    fn evaluate(&mut self, _step: u64, network: &Network) -> Result<Evaluation, TrainError> {
        let policy = network.policy()?;
        let found = evaluate(&policy, &self.prompts, &self.problems, &self.settings)?;
        let share = |n: u64| n as f64 / found.n.max(1) as f64;
        let mut log = vec![("eval_pass_at_1", found.pass_at_1)];
        if let Some(interval) = found.interval {
            log.push(("eval_pass_at_1_low", interval.low));
            log.push(("eval_pass_at_1_high", interval.high));
        }
        log.push(("eval_tokens_per_answer", found.tokens_per_answer));
        log.push(("eval_truncated_share", share(found.truncated)));
        log.push(("eval_no_answer_share", share(found.no_answer)));
        Ok(Evaluation {
            score: Some(found.pass_at_1),
            log: log.into_iter().map(|(n, x)| (n.to_owned(), x)).collect(),
        })
    }
}
