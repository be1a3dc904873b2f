//! Files of pairs, whole and broken.

use std::collections::BTreeMap;

use forkscope_policy::text::PromptStyle;
use proptest::prelude::*;

use super::*;
use crate::objective::tiny::tokenizer;

/// A text side with the words a b c d, an end token and a chat template.
fn text() -> TextSide {
    let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    files.insert(
        "tokenizer.json",
        tokenizer(&["a", "b", "c", "d", "user", "assistant"]),
    );
    let config = serde_json::json!({
        "eos_token": "<eos>",
        "chat_template": "{% for m in messages %}{{ m.role }} {{ m.content }} <eos> {% endfor %}{% if add_generation_prompt %}assistant {% endif %}",
    });
    files.insert("tokenizer_config.json", config.to_string().into_bytes());
    TextSide::from_files(Path::new("tiny"), |name| {
        Ok(files
            .get(name)
            .map(|b| std::borrow::Cow::Borrowed(b.as_slice())))
    })
    .unwrap()
    .unwrap()
}

fn read(lines: &str, broken: BrokenRows) -> Result<PairFile, TrainError> {
    let path = Path::new("pairs.jsonl");
    read_pairs_bytes(
        lines.as_bytes(),
        path,
        Some(&text()),
        8,
        &PromptStyle::Raw,
        broken,
    )
}

const IDS: &str = r#"{"id": "x", "prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4]}"#;

#[test]
fn ids_texts_and_conversations_are_read() {
    let lines = format!(
        "{IDS}\n\n{}\n{}\n{}\n",
        r#"{"prompt": "a b", "chosen": "c", "rejected": "d d", "ref_chosen_logps": -1.5, "ref_rejected_logps": -2}"#,
        r#"{"prompt": [{"role": "user", "content": "a"}], "chosen": [{"role": "assistant", "content": "b"}], "rejected": [{"role": "assistant", "content": "c d"}]}"#,
        r#"{"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c d"}]}"#,
    );
    let file = read(&lines, BrokenRows::Refuse).unwrap();
    let ids: Vec<&str> = file.pairs.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids, ["x", "1", "2", "3"]);
    // <unk> 0, <eos> 1, a 2, b 3, c 4, d 5, user 6, assistant 7.
    let written = &file.pairs[1];
    assert_eq!(
        (written.prompt.as_slice(), written.chosen.as_slice()),
        (&[2, 3][..], &[4, 1][..])
    );
    assert_eq!(written.rejected, [5, 5, 1]);
    assert_eq!(written.reference, Some((-1.5, -2.0)));
    let talk = &file.pairs[2];
    assert_eq!(
        (talk.prompt.as_slice(), talk.chosen.as_slice()),
        (&[6, 2, 1, 7][..], &[3, 1][..])
    );
    assert_eq!(talk.rejected, [4, 5, 1]);
    assert_eq!(file.pairs[3].prompt, talk.prompt);
    assert_eq!(file.pairs[3].chosen, talk.chosen);
}

#[test]
fn long_pairs_can_be_left_out() {
    let long = r#"{"prompt_ids": [1], "chosen_ids": [2, 3, 4], "rejected_ids": [5]}"#;
    let mut file = read(&format!("{IDS}\n{long}"), BrokenRows::Refuse).unwrap();
    file.drop_longer(4);
    assert_eq!((file.pairs.len(), file.dropped), (2, 0));
    file.drop_longer(3);
    assert_eq!((file.pairs.len(), file.dropped), (1, 1));
}

#[test]
fn equal_completions_are_counted() {
    let same = r#"{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [2]}"#;
    let file = read(&format!("{same}\n{IDS}"), BrokenRows::Refuse).unwrap();
    assert_eq!((file.pairs.len(), file.identical, file.broken), (1, 1, 0));
    let error = read(same, BrokenRows::Skip).unwrap_err().to_string();
    assert!(error.contains("1 with two equal completions"), "{error}");
}

#[test]
fn broken_rows_are_refused_by_line_and_field_or_counted() {
    for (row, word) in [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        (
            r#"{"prompt_ids": [1], "chosen_ids": [2]}"#,
            "`rejected_ids`",
        ),
        (
            r#"{"prompt_ids": [1], "chosen_ids": [-2], "rejected_ids": [3]}"#,
            "`chosen_ids`",
        ),
        (
            r#"{"prompt_ids": [], "chosen_ids": [2], "rejected_ids": [3]}"#,
            "empty prompt",
        ),
        (
            r#"{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [8]}"#,
            "outside the vocabulary of 8",
        ),
        (r#"{"prompt": "a", "chosen": "b"}"#, "`rejected` is missing"),
        (r#"{"chosen": "b", "rejected": "c"}"#, "`prompt` is missing"),
        (
            r#"{"prompt": "a", "chosen": 3, "rejected": "c"}"#,
            "`chosen` is not a string",
        ),
        (
            r#"{"prompt": "a", "chosen": [], "rejected": []}"#,
            "`chosen` is not a list of messages",
        ),
        (
            r#"{"id": [], "prompt": "a", "chosen": "b", "rejected": "c"}"#,
            "`id`",
        ),
        (
            r#"{"id": "x", "prompt": "a", "chosen": "b", "rejected": "c"}"#,
            "that of line 1",
        ),
        (
            r#"{"prompt": "a", "chosen": "b", "rejected": "c", "ref_chosen_logps": -1}"#,
            "one is missing",
        ),
        (
            r#"{"prompt": "a", "chosen": "b", "rejected": "c", "ref_chosen_logps": 1, "ref_rejected_logps": 1}"#,
            "at most 0",
        ),
    ] {
        let lines = format!("{IDS}\n{row}\n");
        let error = read(&lines, BrokenRows::Refuse).unwrap_err().to_string();
        assert!(
            error.contains("pairs.jsonl: line 2") && error.contains(word),
            "{error}"
        );
        let file = read(&lines, BrokenRows::Skip).unwrap();
        assert_eq!((file.pairs.len(), file.broken), (1, 1), "{row}");
        assert_eq!(file.first_broken.map(|(line, _)| line), Some(2));
    }
    assert!(read("", BrokenRows::Skip).is_err());
    let text = r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#;
    let without = read_pairs_bytes(
        text.as_bytes(),
        Path::new("p"),
        None,
        8,
        &PromptStyle::Raw,
        BrokenRows::Refuse,
    );
    assert!(without.unwrap_err().to_string().contains("tokenizer.json"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_pairs_bytes(&bytes, Path::new("p"), None, 8, &PromptStyle::Raw, BrokenRows::Skip);
    }
}
