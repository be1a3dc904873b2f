//! Problem files: JSON, JSON Lines, Parquet.
#![no_main]

use std::path::Path;

use bytes::Bytes;
use forkscope_fuzz::{choose, let_contained_panics_pass};
use forkscope_records::import::{read_problems_bytes, reference_answer};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] = ["x.jsonl", "x.json", "x.parquet", "x"];

fuzz_target!(|data: &[u8]| {
    let_contained_panics_pass();
    let Some((pick, bytes)) = choose(data, NAMES.len()) else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    let _ = (
        reference_answer(&text, false),
        reference_answer(&text, true),
    );
    if let Ok(problems) = read_problems_bytes(Bytes::copy_from_slice(bytes), Path::new(NAMES[pick]))
    {
        assert!(!problems.is_empty());
    }
});
