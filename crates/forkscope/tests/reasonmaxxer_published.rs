//! `forkscope train reasonmaxxer` under the published trainer's own flags, against
//! what that trainer logged and learned on the same files
//! (`forkscope-train/tests/fixtures/reasonmaxxer`, where every rollout's terms are
//! compared too): a step is the sum of its rollouts over the window's size.

mod common;
#[path = "../../forkscope-train/tests/oracle/hash.rs"]
#[allow(dead_code, reason = "made for other tests")]
mod hash;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::Sandbox;
use serde_json::{Value, json};

const PUBLISHED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../forkscope-train/tests/fixtures/reasonmaxxer"
);

/// Relative errors, as promised.
const TOLERANCE: f64 = 1e-3;

fn read(name: &str) -> Vec<u8> {
    fs::read(Path::new(PUBLISHED).join(name)).unwrap()
}

/// The tensors of a safetensors file of f32.
fn tensors(bytes: &[u8]) -> BTreeMap<String, Vec<f32>> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let data = &bytes[8 + length..];
    let values = |entry: &Value| {
        let at = |i: usize| entry["data_offsets"][i].as_u64().unwrap() as usize;
        data[at(0)..at(1)]
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let real = header.iter().filter(|(name, _)| *name != "__metadata__");
    real.map(|(name, entry)| (name.clone(), values(entry)))
        .collect()
}

/// A safetensors file of f32.
fn safetensors(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let from = data.len();
        data.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::from(header).to_string().into_bytes();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header);
    out.extend(data);
    out
}

/// A folder with the base model, the rollouts and the adapter to start from.
fn sandbox(file: &Value) -> Sandbox {
    let sandbox = Sandbox::new();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let weights: Vec<_> = file["weights"]
        .as_array()
        .unwrap()
        .iter()
        .map(|recipe| {
            let shape: Vec<usize> = serde_json::from_value(recipe[1].clone()).unwrap();
            let name = format!("{}/{}", text(&file["name"]), text(&recipe[0]));
            let number = |i: usize| recipe[i].as_f64().unwrap() as f32;
            let values = hash::weights(&name, shape.iter().product(), number(2), number(3));
            (text(&recipe[0]), shape, values)
        })
        .collect();
    for place in ["base", "init"] {
        fs::create_dir(sandbox.path().join(place)).unwrap();
    }
    sandbox
        .file("base/config.json", file["config"].to_string())
        .file("base/model.safetensors", safetensors(&weights))
        .file("init/adapter_config.json", read("init/adapter_config.json"))
        .file(
            "init/adapter_model.safetensors",
            read("init/adapter_model.safetensors"),
        )
        .file("processed.json", read("processed.json"));
    let mut processed: Value = serde_json::from_slice(&read("processed.json")).unwrap();
    processed["rollouts"].as_array_mut().unwrap().truncate(20);
    sandbox.file("first-20.json", processed.to_string());
    sandbox
}

