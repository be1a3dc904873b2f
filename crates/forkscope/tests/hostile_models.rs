//! Damaged and dishonest model directories: refused with a sentence that names
//! the file, the field and a remedy, and never a run that says complete.

mod tiny;

use std::fs;

use serde_json::{Value, json};
use tiny::{Bench, SCORE, safetensors};

const WEIGHTS: &str = "model.safetensors";
const Q: &str = "model.layers.0.self_attn.q_proj.weight";

#[test]
fn the_fixtures_are_accepted_undamaged() {
    let bench = Bench::new();
    for fixture in ["llama-default", "llama-sharded", "llama-tied", "qwen2"] {
        bench.fixture(&format!("models/{fixture}"), "m");
        bench.accepted(SCORE);
    }
    bench.organism("m");
    bench.accepted("sample --model m --problems problems.jsonl --max-tokens 2 --out run");
}

#[test]
fn truncated_weights() {
    let bench = Bench::new();
    let model = bench.fixture("models/llama-default", "m");
    let whole = model.bytes(WEIGHTS);
    for length in [0, 1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
        model.write(WEIGHTS, &whole[..length]);
        bench.refused(SCORE, &["m/model.safetensors", "again"]);
    }
    let longer = [&whole[..], &[0]].concat();
    model.write(WEIGHTS, longer);
    bench.refused(SCORE, &["m/model.safetensors"]);
}

#[test]
fn headers_that_are_none() {
    let bench = Bench::new();
    let model = bench.fixture("models/llama-default", "m");
    let sized = |size: u64| [&size.to_le_bytes()[..], b"{}"].concat();
    for bytes in [
        safetensors("", &[]),
        safetensors("{}", &[]),
        safetensors("[1, 2]", &[]),
        safetensors("{\"a\": 3}", &[]),
        safetensors("\u{0}\u{0}", &[]),
        safetensors(&"[".repeat(100_000), &[]),
        sized(u64::MAX),
        sized(u64::MAX - 7),
        sized(1 << 40),
        b"<!doctype html><html>no such revision</html>".to_vec(),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".to_vec(),
    ] {
        model.write(WEIGHTS, bytes);
        bench.refused(SCORE, &["m/model.safetensors"]);
    }
}

#[test]
fn headers_that_lie() {
    let bench = Bench::new();
    let set = |path: &str, value: Value, says: &[&str]| {
        let model = bench.fixture("models/llama-default", "m");
        model.tensors(WEIGHTS, |header, _| {
            *header.get_mut(Q).unwrap().pointer_mut(path).unwrap() = value;
        });
        bench.refused(SCORE, &[&["m/model.safetensors"], says].concat());
    };
    set("/data_offsets", json!([0, 4096]), &[]);
    set("/data_offsets", json!([4096, 0]), &[]);
    set("/data_offsets", json!([u64::MAX - 1, u64::MAX]), &[]);
    set("/data_offsets", json!([-1, 4]), &[]);
    set("/data_offsets", json!([0]), &[]);
    set("/shape", json!([u64::MAX, u64::MAX]), &[]);
    set("/shape", json!([32, 31]), &[]);
    set("/shape", json!([16, 64]), &[Q, "shape"]);
    set("/shape", json!([1024]), &[Q, "shape"]);
    set("/shape", json!([]), &[]);
    set("/shape", json!("32x32"), &[]);
    set("/dtype", json!("F64"), &[]);
    set("/dtype", json!("I32"), &[Q, "I32"]);
    set("/dtype", json!("Q4_K"), &[]);
}

#[test]
fn tensors_that_are_missing() {
    let bench = Bench::new();
    for tensor in [
        Q,
        "model.embed_tokens.weight",
        "lm_head.weight",
        "model.norm.weight",
    ] {
        let model = bench.fixture("models/llama-default", "m");
        model.tensors(WEIGHTS, |header, _| {
            let entry = header.remove(tensor).unwrap();
            header.insert(format!("other.{tensor}"), entry);
        });
        bench.refused(SCORE, &["m", tensor]);
    }
}

