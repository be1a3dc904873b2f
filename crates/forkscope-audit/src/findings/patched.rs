//! Findings of activation patching: the recovery of every layer and head, its
//! control, and which of them are beyond it.
//!
//! Per direction and cell (layer of the residual stream, or head), over decision
//! positions with D_donor - D_receiver >= 0.01 logits (nearer ones are rounding
//! and counted as invalid):
//! - recovery = sum(D_patched - D_receiver) / sum(D_donor - D_receiver);
//! - control: the same with the random value; excess = recovery - control;
//! - q value: a sign-flip test over problems of the sums of D_patched with the
//!   own value less D_patched with the random one, two-sided, then
//!   Benjamini-Hochberg over the cells of the direction.
//!
//! Intervals are cluster bootstraps over problems, with the same draws for all.

use std::collections::BTreeMap;

use forkscope_metrics::stats::{Alternative, SignFlipSettings, benjamini_hochberg, sign_flip_test};
use forkscope_records::types::{Finding, PatchArm, PatchDirection, PatchingRow};
use serde_json::{Value, json};

use super::FindingSettings;
use super::catalogue::{Catalogue, Entry, Estimate, Population, Sum};
use crate::AuditError;
use crate::awareness::patching::PatchingCounts;

/// D_donor - D_receiver in logits below which a position is within rounding.
const LEAST_GAP: f64 = 0.01;
/// Draws of the sign-flip test where patterns are not enumerated.
const DRAWS: u32 = 10_000;

/// What the findings are made from.
#[derive(Clone, Copy)]
pub struct Patched<'a> {
    /// Rows of `patching.parquet`.
    pub rows: &'a [PatchingRow],
    /// What was looked at and chosen.
    pub counts: PatchingCounts,
    /// The problem of an identifier: several may be wordings of one.
    pub problem: &'a dyn Fn(&str) -> String,
    /// False-discovery rate at which a cell counts as found.
    pub rate: f64,
}

/// Where values are put: `None` is the residual stream.
type Cell = (u32, Option<u32>);

/// Sums of one cell in the catalogue, and what the tests need.
struct Sums {
    decisions: Population,
    gap: Sum,
    excess: Vec<f64>,
}

/// Findings of all cells, `probe.patching.` and after it.
///
/// # Errors
/// Settings out of range.
pub fn patching(
    input: &Patched<'_>,
    settings: &FindingSettings,
) -> Result<Vec<Finding>, AuditError> {
    settings.check()?;
    let mut clusters: BTreeMap<String, u32> = BTreeMap::new();
    for row in input.rows {
        let next = clusters.len() as u32;
        clusters
            .entry((input.problem)(&row.problem_id))
            .or_insert(next);
    }
    let mut findings = counted(input, clusters.len() as u64);
    for direction in PatchDirection::ALL {
        let mut cells: BTreeMap<Cell, Vec<(u32, &PatchingRow)>> = BTreeMap::new();
        for row in input.rows.iter().filter(|r| r.direction == direction) {
            let cluster = clusters.get(&(input.problem)(&row.problem_id)).copied();
            let cell = cells.entry((row.layer, row.head)).or_default();
            cell.push((cluster.unwrap_or(0), row));
        }
        if !cells.is_empty() {
            findings.extend(one_direction(
                direction,
                &cells,
                clusters.len(),
                input.rate,
                settings,
            )?);
        }
    }
    Ok(findings)
}

fn one_direction(
    direction: PatchDirection,
    cells: &BTreeMap<Cell, Vec<(u32, &PatchingRow)>>,
    problems: usize,
    rate: f64,
    settings: &FindingSettings,
) -> Result<Vec<Finding>, AuditError> {
    let prefix = format!("probe.patching.{}", direction.as_str());
    let mut catalogue = Catalogue::new(problems);
    let mut sums: Vec<(Cell, Sums)> = Vec::new();
    for (cell, rows) in cells {
        let found = add_cell(&mut catalogue, &prefix, *cell, rows, problems);
        if sums.is_empty() {
            add_gap(&mut catalogue, &prefix, &found);
        }
        sums.push((*cell, found));
    }
    let mut findings = catalogue.finish(settings)?;
    let half = half_layer(&prefix, &findings, &sums);
    let tested = tests(&prefix, &sums, rate, settings)?;
    findings.extend(half);
    findings.extend(tested);
    Ok(findings)
}

/// `layer_02`, or `layer_02.head_01`.
fn name((layer, head): Cell) -> String {
    match head {
        None => format!("layer_{layer:02}"),
        Some(head) => format!("layer_{layer:02}.head_{head:02}"),
    }
}

fn what((layer, head): Cell) -> String {
    match head {
        None => format!("the residual stream after {layer} blocks"),
        Some(head) => format!("the output of head {head} of block {layer}"),
    }
}

