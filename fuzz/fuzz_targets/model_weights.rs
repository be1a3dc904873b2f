//! `model.safetensors` beside an honest config; what opens is run.
#![no_main]

use forkscope_fuzz::{CONFIG, folder, run_policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let model = folder(
        "model",
        &[("config.json", CONFIG), ("model.safetensors", data)],
    );
    run_policy(&model, None);
});
