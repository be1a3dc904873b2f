//! Damaged and dishonest tokenizers, chat templates and adapters.

mod tiny;

use serde_json::{Value, json};
use tiny::{Bench, Model, SCORE};

const SAMPLE: &str = "sample --model m --problems problems.jsonl --max-tokens 2 --out run";

#[test]
fn tokenizers_that_are_none() {
    let bench = Bench::new();
    let whole = bench.organism("m").bytes("tokenizer.json");
    for bytes in [
        &b""[..],
        b"{}",
        b"[]",
        b"\xff\xfe",
        &whole[..whole.len() / 2],
        &[b'['; 100_000],
    ] {
        bench.organism("m").write("tokenizer.json", bytes);
        bench.refused(SAMPLE, &["m/tokenizer.json", ";"]);
        bench.refused(SCORE, &["m/tokenizer.json", ";"]);
    }
    bench.organism("m").remove("tokenizer.json");
    bench.refused(SAMPLE, &["tokenizer.json", "--rollouts"]);
    bench.accepted(SCORE);
}

#[test]
fn a_tokenizer_of_another_model() {
    let bench = Bench::new();
    let vocabulary = |model: &Model, change: &dyn Fn(&mut Value)| {
        model.edit("tokenizer.json", |json| change(&mut json["model"]["vocab"]));
    };
    let model = bench.organism("m");
    let whole: Value = serde_json::from_slice(&model.bytes("tokenizer.json")).unwrap();
    let words = &whole["model"]["vocab"];
    let (n, coins, pens) = (
        words.as_object().unwrap().len(),
        words["coins"].clone(),
        words["pens"].clone(),
    );
    vocabulary(&model, &|v| v["more"] = json!(n));
    let (more, all) = ((n + 1).to_string(), n.to_string());
    bench.refused(SAMPLE, &["m/tokenizer.json", more.as_str(), all.as_str()]);
    vocabulary(&bench.organism("m"), &|v| {
        v["far"] = json!(4_000_000_000u32)
    });
    bench.refused(SAMPLE, &["m/tokenizer.json"]);

    let pair = "diff --base m --tuned t --rollouts rollouts.json --out run";
    bench.organism("m");
    vocabulary(&bench.organism("t"), &|v| {
        v["coins"] = pens.clone();
        v["pens"] = coins.clone();
    });
    bench.refused(pair, &["t/tokenizer.json", "vocabulary"]);
    vocabulary(&bench.organism("t"), &|v| {
        v.as_object_mut().unwrap().remove("pens");
    });
    bench.refused(pair, &["t/tokenizer.json", "vocabulary"]);
    // The same vocabulary in other bytes is the same vocabulary.
    let tuned = bench.organism("t");
    let json: Value = serde_json::from_slice(&tuned.bytes("tokenizer.json")).unwrap();
    tuned.write("tokenizer.json", serde_json::to_vec_pretty(&json).unwrap());
    bench.accepted(pair);
}

#[test]
fn a_pattern_that_backtracks_for_ever_does_not() {
    let bench = Bench::new();
    let model = bench.organism("m");
    model.edit("tokenizer.json", |json| {
        json["pre_tokenizer"] = json!({"type": "Split", "pattern": {"Regex": "(?:(a+)+)+\\1b"},
            "behavior": "Removed", "invert": false});
    });
    let problem = json!({"problem": "a".repeat(2_000)});
    bench.sandbox.file("problems.jsonl", problem.to_string());
    // Within the half minute that every command of these tests has.
    bench.accepted(SAMPLE);
}

