//! Contrast sets: every form is read alike, and what lacks something says what.

mod common;

use std::error::Error;
use std::fs;
use std::path::Path;

use common::start;
use forkscope_records::import::{read_contrast_bytes, read_contrast_folder};
use forkscope_records::read_table;
use forkscope_records::types::{
    AwarenessRow, ContrastContext, ContrastItem, NeuronRow, ProblemPrompt, SteeringRow,
};
use proptest::prelude::*;

type Outcome = Result<(), Box<dyn Error>>;

fn read(name: &str, text: &str) -> Result<Vec<ContrastItem>, String> {
    read_contrast_bytes(text.to_owned().into(), Path::new(name)).map_err(|e| e.to_string())
}

const LINES: &str = concat!(
    r#"{"id": "a", "text": "exam . 1 + 1 ?", "context": "evaluation", "format": "story", "source": "exam", "answer": 2}"#,
    "\n",
    r#"{"id": "b", "text": "chat . 1 + 1 ?", "context": "Deployment", "format": "story", "source": "chat", "cluster": "a", "wording_use": "held-out"}"#,
    "\n"
);

#[test]
fn lines_documents_and_commas_are_one() -> Outcome {
    let lines = read("c.jsonl", LINES)?;
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].context, ContrastContext::Evaluation);
    assert_eq!(
        (lines[0].cluster.as_str(), lines[0].answer.as_deref()),
        ("a", Some("2"))
    );
    assert_eq!(
        (lines[1].cluster.as_str(), lines[1].fit),
        ("a", Some(false))
    );
    let document = format!("[{}]", LINES.trim().replace('\n', ","));
    assert_eq!(read("c.json", &document)?, lines);
    assert_eq!(
        read("c.json", &format!("{{\"items\": {document}}}"))?,
        lines
    );
    let commas = "id,text,context,format,source,answer,cluster,wording_use\n\
        a,exam . 1 + 1 ?,evaluation,story,exam,2,,\n\
        b,\"chat . 1 + 1 ?\",deployment,story,chat,,a,held-out\n";
    assert_eq!(read("c.csv", commas)?, lines);
    Ok(())
}

#[test]
fn conversations_are_read() -> Outcome {
    let line = r#"{"messages": [{"role": "user", "content": "hi"}], "context": "eval", "format": "f", "wording": "w"}"#;
    let items = read("c.jsonl", line)?;
    assert!(matches!(&items[0].prompt, ProblemPrompt::Messages(m) if m.len() == 1));
    assert_eq!((items[0].id.as_str(), items[0].source.as_str()), ("0", "w"));
    Ok(())
}

