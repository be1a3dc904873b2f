//! The reference's rollout JSON, read, mapped and written.

mod common;

use std::fs;
use std::path::Path;

use common::{rollout, start};
use forkscope_records::import::ReferenceRollout;
use forkscope_records::types::{Rollout, Validity};
use forkscope_records::{read_reference, read_rollouts, write_reference};

fn read(text: &str) -> Result<Vec<ReferenceRollout>, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rollouts.json");
    fs::write(&path, text).unwrap();
    read_reference(&path).map_err(|e| e.to_string())
}

#[test]
fn raw_rollouts_are_read_and_unknown_fields_ignored() {
    let text = r#"{"model": "m", "config": {"n": 2}, "rollouts": [
        {"problem_id": 7, "gen_index": 0, "tokens": [1, 2, 3, 4, 5], "prompt_length": 2,
         "correct": true, "entropies": [0.5, NaN, 1.25], "text": "abc", "prompt_text": "ab", "reward": 1.0},
        {"problem_id": "x/1", "gen_index": 3, "tokens": [1, 2], "prompt_length": 2, "correct": 0.0},
        {"problem_id": 7, "tokens": [1, 2], "prompt_length": 1, "correct": null, "entropies": [2]}
    ]}"#;
    let rollouts = read(text).unwrap();
    let [a, b, c] = rollouts.as_slice() else {
        panic!("{}", rollouts.len())
    };
    assert_eq!((a.rollout.problem_id.as_str(), a.rollout.sample), ("7", 0));
    assert_eq!(
        (a.rollout.completion(), a.rollout.correct),
        (&[3, 4, 5][..], Some(true))
    );
    assert_eq!(
        (a.prompt_text.as_deref(), a.rollout.text.as_str()),
        (Some("ab"), "abc")
    );
    let entropies = a.entropies_nats.as_ref().unwrap();
    assert!(entropies[0] == 0.5 && entropies[1].is_nan() && entropies[2] == 1.25);
    assert_eq!(a.rollout.validity, Validity::NonFinite);
    assert_eq!(
        (b.rollout.problem_id.as_str(), b.rollout.sample),
        ("x/1", 3)
    );
    assert_eq!(
        (b.rollout.validity, b.rollout.correct),
        (Validity::Empty, Some(false))
    );
    assert_eq!(
        (c.rollout.sample, c.rollout.validity, c.rollout.correct),
        (1, Validity::Ok, None)
    );
}

/// The reference counts predicting positions: token 2 is predicted at 1.
#[test]
fn processed_rollouts_have_their_positions_mapped() {
    let text = r#"{"rollouts": [{"problem_id": "p", "gen_index": 0, "tokens": [9, 9, 9, 9, 9],
        "prompt_length": 2, "correct": false, "decision_positions": [1, 3], "advantage": -0.75}]}"#;
    let rollouts = read(text).unwrap();
    assert_eq!(rollouts[0].decisions.as_deref(), Some(&[2, 4][..]));
    assert_eq!(rollouts[0].advantage, Some(-0.75));
    for (p, expected) in [
        (
            0,
            "0 predicts no completion token: those are predicted at 1..4",
        ),
        (4, "4 predicts no"),
    ] {
        let message = read(&text.replace("[1, 3]", &format!("[{p}]"))).unwrap_err();
        assert!(
            message.contains("rollouts[0].decision_positions") && message.contains(expected),
            "{message}"
        );
    }
}

/// The forms that the published programs write.
#[test]
fn lengths_are_checked_and_both_names_of_the_ids_read() {
    let scored = r#"[{"problem_id": 1, "gen_index": 2, "tokens": [5, 6, 7], "prompt_length": 1,
        "num_completion_tokens": 2, "num_tokens": 3, "entropies": [0.5, 1.5], "truncated": true,
        "correct": true, "completion_tokens": [6, 7], "verifier_used": null}]"#;
    let read_scored = read(scored).unwrap();
    assert_eq!(read_scored[0].rollout.validity, Validity::Truncated);
    let processed = r#"{"rollouts": [{"problem_id": "1", "gen_index": 2, "input_ids": [5, 6, 7],
        "prompt_length": 1, "completion_length": 2, "correct": true, "reward": 1.0,
        "advantage": 0.25, "entropies": [0.5, 1.5], "generation_pred_start": 0,
        "decision_positions": [1], "num_pred_tokens": 2, "source_seed": null, "tau_pos": 1.4}],
        "config": {"tau": 1.4, "source_meta": {}}}"#;
    let r = &read(processed).unwrap()[0];
    assert_eq!(r.rollout.token_ids, read_scored[0].rollout.token_ids);
    assert_eq!((r.reward, r.advantage), (Some(1.0), Some(0.25)));
    assert_eq!(r.decisions.as_deref(), Some(&[2][..]));
    // Both names at once, and a length that stands for "not recorded".
    let both = processed.replace("\"input_ids\"", "\"tokens\": [], \"input_ids\"");
    assert_eq!(&read(&both).unwrap()[0], r);
    let without = processed.replace("\"completion_length\": 2", "\"completion_length\": 0");
    assert!(read(&without).is_ok());
    for (from, to, expected) in [
        (
            "\"completion_length\": 2",
            "\"completion_length\": 3",
            "completion_length: is 3",
        ),
        (
            "_pred_start\": 0",
            "_pred_start\": 1",
            "generation_pred_start: is 1",
        ),
        ("\"num_pred_tokens\"", "\"num_completion_tokens\"", ""),
        (
            "\"num_pred_tokens\": 2",
            "\"num_completion_tokens\": 1",
            "num_completion_tokens: is 1",
        ),
    ] {
        let said = read(&processed.replace(from, to)).map_or_else(|e| e, |_| String::new());
        assert!(
            said.contains(expected) && said.is_empty() == expected.is_empty(),
            "{said}"
        );
    }
}

