//! Tokenizers: equal to transformers, whole in streams, calm about bad files.

use std::path::{Path, PathBuf};

use forkscope_policy::text::Tokenizer;
use proptest::prelude::*;

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    tokenizer: String,
    text: String,
    add_special_tokens: bool,
    ids: Vec<u32>,
    decoded: String,
    decoded_plain: String,
}

const KINDS: [&str; 3] = ["bytes", "pieces", "words"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tokenizers")
        .join(name)
}

fn open(kind: &str) -> Tokenizer {
    Tokenizer::from_file(&fixture(&format!("{kind}.json"))).unwrap()
}

#[test]
fn ids_and_texts_are_those_of_transformers() {
    let golden: Golden =
        serde_json::from_slice(&std::fs::read(fixture("cases.json")).unwrap()).unwrap();
    for case in &golden.cases {
        let tokenizer = open(&case.tokenizer);
        let ids = tokenizer
            .encode(&case.text, case.add_special_tokens)
            .unwrap();
        assert_eq!(ids, case.ids, "{} {:?}", case.tokenizer, case.text);
        assert_eq!(tokenizer.decode(&ids, false), case.decoded);
        assert_eq!(tokenizer.decode(&ids, true), case.decoded_plain);
        assert_eq!(stream(&tokenizer, &ids, true), case.decoded_plain);
        assert_eq!(stream(&tokenizer, &ids, false), case.decoded);
    }
}

/// Text of a stream, checked to be a beginning of the whole: half a character
/// never shows.
fn stream(tokenizer: &Tokenizer, ids: &[u32], skip: bool) -> String {
    let mut stream = tokenizer.stream(skip);
    let mut joined = String::new();
    for &id in ids {
        joined.push_str(stream.push(id));
        assert_eq!(joined, stream.text());
    }
    let whole = stream.finish();
    assert!(whole.starts_with(&joined), "{joined:?} {whole:?}");
    // Only replacements can be held back to the end.
    assert!(
        whole[joined.len()..].chars().all(|c| c == '\u{fffd}'),
        "{joined:?} {whole:?}"
    );
    whole
}

proptest! {
    #[test]
    fn streams_say_what_decoding_says(text in "\\PC{0,40}", kind in 0..3usize) {
        let tokenizer = open(KINDS[kind]);
        let ids = tokenizer.encode(&text, false).unwrap();
        let whole = stream(&tokenizer, &ids, true);
        prop_assert_eq!(&whole, &tokenizer.decode(&ids, true));
        if kind == 0 {
            prop_assert_eq!(whole, text);
        }
    }

    /// Ids as a broken model samples them: bytes that are no characters, ids
    /// beyond the vocabulary.
    #[test]
    fn any_ids_can_be_streamed(ids in prop::collection::vec(0u32..320, 0..60), kind in 0..3usize) {
        let tokenizer = open(KINDS[kind]);
        let mut stream = tokenizer.stream(true);
        for &id in &ids {
            stream.push(id);
        }
        prop_assert_eq!(stream.finish(), tokenizer.decode(&ids, true));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Tokenizer::from_bytes(&bytes, Path::new("t.json")).is_err());
    }
}

#[test]
fn pieces_are_readable() {
    let bytes = open("bytes");
    let ids = bytes.encode("the cat 日", false).unwrap();
    let pieces: Vec<String> = ids.iter().map(|&id| bytes.piece(id).unwrap()).collect();
    assert_eq!(
        pieces.concat().chars().take(8).collect::<String>(),
        "the cat "
    );
    assert_eq!(bytes.piece(1).unwrap(), "<s>");
    assert_eq!(bytes.piece(100_000), None);
    let words = open("words");
    let ids = words.encode("the cat", true).unwrap();
    let pieces: Vec<String> = ids.iter().map(|&id| words.piece(id).unwrap()).collect();
    assert_eq!(pieces, ["<s>", " the", " cat"]);
}

