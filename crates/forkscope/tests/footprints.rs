//! `forkscope footprints`: the numbers are those of `diff`, runs resume, names
//! that clash are refused.

mod runs;

use std::fs;

use runs::common::Sandbox;
use serde_json::Value;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const PAIRS: &[&str] = &[
    "--base",
    "embedded:base",
    "--tuned",
    "RL=embedded:reasoner",
    "--tuned",
    "embedded:guarded",
    "--problems",
    "embedded:problems",
    "--limit",
    "2",
    "--max-tokens",
    "60",
];

fn line<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["footprints"], PAIRS, more].concat()
}

#[test]
fn each_footprint_is_a_diff_and_a_second_call_changes_nothing() -> Result {
    let sandbox = Sandbox::new();
    let first = sandbox.ok(&line(&["--out", "prints", "--json"]));
    let found: Value = serde_json::from_str(&first)?;
    let listed = found["findings"].as_array().ok_or("no findings")?;
    let value = |id: &str| {
        let finding = listed.iter().find(|f| f["id"] == id);
        finding.map(|f| (f["value"].clone(), f["n"].clone()))
    };
    for cell in ["RL-problems", "guarded-problems"] {
        let path = sandbox.path().join("prints/cells").join(cell);
        let own: Value = serde_json::from_slice(&fs::read(path.join("findings.json"))?)?;
        for id in ["share.reranked", "kl_tuned_base.mean", "mean_base_rank"] {
            let of_diff = own["findings"].as_array().ok_or("no findings")?;
            let of_diff = of_diff.iter().find(|f| f["id"] == id).ok_or("no finding")?;
            let shown = value(&format!("footprint.{cell}.{id}")).ok_or("not shown")?;
            assert_eq!(shown, (of_diff["value"].clone(), of_diff["n"].clone()));
        }
        assert!(path.join("report.html").is_file());
    }
    let again = sandbox.ok(&line(&["--out", "prints", "--resume", "--json"]));
    assert_eq!(first, again);
    let table = sandbox.ok(&line(&["--out", "prints", "--resume"]));
    assert!(table.contains("RL-problems") && table.contains("KL(tuned||base)"));
    Ok(())
}

#[test]
fn names_that_clash_and_policies_that_are_not_there_are_refused() {
    let sandbox = Sandbox::new();
    let twice = ["--tuned", "RL=embedded:sft", "--out", "twice"];
    let refused = sandbox.fails(2, &line(&twice));
    assert!(refused.contains("`RL-problems`"), "{refused}");
    let missing = ["--tuned", "no/such/model", "--out", "missing"];
    sandbox.fails(3, &line(&missing));
    let plan = sandbox.ok(&line(&["--out", "plan", "--dry-run"]));
    assert!(!plan.is_empty() && !sandbox.path().join("plan").exists());
}
