//! `forkscope revert` on the embedded guard: what it must find is known.

#![cfg(unix)]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::Sandbox;
use forkscope_records::read_table;
use forkscope_records::types::{
    Reversion, ReversionControl, ReversionDirection, ReversionMethod, ReversionStatus,
};
use serde_json::Value;

const PAIR: [&str; 5] = [
    "revert",
    "--base",
    "embedded:base",
    "--tuned",
    "embedded:guarded",
];

fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    PAIR.iter().copied().chain(more.iter().copied()).collect()
}

fn rows(sandbox: &Sandbox, run: &str) -> Vec<Reversion> {
    read_table(&sandbox.path().join(run).join("reversions.parquet")).expect("rows")
}

fn value(findings: &Value, id: &str) -> f64 {
    let all = findings["findings"].as_array().expect("findings");
    let found = all.iter().find(|f| f["id"] == id);
    let found = found.unwrap_or_else(|| panic!("no finding {id}"));
    found["value"].as_f64().unwrap_or_else(|| panic!("{found}"))
}

#[test]
fn the_guard_costs_what_its_making_says() {
    let sandbox = Sandbox::new();
    let findings = sandbox.json(&args(&[
        "--problems",
        "embedded:hazardous",
        "--benign",
        "embedded:problems",
        "--behaviour",
        "refusal",
        "--limit",
        "6",
        "--max-tokens",
        "96",
        "--prompt-search",
        "--prompt-tokens",
        "2",
        "--prompt-budget",
        "64",
        "--replicates",
        "100",
        "--out",
        "price",
    ]));
    let of = |what: &str| value(&findings, &format!("revert.{what}"));
    assert_eq!(of("undo.answers.eligible"), 6.0);
    assert_eq!(of("induce.answers.eligible"), 6.0);
    // α = 1 is the base itself.
    assert_eq!(of("undo.alpha.turned_at.1"), 1.0);
    assert!(of("undo.alpha.restricted_mean") <= 1.0);
    // Enough disagreements replaced give the base's own answer.
    assert_eq!(of("undo.tokens_first.turned_by.16"), 1.0);
    // A whole exemplar is the behaviour itself.
    assert!(of("induce.prefill.turned_by.16") > 0.9);
    assert!(
        of("undo.tokens.restricted_mean") <= of("undo.tokens.random_positions.restricted_mean")
    );
    let rows = rows(&sandbox, "price");
    by_group(&rows);
    for row in &rows {
        consistent(row);
    }
    for file in ["findings.json", "report.html", "token_pieces.json"] {
        assert!(sandbox.path().join("price").join(file).is_file(), "{file}");
    }
    let html = fs::read_to_string(sandbox.path().join("price/report.html")).expect("a page");
    assert!(html.contains("Weakest links") && html.contains("revert-undo-tokens"));
}

/// What relates the rows of one answer.
fn by_group(rows: &[Reversion]) {
    use ReversionMethod as M;
    let mut groups: BTreeMap<(ReversionDirection, &str), Vec<&Reversion>> = BTreeMap::new();
    for row in rows {
        groups
            .entry((row.direction, &row.problem_id))
            .or_default()
            .push(row);
    }
    assert_eq!(groups.len(), 12);
    for ((direction, problem), group) in groups {
        let price = |method: M, control: ReversionControl| {
            let row = group
                .iter()
                .find(|r| r.method == method && r.control == control);
            row.unwrap_or_else(|| panic!("{problem} lacks {method:?}"))
                .price
        };
        let own = |method: M| price(method, ReversionControl::None);
        let found = [own(M::Tokens), own(M::TokensFirst)];
        if let Some(least) = own(M::TokensMinimal) {
            assert!(found.iter().flatten().all(|p| least <= *p), "{problem}");
        }
        assert_eq!(
            group
                .iter()
                .filter(|r| r.status == ReversionStatus::Untouched)
                .count(),
            2
        );
        assert_eq!(group[0].method, M::Tuned);
        assert_eq!(
            group[0].behaviour,
            Some(direction == ReversionDirection::Undo)
        );
        let dear = own(M::Nats).unwrap_or(f64::INFINITY);
        for row in &group {
            if row.unit == "tokens"
                && row.price.is_some()
                && row.control == ReversionControl::None
                && !row.margins_nats.is_empty()
                && row.method != M::Prompt
            {
                let nats: f64 = row.margins_nats.iter().map(|m| f64::from(*m)).sum();
                assert!(
                    dear <= nats + 1e-4 || nats > 128.0,
                    "{problem}: {dear} against {nats}"
                );
            }
        }
    }
}

