//! `adapter_model.safetensors` beside an honest config; what opens is run.
#![no_main]

use forkscope_fuzz::{ADAPTER_CONFIG, CONFIG, WEIGHTS, folder, run_policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let model = folder(
        "model",
        &[("config.json", CONFIG), ("model.safetensors", WEIGHTS)],
    );
    let files = [
        ("adapter_config.json", ADAPTER_CONFIG),
        ("adapter_model.safetensors", data),
    ];
    run_policy(&model, Some(&folder("adapter", &files)));
});