#[test]
fn vocabularies_are_compared_and_not_files() {
    let text = std::fs::read_to_string(fixture("words.json")).unwrap();
    let words = Tokenizer::from_bytes(text.as_bytes(), Path::new("a")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    let same = Tokenizer::from_bytes(pretty.as_bytes(), Path::new("b")).unwrap();
    assert_eq!(words.vocabulary_digest(), same.vocabulary_digest());
    assert!(words.same_vocabulary(&same).is_ok());
    assert_eq!(words.vocab_size(), words.vocabulary().count());

    let other = text.replace("\"cat\":8", "\"dog\":8");
    assert_ne!(other, text);
    let other = Tokenizer::from_bytes(other.as_bytes(), Path::new("c")).unwrap();
    let difference = words.same_vocabulary(&other).unwrap_err();
    assert!(!difference.is_extension());
    assert_eq!((difference.first_id, difference.conflicting), (8, 1));
    let said = difference.to_string();
    assert!(
        said.contains("token 8 is \"cat\" on one side and \"dog\" on the other"),
        "{said}"
    );
    assert_ne!(words.vocabulary_digest(), other.vocabulary_digest());

    let longer = text.replace("\"cat\":8", "\"cat\":8,\"dog\":500");
    let longer = Tokenizer::from_bytes(longer.as_bytes(), Path::new("d")).unwrap();
    let difference = words.same_vocabulary(&longer).unwrap_err();
    assert!(difference.is_extension());
    assert_eq!((difference.first_id, difference.only_right), (500, 1));
    assert_eq!(longer.vocab_size(), 501);
}

#[test]
fn broken_files_are_refused_by_name() {
    let whole = std::fs::read_to_string(fixture("bytes.json")).unwrap();
    let broken: Vec<String> = vec![
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        "{\"version\":\"1.0\"}".into(),
        whole[..whole.len() / 2].to_owned(),
        whole.replace("\"type\":\"BPE\"", "\"type\":\"Unheard\""),
        whole.replace("\"merges\":[", "\"merges\":[[\"no\",\"such\"],"),
        whole.replace("\"version\":\"1.0\"", "\"version\":\"9.0\""),
        whole.replace("\"added_tokens\":[", "\"added_tokens\":[7,"),
        whole.replace("\\\\p{L}", "(((("),
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{}1{}", "{\"model\":".repeat(100_000), "}".repeat(100_000)),
        "{\"version\":\"1.0\",\"added_tokens\":[],\"model\":{\"type\":\"WordLevel\",\"vocab\":{},\"unk_token\":\"x\"}}".into(),
        "{\"version\":\"1.0\",\"added_tokens\":[],\"model\":{\"type\":\"Unigram\",\"unk_id\":9,\"vocab\":[[\"a\",0.0]]}}".into(),
        "{\"version\":\"1.0\",\"added_tokens\":[],\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":-1},\"unk_token\":\"x\"}}".into(),
        "{\"version\":\"1.0\",\"added_tokens\":[],\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":99999999999},\"unk_token\":\"x\"}}".into(),
    ];
    for text in broken {
        let start: String = text.chars().take(60).collect();
        match Tokenizer::from_bytes(text.as_bytes(), Path::new("m/tokenizer.json")) {
            Ok(_) => panic!("read: {start}"),
            Err(error) => {
                let said = error.to_string();
                assert!(said.starts_with("m/tokenizer.json: "), "{said}");
                assert!(said.contains("; "), "{said}");
                assert!(said.len() < 600, "{said}");
            }
        }
    }
}

/// Files that read, and fail or overreach when used: no panic leaves.
#[test]
fn lying_files_do_no_harm() {
    let whole = std::fs::read_to_string(fixture("words.json")).unwrap();
    let lies = [
        whole.replace("\"ids\":[1]", "\"ids\":[4000000000]"),
        whole.replace("\"cat\":8", "\"cat\":4294967295"),
        whole.replace("\"unk_token\":\"<unk>\"", "\"unk_token\":\"gone\""),
        whole.replace("\"truncation\":null", "\"truncation\":{\"direction\":\"Right\",\"max_length\":0,\"strategy\":\"LongestFirst\",\"stride\":9}"),
        whole.replace("\"decoder\":null", "\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":4000000000,\"stop\":4000000000}"),
        whole.replace("\"decoder\":null", "\"decoder\":{\"type\":\"CTC\",\"pad_token\":\"\",\"word_delimiter_token\":\"\",\"cleanup\":true}"),
    ];
    for lie in lies {
        assert_ne!(lie, whole);
        let Ok(tokenizer) = Tokenizer::from_bytes(lie.as_bytes(), Path::new("t")) else {
            continue;
        };
        let ids = tokenizer
            .encode("the cat and a gnu", true)
            .unwrap_or_default();
        tokenizer.decode(&ids, true);
        tokenizer.piece(u32::MAX);
        assert!(tokenizer.vocab_size() > 0);
        tokenizer.vocabulary_digest();
    }
}