fn add_cell(
    catalogue: &mut Catalogue,
    prefix: &str,
    cell: Cell,
    rows: &[(u32, &PatchingRow)],
    problems: usize,
) -> Sums {
    let gap_of = |r: &PatchingRow| r.difference_donor - r.difference_receiver;
    let of = |arm: PatchArm| rows.iter().filter(move |(_, r)| r.arm == arm);
    let valid = |arm: PatchArm| of(arm).filter(move |(_, r)| gap_of(r) >= LEAST_GAP);
    let near = (of(PatchArm::Decision).count() - valid(PatchArm::Decision).count()) as u64;
    let decisions = catalogue.population(valid(PatchArm::Decision).map(|(c, _)| *c), near);
    let mut sum =
        |arm, f: fn(&PatchingRow) -> f64| catalogue.sum(valid(arm).map(move |(c, r)| (*c, f(r))));
    let recovered_by = |r: &PatchingRow| r.difference_patched - r.difference_receiver;
    let gap_by = |r: &PatchingRow| r.difference_donor - r.difference_receiver;
    let recovered = sum(PatchArm::Decision, recovered_by);
    let gap = sum(PatchArm::Decision, gap_by);
    let control = [
        sum(PatchArm::RandomValue, recovered_by),
        sum(PatchArm::RandomValue, gap_by),
    ];
    let flipped = sum(PatchArm::Decision, |r| {
        f64::from(u8::from(r.argmax_patched_id == r.donor_id))
    });
    let logprob = [
        sum(PatchArm::Decision, |r| {
            r.logprob_patched - r.logprob_receiver
        }),
        sum(PatchArm::Decision, |r| r.logprob_donor - r.logprob_receiver),
    ];
    let moved = sum(PatchArm::Decision, |r| r.moved_js_nats);
    let random = catalogue.population(of(PatchArm::RandomPosition).map(|(c, _)| *c), 0);
    let moved_random =
        catalogue.sum(of(PatchArm::RandomPosition).map(|(c, r)| (*c, r.moved_js_nats)));
    let (id, what) = (format!("{prefix}.{}", name(cell)), what(cell));
    let mut push = |end: &str, definition: String, unit, of, estimate| {
        catalogue.push(Entry {
            id: format!("{id}.{end}"),
            definition,
            unit,
            of,
            estimate,
            thresholds: vec![("least_gap_logits", json!(LEAST_GAP))],
            label: None,
        });
    };
    push(
        "recovery",
        format!(
            "part of the logit difference between donor and receiver that comes back where {what} is the donor's: sum(D_patched - D_receiver) / sum(D_donor - D_receiver), D = logit of the donor's choice less that of the receiver's; 1 by construction at the last layer where final norm and head are shared"
        ),
        "ratio",
        decisions,
        Estimate::Ratio(recovered, gap),
    );
    push(
        "excess",
        format!(
            "recovery with the donor's own value of {what} less that with the receiver's value plus the change of a random decision of another problem"
        ),
        "ratio",
        decisions,
        Estimate::Difference([recovered, gap, control[0], control[1]]),
    );
    if cell.1.is_none() {
        push(
            "control",
            format!(
                "recovery where {what} is the receiver's plus the change of a random decision of another problem"
            ),
            "ratio",
            decisions,
            Estimate::Ratio(control[0], control[1]),
        );
        push(
            "recovery_logprob",
            format!("the same recovery on ln p of the donor's choice, where {what} is the donor's"),
            "ratio",
            decisions,
            Estimate::Ratio(logprob[0], logprob[1]),
        );
        push(
            "flipped",
            format!(
                "share of decisions at which the receiver then prefers the donor's choice, where {what} is the donor's"
            ),
            "share",
            decisions,
            Estimate::Ratio(flipped, decisions.count),
        );
        push(
            "moved",
            format!("mean JS between the receiver patched in {what} and untouched, at decisions"),
            "nats",
            decisions,
            Estimate::Ratio(moved, decisions.count),
        );
        push(
            "moved_random_position",
            format!(
                "mean JS between the receiver patched in {what} and untouched, at random positions where both prefer the same token"
            ),
            "nats",
            random,
            Estimate::Ratio(moved_random, random.count),
        );
    }
    Sums {
        decisions,
        gap,
        excess: excess(rows, problems),
    }
}

/// Per problem, what the own value recovers beyond the random one, in logits,
/// over decisions that have both.
fn excess(rows: &[(u32, &PatchingRow)], problems: usize) -> Vec<f64> {
    let mut own: BTreeMap<(&str, u32, u32), f64> = BTreeMap::new();
    let place = |r: &PatchingRow| r.difference_donor - r.difference_receiver >= LEAST_GAP;
    let mut out = vec![0.0; problems];
    let key = |r: &'_ PatchingRow| (r.sample, r.t);
    for (_, r) in rows
        .iter()
        .filter(|(_, r)| r.arm == PatchArm::Decision && place(r))
    {
        let (sample, t) = key(r);
        own.insert((&r.problem_id, sample, t), r.difference_patched);
    }
    for (cluster, r) in rows.iter().filter(|(_, r)| r.arm == PatchArm::RandomValue) {
        let found = own.get(&(r.problem_id.as_str(), r.sample, r.t));
        if let (Some(own), Some(out)) = (found, out.get_mut(*cluster as usize)) {
            *out += own - r.difference_patched;
        }
    }
    out
}

