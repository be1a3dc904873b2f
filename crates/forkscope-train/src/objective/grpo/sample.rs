//! A round of sampling: completions of P problems under the current policy,
//! judged.

use forkscope_metrics::rng::Key;
use forkscope_policy::text::TextSide;
use forkscope_policy::{Completion, Policy, SamplePrompt, SampleSettings};
use rayon::prelude::*;

use super::reward::WeightedReward;
use super::rollout::{Group, Rollout, ended};
use super::settings::GrpoSettings;
use super::source::GrpoProblem;
use crate::TrainError;

/// Samples and judges the completions of the problems at `chosen`. The seed of
/// a round depends on the run's seed and the round alone.
pub(super) fn sample(
    policy: &Policy,
    problems: &[GrpoProblem],
    chosen: &[usize],
    rewards: &[WeightedReward],
    settings: &GrpoSettings,
    round: u64,
) -> Result<Vec<Group>, TrainError> {
    let text = policy.text().ok_or_else(|| {
        TrainError::Setting(
            "the model has no tokenizer.json, so completions have no text to reward; add it to \
             the model directory"
                .into(),
        )
    })?;
    let prompts: Vec<SamplePrompt> = chosen.iter().map(|i| problems[*i].prompt.clone()).collect();
    check_room(policy, &prompts, settings)?;
    let mut completions = draw(policy, &prompts, settings, round)?;
    // They come in the order in which they end.
    completions.sort_by_key(|c| (c.prompt, c.sample));
    let judge = |c: Completion| {
        let problem = &problems[chosen[c.prompt]];
        judged(text, problem, c, rewards, settings)
    };
    let judged: Vec<Rollout> = completions.into_par_iter().map(judge).collect();
    let mut judged = judged.into_iter();
    let n = settings.samples as usize;
    Ok(chosen
        .iter()
        .map(|problem| Group {
            problem: *problem,
            rollouts: judged.by_ref().take(n).collect(),
        })
        .collect())
}

/// Refuses a prompt that leaves no room for a completion.
fn check_room(
    policy: &Policy,
    prompts: &[SamplePrompt],
    settings: &GrpoSettings,
) -> Result<(), TrainError> {
    let room = policy.context_len().min(settings.max_len);
    match prompts.iter().find(|p| p.ids.len() >= room) {
        None => Ok(()),
        Some(p) => Err(TrainError::Setting(format!(
            "the prompt of problem `{}` has {} tokens and a sequence has room for {room}; leave \
             the problem out or shorten it",
            p.problem_id.escape_debug(),
            p.ids.len()
        ))),
    }
}

fn draw(
    policy: &Policy,
    prompts: &[SamplePrompt],
    settings: &GrpoSettings,
    round: u64,
) -> Result<Vec<Completion>, TrainError> {
    let seeds = Key::new(settings.seed, "", 0, "grpo rollouts");
    let sampling = SampleSettings {
        sampling: settings.sampling.clone(),
        n: settings.samples,
        max_tokens: settings.max_tokens,
        seed: seeds.rng_at(round).next_u64(),
        skip: 0,
        max_len: settings.max_len,
        interrupted: settings.interrupted,
        width: None,
    };
    let mut completions = Vec::new();
    policy.sample(prompts, &sampling, &mut |completion| {
        completions.push(completion);
        true
    })?;
    if completions.len() < prompts.len() * settings.samples as usize {
        return Err(TrainError::Interrupted);
    }
    Ok(completions)
}

fn judged(
    text: &TextSide,
    problem: &GrpoProblem,
    completion: Completion,
    rewards: &[WeightedReward],
    settings: &GrpoSettings,
) -> Rollout {
    let ended = ended(completion.ended);
    let written = text.tokenizer.decode(&completion.ids, true);
    let of = |r: &WeightedReward| r.reward.reward(&written, ended, &problem.problem);
    let mut each: Vec<f64> = rewards.iter().map(of).collect();
    let mut reward = 0.0;
    for (weighted, r) in rewards.iter().zip(&each) {
        reward += weighted.weight * r;
    }
    if let Some(overlong) = &settings.overlong {
        let punishment = overlong.of(completion.ids.len());
        each.push(punishment);
        reward += punishment;
    }
    Rollout {
        ids: completion.ids,
        logprobs: completion.logprobs,
        ended,
        rewards: each,
        reward,
    }
}
