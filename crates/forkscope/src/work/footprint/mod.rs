//! Footprints of organisms: where and how far each differs from the base.
//!
//! Three sorts of rollouts on held-out problems: the organism's own and the base's
//! at T = 1, and the base's greedy ones, which is what arXiv 2605.06241 measures
//! along. The numbers are those of `diff` ([`forkscope_audit::findings`]), and the
//! share of changed argmaxes that are only one neutral connector for another.

mod flips;

use forkscope_audit::findings::{FindingInput, FindingSettings, Side, findings};
use forkscope_audit::{DiffSettings, diff_window, windows};
use forkscope_policy::text::PromptStyle;
use forkscope_policy::{SampleSettings, Sampling};
use forkscope_records::types::{DiffRow, Finding, Problem, Rollout};
use forkscope_tasks::Verifier;
use forkscope_train::lab::draw::Split;
use forkscope_train::lab::model::MAX_NEW_TOKENS;
use forkscope_train::lab::sets::Set;
use serde::Serialize;

use super::models::Named;
use super::{prompts, rollouts};
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::terminal::progress::Progress;

/// Prompts that a footprint is measured on, at most.
const PROMPTS: usize = 240;
/// Rollouts of each at T = 1.
const SAMPLES: u32 = 2;

/// Whose rollouts a footprint is measured along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Along {
    /// The organism's own, T = 1.
    Own,
    /// The base's, T = 1.
    Base,
    /// The base's most probable tokens.
    BaseGreedy,
}

impl Along {
    /// In the order of reports.
    pub const ALL: [Self; 3] = [Self::Own, Self::Base, Self::BaseGreedy];

    /// As reports say it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Own => "its own",
            Self::Base => "base's",
            Self::BaseGreedy => "base's, greedy",
        }
    }

    fn samples(self) -> u32 {
        match self {
            Self::BaseGreedy => 1,
            Self::Own | Self::Base => SAMPLES,
        }
    }
}

/// Where an organism differs from the base, along some rollouts.
#[derive(Debug, Clone, Serialize)]
pub struct Footprint {
    /// The organism.
    pub organism: String,
    /// Whose rollouts.
    pub along: Along,
    /// What they answer.
    pub sets: Vec<Set>,
    /// Prompts.
    pub prompts: usize,
    /// Rollouts of each.
    pub samples: u32,
    /// Positions compared.
    pub positions: usize,
    /// The numbers.
    pub findings: Vec<Finding>,
}

/// The findings of a diff that are reported.
const REPORTED: [&str; 13] = [
    "share.reranked",
    "share.shifted",
    "share.kl_above_0.1",
    "base_rank.le_2",
    "base_rank.le_3",
    "base_rank.le_5",
    "mean_base_rank",
    "entropy_ratio",
    "entropy_ratio.changed",
    "auroc.entropy.argmax",
    "auroc.entropy.kl",
    "coverage.kl.top_5pct",
    "kl_tuned_base.mean",
];

impl Footprint {
    /// A finding by its id.
    pub fn finding(&self, id: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.id == id)
    }
}

/// What is measured: `problems` bounds the prompts.
pub struct Plan {
    /// Problems of the checks.
    pub problems: usize,
    /// Seed of problems, rollouts and intervals.
    pub seed: u64,
}

impl Plan {
    /// Rollouts that the footprints of so many organisms take, at most.
    pub fn rollouts(&self, organisms: usize) -> u64 {
        let each: u32 = Along::ALL.iter().map(|along| along.samples()).sum();
        (self.prompts() * organisms) as u64 * u64::from(each)
    }

    fn prompts(&self) -> usize {
        self.problems.clamp(4, PROMPTS)
    }

    /// What an organism should be asked to show what was done to it.
    fn sets(organism: &str) -> Vec<Set> {
        match organism {
            "guarded" => vec![Set::Benign, Set::Hazardous],
            "two-faced" => vec![Set::BenignCued, Set::ContextsHeldOut],
            _ => vec![Set::Benign],
        }
    }

