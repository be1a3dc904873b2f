//! Finding an answer in model text, and comparing it with a reference.
#![no_main]

use forkscope_tasks::{Behaviour, Verifier, equivalent};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (gold, given) = text.split_once('|').unwrap_or(("42", &text));
    let _ = equivalent(gold, given);
    for verifier in Verifier::ALL {
        for ended in [true, false] {
            let grade = verifier.grade(given, ended, gold);
            assert!(!grade.correct || grade.extracted.is_some());
        }
    }
    let _ = Behaviour::Refusal.holds(given, None);
});
