use forkscope_records::{Mode, Opened, RunDir, RunManifest};

use super::*;

fn open(path: &std::path::Path) -> RunDir {
    let opened = RunDir::open(path, RunManifest::new("test"), Mode::Resume);
    match opened.unwrap() {
        Opened::Start(run) | Opened::Continue(run) => run,
        Opened::AlreadyComplete(_) => panic!("a complete run"),
    }
}

fn work(tokens: u64) -> Work {
    Work {
        completion_tokens: tokens,
        flops: 10.0 * tokens as f64,
        ..Work::default()
    }
}

#[test]
fn attempts_of_a_resumed_run_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = open(&path);
    let ledger = Ledger::open(&run, Some(3.6)).unwrap();
    let stage = ledger.stage("sample").unwrap();
    stage.meter().add(work(5));
    stage.end().unwrap();
    // This one is dropped as an error drops it.
    ledger.stage("score").unwrap().meter().add(work(2));
    drop(run);

    let run = open(&path);
    let ledger = Ledger::open(&run, None).unwrap();
    let stage = ledger.stage("score").unwrap();
    stage.meter().add(work(4));
    stage.end().unwrap();
    let costs = read_costs(&path.join(COSTS)).unwrap();
    assert_eq!(costs.price_per_hour_usd, Some(3.6));
    let whole: Vec<bool> = costs.attempts.iter().map(|a| a.whole).collect();
    assert_eq!(whole, [true, false, true]);
    let stages = costs.stages();
    let tokens: Vec<(usize, u64)> = stages
        .iter()
        .map(|s| (s.attempts, s.work.completion_tokens))
        .collect();
    assert_eq!(tokens, [(1, 5), (2, 6)]);
    assert_eq!(costs.total().work.flops, 110.0);
    let json = costs.json();
    let usd = json["total"]["usd"].as_f64().unwrap();
    assert!((usd - costs.total().seconds * 0.001).abs() < 1e-12);
    run.complete().unwrap();
    assert!(path.join(COSTS).is_file());
}

#[test]
fn a_broken_ledger_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(COSTS);
    for text in [
        "{",
        "{}",
        "{\"schema\": \"forkscope/costs/1\", \"attempts\": 3}",
    ] {
        std::fs::write(&path, text).unwrap();
        let said = read_costs(&path).unwrap_err().to_string();
        assert!(
            said.contains(COSTS) && said.contains("remove the file"),
            "{said}"
        );
    }
}
