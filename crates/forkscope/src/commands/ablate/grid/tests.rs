use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn read(grid: &Value) -> Result<Grid, String> {
    let bytes = serde_json::to_vec(grid).unwrap();
    Grid::read(Path::new("grid.json"), &bytes).map_err(|e| e.to_string())
}

fn with(arms: Value) -> Value {
    json!({"schema": SCHEMA, "seeds": [1, 2], "arms": arms})
}

#[test]
fn settings_come_from_the_arm_then_its_kind_then_all_then_the_recipe() {
    let mut grid = with(json!([
        {"name": "a", "kind": "reasonmaxxer"},
        {"name": "b", "kind": "reasonmaxxer", "gate": "random@entropy:1.4",
         "objective": {"kl_weight": 0.5}, "optimiser": {"learning_rate": 0.003}},
        {"name": "g", "kind": "grpo", "budget": "10x", "optimiser": {"learning_rate": 0.01}}
    ]));
    grid["train"] = json!({"adapter": {"rank": 4}, "optimiser": {"learning_rate": 0.001}});
    grid["reasonmaxxer"] = json!({"objective": {"kl_weight": 0.1, "beta_neg": 0.25}});
    let grid = read(&grid).unwrap();
    let names: Vec<&str> = grid.arms.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["base", "a", "b", "g"]);
    assert_eq!(grid.compare_with, [0, 1]);
    let rm = |i: usize| match &grid.arms[i].kind {
        Kind::ReasonMaxxer(arm) => arm.clone(),
        other => panic!("{other:?}"),
    };
    let (a, b) = (rm(1), rm(2));
    assert_eq!((a.adapter.rank, a.adapter.alpha), (4, 64.0));
    assert_eq!(a.optimiser.learning_rate, 0.001);
    assert_eq!((a.objective.kl_weight, a.objective.beta_neg), (0.1, 0.25));
    assert_eq!(a.gate.to_string(), "entropy:1.4");
    assert_eq!(b.optimiser.learning_rate, 0.003);
    assert_eq!((b.objective.kl_weight, b.objective.beta_neg), (0.5, 0.25));
    // Untouched ones are the published recipe's.
    assert_eq!((a.optimiser.epochs, a.optimiser.max_steps), (2, 149));
    assert_eq!(a.pool.trim_fraction, 0.8);
    let Kind::Grpo(g) = &grid.arms[3].kind else {
        panic!("{:?}", grid.arms[3]);
    };
    assert_eq!((g.adapter.rank, g.optimiser.learning_rate), (4, 0.01));
    assert_eq!(grid.arms[3].budget, 10.0);
}

#[test]
fn a_cross_makes_every_combination_under_a_name_of_its_own() {
    let grid = read(&with(json!([
        {"name": "x", "kind": "reasonmaxxer", "cross": {
            "gate": ["entropy:1.4", "random@entropy:1.4"],
            "optimiser.learning_rate": [0.001, 0.01]}}
    ])))
    .unwrap();
    let names: Vec<&str> = grid.arms.iter().skip(1).map(|a| a.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "x-gate-entropy-1.4-learning_rate-0.001",
            "x-gate-entropy-1.4-learning_rate-0.01",
            "x-gate-random-entropy-1.4-learning_rate-0.001",
            "x-gate-random-entropy-1.4-learning_rate-0.01",
        ]
    );
    let again = serde_json::to_value(&grid).unwrap();
    assert_eq!(again["arms"][4]["optimiser"]["learning_rate"], 0.01);
}

