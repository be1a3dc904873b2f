//! A box in a reference solution and a box in a completion are the same box:
//! two crates read them, neither of which knows the other.

use forkscope_records::import::reference_answer;
use forkscope_tasks::stated_answer;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn solutions_and_completions_are_boxed_alike(pieces in proptest::collection::vec(
        "(\\\\boxed|\\\\fbox|\\\\framebox|boxed|\\\\frac|\\{|\\}|\\\\\\{|\\\\\\}|\\\\| |\\$|\\.|x|7|é|\n)", 0..16,
    )) {
        let text = pieces.concat();
        prop_assume!(!text.trim().is_empty());
        // A completion's box is opened once more.
        let opened = |text: &str| reference_answer(text, true).unwrap_or_default();
        prop_assert_eq!(opened(&opened(&text)), stated_answer(&text));
    }
}
