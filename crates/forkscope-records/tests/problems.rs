//! Problem files in every layout that benchmarks come in.

use std::fs;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Fields};
use forkscope_records::read_problems;
use forkscope_records::types::{Message, Problem, ProblemPrompt};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<Problem>, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    read_problems(&path).map_err(|e| e.to_string())
}

fn text(p: &Problem) -> &str {
    match &p.prompt {
        ProblemPrompt::Text(t) => t,
        ProblemPrompt::Messages(_) => panic!("messages"),
    }
}

#[test]
fn the_layouts_of_known_benchmarks() {
    let lines = concat!(
        r#"{"id": 60, "problem": "first wins", "solution": "long \\boxed{9}", "answer": "204", "url": "u", "question": "not this"}"#,
        "\n",
        r#"{"id": "b", "question": "a float", "answer": 27.0}"#,
        "\n",
        r#"{"id": 2, "question": "gsm", "answer": "work <<1+1=2>>\n#### 1,002", "idx": 0}"#,
        "\n",
        r#"{"id": 3, "problem": "math", "solution": "so $\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}$."}"#,
        "\n",
        r#"{"id": 4, "context": null, "question": "olympiad", "solution": ["s"], "final_answer": ["2"]}"#,
        "\n",
        r#"{"id": 5, "prompt": "no answer", "category": "easy"}"#,
        "\n",
        r#"{"id": 6, "messages": [{"role": "user", "content": "hi"}], "ground_truth": true, "answer": null}"#,
        "\n",
    );
    let problems = read("x.jsonl", lines).unwrap();
    let ids: Vec<&str> = problems.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids, ["60", "b", "2", "3", "4", "5", "6"]);
    let answers: Vec<Option<&str>> = problems.iter().map(|p| p.answer.as_deref()).collect();
    assert_eq!(
        answers,
        [
            Some("204"),
            Some("27"),
            Some("1,002"),
            Some(r"\left( 3, \frac{\pi}{2} \right)"),
            Some("2"),
            None,
            Some("true")
        ]
    );
    assert_eq!(text(&problems[0]), "first wins");
    assert_eq!(problems[5].category.as_deref(), Some("easy"));
    let user = Message {
        role: "user".into(),
        content: "hi".into(),
    };
    assert_eq!(problems[6].prompt, ProblemPrompt::Messages(vec![user]));
}

/// Rows in the layouts of the sets that mathematical reasoning is measured on,
/// with texts of our own.
#[test]
fn rows_as_the_six_benchmarks_and_training_sets_write_them() {
    for (layout, row, problem, answer) in [
        (
            "aime24",
            r#"{"id":60,"problem":"P","solution":"so $\\framebox{12}$.","answer":"204","url":"https:\/\/u","question":"P"}"#,
            "P",
            "204",
        ),
        (
            "amc23",
            r#"{"id":0,"problem":"P","answer":27.0,"url":"u","question":"P"}"#,
            "P",
            "27",
        ),
        (
            "gsm8k",
            r#"{"question":"Q","answer":"It is 2*600=<<2*600=1200>>1,200.\n#### 1,200","idx":0}"#,
            "Q",
            "1,200",
        ),
        (
            "math500",
            r#"{"problem":"P","solution":"$\\boxed{9}$","answer":"\\left( 3, \\frac{\\pi}{2} \\right)","subject":"Algebra","level":2,"unique_id":"test/a/1.json"}"#,
            "P",
            r"\left( 3, \frac{\pi}{2} \right)",
        ),
        (
            "minerva",
            r#"{"problem":"P","solution":"\\[\ns=7200=\\boxed{1.6} \\mathrm{~cm}\n\\]","type":"Astronomy","idx":0}"#,
            "P",
            "1.6",
        ),
        (
            "minerva, no box in braces",
            r#"{"problem":"P","solution":"or \\boxed 4.5e33 erg","idx":1}"#,
            "P",
            "4.5e33",
        ),
        (
            "olympiadbench",
            r#"{"id":1606,"subfield":"Algebra","context":null,"question":"Q","solution":["S"],"final_answer":["$\\frac{41}{12}$"],"is_multiple_answer":false,"unit":"km","answer_type":"Numerical","error":null}"#,
            "Q",
            r"$\frac{41}{12}$",
        ),
        (
            "olympiadbench, several",
            r#"{"id":1,"question":"Q","final_answer":["$69$,$84$"],"is_multiple_answer":true,"unit":null}"#,
            "Q",
            "$69$,$84$",
        ),
        (
            "olympiadbench, a list",
            r#"{"id":1,"question":"Q","final_answer":["2","3"],"is_multiple_answer":true}"#,
            "Q",
            "2, 3",
        ),
        (
            "multiple choice",
            r#"{"question":"Q (A) 1 (B) 2","answer":"(B)"}"#,
            "Q (A) 1 (B) 2",
            "(B)",
        ),
        (
            "simplerl",
            r#"{"answer":"118","gt_answer":"118","question":"Q","target":"118","prompt":[{"content":"C","role":"user"}],"reward_model":{"ground_truth":"1","style":"rule"},"extra_info":{"index":0}}"#,
            "Q",
            "118",
        ),
        (
            "reward model",
            r#"{"problem":"P","reward_model":{"ground_truth":"34","style":"rule"}}"#,
            "P",
            "34",
        ),
    ] {
        let problems = read("x.jsonl", row).unwrap();
        let found = (text(&problems[0]), problems[0].answer.as_deref());
        assert_eq!(found, (problem, Some(answer)), "{layout}");
    }
}