#[test]
fn every_complaint_names_file_arm_and_field() {
    let arm = |more: Value| {
        let mut arm = json!({"name": "a", "kind": "reasonmaxxer"});
        for (name, value) in more.as_object().unwrap() {
            arm[name] = value.clone();
        }
        with(json!([arm]))
    };
    let top = |name: &str, value: Value| {
        let mut grid = arm(json!({}));
        grid[name] = value;
        grid
    };
    let cases = [
        (top("sedes", json!([1])), "sedes"),
        (top("schema", json!("grid/0")), "`schema`"),
        (top("seeds", json!([])), "`seeds` is empty"),
        (top("seeds", json!([1, 1])), "`seeds` holds one twice"),
        (top("verifier", json!("guess")), "`verifier`"),
        (top("compare_with", json!(["b"])), "there is no arm `b`"),
        (
            top("store", json!({"temperature": 0.0})),
            "`store.temperature`",
        ),
        (top("store", json!({"samples": 1})), "`store.samples`"),
        (top("eval", json!({"top_p": 2.0})), "`eval`"),
        (top("arms", json!([])), "`arms` has none that learns"),
        (with(json!([{"kind": "grpo"}])), "`arms[0].name`"),
        (with(json!([{"name": "../x", "kind": "grpo"}])), "../x"),
        (with(json!([{"name": "a", "kind": "sft"}])), "`kind`"),
        (
            with(json!([{"name": "a", "kind": "base", "gate": "all"}])),
            "`gate`",
        ),
        (
            with(json!([{"name": "a", "kind": "grpo"}, {"name": "A", "kind": "grpo"}])),
            "stands twice",
        ),
        (arm(json!({"gate": "entropy"})), "entropy"),
        (arm(json!({"gate": "signal:1"})), "`gate`"),
        (arm(json!({"rank": 3})), "rank"),
        (arm(json!({"objective": {"taus": 1}})), "taus"),
        (arm(json!({"objective": 3})), "`objective` is 3"),
        (
            arm(json!({"optimiser": {"schedule": "steep"}})),
            "`optimiser.schedule`",
        ),
        (
            arm(json!({"optimiser": {"epochs": 0}})),
            "`optimiser.epochs`",
        ),
        (arm(json!({"adapter": {"rank": 0}})), "rank is 0"),
        (
            arm(json!({"adapter": {"target_modules": ["head"]}})),
            "`head`",
        ),
        (
            arm(json!({"pool": {"trim_fraction": 0.0}})),
            "trim_fraction",
        ),
        (arm(json!({"rounds": 0})), "`rounds`"),
        (
            arm(json!({"rounds": 15, "round_split": "samples"})),
            "fewer than 2",
        ),
        (arm(json!({"budget": "ten"})), "`budget`"),
        (arm(json!({"store": {"samples": 40}})), "\"2x\""),
        (arm(json!({"cross": {"gate": []}})), "`cross.gate`"),
        (arm(json!({"cross": 3})), "`cross`"),
        (
            arm(json!({"cross": {"a.".repeat(9000): [1]}})),
            "more than 8 parts",
        ),
        (
            arm(json!({"cross": {"rounds": [2], "rounds.of": [1]}})),
            "rounds",
        ),
        (
            with(json!([{"name": "g", "kind": "grpo", "samples": 1}])),
            "at least 2 samples",
        ),
    ];
    for (grid, named) in cases {
        let said = match read(&grid) {
            Err(said) => said,
            Ok(_) => panic!("{grid} is taken"),
        };
        assert!(
            said.starts_with("grid.json: ") && said.contains(named),
            "{named}: {said}"
        );
    }
}

#[test]
fn a_larger_store_is_taken_where_the_arm_says_so() {
    let arms =
        json!([{"name": "a", "kind": "reasonmaxxer", "store": {"samples": 40}, "budget": "2x"}]);
    let grid = read(&with(arms)).unwrap();
    assert_eq!(grid.arms[1].budget, 2.0);
}

/// The fields of an object's schema, those of objects inside it with a dot.
fn fields(schema: &Value, at: &str, out: &mut Vec<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{at}{name}");
        fields(inner, &format!("{path}."), out);
        out.push(path);
    }
}

/// The same of a value.
fn keys(value: &Value, at: &str, out: &mut Vec<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{at}{name}");
        keys(inner, &format!("{path}."), out);
        out.push(path);
    }
}

#[test]
fn the_schema_knows_every_field_and_no_other() {
    let schema = include_str!("../../../../../../docs/schema/ablation-grid.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let of = |field: &str| {
        let mut out = Vec::new();
        fields(&schema["properties"][field], "", &mut out);
        // Objects that are null unless they are given.
        out.retain(|f| !f.contains("balanced.") && !f.contains("adaptive_beta."));
        out.sort();
        out
    };
    let keys = |value: Value| {
        let mut out = Vec::new();
        keys(&value, "", &mut out);
        out.sort();
        out
    };
    assert_eq!(of("store"), keys(json!(Store::default())));
    assert_eq!(of("eval"), keys(json!(Eval::default())));
    let arm = ReasonMaxxerArm::default();
    assert_eq!(of("reasonmaxxer"), keys(json!(arm)));
    assert_eq!(of("grpo"), keys(json!(GrpoArm::default())));
}

#[test]
fn the_shipped_grids_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benchsuite/ablate");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let grid = Grid::read(&path, &std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(grid.frozen, path.ends_with("frozen.json"));
        read += 1;
    }
    assert!(read > 1);
}
