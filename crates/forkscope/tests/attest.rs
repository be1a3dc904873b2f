//! Attesting and verifying, as a signer and a third party run them.

use std::fs;
use std::path::Path;

use serde_json::Value;

#[path = "common/mod.rs"]
mod common;

use common::{Ended, Sandbox};

const DIFF: &str = "diff --base embedded:base --tuned embedded:reasoner --problems embedded:problems \
    --limit 2 -n 2 --max-tokens 24 --replicates 20 --out pair";

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn ok(sandbox: &Sandbox, line: &str) -> String {
    sandbox.ok(&words(line))
}

/// A signed run with its keys.
fn attested() -> Sandbox {
    let sandbox = Sandbox::new();
    ok(&sandbox, DIFF);
    ok(&sandbox, "attest --new-key signer.pem");
    ok(&sandbox, "attest pair --key signer.pem");
    sandbox
}

/// A check that fails: what it printed.
fn fails(sandbox: &Sandbox, line: &str) -> String {
    let ended = sandbox.run(&words(line));
    assert_eq!(ended.code, Some(4), "{line}: {ended:?}");
    assert!(
        ended
            .stderr
            .starts_with("error: the attestation does not hold"),
        "{ended:?}"
    );
    ended.stdout
}

fn with_plain_products(sandbox: &Sandbox, line: &str) -> Ended {
    let output = sandbox
        .command()
        .args(words(line))
        .env("FORKSCOPE_PRODUCT", "plain")
        .output()
        .expect("the built binary");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn check<'v>(report: &'v Value, name: &str) -> &'v Value {
    let checks = report["checks"].as_array().expect("checks");
    checks
        .iter()
        .find(|c| c["check"] == name)
        .expect("the check")
}

#[test]
fn the_untouched_audit_holds() {
    let sandbox = attested();
    let report = sandbox.json(&words(
        "verify pair/attestation.json --public-key signer.pem.pub --recheck 50% --recheck-seed 1",
    ));
    assert_eq!(report["ok"], true);
    for name in [
        "signature",
        "signer",
        "statement",
        "run",
        "subjects",
        "findings",
        "recheck",
    ] {
        assert_eq!(check(&report, name)["status"], "passed", "{name}: {report}");
    }
    assert_eq!(report["recheck"]["tolerance"], 0.0);
    assert_eq!(report["recheck"]["seed"], 1);
    // Without a key nobody says who signed; the run stands for its attestation.
    let report = sandbox.json(&words("verify pair"));
    let signer = check(&report, "signer");
    assert_eq!(signer["status"], "skipped");
    assert!(
        signer["detail"]
            .as_str()
            .expect("text")
            .contains("not checked")
    );
    // Attesting again gives the same bytes.
    let before = fs::read(sandbox.path().join("pair/attestation.json")).expect("a file");
    ok(&sandbox, "attest pair --key signer.pem");
    let after = fs::read(sandbox.path().join("pair/attestation.json")).expect("a file");
    assert_eq!(before, after);
}

#[test]
fn one_row_is_shown_without_the_run() {
    let sandbox = attested();
    let proof = ok(&sandbox, "attest pair --prove tokens.parquet:3");
    sandbox.file("row.json", &proof);
    fs::create_dir(sandbox.path().join("alone")).expect("a folder");
    let alone = sandbox.path().join("alone/attestation.json");
    fs::rename(sandbox.path().join("pair/attestation.json"), &alone).expect("a move");
    let line = "verify alone/attestation.json --public-key signer.pem.pub --proof row.json";
    let report = sandbox.json(&words(line));
    assert_eq!(report["ok"], true);
    assert!(report["row"]["entropy_base_nats"].is_f64(), "{report}");
    sandbox.file("row.json", proof.replace("\"row\": 3", "\"row\": 4"));
    assert!(fails(&sandbox, line).contains("does not lead to the attested root"));
    sandbox.file("row.json", "[]");
    assert!(fails(&sandbox, line).contains("is no proof of a row"));
    let said = sandbox.fails(3, &words("attest pair --prove tokens.parquet:999999"));
    assert!(said.contains("there is no row 999999"), "{said}");
    sandbox.fails(2, &words("attest pair --prove ../x.parquet:1"));
}

