//! Probability tables and log-prob responses, by extension and forced layout.
#![no_main]

use std::path::Path;

use forkscope_fuzz::choose;
use forkscope_records::logprobs::{Layout, Recorded, parse};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 5] = ["x.json", "x.jsonl", "x.csv", "x.tsv", "x"];
const LAYOUTS: [Option<Layout>; 7] = [
    None,
    Some(Layout::Json),
    Some(Layout::Jsonl),
    Some(Layout::Csv),
    Some(Layout::PromptLogprobs),
    Some(Layout::Completions),
    Some(Layout::Chat),
];

fuzz_target!(|data: &[u8]| {
    let Some((pick, bytes)) = choose(data, NAMES.len() * LAYOUTS.len()) else {
        return;
    };
    let name = NAMES[pick % NAMES.len()];
    match parse(Path::new(name), bytes, LAYOUTS[pick / NAMES.len()]) {
        Ok(Recorded::Table { rows, .. }) => assert!(!rows.is_empty()),
        Ok(Recorded::Logprobs {
            positions,
            rounding,
            ..
        }) => {
            assert!(!positions.is_empty());
            assert!(rounding.is_finite());
        }
        Err(error) => assert!(!error.is_internal(), "{error}"),
    }
});