#[test]
fn without_identifiers_the_row_is_the_identifier() {
    let bytes = b"\xef\xbb\xbf{\"problem\": \"a\"}\r\n\r\n   \n{\"problem\": \"b\", \"id\": null}\r\n{\"problem\": \"c\"}";
    let problems = read("x.jsonl", bytes).unwrap();
    assert_eq!(
        problems.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(),
        ["0", "1", "2"]
    );
    assert_eq!(text(&problems[2]), "c");
}

#[test]
fn one_document_is_read_like_lines() {
    let pretty =
        "[\n  {\n    \"id\": \"x\",\n    \"problem\": \"a\"\n  },\n  {\"problem\": \"b\"}\n]\n";
    let ids = |r: Result<Vec<Problem>, String>| -> Vec<String> {
        r.unwrap().into_iter().map(|p| p.id).collect()
    };
    assert_eq!(ids(read("x.json", pretty)), ["x", "1"]);
    assert_eq!(
        ids(read("x.json", "{\"problems\": [{\"problem\": \"a\"}]}")),
        ["0"]
    );
    assert_eq!(
        ids(read(
            "x.json",
            "{\n\"data\": [{\"problem\": \"a\"}, {\"problem\": \"b\"}]\n}"
        )),
        ["0", "1"]
    );
    assert_eq!(ids(read("x.json", "{\n\"problem\": \"alone\"\n}")), ["0"]);
    assert_eq!(
        ids(read(
            "x.json",
            "{\"problem\": \"a\"}\n{\"problem\": \"b\"}\n"
        )),
        ["0", "1"]
    );
}

