//! `forkscope audit`: one run with all parts, signed, checked, held against rules,
//! resumed to the same bytes.

#![cfg(unix)]

mod runs;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use runs::assert_same_bytes;
use runs::common::Sandbox;
use serde_json::Value;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const AUDIT: &str = "audit --base embedded:base --tuned embedded:guarded \
    --problems embedded:hazardous --benign embedded:problems --behaviour refusal \
    --limit 3 --max-tokens 48 --cap 3 --replicates 20 --key signer.pem --out";

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn audited() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&words("attest --new-key signer.pem"));
    sandbox.ok(&words(&format!("{AUDIT} whole")));
    sandbox
}

#[test]
fn one_run_answers_the_questions_and_can_be_checked() -> Result {
    let sandbox = audited();
    let run = sandbox.path().join("whole");
    let found: Value = serde_json::from_slice(&fs::read(run.join("findings.json"))?)?;
    let listed = found["findings"].as_array().ok_or("no findings")?;
    for id in [
        "share.reranked",
        "share.changed_beyond_noise",
        "coverage.new_problems.changed_share",
        "intervene.rate.forward.t0.none",
        "intervene.rate.reverse.t1.other",
        "revert.undo.answers.eligible",
        "revert.induce.answers.eligible",
    ] {
        assert!(listed.iter().any(|f| f["id"] == id), "{id} is missing");
    }
    for table in ["rollouts", "tokens", "noise", "interventions", "reversions"] {
        assert!(run.join(format!("{table}.parquet")).is_file(), "{table}");
    }
    let report = fs::read_to_string(run.join("report.html"))?;
    for anchor in ["overview", "interventions", "revert"] {
        assert!(
            report.contains(&format!("<section id=\"{anchor}\">")),
            "{anchor}"
        );
    }
    let checked = sandbox.json(&words(
        "verify whole/attestation.json --public-key signer.pem.pub",
    ));
    assert_eq!(checked["ok"], true);

    // A complete audit is printed again, and nothing is written.
    let again = sandbox.ok(&words(&format!("{AUDIT} whole --resume")));
    assert!(again.contains("What this does not show"), "{again}");

    sandbox.ok(&words("gate whole --fail-if share.reranked>100%"));
    let failed = sandbox.run(&words("gate whole --fail-if share.reranked>=0"));
    assert_eq!(failed.code, Some(4), "{failed:?}");

    // A changed row is found.
    let path = run.join("reversions.parquet");
    let mut bytes = fs::read(&path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes)?;
    let ended = sandbox.run(&words("verify whole/attestation.json"));
    assert_eq!(ended.code, Some(4));
    assert!(ended.stdout.contains("reversions.parquet"), "{ended:?}");
    Ok(())
}

#[test]
fn an_audit_killed_between_its_parts_ends_in_the_same_bytes() -> Result {
    let sandbox = audited();
    for (i, table) in ["tokens", "noise", "interventions"].iter().enumerate() {
        let out = format!("killed-{i}");
        let line = format!("{AUDIT} {out} --resume");
        let whole = sandbox.path().join(&out).join(format!("{table}.parquet"));
        let mut child = sandbox
            .command()
            .args(words(&line))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let began = Instant::now();
        while !whole.exists() && child.try_wait()?.is_none() {
            assert!(began.elapsed() < Duration::from_secs(120), "{table}");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill()?;
        child.wait()?;
        sandbox.ok(&words(&line));
        assert_same_bytes(&sandbox, "whole", &out);
    }
    Ok(())
}

#[test]
fn keys_and_parts_that_cannot_be_are_refused_before_any_work() {
    let sandbox = Sandbox::new();
    let line = format!("{AUDIT} never");
    let refused = sandbox.fails(3, &words(&line));
    assert!(refused.contains("signer.pem"), "{refused}");
    sandbox.file("signer.pem", "not a key");
    sandbox.fails(3, &words(&line));
    sandbox.fails(2, &words(&format!("{line} --without everything")));
    assert!(!sandbox.path().join("never").exists());
}
