//! `findings.json`, through a round trip, and `token_pieces.json` beside it.
#![no_main]

use forkscope_fuzz::folder;
use forkscope_records::{TokenPieces, read_findings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let run = folder("run", &[("findings.json", data), (TokenPieces::FILE, data)]);
    let _ = TokenPieces::read(&run);
    if let Ok(findings) = read_findings(&run) {
        let text = serde_json::to_vec(&findings).expect("what was read can be written");
        let again = read_findings(&folder("run", &[("findings.json", &text)]))
            .expect("what was written can be read");
        assert_eq!(serde_json::to_vec(&again).expect("written"), text);
    }
});