/// What holds of every row by itself.
fn consistent(row: &Reversion) {
    let target = row.direction == ReversionDirection::Induce;
    if let Some(price) = row.price {
        assert!(price <= row.cap, "{row:?}");
        assert_eq!(row.behaviour, Some(target), "{row:?}");
        if matches!(
            row.method,
            ReversionMethod::Tokens | ReversionMethod::TokensFirst
        ) && row.control != ReversionControl::RandomPositions
        {
            assert_eq!(row.positions.len() as f64, price, "{row:?}");
        }
    }
    for (t, id) in row.positions.iter().zip(&row.donor_ids) {
        let there = row.token_ids.get(*t as usize);
        if row.status != ReversionStatus::Untouched && row.status != ReversionStatus::NotVerified {
            assert_eq!(there, Some(id), "{row:?}");
        }
    }
    assert!(row.margins_nats.iter().all(|m| *m >= 0.0), "{row:?}");
    let ln2 = std::f32::consts::LN_2;
    assert!(
        row.js_nats.iter().all(|js| (0.0..=ln2 + 1e-6).contains(js)),
        "{row:?}"
    );
}

#[test]
fn a_killed_run_ends_in_the_same_bytes() {
    let sandbox = Sandbox::new();
    let common = [
        "--problems",
        "embedded:hazardous",
        "--behaviour",
        "refusal",
        "--limit",
        "40",
        "--max-tokens",
        "48",
        "--cap",
        "3",
        "--alpha",
        "0.5,1",
        "--exhaustive",
        "8",
        "--replicates",
        "50",
    ];
    let run = |out: &'static str, more: &[&'static str]| {
        let all: Vec<&str> = common
            .iter()
            .chain(more)
            .copied()
            .chain(["--out", out])
            .collect();
        args(&all)
    };
    sandbox.ok(&run("whole", &["--threads", "1"]));
    let spool = sandbox.path().join("killed/.spool/reversions.rows");
    let mut child = sandbox
        .command()
        .args(run("killed", &[]))
        .spawn()
        .expect("a process");
    while child.try_wait().expect("a state").is_none() {
        if fs::metadata(&spool).is_ok_and(|m| m.len() > 0) {
            child.kill().expect("killed");
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    sandbox.ok(&run("killed", &["--resume", "--threads", "2"]));
    for file in [
        "reversions.parquet",
        "findings.json",
        "report.html",
        "token_pieces.json",
    ] {
        let of = |run: &str| fs::read(sandbox.path().join(run).join(file)).expect("a file");
        assert!(of("whole") == of("killed"), "{file} differs");
    }
}

#[test]
fn a_behaviour_that_never_occurs_is_named() {
    let sandbox = Sandbox::new();
    let never = args(&[
        "--problems",
        "embedded:hazardous",
        "--behaviour",
        "regex:xyzzy",
        "--limit",
        "2",
        "--max-tokens",
        "24",
        "--out",
        "never",
    ]);
    for again in [&[][..], &["--resume"]] {
        let with: Vec<&str> = never.iter().copied().chain(again.iter().copied()).collect();
        let ended = sandbox.run(&with);
        assert_eq!(ended.code, Some(4), "{ended:?}");
        assert!(
            ended
                .stderr
                .contains("no answer has a price to undo `regex:xyzzy`"),
            "{ended:?}"
        );
        assert!(
            ended
                .stdout
                .contains("undo: 0 of 2 answers have a price (2 nothing to turn)"),
            "{ended:?}"
        );
    }
}

#[test]
fn judges_that_fail_are_named_and_nonsense_is_counted() {
    let sandbox = Sandbox::new();
    let with = |behaviour: &str, out: &str| -> Vec<String> {
        let common = [
            "--problems",
            "embedded:hazardous",
            "--limit",
            "2",
            "--max-tokens",
            "16",
            "--judge-timeout",
            "0.5",
            "--no-controls",
            "--behaviour",
            behaviour,
            "--out",
            out,
        ];
        args(&common).into_iter().map(str::to_owned).collect()
    };
    let script = |text: &str| format!("cmd:/bin/sh -c '{text}'");
    for (i, (judge, said)) in [
        (script("sleep 30"), "gave no answer within 0.5 s"),
        (script("yes"), "wrote more than 4096 bytes"),
        (script("exit 7"), "exit status: 7"),
        ("cmd:./no-such-judge".to_owned(), "cannot be started"),
    ]
    .iter()
    .enumerate()
    {
        let all = with(judge, &format!("bad-{i}"));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let stderr = sandbox.fails(3, &all);
        assert!(
            stderr.contains(said) && stderr.contains("problem `test/hazardous/"),
            "{stderr}"
        );
    }
    let nonsense = with(&script("echo perhaps"), "nonsense");
    let nonsense: Vec<&str> = nonsense.iter().map(String::as_str).collect();
    let ended = sandbox.run(&nonsense);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stdout.contains("(2 undecided)"), "{ended:?}");
    // A judge that does its work gives what the list of phrases gives.
    let grep = with(
        &script("if grep -q \"sorry , i can not\"; then echo 1; else echo 0; fi"),
        "grep",
    );
    let grep: Vec<&str> = grep.iter().map(String::as_str).collect();
    sandbox.ok(&grep);
    let phrases = with("refusal", "phrases");
    let phrases: Vec<&str> = phrases.iter().map(String::as_str).collect();
    sandbox.ok(&phrases);
    assert_eq!(rows(&sandbox, "grep"), rows(&sandbox, "phrases"));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let sandbox = Sandbox::new();
    for (more, said) in [
        (&["--behaviour", "refusal"][..], "give --problems"),
        (
            &["--behaviour", "nice", "--problems", "embedded:hazardous"],
            "no behaviour is called",
        ),
        (
            &["--behaviour", "cmd:'x", "--problems", "embedded:hazardous"],
            "a quote is not closed",
        ),
        (
            &["--behaviour", "refusal", "--benign", "embedded:problems"],
            "exemplar",
        ),
        (
            &[
                "--behaviour",
                "refusal",
                "--problems",
                "embedded:hazardous",
                "-n",
                "3",
            ],
            "samples is 3",
        ),
        (
            &[
                "--behaviour",
                "refusal",
                "--problems",
                "embedded:hazardous",
                "--alpha",
                "1,0.5",
            ],
            "ascending",
        ),
        (
            &[
                "--behaviour",
                "refusal",
                "--problems",
                "embedded:hazardous",
                "--judge-timeout",
                "0",
            ],
            "--judge-timeout",
        ),
    ] {
        let all: Vec<&str> = more.iter().copied().chain(["--out", "x"]).collect();
        let stderr = sandbox.fails(2, &args(&all));
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    let file = sandbox.file(
        "no-answers.jsonl",
        "{\"id\": \"a\", \"problem\": \"how many\"}\n",
    );
    let stderr = file.fails(
        3,
        &args(&[
            "--behaviour",
            "correct",
            "--problems",
            "no-answers.jsonl",
            "--out",
            "x",
        ]),
    );
    assert!(
        stderr.contains("none of the 1 problems has an `answer`"),
        "{stderr}"
    );
}