fn add_gap(catalogue: &mut Catalogue, prefix: &str, sums: &Sums) {
    catalogue.push(Entry {
        id: format!("{prefix}.gap"),
        definition: "mean D_donor - D_receiver at decisions, D = logit of the donor's choice less that of the receiver's".into(),
        unit: "logits",
        of: sums.decisions,
        estimate: Estimate::Ratio(sums.gap, sums.decisions.count),
        thresholds: vec![("least_gap_logits", json!(LEAST_GAP))],
        label: None,
    });
}

/// The first layer whose residual stream brings back half of the difference.
fn half_layer(prefix: &str, findings: &[Finding], sums: &[(Cell, Sums)]) -> Option<Finding> {
    let (_, any) = sums.first()?;
    let residual = sums.iter().filter(|((_, head), _)| head.is_none());
    let layer = residual.map(|(cell, _)| *cell).find(|cell| {
        let id = format!("{prefix}.{}.recovery", name(*cell));
        let value = findings.iter().find(|f| f.id == id).and_then(|f| f.value);
        value.is_some_and(|v| v >= 0.5)
    });
    Some(plain(
        format!("{prefix}.layer_of_half"),
        "fewest blocks after which the donor's residual stream, put into the receiver, brings back half of the logit difference; null where none does",
        layer.map(|(l, _)| f64::from(l)),
        "count",
        "no interval: read off the recoveries".into(),
        (
            any.decisions.n,
            any.decisions.n_clusters,
            any.decisions.n_invalid,
        ),
    ))
}

/// Adjusted p-values of all cells, and how many are found.
fn tests(
    prefix: &str,
    sums: &[(Cell, Sums)],
    rate: f64,
    settings: &FindingSettings,
) -> Result<Vec<Finding>, AuditError> {
    let test = SignFlipSettings {
        seed: settings.seed,
        draws: DRAWS,
        alternative: Alternative::TwoSided,
    };
    let p_values = sums
        .iter()
        .map(|(_, s)| Ok(sign_flip_test(&s.excess, &test)?.p_value))
        .collect::<Result<Vec<f64>, AuditError>>()?;
    let discoveries = benjamini_hochberg(&p_values, rate)?;
    let cells = sums.len();
    let mut out = Vec::new();
    let mut found = [0u64; 2];
    for (((cell, s), q), rejected) in sums
        .iter()
        .zip(&discoveries.adjusted)
        .zip(&discoveries.rejected)
    {
        let beyond = *rejected && s.excess.iter().sum::<f64>() > 0.0;
        if let Some(n) = found.get_mut(usize::from(cell.1.is_some())) {
            *n += u64::from(beyond);
        }
        out.push(plain(
            format!("{prefix}.{}.q_value", name(*cell)),
            "adjusted p-value of the hypothesis that this cell's own value brings back no more and no less than the random one",
            Some(*q),
            "probability",
            format!("two-sided sign-flip test over problems, seed {}; Benjamini-Hochberg over {cells} cells", settings.seed),
            (s.decisions.n, s.decisions.n_clusters, s.decisions.n_invalid),
        ));
    }
    let heads = sums.iter().filter(|(cell, _)| cell.1.is_some()).count();
    for (kind, found, of) in [
        ("layers", found[0], cells - heads),
        ("heads", found[1], heads),
    ] {
        let mut finding = plain(
            format!("{prefix}.{kind}_found"),
            &format!(
                "number of {kind} whose own value brings back more than the random one at that false-discovery rate"
            ),
            Some(found as f64),
            "count",
            "count".into(),
            (
                of as u64,
                sums.first().map_or(0, |(_, s)| s.decisions.n_clusters),
                0,
            ),
        );
        finding
            .thresholds
            .insert("false_discovery_rate".into(), json!(rate));
        out.push(finding);
    }
    Ok(out)
}

fn counted(input: &Patched<'_>, problems: u64) -> Vec<Finding> {
    let c = input.counts;
    [
        (
            "positions",
            "decision positions that were patched: the argmaxes differ, highest JS first, problems in turn",
            c.chosen,
            c.changed,
        ),
        (
            "random_positions",
            "random positions that were patched: both prefer the same token, as many per problem as decisions where there are so many",
            c.random,
            c.scored - c.changed.min(c.scored),
        ),
    ]
    .into_iter()
    .map(|(id, definition, value, n)| {
        plain(
            format!("probe.patching.{id}"),
            definition,
            Some(value as f64),
            "positions",
            "count".into(),
            (n, problems, 0),
        )
    })
    .collect()
}

fn plain(
    id: String,
    definition: &str,
    value: Option<f64>,
    unit: &str,
    method: String,
    (n, n_clusters, n_invalid): (u64, u64, u64),
) -> Finding {
    Finding {
        id,
        definition: definition.into(),
        value,
        unit: unit.into(),
        low: None,
        high: None,
        level: None,
        method,
        n,
        n_clusters,
        n_invalid,
        thresholds: BTreeMap::<String, Value>::new(),
        label: None,
    }
}
