//! `forkscope probe --patching` and `--sae`: what is known by construction, bad
//! input, and that a killed run ends in the same bytes.

#![cfg(unix)]

mod common;

use std::fs;

use common::Sandbox;
use forkscope_records::read_table;
use forkscope_records::types::{FeatureRow, PatchArm, PatchingRow};
use serde_json::{Value, json};

const PROBE: [&str; 15] = [
    "probe",
    "--model",
    "embedded:guarded",
    "--contrast",
    "embedded:contexts",
    "--limit",
    "8",
    "--max-tokens",
    "24",
    "--permutations",
    "19",
    "--replicates",
    "100",
    "--steer-problems",
    "0",
];
const BASE: [&str; 2] = ["--base", "embedded:base"];

fn args<'a>(more: &[&[&'a str]]) -> Vec<&'a str> {
    PROBE
        .iter()
        .chain(more.iter().copied().flatten())
        .copied()
        .collect()
}

fn finding<'a>(findings: &'a Value, id: &str) -> &'a Value {
    let all = findings["findings"].as_array().expect("findings");
    let found = all.iter().find(|f| f["id"] == id);
    found.unwrap_or_else(|| panic!("no finding {id}"))
}

/// A safetensors file of f32 tensors.
fn tensors(list: &[(&str, &[usize], Vec<f32>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in list {
        let from = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let about = json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]});
        header.insert((*name).to_owned(), about);
    }
    let mut header = serde_json::to_vec(&header).expect("JSON");
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// 64 features of width 128, some of which fire.
fn dictionary() -> Vec<u8> {
    let values = |n: usize, step: usize| -> Vec<f32> {
        (0..n)
            .map(|i| ((i * step + 7) % 101) as f32 / 101.0 - 0.5)
            .collect()
    };
    tensors(&[
        ("W_enc", &[128, 64], values(128 * 64, 37)),
        ("b_enc", &[64], values(64, 13)),
        ("W_dec", &[64, 128], values(64 * 128, 29)),
    ])
}

#[test]
fn patching_finds_what_is_so_by_construction_and_a_killed_run_ends_in_the_same_bytes() {
    let sandbox = Sandbox::new();
    let patching = ["--patching", "20", "--out", "run"];
    let findings = sandbox.json(&args(&[&BASE, &patching]));
    let value = |id: &str| finding(&findings, &format!("probe.patching.{id}"))["value"].clone();
    assert_eq!(value("positions"), 20.0);
    for direction in ["into_base", "into_tuned"] {
        assert_eq!(value(&format!("{direction}.layer_00.recovery")), 0.0);
        // The embedded pair shares norm and head.
        assert_eq!(value(&format!("{direction}.layer_04.recovery")), 1.0);
        assert_eq!(value(&format!("{direction}.layer_04.flipped")), 1.0);
        assert!(value(&format!("{direction}.layer_02.head_03.excess")).is_number());
        assert!(value(&format!("{direction}.layer_of_half")).as_f64() >= Some(1.0));
    }
    let path = sandbox.path().join("run/patching.parquet");
    let rows: Vec<PatchingRow> = read_table(&path).expect("rows");
    let count = |arm| rows.iter().filter(|r| r.arm == arm).count();
    assert_eq!(count(PatchArm::Decision), 2 * 21 * 20);
    assert_eq!(count(PatchArm::RandomValue), 2 * 21 * 20);
    let report = fs::read_to_string(sandbox.path().join("run/report.html")).expect("a report");
    assert!(report.contains("Which layers and heads carry the decisions"));
    assert!(report.contains("figure-patching-into-base"));

    // A run that lost its table, as one killed before it.
    let copy = sandbox.path().join("again");
    let status = std::process::Command::new("cp")
        .arg("-r")
        .arg(sandbox.path().join("run"))
        .arg(&copy)
        .status();
    assert!(status.expect("cp").success());
    for name in ["patching.parquet", "findings.json", "report.html"] {
        fs::remove_file(copy.join(name)).expect("removed");
    }
    let json = fs::read_to_string(copy.join("run.json")).expect("run.json");
    let json = json.replacen("\"complete\"", "\"running\"", 1);
    fs::write(copy.join("run.json"), json).expect("written");
    let resumed = [
        "--patching",
        "20",
        "--out",
        "again",
        "--resume",
        "--threads",
        "1",
    ];
    sandbox.ok(&args(&[&BASE, &resumed]));
    for name in ["patching.parquet", "findings.json"] {
        let read = |run: &str| fs::read(sandbox.path().join(run).join(name)).expect("a file");
        assert!(read("run") == read("again"), "{name}");
    }
    let other = ["--patching", "21", "--out", "run", "--resume"];
    assert!(
        sandbox
            .fails(3, &args(&[&BASE, &other]))
            .contains("patching")
    );
}

