//! `forkscope entropy` on tables and responses as they should be.

mod common;

use std::f64::consts::LN_2;

use common::{Sandbox, fixture};
use serde_json::{Value, json};

/// The ten hand-made distributions of the proof of concept: name, bits, fork.
const TEN: [(&str, &str, bool); 10] = [
    ("pos0", "0.2219", false),
    ("pos1", "0.5061", false),
    ("pos2", "0.7155", false),
    ("pos3", "2.0501", true),
    ("pos4", "0.5467", false),
    ("pos5", "2.1509", true),
    ("pos6", "0.3549", false),
    ("pos7", "0.6364", false),
    ("pos8", "0.4025", false),
    ("pos9", "2.2422", true),
];

#[test]
fn the_ten_distributions_give_their_table_from_every_layout() {
    let sandbox = Sandbox::new();
    for file in ["ten.json", "ten.jsonl", "ten.csv"] {
        for threshold in [&["--tau", "1.5"][..], &["--quantile", "0.7"], &[]] {
            let path = fixture(file);
            let args = [&["entropy", path.as_str(), "--unit", "bits"], threshold].concat();
            let table = sandbox.ok(&args);
            let rows: Vec<Vec<&str>> = table
                .lines()
                .skip(1)
                .take(10)
                .map(|l| l.split_whitespace().collect())
                .collect();
            for (row, (name, bits, fork)) in rows.iter().zip(TEN) {
                let expected = if fork {
                    vec![name, bits, "fork"]
                } else {
                    vec![name, bits]
                };
                assert_eq!(*row, expected, "{file}\n{table}");
            }
            assert!(table.contains("3 of 10 = 30.0 %"), "{table}");
        }
    }
}

#[test]
fn the_whole_table_is_what_it_was() {
    let sandbox = Sandbox::new();
    sandbox.file("ten.json", std::fs::read(fixture("ten.json")).unwrap());
    let table = sandbox.ok(&["entropy", "ten.json", "--unit", "bits", "--tau", "1.5"]);
    assert_eq!(
        table,
        "position  entropy  fork\n\
         pos0       0.2219\n\
         pos1       0.5061\n\
         pos2       0.7155\n\
         pos3       2.0501  fork\n\
         pos4       0.5467\n\
         pos5       2.1509  fork\n\
         pos6       0.3549\n\
         pos7       0.6364\n\
         pos8       0.4025\n\
         pos9       2.2422  fork\n\
         \n\
         file        ten.json (json)\n\
         unit        bits\n\
         threshold   1.5000 bits (given); a fork is above it\n\
         forks       3 of 10 = 30.0 %\n\
         invalid     0\n"
    );
}

#[test]
fn the_top_is_sorted_and_the_share_stays_that_of_all() {
    let sandbox = Sandbox::new();
    let table = sandbox.ok(&[
        "entropy",
        &fixture("ten.json"),
        "--unit",
        "bits",
        "--top",
        "3",
    ]);
    let names: Vec<&str> = table
        .lines()
        .skip(1)
        .take(4)
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert_eq!(names, ["pos9", "pos5", "pos3"]);
    assert!(table.contains("3 of 10 = 30.0 %"), "{table}");
}

#[test]
fn thresholds_are_in_the_unit_asked_for() {
    let sandbox = Sandbox::new();
    let path = fixture("ten.json");
    let forks =
        |args: &[&str]| sandbox.json(&[&["entropy", &path], args].concat())["forks"].clone();
    assert_eq!(forks(&["--unit", "bits", "--tau", "2.1"]), 2);
    assert_eq!(forks(&["--unit", "nats", "--tau", "2.1"]), 0);
    assert_eq!(forks(&["--unit", "nats", "--tau", "1.45"]), 2);
    // Strictly above: the largest is not above itself.
    assert_eq!(forks(&["--quantile", "1"]), 0);
    assert_eq!(forks(&["--quantile", "0"]), 9);
}

