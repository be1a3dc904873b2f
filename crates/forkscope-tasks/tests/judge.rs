//! Judge commands: verdicts, nonsense, and everything that can go wrong.
#![cfg(unix)]

use std::time::{Duration, Instant};

use forkscope_tasks::{Behaviour, JudgeLimits, TaskError};

fn judge(line: &str) -> Behaviour {
    let behaviour: Behaviour = line.parse().expect("a behaviour");
    behaviour.with_limits(JudgeLimits {
        time: Duration::from_millis(1500),
        output: 64,
    })
}

/// A shell that is given its script as one word.
fn script(script: &str) -> Behaviour {
    judge(&format!("cmd:/bin/sh -c '{script}'"))
}

fn failure(behaviour: &Behaviour, text: &str) -> String {
    behaviour
        .judge(text, None)
        .expect_err("a failure")
        .to_string()
}

#[test]
fn the_text_arrives_on_stdin_and_the_answer_is_read() {
    let grep = script("if grep -q sorry; then echo 1; else echo no; fi");
    assert_eq!(grep.judge("sorry ; rm -rf $HOME `x`", None), Ok(Some(true)));
    assert_eq!(grep.judge("sure", None), Ok(Some(false)));
    for (say, verdict) in [
        ("TRUE", Some(true)),
        (" yes ", Some(true)),
        ("False", Some(false)),
    ] {
        assert_eq!(
            script(&format!("echo \"{say}\"")).judge("", None),
            Ok(verdict)
        );
    }
}

#[test]
fn nonsense_is_no_verdict() {
    for say in ["echo maybe", "true", "echo 1; echo 1", "printf \"\\377\""] {
        assert_eq!(script(say).judge("x", None), Ok(None), "{say}");
    }
}

#[test]
fn a_judge_that_does_not_read_may_answer() {
    let text = "x".repeat(1 << 20);
    assert_eq!(script("echo 1").judge(&text, None), Ok(Some(true)));
}

#[test]
fn hanging_flooding_crashing_and_missing_judges_are_named() {
    let began = Instant::now();
    let hangs = failure(&script("sleep 60"), "x");
    assert!(hangs.contains("no answer within 1.5 s"), "{hangs}");
    // What it started holds its pipe open: that is ended too.
    let child = failure(&script("sleep 60 & wait"), "x");
    assert!(child.contains("no answer within"), "{child}");
    let floods = failure(&script("yes"), "x");
    assert!(floods.contains("more than 64 bytes"), "{floods}");
    assert!(began.elapsed() < Duration::from_secs(20));
    let crashes = failure(&script("echo 1; exit 3"), "x");
    assert!(crashes.contains("exit status: 3"), "{crashes}");
    let killed = failure(&script("kill -9 $$"), "x");
    assert!(killed.contains("signal: 9"), "{killed}");
    let missing = failure(&judge("cmd:/nowhere/judge"), "x");
    assert!(missing.contains("cannot be started"), "{missing}");
}

#[test]
fn what_it_started_is_ended_with_it() {
    let dir = std::env::temp_dir().join(format!("judge-{}", std::process::id()));
    let mark = dir.display();
    let hangs = script(&format!("(sleep 3; touch {mark}) & sleep 60"));
    failure(&hangs, "x");
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!dir.exists(), "a process of the judge outlived it");
}

#[test]
fn a_line_without_a_program_is_refused() {
    for line in ["cmd:", "cmd:  ", "cmd:'a"] {
        let error = line.parse::<Behaviour>().expect_err("a refusal");
        assert!(matches!(error, TaskError::BadJudge { .. }), "{error}");
    }
}

#[test]
fn equal_texts_are_asked_about_once() {
    let file = std::env::temp_dir().join(format!("judge-count-{}", std::process::id()));
    let counts = script(&format!("echo x >> {}; echo 1", file.display()));
    for _ in 0..5 {
        assert_eq!(counts.clone().judge("same", None), Ok(Some(true)));
    }
    let asked = std::fs::read_to_string(&file).expect("a count");
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(asked, "x\n");
}