#[test]
fn parquet_with_lists_of_messages() {
    let fields = Fields::from(vec![
        Field::new("content", DataType::Utf8, true),
        Field::new("role", DataType::Utf8, true),
    ]);
    let mut prompt = ListBuilder::new(StructBuilder::from_fields(fields, 2));
    for content in ["one", "two"] {
        let item = prompt.values();
        item.field_builder::<StringBuilder>(0)
            .unwrap()
            .append_value(content);
        item.field_builder::<StringBuilder>(1)
            .unwrap()
            .append_value("user");
        item.append(true);
        prompt.append(true);
    }
    let mut level = Int64Builder::new();
    level.append_slice(&[3, 4]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("prompt", Arc::new(prompt.finish())),
        (
            "answer",
            Arc::new(StringArray::from(vec![Some("118"), None])),
        ),
        ("category", Arc::new(level.finish())),
        ("ignored", Arc::new(StringArray::from(vec!["x", "y"]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let problems = read("x.parquet", &bytes).unwrap();
    let two = Message {
        role: "user".into(),
        content: "two".into(),
    };
    assert_eq!(problems[1].prompt, ProblemPrompt::Messages(vec![two]));
    assert_eq!(
        (problems[0].answer.as_deref(), problems[1].answer.as_deref()),
        (Some("118"), None)
    );
    assert_eq!(problems[1].category.as_deref(), Some("4"));
    let message = read("x.parquet", &bytes[..bytes.len() - 9]).unwrap_err();
    assert!(
        message.contains("x.parquet is not a readable Parquet table"),
        "{message}"
    );
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (name, bytes, expected) in [
        ("x.jsonl", "", "x.jsonl: the file is empty"),
        ("x.jsonl", " \n\n", "the file is empty"),
        ("x.json", "[]", "has no problems"),
        (
            "x.jsonl",
            "{\"problem\": \"a\"}\n\n{\"problem\": \n",
            "x.jsonl line 3: EOF while parsing",
        ),
        (
            "x.jsonl",
            "{\"problem\": \"a\"\n{\"problem\": \"b\"}\n",
            "x.jsonl line 1:",
        ),
        (
            "x.jsonl",
            "{\"problem\": \"a\"}\n[1]\n",
            "line 2: a problem must be a JSON object",
        ),
        (
            "x.jsonl",
            "{\"problem\": \"a\"}\nhello\n",
            "line 2: expected value at column 1",
        ),
        (
            "x.jsonl",
            "{\"question\": 7}\n",
            "line 1: field question is neither text nor",
        ),
        (
            "x.jsonl",
            "{\"text\": \"a\"}\n",
            "line 1: no problem text: none of the fields problem, question",
        ),
        (
            "x.jsonl",
            "{\"problem\": \"  \"}\n",
            "line 1: field problem is empty",
        ),
        (
            "x.jsonl",
            "{\"id\": 1, \"problem\": \"a\"}\n{\"problem\": \"b\"}\n",
            "line 2: the identifier \"1\" is that of line 1 too",
        ),
        (
            "x.json",
            "[{\"id\": 1, \"problem\": \"a\"},\n{\"id\": 1, \"problem\": \"b\"}]",
            "entry 1: the identifier",
        ),
        (
            "x.jsonl",
            "{\"id\": [], \"problem\": \"a\"}\n",
            "field id must be",
        ),
        (
            "x.jsonl",
            "{\"problem\": \"a\", \"answer\": {\"x\": 1}}\n",
            "field answer is an object",
        ),
        (
            "x.jsonl",
            "{\"messages\": [{\"role\": \"user\"}]}\n",
            "messages[0] has no text field content",
        ),
        (
            "x.jsonl",
            "{\"messages\": []}\n",
            "field messages is neither",
        ),
        (
            "x.json",
            "[{\"problem\": \"a\"}",
            "x.json: EOF while parsing",
        ),
    ] {
        let message = read(name, bytes).unwrap_err();
        assert!(message.contains(expected), "{bytes:?} gave {message}");
    }
    let message = read(
        "x.jsonl",
        b"{\"problem\": \"a\"}\n{\"problem\": \"\xff\"}\n",
    )
    .unwrap_err();
    assert!(message.contains("line 2"), "{message}");
    let message = read("x.jsonl", b"\xff\xfe{\0").unwrap_err();
    assert!(message.contains("UTF-8"), "{message}");
    let deep = "[".repeat(100_000);
    assert!(
        read("x.json", deep)
            .unwrap_err()
            .contains("recursion limit")
    );
    let dir = tempfile::tempdir().unwrap();
    let message = read_problems(&dir.path().join("absent.jsonl"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("absent.jsonl: no such file"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_text_problem_comes_back(texts in prop::collection::vec(("\\PC{0,9}\\S", "\\PC{0,9}[a-z]"), 1..9)) {
        let lines: Vec<String> = texts
            .iter()
            .map(|(p, a)| serde_json::json!({"problem": p, "answer": a}).to_string())
            .collect();
        let problems = read("x.jsonl", lines.join("\r\n")).unwrap();
        prop_assert_eq!(problems.len(), texts.len());
        for (problem, (p, a)) in problems.iter().zip(&texts) {
            prop_assert_eq!(text(problem), p);
            if !a.contains("####") {
                prop_assert_eq!(problem.answer.as_deref(), Some(a.trim()));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read("x.jsonl", &bytes);
        let _ = read("x.json", [b"[{", bytes.as_slice()].concat());
        let _ = read("x.parquet", [b"PAR1", bytes.as_slice(), b"PAR1"].concat());
    }
}
