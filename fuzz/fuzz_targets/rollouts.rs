//! Rollout files of any kind: what is read can enter a score.
#![no_main]

use std::path::Path;

use bytes::Bytes;
use forkscope_fuzz::{choose, let_contained_panics_pass};
use forkscope_records::import::read_rollouts_bytes;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] = ["x.json", "x.jsonl", "x.parquet", "x"];

fuzz_target!(|data: &[u8]| {
    let_contained_panics_pass();
    let Some((pick, bytes)) = choose(data, NAMES.len()) else {
        return;
    };
    if let Ok(rollouts) = read_rollouts_bytes(Bytes::copy_from_slice(bytes), Path::new(NAMES[pick]))
    {
        for rollout in rollouts {
            assert!(rollout.prompt_len <= rollout.token_ids.len());
            if let Some(logprobs) = &rollout.logprobs {
                assert_eq!(logprobs.len(), rollout.completion().len());
            }
        }
    }
});