#[test]
fn weights_that_are_no_numbers_stop_the_run() {
    let bench = Bench::new();
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for tensor in [
        "model.embed_tokens.weight",
        "lm_head.weight",
        Q,
        "model.norm.weight",
    ] {
        for value in values {
            let model = bench.fixture("models/llama-default", "m");
            model.tensors(WEIGHTS, |header, data| {
                assert_eq!(header[tensor]["dtype"], "F32");
                let bounds = &header[tensor]["data_offsets"];
                let (from, to) = (bounds[0].as_u64().unwrap(), bounds[1].as_u64().unwrap());
                for number in data[from as usize..to as usize].chunks_exact_mut(4) {
                    number.copy_from_slice(&value.to_le_bytes());
                }
            });
            for command in [
                SCORE,
                "diff --base m --tuned m --rollouts rollouts.json --out run",
            ] {
                bench.refused_on_the_way(command, &["weights", "position 3"]);
            }
        }
    }
    // In sampling there is no row to show either.
    let model = bench.organism("m");
    model.overwrite(WEIGHTS, "model.norm.weight", &f32::NAN.to_le_bytes());
    let sample = "sample --model m --problems problems.jsonl --out run";
    bench.refused_on_the_way(sample, &["weights", "position"]);
}

#[test]
fn pickles_are_refused_with_the_way_out() {
    let bench = Bench::new();
    for name in [
        "pytorch_model.bin",
        "model.pt",
        "model.pkl",
        "consolidated.00.pth",
    ] {
        let model = bench.fixture("models/llama-default", "m");
        model.remove(WEIGHTS).write(name, b"\x80\x02}q\x00.");
        bench.refused(SCORE, &[name, "safetensors"]);
    }
    bench.fixture("models/llama-default", "m").remove(WEIGHTS);
    bench.refused(SCORE, &["m", "safetensors"]);
    bench.sandbox.file("m.bin", b"\x80\x02}q\x00.");
    bench.refused(&scoring("m.bin"), &["m.bin", "safetensors"]);
}

#[test]
fn configurations_that_lie() {
    let bench = Bench::new();
    let sizes = [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
        "max_position_embeddings",
    ];
    for key in sizes {
        for value in [
            json!(0),
            json!(-4),
            json!("32"),
            json!(1.5),
            json!([32]),
            json!(true),
            json!(1e300),
            json!(u64::MAX),
        ] {
            bench
                .fixture("models/llama-default", "m")
                .config(key, value);
            bench.refused(SCORE, &["m/config.json", key]);
        }
    }
    for (key, value, says) in [
        ("num_attention_heads", json!(3), "num_attention_heads"),
        ("num_key_value_heads", json!(3), "num_key_value_heads"),
        ("num_key_value_heads", json!(8), "num_key_value_heads"),
        ("num_hidden_layers", json!(16_777_216), "num_hidden_layers"),
        ("head_dim", json!(7), "head"),
        ("head_dim", json!(1 << 20), "head"),
        ("head_dim", json!(-8), "head_dim"),
        ("model_type", json!("gpt2"), "model_type"),
        ("model_type", json!(["llama"]), "model_type"),
        ("model_type", Value::Null, "model_type"),
        (
            "model_type",
            json!("\u{1b}[31m\u{202e}evil\n"),
            "model_type",
        ),
        (
            "quantization_config",
            json!({"bits": 4}),
            "quantization_config",
        ),
        ("hidden_act", json!("gelu"), "hidden_act"),
        ("rms_norm_eps", json!(-1), "rms_norm_eps"),
        ("rms_norm_eps", json!("small"), "rms_norm_eps"),
        ("rope_theta", json!(0), "rope_theta"),
        ("rope_theta", json!("big"), "rope_theta"),
        ("rope_scaling", json!({"rope_type": "magic"}), "magic"),
        ("rope_scaling", json!({"rope_type": "linear"}), "factor"),
        (
            "rope_scaling",
            json!({"rope_type": "linear", "factor": 0}),
            "factor",
        ),
        (
            "rope_scaling",
            json!({"rope_type": "yarn", "factor": "4"}),
            "factor",
        ),
        ("rope_scaling", json!("linear"), "rope_scaling"),
        ("tie_word_embeddings", json!("no"), "tie_word_embeddings"),
        ("attention_bias", json!(1), "attention_bias"),
    ] {
        bench
            .fixture("models/llama-default", "m")
            .config(key, value);
        bench.refused(SCORE, &["m/config.json", says]);
    }
    // Honest by itself, but not what the weights are.
    for (key, value) in [
        ("hidden_size", json!(64)),
        ("intermediate_size", json!(48)),
        ("num_hidden_layers", json!(3)),
        ("num_hidden_layers", json!(4096)),
        ("num_key_value_heads", json!(1)),
        ("vocab_size", json!(65)),
        ("vocab_size", json!(16_777_216)),
        ("attention_bias", json!(true)),
        ("model_type", json!("qwen2")),
        ("model_type", json!("qwen3")),
    ] {
        bench
            .fixture("models/llama-default", "m")
            .config(key, value);
        bench.refused(SCORE, &["m/", "safetensors"]);
    }
}

