//! `forkscope plan`: its numbers against the tables, an execution against the
//! whole diff, resumes, the noise floor, and what is refused.

mod runs;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use forkscope_records::read_table;
use forkscope_records::types::{BeyondNoiseRow, DiffRow, NoiseRow, PlanRow, Stratum};
use runs::common::Sandbox;
use runs::{assert_same_bytes, to, with_rollouts};
use serde_json::Value;

type Done = Result<(), Box<dyn Error>>;

const BASE: [&str; 3] = ["plan", "--base", "embedded:base"];
const GIVEN: [&str; 4] = ["--rollouts", "rollouts", "--budget", "5%,10%,20%,50%,100%"];
const DIFF: &[&str] = &[
    "diff",
    "--base",
    "embedded:base",
    "--tuned",
    "embedded:reasoner",
    "--rollouts",
    "rollouts",
    "--replicates",
    "20",
];

fn plan<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&BASE[..], more].concat()
}

fn execute<'a>(plan: &'a str, at: &'a str) -> Vec<&'a str> {
    [
        &BASE[..],
        &[
            "--tuned",
            "embedded:reasoner",
            "--execute",
            plan,
            "--at",
            at,
        ],
    ]
    .concat()
}

fn findings(json: &Value) -> BTreeMap<String, Value> {
    let list = json["findings"].as_array().into_iter().flatten();
    list.filter_map(|f| Some((f["id"].as_str()?.to_owned(), f.clone())))
        .collect()
}

fn number(found: &BTreeMap<String, Value>, id: &str, field: &str) -> Result<f64, Box<dyn Error>> {
    found
        .get(id)
        .and_then(|f| f[field].as_f64())
        .ok_or_else(|| format!("{id} has no {field}").into())
}

#[test]
fn a_plan_is_executed_at_its_positions_and_bounds_the_whole() -> Done {
    let sandbox = with_rollouts();
    let made = sandbox.json(&to(&plan(&GIVEN), "plan", &[]));
    let lines = made["plan"]["budgets"].as_array().ok_or("budgets")?;
    assert_eq!(lines.len(), 5);
    let full = made["plan"]["full_tokens"].as_u64().ok_or("tokens")?;
    let of = |design: &str, field: &str| -> Vec<f64> {
        let values = lines.iter().map(|l| &l[design][field]);
        values.filter_map(Value::as_f64).collect()
    };
    // More buys more, and costs more.
    for falling in ["bound_if_none", "margin_worst"] {
        let bounds = of("positions", falling);
        assert!(
            bounds.windows(2).all(|w| w[1] <= w[0]),
            "{falling}: {bounds:?}"
        );
    }
    let coverage = of("positions", "coverage");
    assert!(coverage.windows(2).all(|w| w[1] >= w[0]), "{coverage:?}");
    assert_eq!(lines[4]["positions"]["cost"]["tokens"].as_u64(), Some(full));
    assert_eq!(lines[4]["problems"]["cost"]["tokens"].as_u64(), Some(full));

    let rows: Vec<PlanRow> = read_table(&sandbox.path().join("plan/plan.parquet"))?;
    for line in lines {
        let line = &line["positions"];
        let budget = line["budget"].as_f64().ok_or("a budget")?;
        let listed: Vec<&PlanRow> = rows.iter().filter(|r| r.budget == budget).collect();
        let certain = listed.iter().filter(|r| r.stratum == Stratum::Certain);
        assert_eq!(line["certain"].as_u64(), Some(certain.count() as u64));
        assert_eq!(
            line["cost"]["positions"].as_u64(),
            Some(listed.len() as u64)
        );
        // The inclusion probabilities of everything that could be drawn sum to what is drawn.
        let lowest = listed
            .iter()
            .filter(|r| r.stratum == Stratum::Certain)
            .map(|r| r.score)
            .fold(f64::INFINITY, f64::min);
        let above = listed
            .iter()
            .filter(|r| r.stratum == Stratum::Sampled && r.score > lowest);
        assert_eq!(above.count(), 0, "the gate takes the highest");
    }

    sandbox.ok(&to(DIFF, "diff", &[]));
    let whole: Vec<DiffRow> = read_table(&sandbox.path().join("diff/tokens.parquet"))?;
    let changed = |r: &&DiffRow| r.argmax_base_id != r.argmax_tuned_id;
    let truth = whole.iter().filter(changed).count() as f64 / whole.len() as f64;
    for (at, budget) in [("20%", 0.2), ("100%", 1.0)] {
        let out = format!("executed-{budget}");
        let found = findings(&sandbox.json(&to(&execute("plan", at), &out, &[])));
        let audited: Vec<DiffRow> = read_table(&sandbox.path().join(&out).join("tokens.parquet"))?;
        // Bit for bit the rows of the whole diff, at the planned positions and nowhere else.
        let planned: Vec<(&str, u32, u32)> = rows
            .iter()
            .filter(|r| r.budget == budget)
            .map(|r| (r.problem_id.as_str(), r.sample, r.t))
            .collect();
        let subset: Vec<&DiffRow> = whole
            .iter()
            .filter(|r| planned.contains(&(r.problem_id.as_str(), r.sample, r.t)))
            .collect();
        assert_eq!(audited.iter().collect::<Vec<_>>(), subset, "{at}");
        let (low, high) = (
            number(&found, "coverage.all.changed_share", "low")?,
            number(&found, "coverage.all.changed_share", "high")?,
        );
        assert!(low <= truth && truth <= high, "{at}: {low} {truth} {high}");
        if budget == 1.0 {
            assert!((low - truth).abs() < 1e-12 && (high - truth).abs() < 1e-12);
            assert_eq!(number(&found, "coverage.seen.changed_share", "low")?, 1.0);
            let js = whole.iter().map(|r| r.js_nats).sum::<f64>() / whole.len() as f64;
            let most = number(&found, "coverage.all.js_mean", "high")?;
            assert!((most - js).abs() < 1e-9, "{most} {js}");
        }
        assert!(found["coverage.certain.kl_share"]["high"].is_null());
        let method = found["coverage.certain.kl_share"]["method"].as_str();
        assert!(method.is_some_and(|m| m.contains("without a guarantee")));
    }
    let page = fs::read_to_string(sandbox.path().join("executed-0.2/report.html"))?;
    assert!(page.contains("What the audit covers") && page.contains("Bound against cost"));
    Ok(())
}

