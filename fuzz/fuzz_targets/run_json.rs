//! `run.json` of a run directory.
#![no_main]

use forkscope_fuzz::folder;
use forkscope_records::run::read_run_json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let run = folder("run", &[("run.json", data)]);
    if let Ok(json) = read_run_json(&run) {
        let again = serde_json::to_vec(&json).expect("what was read can be written");
        let run = folder("run", &[("run.json", &again)]);
        read_run_json(&run).expect("what was written can be read");
    }
});
