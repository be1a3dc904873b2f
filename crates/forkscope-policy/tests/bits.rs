//! A row's bits depend on its own prefix and nothing else: not on the rows
//! beside it, on a shared prompt, on how the prefix is cut, on the threads, or
//! on whether it was sampled or scored.

mod common;

use common::*;
use forkscope_metrics::score_rows;
use forkscope_policy::{Completion, Policy, PromptGroup, SamplePrompt, SampleSettings, Sampling};

const MODELS: [&str; 4] = [
    "models/llama-default",
    "models/mistral",
    "models/qwen3",
    "models/qwen2",
];

fn open(name: &str) -> (Policy, Vec<u32>) {
    let dir = fixtures().join(name);
    let policy = Policy::open(dir.to_str().unwrap()).unwrap();
    (policy, ids(&json(&dir.join("golden.json"))["input_ids"]))
}

fn bits(rows: &[f32]) -> Vec<u32> {
    rows.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn any_cut_of_the_prefix_gives_the_same_bits() {
    for name in MODELS {
        let (policy, ids) = open(name);
        let whole = teacher_forced(&policy, &ids);
        let vocab = policy.vocab_size();
        for cut in [2, 5, ids.len() / 2, ids.len() - 1] {
            let part = logits_after(&policy, &ids[..cut], &ids[cut..]);
            assert_eq!(
                bits(&part),
                bits(&whole[(cut - 1) * vocab..]),
                "{name} cut at {cut}"
            );
        }
    }
}

#[test]
fn shared_prompts_and_companions_change_nothing() {
    for name in MODELS {
        let (policy, ids) = open(name);
        let (prompt, rest) = ids.split_at(7);
        let other: Vec<u32> = rest.iter().rev().copied().collect();
        let groups = [
            PromptGroup {
                prompt: &ids[3..9],
                completions: vec![&other],
            },
            PromptGroup {
                prompt,
                completions: vec![rest, &[], &other, &rest[..1], rest],
            },
        ];
        let rows = policy.hidden_rows(&groups).unwrap();
        let alone = policy
            .hidden_rows(&[PromptGroup {
                prompt,
                completions: vec![rest],
            }])
            .unwrap();
        let d = rows.width;
        let first = other.len() * d;
        let last = rows.values.len() - rest.len() * d;
        assert_eq!(
            bits(&rows.values[first..first + rest.len() * d]),
            bits(&alone.values),
            "{name}"
        );
        assert_eq!(bits(&rows.values[last..]), bits(&alone.values), "{name}");
    }
}

#[test]
fn threads_change_nothing() {
    for name in MODELS {
        let (policy, ids) = open(name);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let groups: Vec<PromptGroup<'_>> = (1..20)
                    .map(|p| PromptGroup {
                        prompt: &ids[..p],
                        completions: vec![&ids[p..], &ids[p..p + 3]],
                    })
                    .collect();
                policy.hidden_rows(&groups).unwrap().values
            })
        };
        assert_eq!(bits(&run(1)), bits(&run(2)), "{name}");
    }
}

fn sample(
    policy: &Policy,
    prompts: &[SamplePrompt],
    width: usize,
    threads: usize,
) -> Vec<Completion> {
    let settings = SampleSettings {
        sampling: Sampling {
            temperature: 0.9,
            top_p: 0.97,
            ..Sampling::default()
        },
        n: 5,
        max_tokens: 24,
        seed: 7,
        skip: 0,
        max_len: usize::MAX,
        interrupted: || false,
        width: Some(width),
    };
    let mut out = Vec::new();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    pool.install(|| {
        policy
            .sample(prompts, &settings, &mut |c| {
                out.push(c);
                true
            })
            .unwrap()
    });
    out.sort_by_key(|c| (c.prompt, c.sample));
    out
}

#[test]
fn sampled_tokens_and_logprobs_depend_on_nothing_but_their_key_and_equal_the_scored_ones() {
    for name in MODELS {
        let (policy, ids) = open(name);
        let prompts: Vec<SamplePrompt> = (0..4)
            .map(|i| SamplePrompt {
                problem_id: format!("p{i}"),
                ids: ids[i..i + 3 + 2 * i].to_vec(),
                stop: vec![],
                eos: vec![ids[20]],
            })
            .collect();
        let wide = sample(&policy, &prompts, 64, 2);
        assert_eq!(wide.len(), 20);
        assert_eq!(wide, sample(&policy, &prompts, 1, 1), "{name}");
        assert_eq!(wide, sample(&policy, &prompts, 7, 2), "{name}");
        assert!(wide.iter().any(|c| c.ids != wide[0].ids));
        for c in &wide {
            let logits = logits_after(&policy, &prompts[c.prompt].ids, &c.ids);
            let scored = score_rows(&logits, policy.vocab_size(), &c.ids, 0).unwrap();
            let scored: Vec<u32> = scored
                .iter()
                .map(|r| (r.logprob as f32).to_bits())
                .collect();
            assert_eq!(bits(&c.logprobs), scored, "{name}");
        }
    }
}
