//! Every format, and every way a row can be broken.

use std::borrow::Cow;

use forkscope_records::types::{FinishReason, Rollout, Validity};
use forkscope_records::{Mode, RunDir, RunManifest};
use serde_json::json;

use super::*;

const VOCAB: usize = 8;
const END: u32 = 7;

/// Letters a b c u : and the pair ab; `</s>` ends.
fn side(eos: bool, template: bool) -> TextSide {
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [{
            "id": END, "content": "</s>", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false
        }],
        "model": {
            "type": "BPE", "unk_token": "?",
            "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3, "u": 4, ":": 5, "?": 6},
            "merges": [["a", "b"]]
        }
    });
    let mut config = json!({});
    if eos {
        config["eos_token"] = "</s>".into();
    }
    if template {
        config["chat_template"] = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}a:{% endif %}".into();
    }
    let read = |name: &str| {
        Ok(match name {
            "tokenizer.json" => Some(Cow::Owned(tokenizer.to_string().into_bytes())),
            "tokenizer_config.json" => Some(Cow::Owned(config.to_string().into_bytes())),
            _ => None,
        })
    };
    TextSide::from_files(Path::new("m"), read).unwrap().unwrap()
}

fn read(lines: &str, settings: &ReadSettings) -> Result<ExampleFile, String> {
    read_with(lines, Some(&side(true, true)), settings)
}

fn read_with(
    lines: &str,
    text: Option<&TextSide>,
    settings: &ReadSettings,
) -> Result<ExampleFile, String> {
    let path = Path::new("data.jsonl");
    read_examples_bytes(lines.into(), path, text, VOCAB, settings).map_err(|e| e.to_string())
}

fn raw() -> ReadSettings {
    ReadSettings {
        style: PromptStyle::Raw,
        ..ReadSettings::default()
    }
}

