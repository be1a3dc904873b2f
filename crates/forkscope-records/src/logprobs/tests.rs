//! Files as servers and people write them, and files that are broken.

use std::path::Path;

use proptest::prelude::*;

use super::{Layout, Listed, Position, Reading, Recorded, TableRow, Unusable, parse};

fn read(name: &str, text: &str) -> Result<Recorded, String> {
    parse(Path::new(name), text.as_bytes(), None).map_err(|e| e.to_string())
}

fn table(name: &str, text: &str) -> (Layout, Vec<TableRow>) {
    match read(name, text).unwrap() {
        Recorded::Table { layout, rows } => (layout, rows),
        other => panic!("{other:?}"),
    }
}

fn logprobs(name: &str, text: &str) -> (Vec<Layout>, Vec<Position>) {
    match read(name, text).unwrap() {
        Recorded::Logprobs {
            layouts, positions, ..
        } => (layouts, positions),
        other => panic!("{other:?}"),
    }
}

fn names(rows: &[TableRow]) -> Vec<&str> {
    rows.iter().map(|r| r.name.as_str()).collect()
}

fn listed(position: &Position) -> &Listed {
    match &position.reading {
        Reading::Usable(listed) => listed,
        Reading::Unusable(why) => panic!("{why:?} at {}", position.at),
    }
}

#[test]
fn tables_are_told_by_their_content() {
    for (name, text, layout, rows) in [
        (
            "a.json",
            r#"{"b": [0.5, 0.5], "a": [1.0]}"#,
            Layout::Json,
            vec!["b", "a"],
        ),
        (
            "a",
            "[[0.5, 0.5], [1]]",
            Layout::Json,
            vec!["row 1", "row 2"],
        ),
        (
            "a",
            r#"[{"name": "x", "probs": [1]}]"#,
            Layout::Json,
            vec!["x"],
        ),
        (
            "a",
            r#"{"name": "x", "probs": [1]}"#,
            Layout::Json,
            vec!["x"],
        ),
        (
            "a",
            r#"{"choices": [0.5, 0.5], "prompt_logprobs": [1.0]}"#,
            Layout::Json,
            vec!["choices", "prompt_logprobs"],
        ),
        ("a", "[0.5, 0.5]", Layout::Json, vec!["row 1"]),
        (
            "a",
            "\u{feff}[0.5, 0.5]\n\n[1]\n",
            Layout::Jsonl,
            vec!["line 1", "line 3"],
        ),
        (
            "a.jsonl",
            "{\"name\": \"x\", \"probs\": [1]}\n{\"y\": [0.5, 0.5]}",
            Layout::Jsonl,
            vec!["x", "y"],
        ),
        (
            "a.csv",
            "name,p1,p2,p3\nx,0.5,0.5,\ny, 0.2,0.3,0.5\n",
            Layout::Csv,
            vec!["x", "y"],
        ),
        ("a", "x,0.5,0.5\n\"a,b\",1\n", Layout::Csv, vec!["x", "a,b"]),
        ("a.tsv", "x\t0.5\t0.5\n", Layout::Csv, vec!["x"]),
    ] {
        let (found, read) = table(name, text);
        assert_eq!((found, names(&read)), (layout, rows), "{text}");
    }
}

#[test]
fn vllm_prompt_logprobs() {
    let text = r#"{"choices": [{"index": 0, "logprobs": null, "prompt_logprobs": null}], "prompt_logprobs": [null,
        {"785": {"logprob": -2.25, "rank": 5, "decoded_token": "The"}, "40": {"logprob": -0.5, "rank": 1, "decoded_token": "I"},
         "10": {"logprob": -1.25, "rank": 2, "decoded_token": " a"}},
        {"40": {"logprob": -0.5, "rank": 1, "decoded_token": "I"}, "10": {"logprob": -Infinity, "rank": 2, "decoded_token": "b"}}]}"#;
    let (layouts, positions) = logprobs("r.json", text);
    assert_eq!(layouts, [Layout::PromptLogprobs]);
    assert_eq!(positions[0].reading, Reading::Unusable(Unusable::Missing));
    assert_eq!(
        (positions[1].at.as_str(), positions[1].token.as_deref()),
        ("prompt_logprobs[1]", Some("The"))
    );
    let first = listed(&positions[1]);
    assert_eq!(
        (
            first.leading.as_slice(),
            first.beyond.as_slice(),
            first.next
        ),
        (&[-0.5, -1.25][..], &[-2.25][..], Some(-2.25))
    );
    assert_eq!(
        (
            listed(&positions[2]).leading.as_slice(),
            listed(&positions[2]).sentinels
        ),
        (&[-0.5][..], 1)
    );
}

