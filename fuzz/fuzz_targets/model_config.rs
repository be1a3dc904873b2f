//! `config.json` beside honest weights; what opens is run.
#![no_main]

use forkscope_fuzz::{WEIGHTS, folder, run_policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let model = folder(
        "model",
        &[("config.json", data), ("model.safetensors", WEIGHTS)],
    );
    run_policy(&model, None);
});
