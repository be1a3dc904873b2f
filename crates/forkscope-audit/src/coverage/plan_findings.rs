//! Findings of a plan: `plan.*`, cost against bound per budget and design.

use forkscope_records::types::Finding;
use serde_json::{Value, json};

use super::doc::{BudgetPlan, PlanDocument};

/// One number of a budget.
struct Part {
    id: &'static str,
    words: &'static str,
    unit: &'static str,
    of: fn(&BudgetPlan) -> Option<f64>,
}

const POSITIONS: [Part; 10] = [
    Part {
        id: "audited",
        words: "positions that are looked at",
        unit: "positions",
        of: |b| Some(b.positions.cost.positions as f64),
    },
    Part {
        id: "certain",
        words: "positions of the certain stratum, which the gate chose",
        unit: "positions",
        of: |b| Some(b.positions.certain as f64),
    },
    Part {
        id: "tokens",
        words: "tokens to forward per policy: the prefixes of all positions that are looked at",
        unit: "tokens",
        of: |b| Some(b.positions.cost.tokens as f64),
    },
    Part {
        id: "gate_coverage",
        words: "expected share of the changed positions in the certain stratum; null where none is expected",
        unit: "share",
        of: |b| b.positions.gate_coverage,
    },
    Part {
        id: "coverage",
        words: "expected share of the changed positions that are looked at; null where none is expected",
        unit: "share",
        of: |b| b.positions.coverage,
    },
    Part {
        id: "bound_if_none",
        words: "upper bound on the changed share of the positions that nobody looks at, if the sample has no changed one",
        unit: "share",
        of: |b| Some(b.positions.bound_if_none),
    },
    Part {
        id: "bound_expected",
        words: "upper bound on the changed share of the positions that nobody looks at, if the sample has as many changed ones as are expected",
        unit: "share",
        of: |b| Some(b.positions.bound_expected),
    },
    Part {
        id: "margin_worst",
        words: "the most that the bound can lie above the sample's share, whatever is found",
        unit: "share",
        of: |b| Some(b.positions.margin_worst),
    },
    Part {
        id: "seen_expected",
        words: "lower bound on the share of the changed positions that are looked at, if everything is as expected",
        unit: "share",
        of: |b| b.positions.seen_expected,
    },
    Part {
        id: "js_bound_expected",
        words: "upper bound on the mean JS of the positions that nobody looks at, for a sample drawn from the calibration; null without one",
        unit: "nats",
        of: |b| b.positions.js_expected,
    },
];

const PROBLEMS: [Part; 5] = [
    Part {
        id: "audited",
        words: "problems that are looked at, every position",
        unit: "problems",
        of: |b| Some(b.problems.problems as f64),
    },
    Part {
        id: "tokens",
        words: "tokens to forward per policy: all rollouts of the drawn problems",
        unit: "tokens",
        of: |b| Some(b.problems.cost.tokens as f64),
    },
    Part {
        id: "bound_if_none",
        words: "upper bound on the mean changed share of new problems, if no position is changed",
        unit: "share",
        of: |b| Some(b.problems.bound_if_none),
    },
    Part {
        id: "bound_expected",
        words: "upper bound on the mean changed share of new problems, for problems drawn from the calibration; null without one",
        unit: "share",
        of: |b| b.problems.bound_expected,
    },
    Part {
        id: "margin_worst",
        words: "the most that the bound can lie above the mean over problems, whatever is found",
        unit: "share",
        of: |b| Some(b.problems.margin_worst),
    },
];

/// The findings of a plan, in the order of budgets.
pub fn plan_findings(plan: &PlanDocument) -> Vec<Finding> {
    let mut out = vec![
        total(
            plan,
            "positions",
            "positions of the population",
            "positions",
            plan.positions,
        ),
        total(
            plan,
            "problems",
            "problems of the population",
            "problems",
            plan.problems,
        ),
        total(
            plan,
            "tokens",
            "tokens to forward per policy for the whole population",
            "tokens",
            plan.full_tokens,
        ),
    ];
    out.push(Finding {
        value: Some(plan.expected_changed_share),
        unit: "share".into(),
        method: plan.expectation.clone(),
        ..total(
            plan,
            "changed_share",
            &format!(
                "changed share of all positions that the plan expects; {}",
                plan.changed.words()
            ),
            "share",
            plan.positions,
        )
    });
    for budget in &plan.budgets {
        let name = budget_name(budget.positions.budget);
        for (design, parts) in [("positions", &POSITIONS[..]), ("problems", &PROBLEMS[..])] {
            for part in parts {
                out.push(of_budget(plan, budget, (design, &name), part));
            }
        }
    }
    out
}

/// `5pct` of 0.05, `0_5pct` of 0.005.
fn budget_name(budget: f64) -> String {
    let percent = format!("{:.6}", budget * 100.0);
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    format!("{}pct", percent.replace('.', "_"))
}

fn of_budget(
    plan: &PlanDocument,
    budget: &BudgetPlan,
    (design, name): (&str, &str),
    part: &Part,
) -> Finding {
    let mut thresholds: Vec<(&str, Value)> = vec![
        ("budget", json!(budget.positions.budget)),
        ("certain_share", json!(plan.certain_share)),
        ("changed", json!(plan.changed.to_string())),
        ("level", json!(plan.level)),
    ];
    if let Some(rate) = plan.tokens_per_second.filter(|_| part.id == "tokens") {
        thresholds.push(("tokens_per_second", json!(rate)));
    }
    let n = match design {
        "positions" => budget.positions.cost.positions,
        _ => budget.problems.problems,
    };
    Finding {
        id: format!("plan.{design}.{name}.{}", part.id),
        definition: format!(
            "budget of {} of all {design}: {}",
            percent(budget.positions.budget),
            part.words
        ),
        value: (part.of)(budget),
        unit: part.unit.into(),
        low: None,
        high: None,
        level: None,
        method: match part.id {
            "audited" | "certain" | "tokens" => "counted".into(),
            _ => format!(
                "{}; {}; bounds at {}, hypergeometric for positions, betting for JS and problems",
                plan.gate.words(),
                plan.expectation,
                percent(plan.level)
            ),
        },
        n,
        n_clusters: plan.problems,
        n_invalid: 0,
        thresholds: thresholds
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        label: None,
    }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e8).round() / 1e6)
}

fn total(plan: &PlanDocument, id: &str, words: &str, unit: &str, value: u64) -> Finding {
    Finding {
        id: format!("plan.population.{id}"),
        definition: words.to_owned(),
        value: Some(value as f64),
        unit: unit.to_owned(),
        low: None,
        high: None,
        level: None,
        method: "counted".into(),
        n: plan.positions,
        n_clusters: plan.problems,
        n_invalid: 0,
        thresholds: std::collections::BTreeMap::new(),
        label: None,
    }
}