/// The published flags in this program's spelling.
fn flags(case: &Value, common: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let own: Vec<&str> = case["flags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f.as_str().unwrap())
        .collect();
    let given = |name: &str| own.contains(&name);
    for (name, value) in common.as_object().unwrap() {
        if !given(name) && name != "--device" && name != "--dtype" {
            out.extend([name.clone(), value.as_str().unwrap().to_owned()]);
        }
    }
    for flag in &own {
        match *flag {
            "--curriculum_ordering" => {}
            "--curriculum_key" => out.push("--order".into()),
            // Divided out again where a micro-batch is one rollout, as all are.
            "--normalize_by_problem" => {}
            value if !value.starts_with("--") => out.push(value.to_owned()),
            name => out.push(name.to_owned()),
        }
    }
    if !given("--max_optimizer_steps") {
        out.extend(["--max_optimizer_steps".into(), "0".into()]);
    }
    let spelled = |word: String| match word.starts_with("--") {
        true => word.replace('_', "-"),
        false => word,
    };
    out.into_iter().map(spelled).collect()
}

fn near(ours: &Value, golden: f64, what: &str) {
    let ours = ours.as_f64().unwrap_or_else(|| panic!("{what}: {ours}"));
    let apart = (ours - golden).abs();
    assert!(
        apart <= TOLERANCE * golden.abs() + 1e-6,
        "{what}: {ours} not {golden}"
    );
}

/// A step's line against the published lines of its window.
fn compare(line: &Value, steps: &Value, window: &[usize], accum: f64, what: &str) {
    let sum = |name: &str| -> f64 {
        window
            .iter()
            .map(|i| steps[name][*i].as_f64().unwrap())
            .sum()
    };
    for name in ["loss", "decision_loss", "kl_loss"] {
        near(&line[name], sum(name) / accum, &format!("{what}: {name}"));
    }
    assert_eq!(
        line["decision_tokens"].as_f64().unwrap(),
        sum("decision_tokens"),
        "{what}"
    );
    for (name, mean, count) in [
        (
            "delta_logp_pos",
            "delta_logp_pos_mean",
            "pos_decision_tokens",
        ),
        (
            "delta_logp_neg",
            "delta_logp_neg_mean",
            "neg_decision_tokens",
        ),
    ] {
        let all = sum(count);
        if all == 0.0 {
            assert!(line[name].is_null(), "{what}: {name}");
            continue;
        }
        let weighted: f64 = window
            .iter()
            .map(|i| steps[mean][*i].as_f64().unwrap() * steps[count][*i].as_f64().unwrap())
            .sum();
        near(&line[name], weighted / all, &format!("{what}: {name}"));
    }
}

fn check(sandbox: &Sandbox, file: &Value, case: &Value, finals: &BTreeMap<String, Vec<f32>>) {
    let name = case["name"].as_str().unwrap();
    let data = match case["rollouts"].as_u64() {
        Some(20) => "first-20.json",
        _ => "processed.json",
    };
    let flags = flags(case, &file["common"]);
    let mut words = vec![
        "train",
        "reasonmaxxer",
        "--model",
        "base",
        "--rollouts",
        data,
    ];
    words.extend([
        "--init-adapter",
        "init",
        "--out",
        name,
        "--no-tensorboard",
        "--quiet",
    ]);
    words.extend(flags.iter().map(String::as_str));
    sandbox.ok(&words);

    let place: PathBuf = sandbox.path().join(name);
    let text = fs::read_to_string(place.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let steps = &case["steps"];
    let logged = steps["loss"].as_array().unwrap().len();
    // Which published lines make up an optimiser step, where every rollout has one.
    let every = logged as u64 == steps["global_step"][logged - 1].as_u64().unwrap();
    let mut from = 0;
    for (step, line) in lines.iter().enumerate().filter(|_| every) {
        let what = format!("{name}, step {step}");
        let last = (from..logged)
            .find(|i| steps["optimizer_step"][*i].as_u64() == Some(step as u64 + 1))
            .unwrap();
        let window: Vec<usize> = (from..=last).collect();
        from = last + 1;
        assert_eq!(
            line["optimizer_step"].as_f64(),
            Some(step as f64 + 1.0),
            "{what}"
        );
        assert_eq!(line["global_step"].as_f64(), Some(from as f64), "{what}");
        compare(line, steps, &window, 4.0, &what);
        // The published rate of a line is the next step's; the first is 0.
        let rate = match step {
            0 => 0.0,
            _ => steps["lr"][window[0] - 1].as_f64().unwrap(),
        };
        near(&line["lr"], rate, &what);
    }
    assert_eq!(
        lines.len() as u64,
        case["optimizer_steps"].as_u64().unwrap(),
        "{name}"
    );

    let found = tensors(&fs::read(place.join("final/adapter_model.safetensors")).unwrap());
    for (tensor, values) in &found {
        let parts: Vec<&str> = tensor.split('.').collect();
        let short = format!("{name}/{}.{}.{}", parts[4], &parts[6][..1], &parts[7][5..]);
        let golden = &finals[&short];
        let square = |x: f32| f64::from(x) * f64::from(x);
        let apart: f64 = values.iter().zip(golden).map(|(a, b)| square(a - b)).sum();
        let norm: f64 = golden.iter().map(|b| square(*b)).sum();
        assert!(apart.sqrt() <= TOLERANCE * norm.sqrt(), "{name}: {tensor}");
    }
}

#[test]
fn the_command_follows_the_published_trainer() {
    let file: Value = serde_json::from_slice(&read("cases.json")).unwrap();
    let finals = tensors(&read("finals.safetensors"));
    let sandbox = sandbox(&file);
    let mut checked = 0;
    for case in file["cases"].as_array().unwrap() {
        // Another initial adapter; the engine's own test has it.
        if case["b_divided_by"] == 1 {
            check(&sandbox, &file, case, &finals);
            checked += 1;
        }
    }
    assert_eq!(checked, 18);
}