#[test]
fn every_format_becomes_ids() {
    let lines = r#"
{"prompt": "cc", "completion": "ab"}
{"prompt": "ca", "completion": "bc"}

{"text": "cab"}
{"text": "cab</s>"}
{"prompt_ids": [1, 2], "completion_ids": [3], "text": "not looked at"}
{"prompt_ids": [1], "completion_ids": [3, 4], "completion_weights": [0.5, 2]}
{"messages": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "b"}]}
{"prompt": [{"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "b"}]}
"#;
    let found = read(lines, &raw()).unwrap();
    let chat = (vec![4, 5, 3, END, 0, 5, 1, END], 6);
    let expected = [
        (vec![3, 3, 2, END], 2),
        // Together `cab` is c ab: the prompt's ids c a must stay.
        (vec![3, 0, 1, 3, END], 2),
        (vec![3, 2, END], 0),
        (vec![3, 2, END], 0),
        (vec![1, 2, 3], 2),
        (vec![1, 3, 4], 1),
        chat.clone(),
        chat,
    ];
    assert_eq!((found.rows, found.apart), (8, 1));
    for (example, (ids, prompt_len)) in found.examples.iter().zip(expected) {
        assert_eq!((&example.ids, example.prompt_len), (&ids, prompt_len));
    }
    assert_eq!(found.examples[5].weights, Some(vec![1.0, 0.5, 2.0]));
    assert_eq!(found.names[3], ("3".to_owned(), 0));
    assert_eq!(found.tally(), "8 rows, none left out");
}

#[test]
fn a_prompt_follows_the_style() {
    let line = r#"{"prompt": "c", "completion": "b"}"#;
    let ids = |settings: &ReadSettings| read(line, settings).unwrap().examples[0].ids.clone();
    assert_eq!(ids(&raw()), [3, 1, END]);
    // The chat template, because the model has one.
    assert_eq!(ids(&ReadSettings::default()), [4, 5, 3, END, 0, 5, 1, END]);
}

#[test]
fn broken_rows_are_named_or_counted() {
    let broken = [
        (r#"{"prompt": "a""#, "not JSON: EOF"),
        ("[1, 2]", "not a JSON object"),
        (r#"{"question": "a"}"#, "none of the fields"),
        (r#"{"prompt": "a"}"#, "`completion` is missing"),
        (r#"{"completion": "a"}"#, "`prompt` is missing"),
        (
            r#"{"prompt": "a", "completion": 3}"#,
            "`completion` is not a list of messages",
        ),
        (
            r#"{"prompt": "a", "completion": ""}"#,
            "`completion` has no token",
        ),
        (
            r#"{"prompt": "", "completion": "a"}"#,
            "a prompt has no tokens",
        ),
        (r#"{"text": 5}"#, "`text` is not a string"),
        (r#"{"text": ""}"#, "no token to learn"),
        (r#"{"messages": "a"}"#, "`messages` is not a list"),
        (
            r#"{"messages": [{"role": "user"}]}"#,
            "`messages` is not a list of messages",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "a"}]}"#,
            "does not end with an answer",
        ),
        (r#"{"prompt_ids": [1]}"#, "`completion_ids` is not a list"),
        (
            r#"{"prompt_ids": [1], "completion_ids": [-1]}"#,
            "not a token id",
        ),
        (
            r#"{"prompt_ids": [1], "completion_ids": []}"#,
            "no token to learn",
        ),
        (
            r#"{"prompt_ids": [1], "completion_ids": [8]}"#,
            "token id 8, outside the vocabulary of 8",
        ),
        (
            r#"{"prompt_ids": [1], "completion_ids": [2], "completion_weights": [1, 1]}"#,
            "`completion_weights` is not a list of 1 numbers",
        ),
        (
            r#"{"prompt_ids": [1], "completion_ids": [2], "completion_weights": [-1]}"#,
            "has the weight -1",
        ),
        ("\u{1}\u{2}", "not JSON"),
    ];
    let good = r#"{"prompt": "c", "completion": "b"}"#;
    for (row, reason) in broken {
        let error = read(&format!("{good}\n{row}\n"), &raw()).unwrap_err();
        assert!(error.starts_with("data.jsonl: line 2: "), "{error}");
        assert!(
            error.contains(reason) && error.contains("skipped"),
            "{row}: {error}"
        );
    }
    let rows: String = broken.iter().map(|(row, _)| format!("{row}\n")).collect();
    let skip = ReadSettings {
        broken: BrokenRows::Skip,
        ..raw()
    };
    let found = read(&format!("{good}\n{rows}{good}\n"), &skip).unwrap();
    assert_eq!(found.broken, broken.len() as u64);
    assert_eq!((found.rows, found.examples.len()), (found.broken + 2, 2));
    let (line, reason) = found.first_broken.clone().unwrap();
    assert!(line == 2 && reason.contains("not JSON"));
    assert_eq!(found.tally(), "22 rows, left out: 20 broken");
    let error = read(&rows, &skip).unwrap_err();
    assert!(error.contains("no example to learn from (20 rows, left out: 20 broken)"));
    assert!(read("", &raw()).unwrap_err().contains("no example"));
}

#[test]
fn what_the_model_must_have() {
    let written = r#"{"prompt": "c", "completion": "b"}"#;
    let error = read_with(written, None, &raw()).unwrap_err();
    assert!(error.contains("no tokenizer.json"), "{error}");
    let error = read_with(written, Some(&side(false, false)), &raw()).unwrap_err();
    assert!(error.contains("no end token"), "{error}");
    let chat = r#"{"messages": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "b"}]}"#;
    let error = read_with(chat, Some(&side(true, false)), &raw()).unwrap_err();
    assert!(error.contains("chat template"), "{error}");
    let ids = r#"{"prompt_ids": [1], "completion_ids": [2]}"#;
    assert!(read_with(ids, None, &raw()).is_ok());
}

#[test]
fn long_examples_are_dropped_or_cut_and_counted() {
    let lines = r#"{"prompt_ids": [1, 1], "completion_ids": [2, 2, 2]}
{"prompt_ids": [1, 1, 1, 1], "completion_ids": [2]}
{"prompt_ids": [1], "completion_ids": [2], "completion_weights": [0.5]}"#;
    let settings = |max_len, too_long| ReadSettings {
        max_len: Some(max_len),
        too_long,
        ..raw()
    };
    let found = read(lines, &settings(4, TooLong::Drop)).unwrap();
    assert_eq!(
        (found.dropped, found.truncated, found.examples.len()),
        (2, 0, 1)
    );
    let found = read(lines, &settings(4, TooLong::Truncate)).unwrap();
    assert_eq!((found.dropped, found.truncated), (1, 1));
    assert_eq!(found.examples[0].ids, [1, 1, 2, 2]);
    assert_eq!(found.examples[1].weights, Some(vec![1.0, 0.5]));
    for none in [0, 1] {
        assert!(read(lines, &settings(none, TooLong::Truncate)).is_err());
    }
}

fn rollout(sample: u32, correct: Option<bool>, validity: Validity) -> Rollout {
    Rollout {
        problem_id: "p".into(),
        sample,
        token_ids: vec![1, 2, 3, sample],
        prompt_len: 2,
        finish_reason: FinishReason::Eos,
        text: String::new(),
        correct,
        validity,
        logprobs: None,
    }
}

/// A run with those rollouts.
fn run(rollouts: Vec<Rollout>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let manifest = RunManifest::new("test");
    let opened = RunDir::open(dir.path().join("run"), manifest, Mode::Fresh).unwrap();
    let run = opened.to_write().unwrap();
    let mut table = run.table::<Rollout>("rollouts", 64).unwrap();
    table.append_all(rollouts).unwrap();
    table.finish().unwrap();
    dir
}

#[test]
fn rollouts_are_taken_as_recorded() {
    let dir = run(vec![
        rollout(0, Some(true), Validity::Ok),
        rollout(1, Some(false), Validity::Ok),
        rollout(2, Some(true), Validity::Truncated),
        rollout(3, None, Validity::Ok),
    ]);
    let path = dir.path().join("run");
    let read = |settings: &ReadSettings| read_examples(&path, None, VOCAB, settings).unwrap();
    let all = read(&raw());
    assert_eq!((all.rows, all.invalid, all.examples.len()), (4, 1, 3));
    assert_eq!(all.examples[1], Example::new(&[1, 2], &[3, 1]));
    assert_eq!(all.names[2], ("p".to_owned(), 3));
    let correct = ReadSettings {
        only_correct: true,
        with_truncated: true,
        ..raw()
    };
    let found = read(&correct);
    assert_eq!((found.incorrect, found.examples.len()), (2, 2));
    let foreign = read_examples(&path, None, 3, &raw())
        .unwrap_err()
        .to_string();
    assert!(
        foreign.contains("problem p, sample 0: has token id 3"),
        "{foreign}"
    );
    assert!(read_examples(&dir.path().join("none"), None, VOCAB, &raw()).is_err());
}

#[test]
fn ungraded_rollouts_have_no_correct_ones() {
    let dir = run(vec![rollout(0, None, Validity::Ok)]);
    let settings = ReadSettings {
        only_correct: true,
        ..raw()
    };
    let path = dir.path().join("run");
    let error = read_examples(&path, None, VOCAB, &settings).unwrap_err();
    assert!(
        error.to_string().contains("no rollout was graded"),
        "{error}"
    );
}

#[test]
fn the_reference_s_json_is_rollouts() {
    let json = r#"{"rollouts": [{"problem_id": "p", "gen_index": 0, "tokens": [1, 2, 3], "prompt_length": 2, "correct": true}]}"#;
    let found = read(json, &raw()).unwrap();
    assert_eq!(found.examples, [Example::new(&[1, 2], &[3])]);
}