#[test]
fn json_keeps_the_order_and_the_denominators() {
    let sandbox = Sandbox::new();
    let document = sandbox.json(&[
        "entropy",
        &fixture("ten.json"),
        "--unit",
        "bits",
        "--tau",
        "1.5",
        "--top",
        "2",
    ]);
    let names: Vec<&str> = document["positions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|p| p["name"].as_str())
        .collect();
    assert_eq!(names, TEN.map(|(name, ..)| name));
    assert_eq!(document["top"], json!([9, 5]));
    for (field, value) in [
        ("schema", json!("forkscope/entropy/1")),
        ("unit", json!("bits")),
        ("n", json!(10)),
        ("n_invalid", json!(0)),
        ("forks", json!(3)),
        ("undecided", json!(0)),
        ("fork_share", json!(0.3)),
    ] {
        assert_eq!(document[field], value, "{field}");
    }
    assert_eq!(document["threshold"]["value"], json!(1.5));
    let nats = sandbox.json(&["entropy", &fixture("ten.json")]);
    for (bits, nats) in document["positions"]
        .as_array()
        .unwrap()
        .iter()
        .zip(nats["positions"].as_array().unwrap())
    {
        let [bits, nats] = [bits, nats].map(|p| p["entropy"].as_f64().unwrap());
        assert!((bits * LN_2 - nats).abs() < 1e-12);
    }
}

#[test]
fn a_certain_token_has_no_entropy_and_an_impossible_one_adds_none() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "t.json",
        r#"{"certain": [1.0], "zeros": [0.5, 0, 0.5, 0.0]}"#,
    );
    let table = sandbox.ok(&["entropy", "t.json", "--unit", "bits"]);
    let cells: Vec<&str> = table
        .lines()
        .skip(1)
        .take(2)
        .flat_map(str::split_whitespace)
        .collect();
    assert_eq!(cells, ["certain", "0.0000", "zeros", "1.0000"]);
}

/// Zipf-like probabilities over `n` tokens, steeper with `power`.
fn zipf(n: usize, power: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=n).map(|i| (i as f64).powf(-power)).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

fn entropy(probs: &[f64]) -> f64 {
    probs.iter().map(|p| -p * p.ln()).sum()
}

