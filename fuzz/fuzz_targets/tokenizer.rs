//! `tokenizer.json`; what opens encodes and decodes.
#![no_main]

use std::path::Path;

use forkscope_fuzz::let_contained_panics_pass;
use forkscope_policy::text::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let_contained_panics_pass();
    let Ok(tokenizer) = Tokenizer::from_bytes(data, Path::new("tokenizer.json")) else {
        return;
    };
    for text in [
        "",
        "how many pens ?",
        "a\u{301} \u{202e}漢字\n\n 12 \0 <eos>",
    ] {
        if let Ok(ids) = tokenizer.encode(text, true) {
            let _ = tokenizer.decode(&ids, false);
            let mut stream = tokenizer.stream(true);
            for &id in &ids {
                let _ = tokenizer.piece(id);
                stream.push(id);
            }
            stream.finish();
        }
    }
    let _ = tokenizer.decode(&[0, 1, u32::MAX], true);
});