#[test]
fn whole_problems_bound_new_ones_and_a_calibration_teaches_the_gate() -> Done {
    let sandbox = Sandbox::new();
    let sampled = "sample --model embedded:base --problems embedded:problems --limit 8 --max-tokens 60 --out rollouts";
    sandbox.ok(&sampled.split_whitespace().collect::<Vec<_>>());
    sandbox.ok(&to(DIFF, "diff", &["--noise-floor"]));
    let more = [
        "--rollouts",
        "rollouts",
        "--calibration",
        "diff",
        "--gate",
        "learned",
        "--design",
        "problems",
        "--budget",
        "50%,100%",
    ];
    let made = sandbox.json(&to(&plan(&more), "plan", &[]));
    let gate = &made["plan"]["gate"]["learned"];
    assert_eq!(gate["features"].as_array().map(Vec::len), Some(13));
    let share = made["plan"]["expected_changed_share"].as_f64();
    let rows: Vec<DiffRow> = read_table(&sandbox.path().join("diff/tokens.parquet"))?;
    let changed = rows
        .iter()
        .filter(|r| r.argmax_base_id != r.argmax_tuned_id);
    assert_eq!(share, Some(changed.count() as f64 / rows.len() as f64));
    assert!(made["plan"]["budgets"][0]["problems"]["bound_expected"].is_f64());

    let found = findings(&sandbox.json(&to(&execute("plan", "50%"), "executed", &[])));
    assert_eq!(found["coverage.new_problems.changed_share"]["n"], 4);
    let (value, high) = (
        number(&found, "coverage.new_problems.changed_share", "value")?,
        number(&found, "coverage.new_problems.changed_share", "high")?,
    );
    assert!(value < high && high <= 1.0);
    // The list is finite: its bound is at most that of new problems.
    let listed = number(&found, "coverage.listed_problems.changed_share", "high")?;
    assert!(listed <= high + 1e-9);

    noise_floor(&sandbox, &rows)?;
    let more = [
        "--rollouts",
        "rollouts",
        "--calibration",
        "diff",
        "--changed",
        "noise:0.1",
        "--budget",
        "20%",
    ];
    let made = sandbox.json(&to(&plan(&more), "noisy", &[]));
    let rule = &made["plan"]["noise"];
    assert_eq!(rule["thresholds"].as_array().map(Vec::len), Some(10));
    let found = findings(&sandbox.json(&to(&execute("noisy", "20%"), "beyond", &[])));
    assert!(found.contains_key("coverage.unaudited.changed_share"));
    // A p-value that ten tenths of so few positions cannot reach.
    let more = ["--rollouts", "rollouts", "--changed", "noise:0.000001"];
    let said = sandbox.fails(3, &to(&plan(&more), "never", &[]));
    assert!(said.contains("too few"), "{said}");
    Ok(())
}

