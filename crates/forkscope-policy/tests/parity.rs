//! Parity with transformers and PEFT on tiny random models of every
//! architecture, rope and layout. `docs/parity.md` is this test's own table:
//! `FORKSCOPE_PARITY_DOC=docs/parity.md cargo test -p forkscope-policy --test parity`
//! writes it again (the path is taken from the workspace root).

mod common;

use std::fmt::Write;
use std::path::Path;

use common::*;
use forkscope_policy::{Policy, SamplePrompt, SampleSettings, Sampling};

/// max |logit difference| in f32.
const TOLERANCE: f32 = 2e-4;

struct Measured {
    name: String,
    tests: String,
    rows: usize,
    error: f32,
}

fn compare(policy: &Policy, golden: &[f32], ids: &[u32], name: &str) -> (usize, f32) {
    let ours = teacher_forced(policy, ids);
    let vocab = policy.vocab_size();
    assert_eq!(golden.len(), ids.len() * vocab, "{name}");
    let golden = &golden[..ours.len()];
    for (t, (a, b)) in ours.chunks(vocab).zip(golden.chunks(vocab)).enumerate() {
        assert_eq!(argmax(a), argmax(b), "{name}, row {t}");
    }
    (ids.len() - 1, worst(&ours, golden))
}

fn models() -> Vec<Measured> {
    cases("models")
        .iter()
        .map(|case| {
            let dir = fixtures().join(text(case, "dir"));
            let policy = Policy::open(dir.to_str().unwrap()).unwrap();
            let golden = json(&dir.join("golden.json"));
            let logits = tensor(&dir.join("golden.safetensors"), "logits");
            let (rows, error) = compare(
                &policy,
                &logits,
                &ids(&golden["input_ids"]),
                text(case, "name"),
            );
            Measured {
                name: text(case, "name").into(),
                tests: text(case, "tests").into(),
                rows,
                error,
            }
        })
        .collect()
}

fn adapters() -> Vec<Measured> {
    let mut out = Vec::new();
    for case in cases("adapters") {
        let (name, dir) = (text(&case, "name"), fixtures().join(text(&case, "dir")));
        let base = fixtures().join(text(&case, "base"));
        let policy = Policy::open(&format!("{}+{}", base.display(), dir.display())).unwrap();
        let golden = json(&dir.join("golden.json"));
        for (tensor_name, what) in [
            ("logits", "on the fly"),
            ("logits_merged", "merged by PEFT"),
        ] {
            let logits = tensor(&dir.join("golden.safetensors"), tensor_name);
            let (rows, error) = compare(&policy, &logits, &ids(&golden["input_ids"]), name);
            out.push(Measured {
                name: format!("{name}, {what}"),
                tests: text(&case, "tests").into(),
                rows,
                error,
            });
        }
    }
    out
}

#[test]
fn logits_agree_with_transformers_and_peft() {
    let mut page = String::from(
        "# Parity\n\nLargest |logit difference| in f32 against transformers (eager attention) and PEFT on tiny random\n\
         models, written by `FORKSCOPE_PARITY_DOC=docs/parity.md cargo test -p forkscope-policy --test parity`.\n\
         Tolerance 2e-4; the argmax of every row is equal.\n",
    );
    for (title, list) in [("Models", models()), ("Adapters", adapters())] {
        assert!(list.len() > 10);
        let _ = write!(
            page,
            "\n## {title}\n\n| case | what it tests | rows | max abs difference |\n|---|---|---|---|\n"
        );
        for m in &list {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {:.1e} |",
                m.name, m.tests, m.rows, m.error
            );
        }
        for m in &list {
            assert!(m.error <= TOLERANCE, "{}: {:e}", m.name, m.error);
        }
    }
    if let Ok(path) = std::env::var("FORKSCOPE_PARITY_DOC") {
        std::fs::write(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../..")
                .join(path),
            page,
        )
        .unwrap();
    }
}

#[test]
fn greedy_continuations_are_equal() {
    for case in cases("models") {
        let dir = fixtures().join(text(&case, "dir"));
        let policy = Policy::open(dir.to_str().unwrap()).unwrap();
        let golden = json(&dir.join("golden.json"));
        let prompt_len = golden["prompt_len"].as_u64().unwrap() as usize;
        let expected = ids(&golden["greedy_ids"]);
        let prompt = SamplePrompt {
            problem_id: "0".into(),
            ids: ids(&golden["input_ids"])[..prompt_len].to_vec(),
            stop: vec![],
            eos: vec![],
        };
        let settings = SampleSettings {
            sampling: Sampling {
                temperature: 0.0,
                ..Sampling::default()
            },
            n: 1,
            max_tokens: expected.len(),
            seed: 0,
            skip: 0,
            max_len: usize::MAX,
            interrupted: || false,
            width: None,
        };
        let mut got = Vec::new();
        policy
            .sample(&[prompt], &settings, &mut |c| {
                got = c.ids;
                true
            })
            .unwrap();
        assert_eq!(got, expected, "{}", text(&case, "name"));
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused_by_name() {
    for case in cases("refused_adapters") {
        let (base, dir) = (
            fixtures().join(text(&case, "base")),
            fixtures().join(text(&case, "dir")),
        );
        let error = Policy::open(&format!("{}+{}", base.display(), dir.display()));
        let message = error
            .err()
            .unwrap_or_else(|| panic!("{} was accepted", text(&case, "name")))
            .to_string();
        assert!(
            message.contains(text(&case, "names")),
            "{}: {message}",
            text(&case, "name")
        );
    }
}