#[test]
fn what_is_missing_is_named() {
    let without = |field: &str| {
        let fields = [
            ("text", "\"x\""),
            ("context", "\"evaluation\""),
            ("format", "\"f\""),
            ("source", "\"s\""),
        ];
        let kept = fields.iter().filter(|(name, _)| *name != field);
        let body: Vec<String> = kept.map(|(n, v)| format!("\"{n}\": {v}")).collect();
        read("c.jsonl", &format!("{{{}}}\n", body.join(", ")))
    };
    assert!(without("nothing").is_ok());
    for (field, said) in [
        ("text", "no prompt: none of the fields text,"),
        ("context", "the field context is missing"),
        ("format", "the field format is missing"),
        ("source", "the field source is missing"),
    ] {
        let error = without(field).err().unwrap_or_default();
        assert!(
            error.contains("c.jsonl: line 1: ") && error.contains(said),
            "{error}"
        );
    }
    for (text, said) in [
        ("", "empty"),
        ("[]", "the file has no items"),
        ("{\"a\": 1\n", "EOF"),
        (
            r#"{"text": "x", "context": "maybe", "format": "f", "source": "s"}"#,
            "write evaluation or deployment",
        ),
        (
            r#"{"text": "x", "context": "eval", "format": [], "source": "s"}"#,
            "format is neither",
        ),
        (
            r#"{"text": "x", "context": "eval", "format": "f", "source": "s", "wording_use": "x"}"#,
            "fit or held-out",
        ),
        (
            r#"{"messages": "hi", "context": "eval", "format": "f", "source": "s"}"#,
            "no JSON list",
        ),
        ("PAR1 and nothing", "not a readable Parquet table"),
    ] {
        let error = read("c.jsonl", text).err().unwrap_or_default();
        assert!(error.contains(said), "{text}: {error}");
    }
    let twice = format!("{}{}", LINES, LINES);
    let error = read("c.jsonl", &twice).err().unwrap_or_default();
    assert!(error.contains("identifiers must be unique"), "{error}");
    let error = read("c.csv", "text,context\nonly one cell\n")
        .err()
        .unwrap_or_default();
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn folders_say_context_and_format() -> Outcome {
    let dir = tempfile::tempdir()?;
    let cell = |name: &str, text: &str| -> Outcome {
        fs::create_dir_all(dir.path().join(name))?;
        Ok(fs::write(dir.path().join(name).join("train.jsonl"), text)?)
    };
    cell(
        "bench_eval",
        "{\"id\": \"\", \"source\": \"quiz\", \"question\": \"raw\", \"formatted_prompt\": \"Q: A or B?\"}\n",
    )?;
    cell(
        "casual_deploy_matched",
        "{\"id\": \"7\", \"first_turn\": \"hello\"}\n{\"id\": \"8\", \"first_turn\": \"again\"}\n",
    )?;
    fs::write(dir.path().join("README.md"), "not a table")?;
    let (items, files) = read_contrast_folder(dir.path())?;
    assert_eq!(files.len(), 2);
    let seen: Vec<_> = items
        .iter()
        .map(|i| {
            (
                i.id.as_str(),
                i.context.as_str(),
                i.format.as_str(),
                i.source.as_str(),
                i.cluster.as_str(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (
                "bench_eval/0",
                "evaluation",
                "bench",
                "bench_eval/quiz",
                "bench_eval/0"
            ),
            (
                "casual_deploy_matched/0",
                "deployment",
                "casual",
                "casual_deploy_matched",
                "7"
            ),
            (
                "casual_deploy_matched/1",
                "deployment",
                "casual",
                "casual_deploy_matched",
                "8"
            ),
        ]
    );
    assert_eq!(items[0].prompt, ProblemPrompt::Text("Q: A or B?".into()));
    cell("other", "{\"first_turn\": \"x\"}\n")?;
    let error = read_contrast_folder(dir.path())
        .err()
        .map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("the name says no context")));
    let empty = tempfile::tempdir()?;
    let error = read_contrast_folder(empty.path())
        .err()
        .map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("holds no table")));
    Ok(())
}

#[test]
fn rows_come_back() -> Outcome {
    let dir = tempfile::tempdir()?;
    let run = start(dir.path());
    let awareness = AwarenessRow {
        policy: "model".into(),
        pooling: "last".into(),
        probe: "logistic".into(),
        split: "source".into(),
        test_format: String::new(),
        selection: "each_layer".into(),
        layer: 3,
        auroc: Some(0.75),
        low: None,
        high: Some(1.0),
        level: 0.95,
        n: 240,
        n_groups: 12,
        n_folds: 36,
        p_value: Some(0.001),
        p_max: None,
    };
    let neuron = NeuronRow {
        policy: "base".into(),
        pooling: "mean".into(),
        layer: 4,
        index: 127,
        mean_difference: -0.5,
        auroc: 0.25,
        p_value: 0.5,
        q_value: 1.0,
    };
    let steering = SteeringRow {
        direction: "random".into(),
        index: 19,
        layer: 2,
        scale: -0.5,
        problem_id: "p".into(),
        sample: 1,
        context: "deployment".into(),
        token_ids: vec![5, 6],
        text: "sorry".into(),
        behaviour: None,
        kl_nats: Some(0.25),
    };
    macro_rules! comes_back {
        ($name:literal, $row:expr) => {
            let mut table = run.table($name, 16)?;
            table.append($row.clone())?;
            table.finish()?;
            let path = dir.path().join(concat!($name, ".parquet"));
            only(read_table(&path)?, $row);
        };
    }
    comes_back!("awareness", awareness);
    comes_back!("awareness_neurons", neuron);
    comes_back!("awareness_steering", steering);
    Ok(())
}

fn only<R: PartialEq + std::fmt::Debug>(read: Vec<R>, row: R) {
    assert_eq!(read, [row]);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), csv: bool) {
        let name = if csv { "c.csv" } else { "c" };
        let _ = read_contrast_bytes(bytes.into(), Path::new(name));
    }
}
