//! The viewer on a run of five million token rows: time to the first page,
//! and memory at its highest. Ignored: it writes a gigabyte.
//!
//! `FORKSCOPE_BIN=target/release/forkscope FORKSCOPE_LARGE=DIR \
//! cargo test -p forkscope-report --test view_large -- --ignored --nocapture`
//! makes DIR/run where it is not there yet, and measures that binary.

#[path = "common/mod.rs"]
mod rows;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use forkscope_records::types::{FinishReason, Rollout, Validity};
use forkscope_records::{Mode, RunDir, RunManifest, TokenPieces};
use serde_json::{Value, json};

const ROLLOUTS: u32 = 20_000;
const TOKENS: u32 = 250;
const PROMPT: u32 = 30;
const FIRST_PAGE: Duration = Duration::from_millis(300);
const MEMORY_MB: f64 = 300.0;

/// Twenty thousand rollouts of 250 positions with five listed tokens of each
/// policy, every number different.
fn make(dir: &Path) {
    let run = RunDir::open(dir, RunManifest::new("diff"), Mode::Fresh).unwrap();
    let run = run.to_write().unwrap();
    let mut rollouts = run.table("rollouts", 4096).unwrap();
    let mut tokens = run.table("tokens", 4096).unwrap();
    let mut dice = rows::Dice::new(11);
    for n in 0..ROLLOUTS {
        let (problem_id, sample) = (format!("problem-{:05}", n / 4), n % 4);
        let mut token_ids: Vec<u32> = (0..PROMPT).map(|i| i % 24).collect();
        for i in 0..TOKENS {
            let row = rows::row(&mut dice, &problem_id, sample, PROMPT + i, i as usize);
            token_ids.push(row.token_id);
            tokens.append(row).unwrap();
        }
        let rollout = Rollout {
            problem_id,
            sample,
            token_ids,
            prompt_len: PROMPT as usize,
            finish_reason: FinishReason::Eos,
            text: "the sum of all parts is therefore ".repeat(30),
            correct: [Some(true), Some(false), None][n as usize % 3],
            validity: Validity::Ok,
            logprobs: Some(vec![-0.5; TOKENS as usize]),
        };
        rollouts.append(rollout).unwrap();
    }
    rollouts.finish().unwrap();
    tokens.finish().unwrap();
    let pieces: TokenPieces = (0..2000).map(|id| (id, format!(" word{id}"))).collect();
    pieces.write(&run).unwrap();
    run.complete().unwrap();
}

struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start(run: &Path) -> Self {
        let binary = std::env::var_os("FORKSCOPE_BIN").expect("FORKSCOPE_BIN names the program");
        let mut child = Command::new(binary)
            .arg("view")
            .arg(run)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut url).unwrap();
        Self {
            child,
            url: url.trim().to_owned(),
        }
    }

    /// The body of a page, and how long it took to come.
    fn get(&self, rest: &str) -> (String, Duration) {
        let begun = Instant::now();
        let address = self.url.strip_prefix("http://").unwrap();
        let (host, path) = address.split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let request =
            format!("GET /{path}{rest} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{rest}: {head} {body}");
        (body.to_owned(), begun.elapsed())
    }

    fn json(&self, rest: &str) -> (Value, Duration) {
        let (body, took) = self.get(rest);
        (serde_json::from_str(&body).unwrap(), took)
    }

    /// The most memory that the process ever had, in MB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024.0 / 1e6
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "writes about a gigabyte"]
fn five_million_rows() {
    let Some(dir) = std::env::var_os("FORKSCOPE_LARGE").map(PathBuf::from) else {
        panic!("FORKSCOPE_LARGE names no folder");
    };
    let run = dir.join("run");
    if !run.join("run.json").exists() {
        make(&run);
    }
    let begun = Instant::now();
    let served = Served::start(&run);
    let started = begun.elapsed();
    for asset in ["", "view.js", "view.css", "api/run"] {
        served.get(asset);
    }
    let (page, took) = served.json("api/rollouts?limit=50");
    let first = begun.elapsed();
    assert_eq!(page["rows"].as_array().map(Vec::len), Some(50));
    eprintln!(
        "address after {started:?}; first 50 rollouts {took:?} after they were asked for, {first:?} after the start"
    );
    // A rollout in the middle, before the index has come to it.
    let (rollout, took) = served.json("api/rollout?n=12345");
    assert_eq!(
        (&rollout["total"], &rollout["problem"]),
        (&json!(TOKENS), &json!("problem-03086"))
    );
    eprintln!("a rollout before the index knows it: {took:?}");
    loop {
        let (progress, _) = served.json("api/progress");
        assert_eq!(progress["error"], Value::Null);
        if progress["whole"] == json!(true) {
            assert_eq!(progress["rows"], json!(ROLLOUTS * TOKENS));
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    eprintln!(
        "index whole after {:?}; memory {:.0} MB",
        begun.elapsed(),
        served.memory()
    );
    for sort in ["max_kl", "mean_h_base", "problem"] {
        let (_, took) = served.json(&format!(
            "api/rollouts?sort={sort}&order=down&limit=50&min=sum_kl:1"
        ));
        eprintln!("sorted by {sort}: {took:?}");
    }
    for n in (0..ROLLOUTS).step_by(97) {
        served.get(&format!("api/rollout?n={n}"));
    }
    eprintln!("memory at its highest {:.0} MB", served.memory());
    assert!(first < FIRST_PAGE, "the first page takes {first:?}");
    assert!(served.memory() < MEMORY_MB, "{} MB", served.memory());
}