#[test]
fn configurations_that_are_none() {
    let bench = Bench::new();
    for bytes in [
        &b""[..],
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe{}",
        b"{}",
        &[b'['; 100_000],
    ] {
        bench
            .fixture("models/llama-default", "m")
            .write("config.json", bytes);
        bench.refused(SCORE, &["m/config.json"]);
    }
    bench
        .fixture("models/llama-default", "m")
        .remove("config.json");
    bench.refused(SCORE, &["m/config.json", "directory"]);
}

#[test]
fn indexes_of_shards_that_lead_astray() {
    let bench = Bench::new();
    let index = "model.safetensors.index.json";
    fs::write(bench.path("outside.safetensors"), b"secret").unwrap();
    let outside = bench.path("outside.safetensors");
    for name in [
        "../outside.safetensors",
        outside.to_str().unwrap(),
        "a/../../outside.safetensors",
        "..",
        "",
        "missing.safetensors",
        "config.json",
        "a\u{0}b.safetensors",
    ] {
        let model = bench.fixture("models/llama-sharded", "m");
        model.edit(index, |map| map["weight_map"][Q] = json!(name));
        bench.refused(SCORE, &["m/"]);
    }
    bench
        .fixture("models/llama-sharded", "m")
        .remove("model-00002-of-00003.safetensors");
    bench.refused(SCORE, &["model-00002-of-00003.safetensors"]);
    for map in [json!({}), json!([]), json!("x"), json!({Q: 3})] {
        let model = bench.fixture("models/llama-sharded", "m");
        model.edit(index, |json| json["weight_map"] = map);
        bench.refused(SCORE, &["m/", "weight_map"]);
    }
    let model = bench.fixture("models/llama-sharded", "m");
    model.write(index, "{\"weight_map\"");
    bench.refused(SCORE, &[index]);
}

#[test]
fn paths_that_do_not_exist() {
    let bench = Bench::new();
    bench.fixture("models/llama-default", "m");
    for model in [
        "./nowhere",
        "/nowhere/at/all",
        "nowhere",
        "org/nowhere",
        "../nowhere",
        "m+nowhere",
        "nowhere+m",
        "org/nowhere@",
    ] {
        bench.refused(&scoring(model), &["nowhere", ";"]);
    }
    for (model, says) in [
        ("m+", "directory"),
        ("rollouts.json", "directory"),
        ("embedded:nothing", "embedded:reasoner"),
        ("embedded:base+nowhere", "embedded:reasoner"),
    ] {
        bench.refused(&scoring(model), &[model, says]);
    }
    // A folder, but no adapter's.
    let said = ["m/adapter_config.json", "adapter directory"];
    bench.refused(&scoring("embedded:base+m"), &said);
    bench.refused(
        "score --model m --rollouts nowhere.json --out run",
        &["nowhere.json"],
    );
    bench.refused(
        "sample --model embedded:base --problems nowhere.jsonl --out run",
        &["nowhere.jsonl"],
    );
    for pair in [
        "--base m --tuned nowhere",
        "--base nowhere --tuned m",
        "--base embedded:base --tuned nowhere",
        "--base m --tuned m+nowhere",
    ] {
        let line = format!("diff {pair} --rollouts rollouts.json --out run");
        bench.refused(&line, &["nowhere", ";"]);
    }
}

/// Scoring with another model.
fn scoring(model: &str) -> String {
    SCORE.replace(" m ", &format!(" {model} "))
}
