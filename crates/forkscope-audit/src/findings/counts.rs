//! What was counted and what was left out: validity, nulls, ties.

use forkscope_records::types::{DiffRow, Finding, Rollout, Validity};

use super::FindingInput;
use super::columns::{Columns, Validities, in_use};

pub(super) fn findings(input: &FindingInput<'_>, columns: &Columns) -> Vec<Finding> {
    let mut all = Vec::new();
    let problems = columns.problems as u64;
    by_validity(&mut all, "rows", "positions", &columns.validities, problems);
    for (name, rollouts) in [
        ("rollouts", Some(input.rollouts)),
        ("other_rollouts", input.other_rollouts),
    ] {
        if let Some(rollouts) = rollouts {
            let mut validities = Validities::default();
            rollouts.iter().for_each(|r| validities.add(r.validity));
            by_validity(
                &mut all,
                name,
                "rollouts",
                &validities,
                problems_of(rollouts),
            );
        }
    }
    nulls(&mut all, columns);
    ties(&mut all, columns);
    mass_outside(&mut all, input, columns.problems as u64);
    all
}

fn count(id: String, definition: &str, unit: &str, value: u64, n: u64, n_clusters: u64) -> Finding {
    Finding {
        id,
        definition: definition.into(),
        value: Some(value as f64),
        unit: unit.into(),
        low: None,
        high: None,
        level: None,
        method: "count".into(),
        n,
        n_clusters,
        n_invalid: 0,
        thresholds: Default::default(),
        label: None,
    }
}

fn by_validity(all: &mut Vec<Finding>, name: &str, unit: &str, found: &Validities, problems: u64) {
    let total = found.total();
    let used = total - found.left_out();
    let mut push = |id, definition: &str, value| {
        all.push(count(id, definition, unit, value, total, problems));
    };
    push(
        format!("{name}.total"),
        &format!("number of {unit} given"),
        total,
    );
    push(
        format!("{name}.used"),
        &format!("number of {unit} that enter the numbers: validity ok or truncated"),
        used,
    );
    for validity in Validities::ALL {
        let word = validity.as_str();
        match validity {
            Validity::Ok => {}
            Validity::Truncated => push(
                format!("{name}.truncated"),
                &format!(
                    "number of {unit} of completions cut by the token limit; they enter the numbers"
                ),
                found.of(validity),
            ),
            _ => push(
                format!("invalid.{name}.{word}"),
                &format!("number of {unit} left out because their validity is {word}"),
                found.of(validity),
            ),
        }
    }
}

/// Problems with a rollout in use.
fn problems_of(rollouts: &[Rollout]) -> u64 {
    let used = rollouts.iter().filter(|r| in_use(r.validity));
    let problems: std::collections::HashSet<&str> = used.map(|r| r.problem_id.as_str()).collect();
    problems.len() as u64
}

fn nulls(all: &mut Vec<Finding>, columns: &Columns) {
    let n = columns.len() as u64;
    for (name, column, why) in [
        (
            "kl_tuned_base",
            &columns.kl_tuned_base,
            "only the base masks a token",
        ),
        (
            "kl_base_tuned",
            &columns.kl_base_tuned,
            "only the tuned policy masks a token",
        ),
        (
            "ce_base_tuned",
            &columns.ce_base_tuned,
            "only the tuned policy masks a token",
        ),
        (
            "delta_logprob",
            &columns.delta_logprob,
            "a policy masks the recorded token",
        ),
    ] {
        let nulls = column.iter().filter(|value| value.is_none()).count() as u64;
        all.push(count(
            format!("null.{name}"),
            &format!("number of positions in use without {name}: {why}"),
            "positions",
            nulls,
            n,
            columns.problems as u64,
        ));
    }
}

/// Where one vocabulary is padded further than the other.
fn mass_outside(all: &mut Vec<Finding>, input: &FindingInput<'_>, problems: u64) {
    let masses = |of: fn(&DiffRow) -> f64| -> Vec<f64> {
        input
            .rows
            .iter()
            .filter(|r| in_use(r.validity))
            .map(of)
            .collect()
    };
    let sides = [
        ("base", "tuned", masses(|r| r.mass_outside_base)),
        ("tuned", "base", masses(|r| r.mass_outside_tuned)),
    ];
    for (side, other, masses) in sides {
        let n = masses.len() as u64;
        let largest = masses.iter().copied().fold(0.0, f64::max);
        let mean = (n > 0).then(|| masses.iter().sum::<f64>() / n as f64);
        let definition = format!(
            "mean probability that the {side} policy gives to ids which the {other} vocabulary lacks; every other number is of the shared ids, renormalised; the largest is among the thresholds"
        );
        all.push(Finding {
            value: mean,
            method: "no interval: a mean of the positions given".into(),
            thresholds: [("largest".to_owned(), largest.into())].into(),
            ..count(
                format!("mass_outside.{side}"),
                &definition,
                "share",
                0,
                n,
                problems,
            )
        });
    }
}

fn ties(all: &mut Vec<Finding>, columns: &Columns) {
    let problems = columns.problems as u64;
    for (name, ties) in [("base", columns.ties_base), ("tuned", columns.ties_tuned)] {
        all.push(count(
            format!("ties.top.{name}"),
            &format!("number of positions at which the two most probable recorded tokens of the {name} policy have the same ln p in f32; n counts positions with two recorded tokens"),
            "positions",
            ties.tied,
            ties.of,
            problems,
        ));
        if let (0, Some(finding)) = (ties.of, all.last_mut()) {
            finding.value = None;
            finding.method = "undefined: fewer than two tokens are recorded per position".into();
        }
    }
    let rank_one = (0..columns.len())
        .filter(|&i| columns.changed(i) && columns.base_rank[i] == 1)
        .count();
    all.push(count(
        "ties.rank_one_changed".into(),
        "number of positions at which the argmax differs although the tuned argmax has base rank 1: a tie at the base's top, decided by the lowest id",
        "positions",
        rank_one as u64,
        columns.len() as u64,
        problems,
    ));
}