#[test]
fn an_unsigned_statement_shows_integrity_and_says_no_more() {
    let sandbox = Sandbox::new();
    ok(&sandbox, DIFF);
    ok(&sandbox, "attest pair");
    let report = sandbox.json(&words("verify pair/statement.json"));
    assert_eq!(
        (&report["ok"], &report["signed"]),
        (&Value::Bool(true), &Value::Bool(false))
    );
    ok(&sandbox, "attest --new-key signer.pem");
    let said = fails(
        &sandbox,
        "verify pair/statement.json --public-key signer.pem.pub",
    );
    assert!(said.contains("not signed"), "{said}");
    // The signed one says what the statement beside it says.
    ok(&sandbox, "attest pair --key signer.pem");
    ok(&sandbox, "verify pair --public-key signer.pem.pub");
    let path = sandbox.path().join("pair/statement.json");
    let text = fs::read_to_string(&path).expect("a statement");
    fs::write(&path, text.replace("share.reranked", "share.reranket")).expect("a file");
    let said = fails(&sandbox, "verify pair --public-key signer.pem.pub");
    assert!(
        said.contains("statement.json: is not the attested statement"),
        "{said}"
    );
}

#[test]
fn a_foreign_signature_is_refused() {
    let sandbox = attested();
    ok(&sandbox, "attest --new-key other.pem");
    let said = fails(&sandbox, "verify pair --public-key other.pem.pub");
    assert!(said.contains("signer signature: is the key"), "{said}");
    // Somebody signs the run anew.
    ok(&sandbox, "attest pair --key other.pem");
    let said = fails(&sandbox, "verify pair --public-key signer.pem.pub");
    assert!(said.contains("not the given one"), "{said}");
    ok(&sandbox, "verify pair");
}

#[test]
fn everything_that_is_wrong_is_listed() {
    let sandbox = attested();
    let pair = sandbox.path().join("pair");
    let append = |name: &str| {
        let mut bytes = fs::read(pair.join(name)).expect("a file");
        bytes.push(b' ');
        fs::write(pair.join(name), bytes).expect("a file");
    };
    append("report.html");
    fs::remove_file(pair.join("token_pieces.json")).expect("a file");
    fs::write(pair.join("new\u{1b}[31m.txt"), b"x").expect("a file");
    let run = fs::read_to_string(pair.join("run.json")).expect("a file");
    fs::write(
        pair.join("run.json"),
        run.replace("\"seed\": 42", "\"seed\": 43"),
    )
    .expect("a file");
    let said = fails(&sandbox, "verify pair --recheck all");
    for line in [
        "file report.html: has ",
        "file token_pieces.json: is missing",
        "file new\\x1b[31m.txt: is not among the attested files",
        "settings run.json seeds.seed: is 43 where 42 was attested",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains('\u{1b}'), "{said}");
    assert!(
        said.contains("not made: what would be compared is not as attested"),
        "{said}"
    );
}

