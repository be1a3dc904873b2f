//! Checks that an external library left undecided, said once at the end.

use std::io::Write;

use forkscope_tasks::math_verify::{Counts, counts, time_limit};

/// Writes a line to stderr if any check of this process has no verdict: it
/// counts as not correct, and a reader of the figures has to know.
pub fn report() {
    if let Some(line) = line(counts()) {
        // A closed stderr has no reader to tell.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

fn line(counts: Counts) -> Option<String> {
    let undecided = counts.timeouts.saturating_add(counts.failures);
    (undecided > 0).then(|| {
        format!(
            "warning: math-verify left {undecided} of {} checks undecided, which count as not correct: {} took more than {} s, in {} its process failed\n",
            counts.checks,
            counts.timeouts,
            time_limit().as_secs(),
            counts.failures
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_undecided_checks_are_mentioned() {
        let of = |checks, timeouts, failures| {
            line(Counts {
                checks,
                timeouts,
                failures,
            })
        };
        assert_eq!(of(9, 0, 0), None);
        let said = of(9, 2, 1).unwrap_or_default();
        assert!(said.contains("3 of 9 checks undecided"), "{said}");
        assert!(said.contains("2 took more than 10 s, in 1 its"), "{said}");
    }
}
