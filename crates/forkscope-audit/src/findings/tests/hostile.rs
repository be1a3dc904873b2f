//! Material that is empty, wrong or at odds with itself.

use super::*;

fn run(rollouts: &[Rollout], rows: &[DiffRow]) -> Result<Findings, AuditError> {
    findings(&input(rollouts, rows), &FindingSettings::default())
}

#[test]
fn nothing_gives_undefined_findings() {
    let found = run(&[], &[]).unwrap();
    assert_eq!(found.schema, Findings::SCHEMA);
    assert!(found.get("share.unshifted").unwrap().value.is_none());
    assert!(found.get("auroc.entropy.kl").unwrap().value.is_none());
    assert!(found.get("gini.kl").unwrap().value.is_none());
    assert!(found.get("kl_tuned_base.max").unwrap().value.is_none());
    assert_eq!(found.get("rows.total").unwrap().value, Some(0.0));
    assert!(found.get("answer.tokens.base").is_none());
}

#[test]
fn one_problem_has_values_and_no_interval() {
    let (rollouts, rows) = synthetic(3, 1, 4);
    let found = run(&rollouts, &rows).unwrap();
    assert!(found.get("share.unshifted").unwrap().value.is_some());
    assert!(
        found
            .findings
            .iter()
            .all(|f| f.low.is_none() && f.level.is_none())
    );
    assert!(
        found
            .get("share.unshifted")
            .unwrap()
            .method
            .contains("one problem")
    );
}

#[test]
fn identical_policies_have_no_share_of_nothing() {
    let rollouts = [rollout("a", 0, 1, 2), rollout("b", 0, 1, 2)];
    let rows = [
        row("a", 0, 1),
        row("a", 0, 2),
        row("b", 0, 1),
        row("b", 0, 2),
    ];
    let found = run(&rollouts, &rows).unwrap();
    assert_eq!(found.get("share.unshifted").unwrap().value, Some(1.0));
    assert_eq!(found.get("kl_tuned_base.mean").unwrap().value, Some(0.0));
    for id in [
        "coverage.kl.top_1pct",
        "gini.kl",
        "entropy_ratio",
        "mean_base_rank",
        "auroc.entropy.argmax",
    ] {
        assert_eq!(found.get(id).unwrap().value, None, "{id}");
    }
}

#[test]
fn rows_that_are_not_finite_are_counted_whatever_they_claim() {
    let rollouts = [rollout("a", 0, 1, 4)];
    let mut rows = [
        row("a", 0, 1),
        row("a", 0, 2),
        row("a", 0, 3),
        row("a", 0, 4),
    ];
    rows[0].entropy_base_nats = f64::NAN;
    rows[1].kl_tuned_base_nats = Some(f64::INFINITY);
    rows[2].delta_logprob = Some(f64::NEG_INFINITY);
    let found = run(&rollouts, &rows).unwrap();
    assert_eq!(
        found.get("invalid.rows.non_finite").unwrap().value,
        Some(3.0)
    );
    assert_eq!(found.get("share.unshifted").unwrap().n, 1);
    assert_eq!(found.get("share.unshifted").unwrap().n_invalid, 3);
}

#[test]
fn truncated_rows_enter_and_other_validities_do_not() {
    let rollouts = [rollout("a", 0, 1, 6)];
    let mut rows: Vec<DiffRow> = (1..7).map(|t| row("a", 0, t)).collect();
    for (row, validity) in rows.iter_mut().zip(columns::Validities::ALL) {
        row.validity = validity;
    }
    let found = run(&rollouts, &rows).unwrap();
    assert_eq!(found.get("rows.used").unwrap().value, Some(2.0));
    assert_eq!(found.get("rows.truncated").unwrap().value, Some(1.0));
    for word in [
        "empty",
        "context_exceeded",
        "tokenizer_mismatch",
        "non_finite",
    ] {
        let id = format!("invalid.rows.{word}");
        assert_eq!(found.get(&id).unwrap().value, Some(1.0), "{id}");
    }
}

#[test]
fn contradictions_are_errors_that_name_the_place() {
    let rollouts = [rollout("a", 0, 1, 2), rollout("b", 0, 1, 2)];
    let message =
        |rollouts: &[Rollout], rows: &[DiffRow]| run(rollouts, rows).unwrap_err().to_string();
    let twice = [rollouts[0].clone(), rollouts[0].clone()];
    assert!(message(&twice, &[]).contains("rollout 0 of problem \"a\" is there twice"));
    assert!(message(&rollouts, &[row("c", 0, 1)]).contains("problem \"c\", which is not among"));
    assert!(message(&rollouts, &[row("a", 0, 0)]).contains("positions 1 to 3"));
    assert!(message(&rollouts, &[row("a", 0, 3)]).contains("positions 1 to 3"));
    assert!(message(&rollouts, &[row("a", 0, 2), row("a", 0, 2)]).contains("out of order"));
    let back = [row("a", 0, 1), row("b", 0, 1), row("a", 0, 2)];
    assert!(message(&rollouts, &back).contains("row 2 (problem \"a\""));
    let mut negative = row("a", 0, 1);
    negative.js_nats = -1e-9;
    assert!(message(&rollouts, &[negative]).contains("js_nats = -0.000000001"));
    let mut rankless = row("a", 0, 1);
    rankless.base_rank_of_tuned_argmax = 0;
    assert!(message(&rollouts, &[rankless]).contains("base_rank_of_tuned_argmax = 0"));
    let mut inverted = rollouts.clone();
    inverted[0].prompt_len = usize::MAX;
    assert!(run(&inverted, &[row("a", 0, 1)]).is_err());
}

#[test]
fn settings_out_of_range_are_refused() {
    let (rollouts, rows) = synthetic(1, 2, 1);
    let with = |settings| findings(&input(&rollouts, &rows), &settings).map(|_| ());
    let good = FindingSettings::default();
    for bad in [
        FindingSettings { level: 1.0, ..good },
        FindingSettings {
            level: f64::NAN,
            ..good
        },
        FindingSettings { top_k: 0, ..good },
        FindingSettings {
            kl_changed: -0.1,
            ..good
        },
        FindingSettings {
            kl_changed: f64::INFINITY,
            ..good
        },
        FindingSettings {
            replicates: u32::MAX,
            ..good
        },
    ] {
        assert!(
            matches!(with(bad), Err(AuditError::Setting { .. })),
            "{bad:?}"
        );
    }
    let none = FindingSettings {
        replicates: 0,
        ..good
    };
    let found = findings(&input(&rollouts, &rows), &none).unwrap();
    assert_eq!(
        found.get("share.unshifted").unwrap().method,
        "no interval: no replicates asked for"
    );
}

#[test]
fn whose_rollouts_is_unknown_means_no_answers() {
    let (rollouts, rows) = synthetic(1, 3, 2);
    let input = FindingInput {
        rollouts_by: None,
        ..input(&rollouts, &rows)
    };
    let found = findings(&input, &FindingSettings::default()).unwrap();
    assert!(found.findings.iter().all(|f| !f.id.starts_with("answer.")));
}