#[test]
fn completions_layout() {
    let text = r#"{"choices": [{"logprobs": {"text_offset": [0, 3, 5], "tokens": ["The", " a", "b"],
        "token_logprobs": [null, -0.5, -3.125], "top_logprobs": [null, {" a": -0.5, " the": -1.5},
        {"x": -0.25, "y": -2.125, "b": -3.125}]}}]}"#;
    let (layouts, positions) = logprobs("r.json", text);
    assert_eq!(layouts, [Layout::Completions]);
    assert_eq!(positions[0].reading, Reading::Unusable(Unusable::Missing));
    assert_eq!(listed(&positions[1]).leading, [-0.5, -1.5]);
    // The sampled token may be the one that is listed although it is not among the k.
    assert_eq!(listed(&positions[2]).leading, [-0.25, -2.125]);
    assert_eq!(listed(&positions[2]).beyond, [-3.125]);
    assert_eq!(positions[2].at, "choices[0].logprobs.token_logprobs[2]");
}

#[test]
fn chat_layout_alone_in_lines_and_in_batches() {
    let response = r#"{"choices": [{"logprobs": {"content": [{"token": "a", "bytes": [97], "logprob": -0.5,
        "top_logprobs": [{"token": "a", "bytes": [97], "logprob": -0.5}, {"token": "a", "bytes": [195], "logprob": -1.5}]},
        {"token": "z", "logprob": -9999.0, "top_logprobs": []}], "refusal": null}}]}"#
        .replace('\n', " ");
    let (layouts, positions) = logprobs("r.json", &response);
    assert_eq!(layouts, [Layout::Chat]);
    assert_eq!(listed(&positions[0]).leading, [-0.5, -1.5]);
    assert_eq!(listed(&positions[0]).duplicates, 0);
    let vague = listed(&positions[1]);
    assert_eq!(
        (vague.leading.len(), vague.beyond.len(), vague.sentinels),
        (0, 0, 1)
    );

    let batch = format!(
        "{{\"custom_id\": \"1\", \"response\": {{\"body\": {response}}}, \"error\": null}}"
    );
    let (_, positions) = logprobs("r.jsonl", &format!("{response}\n{batch}\n"));
    assert_eq!(positions.len(), 4);
    assert_eq!(positions[2].at, "line 2: choices[0].logprobs.content[0]");
    let (_, positions) = logprobs("r.json", &format!("[{response}, {response}]"));
    assert_eq!(positions[3].at, "[1].choices[0].logprobs.content[1]");
}

#[test]
fn vllm_outputs_and_bare_lists() {
    let text = r#"{"prompt_token_ids": [1, 2], "prompt_logprobs": [null, {"3": -0.25, "2": -2.5}],
        "outputs": [{"token_ids": [7], "logprobs": [{"7": {"logprob": -0.25, "rank": 1}}]}]}"#;
    let (layouts, positions) = logprobs("r.json", text);
    assert_eq!(layouts, [Layout::PromptLogprobs, Layout::Completions]);
    assert_eq!(positions[1].token.as_deref(), Some("token_id:2"));
    assert_eq!(
        (
            listed(&positions[1]).leading.len(),
            listed(&positions[1]).beyond.len()
        ),
        (1, 1)
    );
    assert_eq!(positions[2].at, "outputs[0].logprobs[0]");
    let (layouts, positions) =
        logprobs("r.json", r#"[null, {"3": {"logprob": -0.25, "rank": 1}}]"#);
    assert_eq!(
        (layouts, positions.len()),
        (vec![Layout::PromptLogprobs], 2)
    );
}

#[test]
fn a_layout_can_be_forced() {
    let text = r#"{"prompt_logprobs": [null], "choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [-1.0]}}]}"#;
    let forced = |layout| parse(Path::new("r"), text.as_bytes(), Some(layout));
    let Recorded::Logprobs { positions, .. } = forced(Layout::Completions).unwrap() else {
        panic!("no log-probs")
    };
    assert_eq!(positions.len(), 1);
    let said = forced(Layout::Chat).unwrap_err().to_string();
    assert!(said.contains("no log-probs in the layout chat"), "{said}");
}

