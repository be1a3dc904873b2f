//! Findings by hand.

use forkscope_records::types::{
    FinishReason, ReversionControl, ReversionDirection, ReversionMethod, ReversionStatus, Validity,
};

use super::*;

fn row(problem: &str, method: ReversionMethod, behaviour: bool, price: Option<f64>) -> Reversion {
    Reversion {
        direction: ReversionDirection::Undo,
        method,
        control: ReversionControl::None,
        problem_id: problem.into(),
        sample: 0,
        status: ReversionStatus::Reached,
        price,
        cap: 16.0,
        unit: "tokens".into(),
        kl_nats: None,
        tries: 1,
        positions: Vec::new(),
        donor_ids: Vec::new(),
        margins_nats: Vec::new(),
        js_nats: Vec::new(),
        levels: Vec::new(),
        turned: Vec::new(),
        token_ids: vec![1, 2],
        prompt_len: 1,
        finish_reason: FinishReason::Eos,
        text: String::new(),
        behaviour: Some(behaviour),
        validity: Validity::Ok,
    }
}

/// One answer: own and base behaviour, prices by JS and by first disagreement.
fn answer(
    problem: &str,
    own: bool,
    base: bool,
    prices: Option<[Option<f64>; 2]>,
) -> Vec<Reversion> {
    let mut rows = vec![
        row(problem, ReversionMethod::Tuned, own, None),
        row(problem, ReversionMethod::Base, base, None),
    ];
    if let Some([js, first]) = prices {
        rows.push(row(problem, ReversionMethod::Tokens, false, js));
        rows.push(row(problem, ReversionMethod::TokensFirst, false, first));
    }
    rows
}

fn answered(problem: &str, behaves: Option<bool>, correct: Option<bool>) -> Answered {
    Answered {
        problem_id: problem.into(),
        behaves,
        correct,
    }
}

fn found(before: &Measured, after: &Measured) -> Result<Vec<Finding>, AuditError> {
    findings(before, after, "refusal", &FindingSettings::default())
}

fn value(all: &[Finding], id: &str) -> Option<f64> {
    all.iter().find(|f| f.id == id).and_then(|f| f.value)
}

#[test]
fn the_least_rule_counts_and_losing_the_behaviour_costs_nothing() -> Result<(), AuditError> {
    let before = Measured {
        reversions: [
            answer("a", true, false, Some([Some(4.0), Some(2.0)])),
            answer("b", true, false, Some([Some(6.0), None])),
            // The base behaves so by itself: no part of the population.
            answer("c", true, true, None),
        ]
        .concat(),
        ..Measured::default()
    };
    let after = Measured {
        reversions: [
            answer("a", true, false, Some([None, None])),
            // The behaviour is gone: price 0.
            answer("b", false, false, None),
            answer("c", false, true, None),
        ]
        .concat(),
        ..Measured::default()
    };
    let all = found(&before, &after)?;
    let of = |id: &str| value(&all, id);
    assert_eq!(of("harden.before.tokens.restricted_mean"), Some(4.0));
    assert_eq!(of("harden.after.tokens.restricted_mean"), Some(8.0));
    assert_eq!(of("harden.ratio.tokens.restricted_mean"), Some(2.0));
    assert_eq!(of("harden.change.tokens.restricted_mean"), Some(4.0));
    assert_eq!(of("harden.before.tokens.turned_by.2"), Some(0.5));
    assert_eq!(of("harden.after.tokens.turned_by.0"), Some(0.5));
    assert_eq!(of("harden.after.tokens.turned_by.16"), Some(0.5));
    // Nothing was prefilled.
    assert_eq!(of("harden.before.prefill.restricted_mean"), None);
    let ratio = all
        .iter()
        .find(|f| f.id == "harden.ratio.tokens.restricted_mean");
    assert!(ratio.is_some_and(|f| f.n_clusters == 2 && f.low <= f.value && f.value <= f.high));
    Ok(())
}

#[test]
fn shares_are_paired_by_problem_and_verdicts_that_lack_are_counted() -> Result<(), AuditError> {
    let side = |right: [bool; 4], refused: Option<bool>| Measured {
        guarded: vec![answered("g", Some(true), None)],
        benign: right
            .iter()
            .enumerate()
            .map(|(i, right)| answered(&format!("p{}", i / 2), refused, Some(*right)))
            .collect(),
        ..Measured::default()
    };
    let before = side([true, true, true, false], Some(false));
    let after = side([true, false, true, false], None);
    let all = found(&before, &after)?;
    assert_eq!(value(&all, "harden.before.accuracy.benign"), Some(0.75));
    assert_eq!(value(&all, "harden.change.accuracy.benign"), Some(-0.25));
    assert_eq!(value(&all, "harden.before.behaviour.benign"), Some(0.0));
    assert_eq!(value(&all, "harden.after.behaviour.benign"), None);
    let lacking = all.iter().find(|f| f.id == "harden.after.behaviour.benign");
    assert_eq!(lacking.map(|f| (f.n, f.n_invalid)), Some((0, 4)));
    let change = all.iter().find(|f| f.id == "harden.change.accuracy.benign");
    assert!(change.is_some_and(|f| f.thresholds.contains_key("p_value")));
    Ok(())
}