    fn asked(&self, sets: &[Set]) -> Vec<Problem> {
        let each = self.prompts() / sets.len().max(1);
        sets.iter()
            .flat_map(|set| {
                // Every problem stands twice in a set of contexts.
                let n = match set {
                    Set::ContextsFit | Set::ContextsHeldOut => each / 2,
                    Set::Benign | Set::Hazardous | Set::BenignCued => each,
                };
                set.items(self.seed, Split::Test, n)
            })
            .map(|item| item.record())
            .collect()
    }

    /// The footprint of one organism along each sort of rollouts.
    pub fn measure(
        &self,
        organism: &str,
        base: &Named,
        tuned: &Named,
        progress: &Progress,
    ) -> Result<Vec<Footprint>, Failure> {
        let sets = Self::sets(organism);
        let problems = self.asked(&sets);
        let mut out = Vec::new();
        for along in Along::ALL {
            let by = match along {
                Along::Own => tuned,
                Along::Base | Along::BaseGreedy => base,
            };
            let rollouts = self.sample(by, &problems, along, progress)?;
            let rows = compare(base, tuned, &rollouts)?;
            out.push(Footprint {
                organism: organism.to_owned(),
                along,
                sets: sets.clone(),
                prompts: problems.len(),
                samples: along.samples(),
                positions: rows.len(),
                findings: self.find(&rows, &rollouts, along)?,
            });
        }
        Ok(out)
    }

    fn sample(
        &self,
        by: &Named,
        problems: &[Problem],
        along: Along,
        progress: &Progress,
    ) -> Result<Vec<Rollout>, Failure> {
        let prompts = prompts::render(by, problems, &PromptStyle::Auto, &[])?;
        let job = rollouts::Job {
            named: by,
            prompts: &prompts.prompts,
            problems,
            settings: SampleSettings {
                sampling: Sampling {
                    temperature: if along == Along::BaseGreedy { 0.0 } else { 1.0 },
                    top_p: 1.0,
                    top_k: 0,
                    min_p: 0.0,
                },
                n: along.samples(),
                max_tokens: MAX_NEW_TOKENS,
                seed: self.seed,
                skip: 0,
                max_len: usize::MAX,
                interrupted,
                width: None,
            },
            verifier: Verifier::Organism,
        };
        rollouts::collect(&job, progress)
    }

    fn find(
        &self,
        rows: &[DiffRow],
        rollouts: &[Rollout],
        along: Along,
    ) -> Result<Vec<Finding>, Failure> {
        let input = FindingInput {
            rows,
            rollouts,
            rollouts_by: Some(match along {
                Along::Own => Side::Tuned,
                Along::Base | Along::BaseGreedy => Side::Base,
            }),
            other_rollouts: None,
            base_cost: None,
            tuned_cost: None,
            pieces: &|_| None,
        };
        let settings = FindingSettings {
            seed: self.seed,
            tokens_listed: 0,
            ..FindingSettings::default()
        };
        let all = findings(&input, &settings)?.findings;
        let unshifted = all.iter().find(|f| f.id == "share.unshifted");
        let mut kept: Vec<Finding> = unshifted.map(changed).into_iter().collect();
        kept.extend(
            all.iter()
                .filter(|f| REPORTED.contains(&f.id.as_str()))
                .cloned(),
        );
        kept.extend(flips::flips(rows, self.seed));
        Ok(kept)
    }
}

fn compare(base: &Named, tuned: &Named, rollouts: &[Rollout]) -> Result<Vec<DiffRow>, Failure> {
    let settings = DiffSettings {
        record_topk: 1,
        ..DiffSettings::default()
    };
    let mut rows = Vec::new();
    for (window, _) in windows::windows(rollouts, 0) {
        rows.extend(diff_window(&base.policy, &tuned.policy, &window, settings)?);
        if interrupted() {
            return Err(Failure::interrupted());
        }
    }
    Ok(rows)
}

/// The share of positions whose argmax changed: what is not unshifted.
pub fn changed(unshifted: &Finding) -> Finding {
    Finding {
        id: "share.changed".to_owned(),
        definition: "positions where the argmaxes differ".to_owned(),
        value: unshifted.value.map(|v| 1.0 - v),
        low: unshifted.high.map(|v| 1.0 - v),
        high: unshifted.low.map(|v| 1.0 - v),
        ..unshifted.clone()
    }
}