#[test]
fn models_in_folders_are_subjects() {
    let sandbox = Sandbox::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/organism");
    for folder in ["base", "reasoner"] {
        fs::create_dir(sandbox.path().join(folder)).expect("a folder");
        for entry in fs::read_dir(from.join(folder)).expect("a model") {
            let entry = entry.expect("a file");
            fs::copy(
                entry.path(),
                sandbox.path().join(folder).join(entry.file_name()),
            )
            .expect("a copy");
        }
    }
    let line = DIFF
        .replace("embedded:base", "base")
        .replace("embedded:reasoner", "base+reasoner");
    sandbox.run(&words(&line));
    ok(&sandbox, "attest --new-key signer.pem");
    assert_eq!(
        sandbox.run(&words("attest pair --key signer.pem")).code,
        Some(0)
    );
    assert_eq!(sandbox.run(&words("verify pair")).code, Some(0));
    // Elsewhere they are found where the checker says.
    fs::rename(sandbox.path().join("base"), sandbox.path().join("b")).expect("a move");
    let said = ok(&sandbox, "verify pair");
    let not_found = "base and tuned not found, so not checked: give --base and --tuned";
    assert!(said.contains(not_found), "{said}");
    let line = "verify pair --base b --tuned b+reasoner";
    assert_eq!(sandbox.run(&words(line)).code, Some(0));
    // A byte of weights, of the adapter, of a template that was not there.
    let path = sandbox.path().join("b/model.safetensors");
    let mut weights = fs::read(&path).expect("weights");
    let middle = weights.len() / 2;
    weights[middle] ^= 1;
    fs::write(&path, &weights).expect("weights");
    fs::write(
        sandbox.path().join("b/chat_template.jinja"),
        "{{ messages }}",
    )
    .expect("a file");
    let config = sandbox.path().join("reasoner/adapter_config.json");
    fs::write(&config, "{}").expect("a file");
    let said = fails(&sandbox, line);
    for line in [
        "subject base/model.safetensors: was changed",
        "subject tuned/model.safetensors: was changed",
        "subject tuned/adapter/adapter_config.json: was changed",
        "subject base/chat_template.jinja: is not among the attested files",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn another_numerics_profile_compares_values_and_is_not_resumed() {
    let sandbox = attested();
    let line = "verify pair --recheck all --json";
    let ended = with_plain_products(&sandbox, line);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("one document");
    let recheck = &report["recheck"];
    assert_eq!(recheck["tolerance"], 2e-4);
    assert_ne!(recheck["numerics"], recheck["recorded_numerics"]);
    let greatest = recheck["tables"][0]["greatest_difference"]
        .as_f64()
        .expect("a number");
    assert!(greatest > 0.0 && greatest <= 2e-4, "{greatest}");
    let detail = check(&report, "recheck")["detail"].as_str().expect("text");
    assert!(detail.contains("bits are not compared"), "{detail}");
    let ended = with_plain_products(&sandbox, &format!("{DIFF} --resume"));
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        ended.stderr.contains("versions.numerics differs"),
        "{}",
        ended.stderr
    );
}

#[test]
fn bad_input_is_named() {
    let sandbox = attested();
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../forkscope-audit/tests/fixtures/keys");
    let key = |name: &str| keys.join(name).display().to_string();
    let refused = |line: String, says: &str| {
        let said = sandbox.fails(3, &words(&line));
        assert!(said.contains(says), "{line}: {said}");
    };
    refused(
        format!("attest pair --key {}", key("rsa.pem")),
        "is an RSA key",
    );
    refused(
        format!("attest pair --key {}", key("ed25519.pub.pem")),
        "is a public key",
    );
    refused(
        format!("attest pair --key {}", key("encrypted.pem")),
        "is an encrypted key",
    );
    refused(
        format!("verify pair --public-key {}", key("ed25519.pem")),
        "is a private key",
    );
    refused(
        format!("verify pair --public-key {}", key("ec.pub.pem")),
        "elliptic-curve",
    );
    refused("attest --new-key signer.pem".into(), "never overwritten");
    refused("attest nowhere".into(), "run.json");
    refused("verify nowhere.json".into(), "cannot read");
    refused(
        "attest pair --tuned embedded:guarded".into(),
        "is not the tuned model of the run",
    );
    fs::create_dir(sandbox.path().join("empty")).expect("a folder");
    refused(
        "verify empty".into(),
        "neither attestation.json nor statement.json",
    );
    fs::copy(
        sandbox.path().join("pair/attestation.json"),
        sandbox.path().join("empty/attestation.json"),
    )
    .expect("a copy");
    refused("verify empty".into(), "--run");
    ok(&sandbox, "verify empty --run pair");
    // What is no attestation does not hold.
    sandbox.file("none.json", "{}");
    assert!(
        fails(&sandbox, "verify none.json").contains("envelope none.json: is no DSSE envelope")
    );
    // A statement of another version is none that could be wrong.
    ok(&sandbox, "attest pair");
    let statement = fs::read_to_string(sandbox.path().join("pair/statement.json")).expect("a file");
    sandbox.file(
        "later.json",
        statement.replace("forkscope/attestation/1", "forkscope/attestation/9"),
    );
    refused(
        "verify later.json --run pair".into(),
        "forkscope/attestation/9",
    );
    for line in [
        "verify pair --recheck 0",
        "verify pair --recheck 101%",
        "verify pair --recheck-seed 1",
    ] {
        sandbox.fails(2, &words(line));
    }
    // An open run is not attested.
    let run = fs::read_to_string(sandbox.path().join("pair/run.json")).expect("a file");
    sandbox.file(
        "pair/run.json",
        run.replace("\"complete\"", "\"incomplete\""),
    );
    refused("attest pair".into(), "is not complete");
}

#[test]
fn every_kind_of_run_with_models_can_be_attested() {
    let sandbox = Sandbox::new();
    for (line, out, rechecked) in [
        (
            "sample --model embedded:base --problems embedded:problems --limit 2 --max-tokens 12 --out s",
            "s",
            true,
        ),
        (
            "score --model embedded:reasoner --rollouts s --out t",
            "t",
            true,
        ),
        (
            "eval --model embedded:base --problems embedded:problems --limit 2 -n 2 --max-tokens 8 --replicates 10 --out e",
            "e",
            false,
        ),
    ] {
        ok(&sandbox, line);
        ok(&sandbox, &format!("attest {out}"));
        let report = sandbox.json(&words(&format!("verify {out} --recheck all")));
        let status = &check(&report, "recheck")["status"];
        assert!(!rechecked || status == "passed", "{line}: {report}");
    }
}
