//! `adapter_config.json` beside honest adapter weights; what opens is run.
#![no_main]

use forkscope_fuzz::{ADAPTER_WEIGHTS, CONFIG, WEIGHTS, folder, run_policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let model = folder(
        "model",
        &[("config.json", CONFIG), ("model.safetensors", WEIGHTS)],
    );
    let files = [
        ("adapter_config.json", data),
        ("adapter_model.safetensors", ADAPTER_WEIGHTS),
    ];
    run_policy(&model, Some(&folder("adapter", &files)));
});