#[test]
fn templates_that_do_not_end_or_reach_out() {
    let bench = Bench::new();
    for template in [
        "{% for i in range(1000000000) %}{% for j in range(1000000000) %}x{% endfor %}{% endfor %}",
        "{{ 'x' * 10000000000 }}",
        "{{ 'x' * 9223372036854775807 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x %}\
         {% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='x') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}\
         {% endfor %}{{ ns.x }}",
        "{{ '%0999999999d' % 1 }}",
        "{{ 'x'.ljust(99999999999) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.system('true') }}",
        "{{ raise_exception('\u{1b}[31mno\u{202e}') }}",
        "{% if %}",
        "{{ 1 / 0 }}",
        "{{ nothing.at.all }}",
    ] {
        let model = bench.organism("m");
        model.edit("tokenizer_config.json", |json| {
            json.insert("chat_template".into(), json!(template));
        });
        bench.refused(SAMPLE, &["--prompt-style raw"]);
        bench.accepted(&SAMPLE.replace("sample ", "sample --prompt-style raw "));
    }
    let deep = "{{ ".to_owned() + &"(".repeat(100_000) + "1" + &")".repeat(100_000) + " }}";
    bench.organism("m").write("chat_template.jinja", deep);
    bench.refused(SAMPLE, &["--prompt-style raw"]);
    // A problem's own prompt template is the user's.
    bench.organism("m");
    bench.refused(
        &SAMPLE.replace("sample ", "sample --prompt-template nowhere.txt "),
        &["nowhere.txt"],
    );
    bench.sandbox.file("mine.txt", "no place for the problem");
    bench.refused(
        &SAMPLE.replace("sample ", "sample --prompt-template mine.txt "),
        &["mine.txt", "{problem}"],
    );
}

/// Scoring with the adapter `a` on the model `m`.
const ADAPTED: &str = "score --model m+a --rollouts rollouts.json --out run";

#[test]
fn adapters_that_do_not_fit() {
    let bench = Bench::new();
    bench.fixture("models/llama-default", "m");
    for fits in ["adapters/qv", "adapters/all-seven", "adapters/patterns"] {
        bench.fixture(fits, "a");
        bench.accepted(ADAPTED);
    }
    for (refused, says) in [
        ("shape-out", "shape"),
        ("shape-rank", "shape"),
        ("rank-zero", "r"),
        ("rank-lies", "r"),
        ("b-missing", "lora_B"),
        ("dora", "use_dora"),
        ("peft-type-ia3", "peft_type"),
        ("targets-unknown", "target_modules"),
        ("tensor-unknown", "tensor"),
        ("modules-to-save", "modules_to_save"),
        ("layer-missing", "layer"),
    ] {
        bench.fixture(&format!("refused/{refused}"), "a");
        bench.refused(ADAPTED, &["a/adapter_", says, ";"]);
        bench.refused(
            "diff --base m --tuned m+a --rollouts rollouts.json --out run",
            &["a/adapter_", says],
        );
    }
    // Made for a wider model.
    bench.fixture("adapters/qv", "a");
    bench.organism("m");
    bench.refused(ADAPTED, &["a/adapter_model.safetensors", "shape"]);
}

#[test]
fn adapters_that_are_damaged() {
    let bench = Bench::new();
    bench.fixture("models/llama-default", "m");
    let weights = "adapter_model.safetensors";
    let whole = bench.fixture("adapters/qv", "a").bytes(weights);
    for length in [0, 7, 100, whole.len() - 1] {
        bench
            .fixture("adapters/qv", "a")
            .write(weights, &whole[..length]);
        bench.refused(ADAPTED, &["a/adapter_model.safetensors", ";"]);
    }
    bench.fixture("adapters/qv", "a").remove(weights);
    bench.refused(ADAPTED, &["a/", "safetensors"]);
    let pickled = bench.fixture("adapters/qv", "a");
    pickled
        .remove(weights)
        .write("adapter_model.bin", b"\x80\x02}q\x00.");
    bench.refused(ADAPTED, &["a/adapter_model", "safetensors"]);
    bench
        .fixture("adapters/qv", "a")
        .remove("adapter_config.json");
    bench.refused(ADAPTED, &["a/adapter_config.json"]);
    for (key, value) in [
        ("r", json!(-1)),
        ("r", json!(u64::MAX)),
        ("r", json!("4")),
        ("lora_alpha", json!("8")),
        ("target_modules", json!(3)),
        ("target_modules", json!("(")),
        ("target_modules", json!([])),
        ("rank_pattern", json!([1])),
        ("rank_pattern", json!({"q_proj": 0})),
    ] {
        let adapter = bench.fixture("adapters/qv", "a");
        adapter.edit("adapter_config.json", |json| {
            json.insert(key.into(), value);
        });
        bench.refused(ADAPTED, &["a/adapter_config.json", key]);
    }
    // An adapter is no model.
    bench.fixture("adapters/qv", "a");
    bench.refused(
        "score --model a --rollouts rollouts.json --out run",
        &["a/adapter_config.json", "BASE+ADAPTER"],
    );
}
