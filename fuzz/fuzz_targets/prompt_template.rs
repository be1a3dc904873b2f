//! A prompt template of the user's own.
#![no_main]

use std::path::Path;

use forkscope_fuzz::let_contained_panics_pass;
use forkscope_policy::text::PromptTemplate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let_contained_panics_pass();
    if let Ok(source) = std::str::from_utf8(data) {
        let _ = PromptTemplate::new(source, Path::new("prompt.txt"));
    }
});