#[test]
fn bad_files_name_file_place_and_remedy() {
    for (name, text, said) in [
        (
            "e",
            "  \n",
            ["e: the file is empty", "give a probability table"],
        ),
        (
            "n.json",
            r#"{"a": [0.5, 0.5], "b": [1.5, -0.5]}"#,
            ["n.json: row \"b\": probability 1 is 1.5", "softmax"],
        ),
        (
            "n.json",
            r#"{"a": [NaN, 1.0]}"#,
            ["row \"a\": probability 1 is NaN", "log-probs"],
        ),
        (
            "s.json",
            r#"{"a": [0.5, 0.4]}"#,
            [
                "row \"a\": the probabilities sum to 0.9",
                "whole distribution",
            ],
        ),
        (
            "d.json",
            r#"{"a": [1], "a": [1]}"#,
            [
                "row \"a\": the name stands for rows 1 and 2",
                "name of its own",
            ],
        ),
        (
            "l.jsonl",
            "[1]\n[1\n",
            ["l.jsonl line 2: not JSON", "repair or remove"],
        ),
        (
            "l.jsonl",
            "[1]\n{\"name\": \"x\", \"probs\": [0.2]}\n",
            ["l.jsonl: line 2 (row \"x\"): ", "sum to 0.2"],
        ),
        (
            "c.csv",
            "n,a\nx,0.5,zz\n",
            [
                "c.csv: line 2 (row \"x\"): probability 2 is \"zz\"",
                "give a number",
            ],
        ),
        (
            "c.csv",
            "n,a\nx,,0.5\n",
            ["line 2 (row \"x\"): probability 1 is \"\"", "give a number"],
        ),
        (
            "c.csv",
            "n,a\nx\n",
            [
                "line 2 (row \"x\"): the row has no probabilities",
                "leave the row out",
            ],
        ),
        (
            "c.csv",
            "a,b\n",
            ["c.csv: no row of probabilities", "give a name"],
        ),
        ("t.json", "{\"a\": [0.5", ["t.json: not JSON", "whole"]),
        (
            "o.json",
            "{}",
            ["o.json: the table has no rows", "at least one"],
        ),
        (
            "o.json",
            r#"{"a": 3}"#,
            [
                "row \"a\": expected a list of probabilities, found a number",
                "",
            ],
        ),
        (
            "o.json",
            r#"{"a": [0.5, "x"]}"#,
            ["row \"a\": probability 2 is a string", "give a number"],
        ),
        (
            "r.json",
            r#"{"choices": [{"logprobs": null}]}"#,
            ["r.json: no log-probs", "ask the server"],
        ),
        (
            "r.json",
            r#"{"error": {"message": "too many"}}"#,
            ["r.json: error: the server answered", "too many"],
        ),
        (
            "r.json",
            r#"{"choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [-1, -2]}}]}"#,
            [
                "r.json: choices[0].logprobs.tokens: has 1 entries and token_logprobs has 2",
                "cut or altered",
            ],
        ),
        (
            "r.json",
            r#"{"choices": [{"logprobs": {"content": [{"token": "a", "logprob": "x"}]}}]}"#,
            [
                "r.json: choices[0].logprobs.content[0].logprob: expected a number, found a string",
                "as the server sent it",
            ],
        ),
        (
            "r.json",
            r#"{"prompt_logprobs": [null, {"3": {"rank": 1}}]}"#,
            [
                "r.json: prompt_logprobs[1].3.logprob: expected a number, found nothing",
                "",
            ],
        ),
    ] {
        let error = read(name, text).unwrap_err();
        assert!(
            said.iter().all(|said| error.contains(said)),
            "{text} said {error}"
        );
    }
    let error = parse(Path::new("u"), b"{\"a\xff\": [1]}", None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("byte 3 is not UTF-8"), "{error}");
    let error = read("deep.json", &"[".repeat(100_000)).unwrap_err();
    assert!(error.contains("deep.json: not JSON"), "{error}");
}

const SEED: &str = r#"{"prompt_token_ids":[1],"prompt_logprobs":[null,{"3":{"logprob":-0.2,"rank":1},"4":-2}],"choices":[{"logprobs":{"tokens":["a"],"token_logprobs":[-1.5],"top_logprobs":[{"a":-1.5,"b":NaN}]}},{"logprobs":{"content":[{"token":"a","logprob":-9999.0,"top_logprobs":[{"token":"b","logprob":0.5}]}]}}]}"#;

proptest! {
    #[test]
    fn a_damaged_response_never_panics(at in 0..SEED.len(), len in 0..40usize, put in "[\\[\\]{}\",:0-9eN.\\-a-z]{0,6}") {
        let end = (at + len).min(SEED.len());
        let text = format!("{}{put}{}", &SEED[..at], &SEED[end..]);
        for layout in [None, Some(Layout::Json), Some(Layout::Jsonl), Some(Layout::Csv), Some(Layout::Completions)] {
            let _ = parse(Path::new("r"), text.as_bytes(), layout);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = parse(Path::new("r"), text.as_bytes(), None);
    }

    #[test]
    fn a_softmax_row_is_a_distribution(logits in prop::collection::vec(-20.0..20.0f32, 1..200)) {
        let z: f32 = logits.iter().map(|l| l.exp()).sum();
        let row: Vec<String> = logits.iter().map(|l| format!("{}", l.exp() / z)).collect();
        let text = format!("{{\"a\": [{}]}}", row.join(", "));
        // f32 rounding may cost a few units of the tolerance in long rows; these are short.
        prop_assert!(read("p.json", &text).is_ok());
    }
}
