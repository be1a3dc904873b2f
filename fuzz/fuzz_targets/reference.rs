//! The reference's rollout JSON: what is read writes, and reads back the same.
#![no_main]

use std::path::Path;

use forkscope_records::import::{read_reference_bytes, write_reference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let name = Path::new("rollouts.json");
    if let Ok(rollouts) = read_reference_bytes(data, name) {
        let mut text = Vec::new();
        write_reference(&mut text, name, &rollouts).expect("what was read can be written");
        let again = read_reference_bytes(&text, name).expect("what was written can be read");
        let mut second = Vec::new();
        write_reference(&mut second, name, &again).expect("what was read can be written");
        assert_eq!(
            String::from_utf8_lossy(&text),
            String::from_utf8_lossy(&second)
        );
    }
});
