//! The table of activation patching: what is written is read.

mod common;

use common::start;
use forkscope_records::read_table;
use forkscope_records::types::{PatchArm, PatchDirection, PatchingRow};

fn row(i: u32) -> PatchingRow {
    PatchingRow {
        direction: PatchDirection::ALL[i as usize % 2],
        arm: PatchArm::ALL[i as usize % 3],
        layer: i % 5,
        head: (!i.is_multiple_of(4)).then_some(i % 4),
        problem_id: format!("p{}", i / 4),
        sample: i % 3,
        t: i,
        donor_id: 7,
        receiver_id: 9,
        difference_receiver: -0.5,
        difference_donor: 1.0 / 3.0,
        difference_patched: 0.25,
        logprob_receiver: -2.0,
        logprob_donor: -0.5,
        logprob_patched: -1.0,
        argmax_patched_id: i,
        moved_js_nats: 0.125,
    }
}

#[test]
fn rows_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(&dir.path().join("run"));
    let rows: Vec<PatchingRow> = (0..40).map(row).collect();
    let mut table = run.table("patching", 16).unwrap();
    table.append_all(rows.clone()).unwrap();
    table.finish().unwrap();
    let path = run.complete().unwrap().path().join("patching.parquet");
    let read: Vec<PatchingRow> = read_table(&path).unwrap();
    assert_eq!(read, rows);
}

#[test]
fn words_are_read_as_they_are_written() {
    for direction in PatchDirection::ALL {
        assert_eq!(PatchDirection::parse(direction.as_str()), Some(direction));
    }
    for arm in PatchArm::ALL {
        assert_eq!(PatchArm::parse(arm.as_str()), Some(arm));
    }
    assert_eq!(PatchArm::parse("else"), None);
}
