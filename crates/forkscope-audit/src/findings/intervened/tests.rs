//! A table small enough to count by hand.

use forkscope_records::types::{FinishReason, Validity};

use super::*;
use crate::intervene::{BUDGETS, arms};

type Outcome = Result<(), AuditError>;

/// One row per arm: none, other, js:0.1, random@js:0.1, all.
fn stream(problem: usize, right: [bool; 5]) -> Result<Vec<Intervention>, AuditError> {
    let gates = ["js:0.1", "random@js:0.1", "all"].map(str::to_owned);
    let arms = arms(Direction::Forward, &gates, &BUDGETS)?;
    // The first two tokens are the prompt; the last says which text it is.
    let texts = [
        [1, 2, 7, 8, 0],
        [1, 2, 7, 9, 1],
        [1, 2, 7, 9, 0],
        [1, 2, 7, 8, 0],
        [1, 2, 7, 9, 1],
    ];
    let touched = [vec![], vec![], vec![2, 3], vec![2], vec![2, 3, 4]];
    let changed = [vec![], vec![], vec![3], vec![], vec![3, 4]];
    let rows = arms.iter().enumerate().map(|(i, arm)| Intervention {
        arm: arm.name(),
        direction: arm.direction,
        gate: arm.gate(),
        budget: arm.budget(),
        temperature: 0.0,
        problem_id: format!("p{problem}"),
        sample: 0,
        token_ids: texts[i].to_vec(),
        prompt_len: 2,
        touched: touched[i].clone(),
        changed: changed[i].clone(),
        touched_entropy_nats: touched[i].len() as f64,
        finish_reason: FinishReason::Eos,
        text: String::new(),
        correct: Some(right[i]),
        behaviour: None,
        validity: Validity::Ok,
    });
    Ok(rows.collect())
}

fn found(outcomes: &[[bool; 5]]) -> Result<Findings, AuditError> {
    let gates = ["js:0.1", "random@js:0.1", "all"].map(str::to_owned);
    let arms = arms(Direction::Forward, &gates, &BUDGETS)?;
    let streams = outcomes
        .iter()
        .enumerate()
        .map(|(i, right)| stream(i, *right));
    let rows = streams.collect::<Result<Vec<_>, _>>()?.concat();
    interventions(
        &InterventionTable {
            rows: &rows,
            arms: &arms,
            temperatures: &[0.0],
            calibration: &Calibration::nothing(1),
            counted: Counted::Correct,
        },
        &FindingSettings {
            replicates: 200,
            ..FindingSettings::default()
        },
    )
}

fn value(f: &Findings, id: &str) -> Option<f64> {
    f.get(&format!("intervene.{id}")).and_then(|f| f.value)
}

#[test]
fn every_number_is_the_one_counted_by_hand() -> Outcome {
    // Ten problems: none is right on 1, other on 10, js on 6 and 1 lost.
    let mut outcomes = [[false, true, true, false, true]; 10];
    outcomes[0] = [true, true, false, true, true];
    for outcome in &mut outcomes[7..] {
        outcome[2] = false;
    }
    let f = found(&outcomes)?;
    assert_eq!(value(&f, "rate.forward.t0.none"), Some(0.1));
    assert_eq!(value(&f, "rate.forward.t0.js:0.1"), Some(0.6));
    let recovery = value(&f, "recovery.forward.t0.js:0.1").unwrap_or(f64::NAN);
    assert!((recovery - 5.0 / 9.0).abs() < 1e-12, "{recovery}");
    assert_eq!(value(&f, "touched.forward.t0.js:0.1"), Some(2.0 / 3.0));
    assert_eq!(value(&f, "changed.forward.t0.js:0.1"), Some(1.0 / 3.0));
    let pair = "forward.t0.js:0.1.minus.none";
    assert_eq!(value(&f, &format!("wrong_to_right.{pair}")), Some(6.0));
    assert_eq!(value(&f, &format!("right_to_wrong.{pair}")), Some(1.0));
    // 2 (1 + 7) / 2^7 of binomial(7, 1/2) at most 1.
    let p = value(&f, &format!("p_value.{pair}")).unwrap_or(f64::NAN);
    assert!((p - 0.125).abs() < 1e-12, "{p}");
    let control = "forward.t0.random@js:0.1";
    assert_eq!(value(&f, &format!("count_ratio.{control}")), Some(0.5));
    assert_eq!(value(&f, &format!("mass_ratio.{control}")), Some(0.5));
    let against = "difference.forward.t0.js:0.1.minus.random@js:0.1";
    assert_eq!(value(&f, against), Some(0.5));
    assert_eq!(value(&f, "same_as_other.forward.t0.all"), Some(1.0));
    assert_eq!(value(&f, "same_as_other.forward.t0.js:0.1"), Some(0.0));
    let all = f.get("intervene.rate.forward.t0.all");
    assert_eq!(
        all.and_then(|f| f.thresholds.get("identity")),
        Some(&json!(true))
    );
    Ok(())
}

#[test]
fn recovery_of_nothing_is_not_a_number() -> Outcome {
    let f = found(&[[false; 5]; 6])?;
    let recovery = f.get("intervene.recovery.forward.t0.js:0.1");
    assert_eq!(recovery.map(|f| f.value), Some(None));
    assert!(recovery.is_some_and(|f| f.method.contains("beyond noise")));
    assert_eq!(f.get("intervene.guided_further.forward.t0.random"), None);
    Ok(())
}

#[test]
fn rows_of_other_arms_are_refused() -> Outcome {
    let mut rows = stream(0, [true; 5])?;
    rows.swap(0, 1);
    let gates = ["js:0.1", "random@js:0.1", "all"].map(str::to_owned);
    let arms = arms(Direction::Forward, &gates, &BUDGETS)?;
    let table = InterventionTable {
        rows: &rows,
        arms: &arms,
        temperatures: &[0.0],
        calibration: &Calibration::nothing(1),
        counted: Counted::Correct,
    };
    assert!(interventions(&table, &FindingSettings::default()).is_err());
    Ok(())
}
