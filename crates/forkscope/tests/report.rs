//! `forkscope report` on a run that was written by hand.

mod common;

use std::fs;

use common::Sandbox;
use serde_json::{Value, json};

fn run(sandbox: &Sandbox) {
    fs::create_dir(sandbox.path().join("run")).unwrap();
    let manifest = json!({"schema": "forkscope/run/1", "command": "diff", "status": "complete",
        "timing": {"started": "2026-01-02T03:04:05Z"}});
    sandbox.file("run/run.json", manifest.to_string());
    write_share(sandbox, 0.0209);
}

fn write_share(sandbox: &Sandbox, value: f64) {
    let finding = json!({"id": "share.reranked", "definition": "share of positions", "value": value,
        "unit": "share", "low": null, "high": null, "level": null, "method": "count", "n": 53012,
        "n_clusters": 40, "n_invalid": 7, "label": "\u{202e}\u{1b}[31m<script>alert(1)</script>"});
    let findings = json!({"schema": "forkscope/findings/1", "findings": [finding]});
    sandbox.file("run/findings.json", findings.to_string());
}

#[test]
fn every_renderer_reads_findings_json() {
    let sandbox = Sandbox::new();
    run(&sandbox);
    for (value, shown, other) in [(0.0209, "2.09", "45.7"), (0.457, "45.7", "2.09")] {
        write_share(&sandbox, value);
        let table = sandbox.ok(&["report", "run"]);
        let page = fs::read_to_string(sandbox.path().join("run/report.html")).unwrap();
        let markdown = fs::read_to_string(sandbox.path().join("run/findings.md")).unwrap();
        for text in [&table, &page, &markdown] {
            assert!(
                text.contains(&format!("{shown} %")) || text.contains(&format!("{shown}\u{a0}%")),
                "{text}"
            );
            assert!(!text.contains(&format!("{other} %")), "{text}");
        }
        assert!(
            table.contains("53,012") && table.contains("run/report.html"),
            "{table}"
        );
    }
}

#[test]
fn labels_are_inert() {
    let sandbox = Sandbox::new();
    run(&sandbox);
    let table = sandbox.ok(&["report", "run"]);
    assert!(
        table.contains("\\u{202e}\\x1b[31m") && !table.contains('\x1b'),
        "{table:?}"
    );
    let page = fs::read_to_string(sandbox.path().join("run/report.html")).unwrap();
    assert!(!page.contains("<script>alert(1)"));
}

#[test]
fn json_has_the_findings_and_the_paths() {
    let sandbox = Sandbox::new();
    run(&sandbox);
    let document = sandbox.json(&["report", "run"]);
    assert_eq!(document["findings"][0]["value"], json!(0.0209));
    let files: Vec<&Value> = document["files"].as_array().unwrap().iter().collect();
    assert!(files.contains(&&json!("run/report.html")), "{files:?}");
}

#[test]
fn what_is_no_run_is_refused() {
    let sandbox = Sandbox::new();
    run(&sandbox);
    let line = sandbox.fails(3, &["report", "missing"]);
    assert!(line.contains("missing"), "{line}");
    sandbox.file("run/findings.json", "{\"schema\": 3");
    let line = sandbox.fails(3, &["report", "run"]);
    assert!(line.contains("findings.json"), "{line}");
    fs::remove_file(sandbox.path().join("run/findings.json")).unwrap();
    let line = sandbox.fails(3, &["report", "run"]);
    assert!(line.contains("nothing to report"), "{line}");
}
