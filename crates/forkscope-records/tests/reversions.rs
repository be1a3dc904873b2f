//! The table of reversions: what is written is read, what contradicts itself is
//! refused.

mod common;

use std::path::{Path, PathBuf};

use common::start;
use forkscope_records::read_table;
use forkscope_records::types::{
    FinishReason, Reversion, ReversionControl, ReversionDirection, ReversionMethod,
    ReversionStatus, Validity,
};

fn row(i: u32) -> Reversion {
    let n = i as usize % 4;
    let reached = i.is_multiple_of(3);
    let pick = |all: usize| i as usize % all;
    Reversion {
        direction: ReversionDirection::ALL[pick(2)],
        method: ReversionMethod::ALL[pick(ReversionMethod::ALL.len())],
        control: ReversionControl::ALL[pick(ReversionControl::ALL.len())],
        problem_id: format!("p/{}", i / 9),
        sample: i % 2,
        status: match reached {
            true => ReversionStatus::Reached,
            false => ReversionStatus::ALL[1 + pick(4)],
        },
        price: reached.then_some(f64::from(i) / 3.0),
        cap: 16.0,
        unit: "tokens".into(),
        kl_nats: (i.is_multiple_of(2)).then_some(0.1),
        tries: i,
        positions: vec![7; n],
        donor_ids: vec![3; n],
        margins_nats: vec![0.5; n],
        js_nats: vec![0.25; n],
        levels: vec![1.0; n + 1],
        turned: vec![i % 3; n + 1],
        token_ids: (0..=i % 7).collect(),
        prompt_len: 1,
        finish_reason: FinishReason::Eos,
        text: "sorry".into(),
        behaviour: [None, Some(true), Some(false)][pick(3)],
        validity: Validity::Truncated,
    }
}

fn write(dir: &Path, rows: Vec<Reversion>) -> PathBuf {
    let run = start(dir);
    let mut table = run.table("reversions", 16).unwrap();
    table.append_all(rows).unwrap();
    table.finish().unwrap();
    run.complete().unwrap();
    dir.join("reversions.parquet")
}

#[test]
fn rows_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<Reversion> = (0..100).map(row).collect();
    let path = write(&dir.path().join("run"), rows.clone());
    assert_eq!(read_table::<Reversion>(&path).unwrap(), rows);
}

#[test]
fn contradictions_are_named() {
    type Mend = fn(&mut Reversion);
    let wrong: [(&str, Mend); 5] = [
        ("prompt_len", |r| r.prompt_len = 0),
        ("margins_nats", |r| r.margins_nats.push(0.0)),
        ("turned", |r| r.turned.clear()),
        ("turned", |r| r.turned = vec![3; r.levels.len()]),
        ("price", |r| r.price = None),
    ];
    for (column, spoil) in wrong {
        let dir = tempfile::tempdir().unwrap();
        let mut rows: Vec<Reversion> = (0..4).map(row).collect();
        spoil(&mut rows[3]);
        let path = write(&dir.path().join("run"), rows);
        let error = read_table::<Reversion>(&path).unwrap_err().to_string();
        assert!(error.contains(column) && error.contains("row 3"), "{error}");
    }
}
