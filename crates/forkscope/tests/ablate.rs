//! `forkscope ablate`: a small grid killed and resumed, what it finds, and grids
//! that are refused before anything is sampled.

#![cfg(unix)]

mod training;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use training::{Sandbox, assert_same, line, spawn, status, steps, wait_for};

const ABLATE: &str =
    "ablate --model embedded:base --problems embedded:problems --limit 16 --grid grid.json";

/// Three arms that learn, one seed, two optimiser steps or few more each.
fn grid() -> Value {
    json!({
        "schema": "forkscope/ablation-grid/1",
        "seeds": [7],
        "store": {"samples": 6, "temperature": 1.0, "top_p": 1.0, "max_tokens": 96},
        "eval": {"samples": 2, "max_tokens": 96},
        "train": {
            "adapter": {"rank": 4, "alpha": 8.0, "target_modules": ["all-linear"]},
            "optimiser": {"learning_rate": 0.003, "warmup_steps": 0, "max_steps": 3}
        },
        "reasonmaxxer": {"gate": "entropy:0.8"},
        "arms": [
            {"name": "gated", "kind": "reasonmaxxer"},
            {"name": "rounds", "kind": "reasonmaxxer", "rounds": 2, "round_split": "samples"},
            {"name": "grpo", "kind": "grpo", "problems_per_step": 4, "samples": 6}
        ]
    })
}

fn with_grid(grid: &Value) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("grid.json", grid.to_string());
    sandbox
}

fn findings(json: &Value) -> BTreeMap<String, Value> {
    let list = json["findings"].as_array().unwrap().iter();
    list.map(|f| (f["id"].as_str().unwrap().to_owned(), f.clone()))
        .collect()
}

#[test]
fn a_grid_killed_in_every_part_ends_in_the_same_bytes() {
    let sandbox = with_grid(&grid());
    let whole = findings(&sandbox.json(&line(ABLATE, "whole", &["--threads", "1"])));
    for place in [
        "stores/seed-7",
        "cells/base-seed-7",
        "cells/gated-seed-7/training/metrics.jsonl",
        "cells/rounds-seed-7/training-002",
        "cells/grpo-seed-7/training/metrics.jsonl",
        "cells/grpo-seed-7/rollouts.parquet",
    ] {
        let path = sandbox.path().join("killed").join(place);
        let mut child = spawn(&sandbox, &line(ABLATE, "killed", &["--resume"]));
        wait_for(&mut child, || path.exists());
        let _ = child.kill();
        child.wait().unwrap();
    }
    let last = findings(&sandbox.json(&line(ABLATE, "killed", &["--resume"])));
    assert_eq!(whole, last);
    assert_same(&sandbox, "whole", "killed");

    let value = |id: &str| whole[id]["value"].as_f64().unwrap();
    assert_eq!(value("rollouts.base"), 0.0);
    assert_eq!(value("rollouts.gated"), 72.0);
    // Rounds share the budget; GRPO takes whole steps of it.
    assert_eq!(value("rollouts.rounds"), 72.0);
    assert_eq!(value("rollouts.grpo"), 72.0);
    assert_eq!(value("optimizer_steps.gated"), 3.0);
    assert_eq!(value("optimizer_steps.grpo"), 3.0);
    let touched = value("touched_share.gated");
    assert!(touched > 0.0 && touched < 0.5, "{touched}");
    let accuracy = &whole["pass_at_1.gated"];
    assert_eq!(
        (&accuracy["n"], &accuracy["n_clusters"]),
        (&8.into(), &4.into())
    );
    for id in [
        "greedy.grpo",
        "difference.pass_at_1.grpo.minus.gated",
        "p_value.greedy.gated.minus.base",
        "seed_deviation.pass_at_1.base",
    ] {
        assert!(whole.contains_key(id), "{id}");
    }
    let table = sandbox.ok(&line(ABLATE, "whole", &["--resume"]));
    for word in [
        "touched",
        "minus base",
        "minus gated",
        "validation problems",
    ] {
        assert!(table.contains(word), "{table}");
    }
    let figure = fs::read_to_string(sandbox.path().join("whole/figure.svg")).unwrap();
    assert!(figure.contains("gated") && figure.contains("grpo"));
    sandbox.ok(&["report", "whole"]);
    let page = fs::read_to_string(sandbox.path().join("whole/findings.md")).unwrap();
    assert!(page.contains("held-out validation problems"), "{page}");

    sandbox.file("grid.json", grid().to_string().replace("0.003", "0.004"));
    let said = sandbox.fails(3, &line(ABLATE, "killed", &["--resume"]));
    assert!(said.contains("settings.grid"), "{said}");
}