/// The tables of `diff --noise-floor` against each other.
fn noise_floor(sandbox: &Sandbox, rows: &[DiffRow]) -> Done {
    let noise: Vec<NoiseRow> = read_table(&sandbox.path().join("diff/noise.parquet"))?;
    let beyond: Vec<BeyondNoiseRow> =
        read_table(&sandbox.path().join("diff/beyond_noise.parquet"))?;
    assert_eq!((noise.len(), beyond.len()), (rows.len(), rows.len()));
    let tenth = |decile: u32| -> Vec<f64> {
        let own = noise.iter().zip(&beyond);
        own.filter(|(_, b)| b.entropy_decile == decile)
            .map(|(n, _)| n.js_weights_nats.max(n.js_activations_nats))
            .collect()
    };
    for ((noise, beyond), row) in noise.iter().zip(&beyond).zip(rows) {
        assert_eq!((noise.t, beyond.t), (row.t, row.t));
        assert_eq!(noise.entropy_base_nats, row.entropy_base_nats);
        assert_eq!(noise.argmax_base_id, row.argmax_base_id);
        assert_eq!(beyond.js_nats, row.js_nats);
        assert!(beyond.p_value > 0.0 && beyond.p_value <= beyond.p_adjusted);
        assert_eq!(beyond.changed, beyond.p_adjusted <= 0.05);
        // p by its definition.
        let own: Vec<f64> = tenth(beyond.entropy_decile);
        let above = own.iter().filter(|n| **n >= row.js_nats).count();
        assert_eq!(beyond.p_value, (1 + above) as f64 / (1 + own.len()) as f64);
    }
    let json: Value =
        serde_json::from_slice(&fs::read(sandbox.path().join("diff/findings.json"))?)?;
    let found = findings(&json);
    let share = beyond.iter().filter(|r| r.changed).count() as f64 / beyond.len() as f64;
    assert_eq!(
        number(&found, "share.changed_beyond_noise", "value")?,
        share
    );
    let weights = number(&found, "noise_floor.weights.js.mean", "value")?;
    let mean = noise.iter().map(|r| r.js_weights_nats).sum::<f64>() / noise.len() as f64;
    assert!((weights - mean).abs() < 1e-15 && weights > 0.0);
    Ok(())
}

#[test]
fn killed_and_resumed_it_ends_in_the_same_bytes() -> Done {
    let sandbox = Sandbox::new();
    let args = plan(&[
        "--problems",
        "embedded:problems",
        "--limit",
        "12",
        "-n",
        "4",
        "--max-tokens",
        "60",
        "--changed",
        "noise:0.05",
    ]);
    sandbox.ok(&to(&args, "whole", &["--threads", "1"]));
    for milliseconds in [0, 200, 500, 900] {
        let mut child = sandbox
            .command()
            .args(to(&args, "killed", &["--resume"]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill()?;
        child.wait()?;
    }
    sandbox.ok(&to(&args, "killed", &["--resume"]));
    assert_same_bytes(&sandbox, "whole", "killed");
    let said = sandbox.fails(3, &to(&args, "killed", &["--resume", "--certain", "0.2"]));
    assert!(said.contains("settings.certain"), "{said}");
    sandbox.ok(&to(&execute("whole", "10%"), "once", &["--threads", "1"]));
    sandbox.ok(&to(
        &execute("whole", "10%"),
        "twice",
        &["--threads", "2", "--resume"],
    ));
    assert_same_bytes(&sandbox, "once", "twice");
    Ok(())
}

#[test]
fn what_cannot_be_planned_is_refused() -> Done {
    let sandbox = with_rollouts();
    let rollouts = ["--rollouts", "rollouts"];
    let with = |more: &[&'static str]| plan(&[&rollouts[..], more].concat());
    for (code, more, says) in [
        (2, &["--budget", "0%"][..], "above 0"),
        (2, &["--budget", "120%"], "at most 1"),
        (2, &["--budget", "lots"], "5%"),
        (2, &["--certain", "1"], "--certain"),
        (2, &["--level", "1.5"], "--level"),
        (2, &["--changed", "js:0.9"], "js"),
        (2, &["--changed", "sometimes"], "argmax"),
        (2, &["--gate", "learned"], "--calibration"),
        (2, &["--assume-changed", "2"], "--assume-changed"),
        (2, &["--tokens-per-second", "0"], "--tokens-per-second"),
        (2, &["-n", "4"], "--rollouts"),
        (2, &["--tuned", "embedded:reasoner"], "--execute"),
        (3, &["--calibration", "rollouts"], "--calibration"),
        (3, &["--calibration", "nowhere"], "--calibration"),
    ] {
        let said = sandbox.fails(code, &to(&with(more), "run", &[]));
        assert!(said.contains(says), "{more:?}: {said}");
        assert!(!sandbox.path().join("run").exists(), "{more:?} made a run");
    }
    sandbox.ok(&to(&with(&[]), "plan", &[]));
    let said = sandbox.fails(2, &to(&execute("plan", "7%"), "run", &[]));
    assert!(said.contains("no such budget"), "{said}");
    let said = sandbox.fails(3, &to(&execute("rollouts", "5%"), "run", &[]));
    assert!(said.contains("plan.json"), "{said}");
    // Another seed draws other positions than those that are listed.
    let path = sandbox.path().join("plan/plan.json");
    let json = fs::read_to_string(&path)?;
    fs::write(&path, json.replace("\"seed\": 42", "\"seed\": 43"))?;
    let said = sandbox.fails(3, &to(&execute("plan", "5%"), "run", &[]));
    assert!(said.contains("changed after"), "{said}");
    fs::write(&path, json.replace("audit-plan/1", "audit-plan/9"))?;
    let said = sandbox.fails(3, &to(&execute("plan", "5%"), "other", &[]));
    assert!(said.contains("another version"), "{said}");
    Ok(())
}
