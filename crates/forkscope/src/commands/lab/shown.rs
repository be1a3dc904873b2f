//! How checks are written, on a screen and on the page.

use std::collections::BTreeMap;

use forkscope_records::types::Finding;
use forkscope_report::number;
use forkscope_train::lab::measure::{Check, Threshold};

/// A check as a finding: shares, and differences of shares.
pub fn finding_of(check: &Check) -> Finding {
    Finding {
        id: check.id.clone(),
        definition: String::new(),
        value: Some(check.value),
        unit: "share".to_owned(),
        low: check.low,
        high: check.high,
        level: check.low.map(|_| 0.95),
        method: String::new(),
        n: check.n as u64,
        n_clusters: check.n as u64,
        n_invalid: 0,
        thresholds: BTreeMap::new(),
        label: None,
    }
}

/// What a value should be.
pub fn should_be(threshold: &Threshold) -> String {
    match (threshold.min, threshold.max) {
        (Some(min), Some(max)) => format!("{} to {}", number::level(min), number::level(max)),
        (Some(min), None) => format!("at least {}", number::level(min)),
        (None, Some(max)) => format!("at most {}", number::level(max)),
        (None, None) => String::new(),
    }
}
