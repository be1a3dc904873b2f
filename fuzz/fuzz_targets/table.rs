//! Parquet tables of all row types: raw bytes, and edits of an honest table.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use forkscope_fuzz::{choose, folder, let_contained_panics_pass};
use forkscope_records::types::{DiffRow, FinishReason, Rollout, ScoreRow, Validity};
use forkscope_records::{Mode, Opened, Record, RunDir, RunManifest, TableReader};
use libfuzzer_sys::fuzz_target;

/// A table as forkscope writes it, of two row groups.
static HONEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let path = folder("honest", &[]);
    let Ok(Opened::Start(run)) = RunDir::open(&path, RunManifest::new("fuzz"), Mode::Fresh) else {
        panic!("a fresh run");
    };
    let mut table = run.table::<Rollout>("rollouts", 4).expect("a table");
    for sample in 0..6 {
        let rollout = Rollout {
            problem_id: format!("test/{}", sample / 3),
            sample,
            token_ids: (0..10 + sample).collect(),
            prompt_len: 4,
            finish_reason: FinishReason::Eos,
            text: "answer 42 .".to_owned(),
            correct: Some(sample % 2 == 0),
            validity: Validity::Ok,
            logprobs: Some((0..6 + sample).map(|t| -0.125 * t as f32).collect()),
        };
        table.append(rollout).expect("a row");
    }
    table.finish().expect("whole");
    std::fs::read(path.join("rollouts.parquet")).expect("the table")
});

fn read<R: Record>(bytes: Vec<u8>) {
    let Ok(table) = TableReader::<R>::from_bytes(Bytes::from(bytes), Path::new("x.parquet")) else {
        return;
    };
    for batch in table {
        if batch.is_err() {
            break;
        }
    }
}

/// The honest table with bytes replaced: four bytes of input an edit, two of
/// place, one of which half of the file, one of value.
fn edited(edits: &[u8]) -> Vec<u8> {
    let mut bytes = HONEST.clone();
    let (edits, _) = edits.as_chunks::<4>();
    for &[low, high, end, value] in edits {
        let place = usize::from(u16::from_le_bytes([low, high])) % bytes.len();
        let place = if end % 2 == 0 {
            place
        } else {
            bytes.len() - 1 - place
        };
        bytes[place] = value;
    }
    bytes
}

fuzz_target!(|data: &[u8]| {
    let_contained_panics_pass();
    match choose(data, 6) {
        Some((0, bytes)) => read::<Rollout>(bytes.to_vec()),
        Some((1, bytes)) => read::<ScoreRow>(bytes.to_vec()),
        Some((2, bytes)) => read::<DiffRow>(bytes.to_vec()),
        Some((_, edits)) => read::<Rollout>(edited(edits)),
        None => {}
    }
});
