//! The small files beside a tokenizer: `tokenizer_config.json`,
//! `generation_config.json`, `config.json`, `chat_template.json`.
#![no_main]

use std::borrow::Cow;
use std::path::Path;

use forkscope_fuzz::{TOKENIZER, choose, let_contained_panics_pass};
use forkscope_policy::text::TextSide;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] = [
    "tokenizer_config.json",
    "generation_config.json",
    "config.json",
    "chat_template.json",
];

fuzz_target!(|data: &[u8]| {
    let_contained_panics_pass();
    let Some((pick, bytes)) = choose(data, NAMES.len()) else {
        return;
    };
    let _ = TextSide::from_files(Path::new("model"), |name| {
        Ok(match name {
            "tokenizer.json" => Some(Cow::Borrowed(TOKENIZER)),
            name if name == NAMES[pick] => Some(Cow::Owned(bytes.to_vec())),
            _ => None,
        })
    });
});