#[test]
fn what_cannot_be_a_rollout_is_named() {
    let one = |fields: &str| format!("{{\"rollouts\": [{{{fields}}}]}}");
    for (text, expected) in [
        (
            one(r#""problem_id": 1, "tokens": [1], "prompt_length": 2"#),
            "rollouts[0].prompt_length: 2 is not in 1..=1",
        ),
        (
            one(r#""problem_id": 1, "tokens": [1], "prompt_length": 0"#),
            "rollouts[0].prompt_length: 0 is not in",
        ),
        (
            one(r#""problem_id": 1, "tokens": [], "prompt_length": 1"#),
            "rollouts[0].tokens: there are no token ids",
        ),
        (
            one(r#""problem_id": 1, "tokens": [1, -2], "prompt_length": 1"#),
            "rollouts[0].tokens[1]: invalid value",
        ),
        (
            one(r#""problem_id": 1, "tokens": [1, 4294967296], "prompt_length": 1"#),
            "rollouts[0].tokens[1]",
        ),
        (
            one(r#""problem_id": 1, "tokens": [1.5], "prompt_length": 1"#),
            "rollouts[0].tokens[0]",
        ),
        (
            one(r#""problem_id": 1, "prompt_length": 1"#),
            "rollouts[0].tokens: there are no token ids, neither as `tokens` nor as `input_ids`",
        ),
        (
            one(r#""problem_id": null, "tokens": [1], "prompt_length": 1"#),
            "rollouts[0].problem_id",
        ),
        (
            one(r#""problem_id": 1, "tokens": [1, 2], "prompt_length": 1, "correct": "yes""#),
            "rollouts[0].correct",
        ),
        (
            one(r#""problem_id": 1, "tokens": [1, 2], "prompt_length": 1, "entropies": [1, 2]"#),
            "rollouts[0].entropies: 2 values for 1",
        ),
        ("{}".into(), "missing field `rollouts`"),
        ("{\"rollouts\": [".into(), "rollouts.json"),
        (String::new(), "rollouts.json"),
    ] {
        let message = read(&text).unwrap_err();
        assert!(
            message.contains(expected) && message.contains("rollouts.json"),
            "{text} gave {message}"
        );
    }
    let twice = r#"{"problem_id": 1, "gen_index": 0, "tokens": [1, 2], "prompt_length": 1}"#;
    let message = read(&format!("[{twice}, {twice}]")).unwrap_err();
    assert!(
        message.contains("sample 0 of problem \"1\" is there twice"),
        "{message}"
    );
}

#[test]
fn what_is_written_for_the_reference_reads_back() {
    let mut rollouts: Vec<ReferenceRollout> = (0..12)
        .map(|i| {
            Rollout {
                logprobs: None,
                ..rollout(i)
            }
            .into()
        })
        .collect();
    for r in &mut rollouts {
        // The reference does not say why a completion ended.
        r.rollout.finish_reason = forkscope_records::types::FinishReason::Unknown;
    }
    rollouts[5].decisions = Some(vec![4, 6]);
    rollouts[5].advantage = Some(0.1);
    rollouts[5].reward = Some(1.0);
    rollouts[5].entropies_nats = Some(vec![0.1, 0.2, 1.0 / 3.0, 0.0, 5e-324]);
    rollouts[5].prompt_text = Some("\u{202e}".into());
    let mut bytes = Vec::new();
    write_reference(&mut bytes, Path::new("out.json"), &rollouts).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("\"decision_positions\":[3,5]"), "{text}");
    assert_eq!(read(&text).unwrap(), rollouts);
}

/// A run, its table and the JSON are three ways to the same rollouts.
#[test]
fn rollouts_are_found_in_a_run_a_table_and_json() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<Rollout> = (1..9).map(rollout).collect();
    let run = start(&dir.path().join("run"));
    let mut table = run.table("rollouts", 4096).unwrap();
    table.append_all(rows.clone()).unwrap();
    table.finish().unwrap();
    let run = run.complete().unwrap();
    assert_eq!(read_rollouts(run.path()).unwrap(), rows);
    assert_eq!(
        read_rollouts(&run.path().join("rollouts.parquet")).unwrap(),
        rows
    );
    let json = dir.path().join("r.json");
    let references: Vec<ReferenceRollout> = rows.iter().cloned().map(Into::into).collect();
    write_reference(fs::File::create(&json).unwrap(), &json, &references).unwrap();
    let ids = |rows: &[Rollout]| rows.iter().map(|r| r.token_ids.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&read_rollouts(&json).unwrap()), ids(&rows));

    let message = read_rollouts(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("rollouts.parquet: no such file"),
        "{message}"
    );
    fs::write(&json, "{\"rollouts\": []}").unwrap();
    assert!(
        read_rollouts(&json)
            .unwrap_err()
            .to_string()
            .contains("has no rollouts")
    );
}
