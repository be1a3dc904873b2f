//! The fixtures' GRPO cases: by the run's own source where the reference is the
//! network without its adapter, else by shards with the fixtures' references.

use forkscope_policy::SamplePrompt;
use forkscope_records::types::{Problem, ProblemPrompt};
use forkscope_train::engine::{Head, Pack, Site, Which};
use forkscope_train::objective::grpo::loss::{Aggregation, Importance, LossSettings, StepCounts};
use forkscope_train::objective::grpo::select::{DivergenceWeights, entropy_threshold};
use forkscope_train::objective::grpo::{
    GrpoProblem, GrpoSettings, GrpoShard, GrpoSource, Reward, Sequence, WeightedReward,
};
use forkscope_train::objective::rows::entropy;
use forkscope_train::run::Source;
use serde_json::json;

use super::hash;
use super::shards::{Inputs, Shards};

/// Most tokens of a completion, as `make_objectives.py` has it.
const MAX_TOKENS: usize = 48;

impl Inputs<'_> {
    fn rewards(&self) -> Vec<f64> {
        let flat = self.case.settings["flat"].as_u64();
        let mut out = Vec::new();
        for (g, group) in self.fixture.batch.iter().enumerate() {
            for _ in &group.completions {
                let own = hash::uniform("reward", out.len()).abs();
                out.push(if flat == Some(g as u64) { 0.5 } else { own });
            }
        }
        out
    }

    fn grpo_loss(&self) -> LossSettings {
        let text = |name: &str| {
            self.case.settings[name]
                .as_str()
                .unwrap_or("token")
                .to_owned()
        };
        LossSettings {
            epsilon_low: self.case.setting("eps_low"),
            epsilon_high: self.case.setting("eps_high"),
            beta: self.case.setting("beta"),
            importance: match text("ratio_of").as_str() {
                "sequence" => Importance::Sequence,
                _ => Importance::Token,
            },
            aggregation: match text("level").as_str() {
                "sequence" => Aggregation::Sequence,
                "constant" => Aggregation::Constant,
                _ => Aggregation::Token,
            },
        }
    }

    fn top_entropy(&self) -> f64 {
        self.case.settings["top_entropy"].as_f64().unwrap_or(1.0)
    }

    /// A run's own source, given rollouts as a checkpoint would hold them.
    pub(super) fn grpo_source(&self) -> Shards {
        let columns = self.columns();
        let rewards = self.rewards();
        let mut s = 0;
        let mut groups = Vec::new();
        for (g, group) in self.fixture.batch.iter().enumerate() {
            let mut rollouts = Vec::new();
            for ids in &group.completions {
                let old: Vec<f32> = columns[s][1].iter().map(|x| *x as f32).collect();
                rollouts.push(json!({ "ids": ids, "logprobs": old, "ended": true,
                    "rewards": [rewards[s]], "reward": rewards[s] }));
                s += 1;
            }
            groups.push(json!({ "problem": g, "rollouts": rollouts }));
        }
        let problems: Vec<GrpoProblem> = self
            .fixture
            .batch
            .iter()
            .enumerate()
            .map(|(g, group)| GrpoProblem {
                problem: Problem {
                    id: g.to_string(),
                    prompt: ProblemPrompt::Text(String::new()),
                    answer: None,
                    category: None,
                },
                prompt: SamplePrompt {
                    problem_id: g.to_string(),
                    ids: group.prompt.clone(),
                    stop: vec![],
                    eos: vec![],
                },
            })
            .collect();
        let settings = GrpoSettings {
            problems: problems.len(),
            samples: 4,
            loss: self.grpo_loss(),
            top_entropy_quantile: self.top_entropy(),
            divergence: self.case.settings["divergence"].as_array().map(|d| {
                let number = |i: usize| d[i].as_f64().unwrap();
                DivergenceWeights {
                    strength: number(0),
                    alpha: number(1),
                }
            }),
            max_tokens: MAX_TOKENS,
            shard_rows: self.rows,
            ..GrpoSettings::default()
        };
        let reward = WeightedReward {
            reward: Box::new(Known),
            weight: 1.0,
        };
        let mut source = GrpoSource::new(problems, vec![reward], settings).unwrap();
        source
            .restore(&json!({ "num_tokens": 0, "round": { "round": 0, "groups": groups } }))
            .unwrap();
        source.step(0, self.network).unwrap().shards
    }

    /// Shards of made-up references, which a run of full weights has not.
    pub(super) fn grpo(&self) -> Shards {
        let (columns, rewards) = (self.columns(), self.rewards());
        let step = StepCounts {
            tokens: columns.iter().map(|c| c[0].len() as u64).sum(),
            completions: columns.len() as u64,
            max_tokens: MAX_TOKENS as u64,
        };
        let settings = self.grpo_loss();
        let mut packs = Vec::new();
        for group in &self.fixture.batch {
            let mut pack = Pack::default();
            let ids: Vec<&[u32]> = group.completions.iter().map(Vec::as_slice).collect();
            let sites = pack.add_group(&group.prompt, &ids).unwrap();
            packs.push((pack, sites));
        }
        let entropies: Vec<Vec<f64>> = packs
            .iter()
            .flat_map(|(pack, sites)| sites.iter().map(|s| self.entropies(pack, s)))
            .collect();
        let least = (self.top_entropy() < 1.0)
            .then(|| entropy_threshold(&entropies.concat(), self.top_entropy()).unwrap());
        let mut s = 0;
        let mut out: Shards = Vec::new();
        for (pack, sites) in packs {
            let rewards = &rewards[s..s + sites.len()];
            let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
            let squares: f64 = rewards.iter().map(|r| (r - mean) * (r - mean)).sum();
            let deviation = (squares / (rewards.len() - 1) as f64).sqrt();
            let mut sequences = Vec::new();
            for (sites, reward) in sites.into_iter().zip(rewards) {
                let [_, old, reference] = &columns[s];
                sequences.push(Sequence {
                    old: old.iter().map(|x| *x as f32).collect(),
                    reference: reference.clone(),
                    advantages: vec![(reward - mean) / (deviation + 1e-4); sites.len()],
                    mask: least.map(|least| entropies[s].iter().map(|h| *h >= least).collect()),
                    weight: settings.weight(sites.len(), &step),
                    sites,
                });
                s += 1;
            }
            out.push(Box::new(GrpoShard::new(pack, sequences, settings).unwrap()));
        }
        out
    }

    fn entropies(&self, pack: &Pack, sites: &[Site]) -> Vec<f64> {
        let config = self.network.config();
        let hidden = self.network.hidden(pack, Which::Current).unwrap();
        let weight = self.network.head_weight();
        let mut head = Head::new(&hidden, config.hidden_size, config.vocab_size, weight, None);
        let mut out = Vec::new();
        head.scan(sites, |_, logits| out.push(entropy(logits)));
        out
    }
}

/// A reward that is never asked: the rollouts bring theirs.
struct Known;

impl Reward for Known {
    fn name(&self) -> &str {
        "known"
    }

    fn reward(&self, _: &str, _: bool, _: &Problem) -> f64 {
        f64::NAN
    }
}