#[test]
fn a_signal_stops_a_grid_within_a_cell() {
    let mut long = grid();
    long["arms"] = json!([{"name": "long", "kind": "grpo", "problems_per_step": 2, "samples": 4, "budget": "100x"}]);
    let sandbox = with_grid(&long);
    let mut child = spawn(&sandbox, &line(ABLATE, "run", &[]));
    let run = sandbox.path().join("run/cells/long-seed-7/training");
    assert!(wait_for(&mut child, || steps(&run) >= 2));
    let pid = child.id().to_string();
    let _ = Command::new("kill").args(["-TERM", &pid]).status();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    for run in [
        "run",
        "run/cells/long-seed-7",
        "run/cells/long-seed-7/training",
    ] {
        assert_eq!(status(&sandbox, run), "incomplete");
    }
}

#[test]
fn a_plan_says_what_every_arm_may_cost() {
    let mut grid = grid();
    grid["seeds"] = json!([1, 2, 3]);
    grid["arms"][2]["budget"] = json!("10x");
    let sandbox = with_grid(&grid);
    let plan = sandbox.json(&line(ABLATE, "run", &["--dry-run"]));
    assert_eq!(plan["cells"], 12);
    assert_eq!(plan["store_rollouts"], 72);
    assert_eq!(plan["arms"][3]["rollouts"], 720);
    assert_eq!(plan["arms"][3]["steps_at_most"], 30);
    // Four held-out problems, two samples and a greedy completion.
    assert_eq!(plan["answers"], 12 * 12);
    assert!(!sandbox.path().join("run").exists());
    let table = sandbox.ok(&line(ABLATE, "run", &["--dry-run"]));
    assert!(table.contains("10x"), "{table}");
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_sampled() {
    let refused = |change: &dyn Fn(&mut Value), more: &[&str]| {
        let mut grid = grid();
        change(&mut grid);
        let sandbox = with_grid(&grid);
        let said = sandbox.fails(3, &line(ABLATE, "run", more));
        assert!(!sandbox.path().join("run").exists(), "{said}");
        said
    };
    let said = refused(&|g| g["arms"][0]["tau"] = json!(1.4), &[]);
    assert!(
        said.contains("grid.json") && said.contains("`gated`") && said.contains("tau"),
        "{said}"
    );
    let said = refused(&|g| g["arms"][2]["samples"] = json!(600), &[]);
    assert!(said.contains("`grpo`") && said.contains("fewer"), "{said}");
    let said = refused(
        &|g| {
            g["arms"][2] =
                json!({"name": "grpo", "kind": "grpo", "problems_per_step": 13, "samples": 2})
        },
        &[],
    );
    assert!(
        said.contains("13 problems") && said.contains("12"),
        "{said}"
    );
    let said = refused(&|g| g["store"]["problems"] = json!(13), &[]);
    assert!(said.contains("`problems` 13"), "{said}");
    let said = refused(
        &|g| g["arms"][1] = json!({"name": "r", "kind": "reasonmaxxer", "rounds": 13}),
        &[],
    );
    assert!(
        said.contains("`rounds` 13") && said.contains("round_split"),
        "{said}"
    );
    let said = refused(&|_| (), &["--split-name", "test"]);
    assert!(
        said.contains("`frozen`") && said.contains("validation"),
        "{said}"
    );
    let said = refused(&|_| (), &["--eval-problems", "embedded:problems"]);
    assert!(said.contains("held-out problem"), "{said}");
    let sandbox = with_grid(&grid());
    sandbox.file("grid.json", "{");
    let said = sandbox.fails(3, &line(ABLATE, "run", &[]));
    assert!(
        said.contains("grid.json") && said.contains("docs/ablate.md"),
        "{said}"
    );
}

#[test]
fn problems_of_a_split_are_the_same_every_time_and_of_no_other_split() {
    let sandbox = Sandbox::new();
    let write = |split: &str, out: &str| {
        let args = [
            "lab", "problems", "--split", split, "-n", "24", "--out", out,
        ];
        sandbox.json(&args)
    };
    assert_eq!(write("validation", "a.jsonl")["problems"], 24);
    assert_eq!(write("validation", "a.jsonl")["problems"], 24);
    write("train", "b.jsonl");
    write("test", "c.jsonl");
    let read = |name: &str| fs::read_to_string(sandbox.path().join(name)).unwrap();
    let embedded = include_str!("../assets/organism/problems.jsonl");
    let first: Vec<&str> = embedded.lines().take(24).collect();
    assert_eq!(read("c.jsonl").lines().collect::<Vec<_>>(), first);
    for line in read("a.jsonl").lines() {
        assert!(line.contains("validation/benign/") && !read("b.jsonl").contains(line));
    }
    let said = sandbox.fails(
        3,
        &[
            "lab", "problems", "--split", "test", "-n", "24", "--out", "a.jsonl",
        ],
    );
    assert!(said.contains("other content"), "{said}");
}
