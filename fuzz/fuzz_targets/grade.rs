//! Finding an answer in model text, and comparing it with a reference.
#![no_main]

use forkscope_tasks::{Behaviour, Verifier, equivalent, stated_answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (gold, given) = text.split_once('|').unwrap_or(("42", &text));
    let found = equivalent(gold, given);
    assert_eq!(found, equivalent(given, gold));
    // What is itself the same as nothing is empty, and the same as nothing.
    assert!(equivalent(given, given).is_same() || !found.is_same());
    let _ = stated_answer(given);
    for verifier in Verifier::ALL {
        for ended in [true, false] {
            let grade = verifier.grade(given, ended, gold);
            assert!(!grade.correct || grade.extracted.is_some());
        }
    }
    let _ = Behaviour::Refusal.holds(given, None);
});