/// One distribution in each of the three response layouts: top k, and token `next` after it.
fn responses(probs: &[f64], k: usize, next: usize) -> [(&'static str, Value); 3] {
    let lp = |i: usize| probs[i].ln();
    let mut by_id = serde_json::Map::new();
    for i in std::iter::once(next).chain(0..k) {
        by_id.insert(
            i.to_string(),
            json!({"logprob": lp(i), "rank": i + 1, "decoded_token": format!(" t{i}")}),
        );
    }
    let mut by_text: serde_json::Map<String, Value> =
        (0..k).map(|i| (format!(" t{i}"), json!(lp(i)))).collect();
    by_text.insert(format!(" t{next}"), json!(lp(next)));
    let entry = |i: usize| json!({"token": format!(" t{i}"), "logprob": lp(i), "bytes": null});
    let mut content = entry(next);
    content["top_logprobs"] = (0..k).map(entry).collect();
    [
        ("prompt-logprobs", json!({"prompt_logprobs": [null, by_id]})),
        (
            "completions",
            json!({"choices": [{"logprobs": {"tokens": [format!(" t{next}")], "token_logprobs": [lp(next)],
                "top_logprobs": [by_text], "text_offset": [0]}}]}),
        ),
        (
            "chat",
            json!({"choices": [{"logprobs": {"content": [content]}}]}),
        ),
    ]
}

fn last_bounds(document: &Value) -> (f64, f64) {
    let position = document["positions"].as_array().unwrap().last().unwrap();
    let end = |name: &str| match &position[name] {
        Value::String(inf) if inf == "inf" => f64::INFINITY,
        other => other.as_f64().unwrap_or_else(|| panic!("{position}")),
    };
    (end("entropy_low"), end("entropy_high"))
}

#[test]
fn intervals_hold_the_entropy_that_was_cut_to_the_top_k() {
    let sandbox = Sandbox::new();
    for (power, k, next) in [
        (1.0, 5, 0),
        (1.0, 5, 4),
        (1.3, 5, 300),
        (2.0, 20, 7),
        (0.3, 3, 50),
        (2.0, 1, 0),
    ] {
        let probs = zipf(500, power);
        let truth = entropy(&probs);
        for (layout, response) in responses(&probs, k, next) {
            sandbox.file("r.json", response.to_string());
            let document = sandbox.json(&["entropy", "r.json", "--vocab-size", "500"]);
            let (low, high) = last_bounds(&document);
            assert!(
                low <= truth && truth <= high,
                "{layout} k={k} next={next}: {truth} outside [{low}, {high}]"
            );
            assert!(
                low > 0.0 && high <= 500f64.ln() + 1e-4,
                "{layout}: [{low}, {high}]"
            );
            let (without, open) = last_bounds(&sandbox.json(&["entropy", "r.json"]));
            assert!(
                without <= truth && open == f64::INFINITY,
                "{layout}: [{without}, {open}]"
            );
            assert_eq!(document["layouts"], json!([layout]));
        }
    }
}

#[test]
fn listing_every_token_leaves_no_more_than_rounding() {
    let sandbox = Sandbox::new();
    let probs = zipf(20, 0.7);
    for (layout, response) in responses(&probs, 20, 3) {
        sandbox.file("r.json", response.to_string());
        let (low, high) = last_bounds(&sandbox.json(&["entropy", "r.json", "--vocab-size", "20"]));
        let truth = entropy(&probs);
        assert!(
            low <= truth && truth <= high && high - low < 2e-3,
            "{layout}: {truth} in [{low}, {high}]"
        );
    }
}

#[test]
fn forks_of_intervals_are_counted_by_certainty() {
    let sandbox = Sandbox::new();
    let sharp = responses(&zipf(50, 6.0), 10, 0)[0].1["prompt_logprobs"][1].clone();
    let flat = responses(&zipf(50, 0.1), 10, 0)[0].1["prompt_logprobs"][1].clone();
    let middle = responses(&zipf(50, 1.0), 2, 0)[0].1["prompt_logprobs"][1].clone();
    let response =
        json!({"prompt_logprobs": [null, sharp, middle, flat, {"3": {"logprob": 0.5, "rank": 1}}]});
    sandbox.file("r.json", response.to_string());
    let args = ["entropy", "r.json", "--vocab-size", "50", "--tau", "2.5"];
    let document = sandbox.json(&args);
    let forks: Vec<&Value> = document["positions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["fork"])
        .collect();
    assert_eq!(
        forks,
        [
            &Value::Null,
            &json!("no"),
            &json!("undecided"),
            &json!("yes"),
            &Value::Null
        ]
    );
    assert_eq!(
        document["invalid"],
        json!({"logprob_above_zero": 1, "no_logprobs": 1})
    );
    assert_eq!(
        (document["n"].clone(), document["n_invalid"].clone()),
        (json!(3), json!(2))
    );
    assert_eq!(document["fork_share"], Value::Null);
    let table = sandbox.ok(&args);
    for line in [
        "forks       1 to 2 of 3 = 33.3 % to 66.7 % (1 undecided)",
        "invalid     2 (logprob_above_zero 1, no_logprobs 1)",
        "vocabulary  50 tokens",
    ] {
        assert!(table.contains(line), "{table}");
    }
}

#[test]
fn sentinels_and_duplicates_are_counted() {
    let sandbox = Sandbox::new();
    let top = json!([{"token": "a", "logprob": -0.105361}, {"token": "a", "logprob": -0.105361},
        {"token": "b", "logprob": -2.995732}, {"token": "c", "logprob": -9999.0}]);
    let content = json!([{"token": "z", "logprob": -9999.0, "top_logprobs": top}]);
    sandbox.file(
        "r.json",
        json!({"choices": [{"logprobs": {"content": content}}]}).to_string(),
    );
    let document = sandbox.json(&["entropy", "r.json", "--vocab-size", "1000"]);
    assert_eq!(
        (
            document["duplicates"].clone(),
            document["sentinels"].clone()
        ),
        (json!(1), json!(2))
    );
    assert_eq!(document["positions"][0]["logprob"], Value::Null);
    let (low, high) = last_bounds(&document);
    // The rest, 0.05, lies on one token at the least and on 998 at the most.
    let listed = 0.9 * -0.9f64.ln() + 0.05 * -0.05f64.ln();
    assert!(
        (low - (listed + 0.05 * -0.05f64.ln())).abs() < 1e-3,
        "{low}"
    );
    assert!(
        (high - (listed + 0.05 * (998.0 / 0.05f64).ln())).abs() < 1e-3,
        "{high}"
    );
}