#[test]
fn a_dictionary_names_features_and_shows_names_inert() {
    let sandbox = Sandbox::new();
    sandbox.file("sae.safetensors", dictionary());
    let names: serde_json::Map<String, Value> = (0..64)
        .map(|i| (i.to_string(), json!("<b>\u{1b}[2Jexam</b>")))
        .collect();
    sandbox.file("names.json", serde_json::to_vec(&names).expect("JSON"));
    let sae = [
        "--sae",
        "sae.safetensors",
        "--sae-layer",
        "2",
        "--sae-names",
        "names.json",
    ];
    let out = ["--fdr", "0.9", "--out", "run"];
    let findings = sandbox.json(&args(&[&sae, &out]));
    let value =
        |id: &str| finding(&findings, &format!("probe.features.model.{id}"))["value"].as_f64();
    assert!(value("unexplained") > Some(0.0));
    assert!(value("firing") > Some(0.0) && value("mean_active") > Some(0.0));
    let path = sandbox.path().join("run/awareness_features.parquet");
    let rows: Vec<FeatureRow> = read_table(&path).expect("rows");
    assert!(!rows.is_empty() && rows.iter().all(|r| r.layer == 2 && r.name.contains("exam")));
    let report = fs::read_to_string(sandbox.path().join("run/report.html")).expect("a report");
    assert!(!report.contains("<b>") && !report.contains('\u{1b}'));
}

#[test]
fn bad_input_is_named() {
    let sandbox = Sandbox::new();
    let out = ["--out", "run"];
    let line = sandbox.fails(2, &args(&[&["--patching", "4"], &out]));
    assert!(line.contains("--base"), "{line}");
    let line = sandbox.fails(2, &args(&[&["--sae", "x.safetensors"], &out]));
    assert!(line.contains("--sae-layer"), "{line}");
    let sae = |file: &'static str, layer: &'static str| {
        let flags = ["--sae", file, "--sae-layer", layer];
        let code = if layer == "9" { 2 } else { 3 };
        sandbox.fails(code, &args(&[&flags, &out]))
    };
    sandbox.file("good.safetensors", dictionary());
    assert!(sae("good.safetensors", "9").contains("4 blocks"));
    assert!(sae("absent.safetensors", "1").contains("absent.safetensors"));
    sandbox.file("cut.safetensors", &dictionary()[..900]);
    assert!(sae("cut.safetensors", "1").contains("cut.safetensors"));
    sandbox.file(
        "wide.safetensors",
        tensors(&[
            ("W_enc", &[64, 8], vec![1.0; 512]),
            ("b_enc", &[8], vec![0.0; 8]),
        ]),
    );
    assert!(sae("wide.safetensors", "1").contains("128"));
    sandbox.file(
        "nan.safetensors",
        tensors(&[
            ("W_enc", &[128, 1], vec![f32::NAN; 128]),
            ("b_enc", &[1], vec![0.0]),
        ]),
    );
    assert!(sae("nan.safetensors", "1").contains("W_enc"));
}
