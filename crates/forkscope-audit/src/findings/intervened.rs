//! Findings of interventions: what each arm did to the outcome, and what it
//! took.
//!
//! With x_a the share of rollouts of arm a that are right (or show the behaviour
//! asked for), over rollouts of one direction and temperature:
//! - `intervene.rate` x_a;
//! - `intervene.recovery` (x_a - x_none) / (x_other - x_none): 0 is the untouched
//!   generator, 1 the other policy; null where those two do not differ beyond
//!   noise (p > 0.05);
//! - `intervene.difference` x_a - x_b, paired by (problem, sample), with
//!   `intervene.p_value`: against `none` for every arm, and for a guided arm
//!   against each of its controls; `intervene.wrong_to_right` and
//!   `intervene.right_to_wrong` count the pairs that changed;
//! - `intervene.touched`, `intervene.changed`: share of the arm's tokens that were
//!   forced, and that were forced to something else than the generator's own;
//! - `intervene.count_ratio`, `intervene.mass_ratio`: of a control over its guided
//!   arm: positions touched, and the base's entropy summed over them;
//! - `intervene.same_as_other`: share of rollouts that are the other policy's own,
//!   token for token.
//!
//! The unit of inference is the problem: intervals are cluster bootstraps, p is a
//! two-sided sign-flip test over problems, exact McNemar where every problem has
//! one sample. An id ends in `DIRECTION.tTEMPERATURE.ARM`.

use std::collections::HashMap;

use forkscope_metrics::stats::{
    SignFlipSettings, benjamini_hochberg, mcnemar_exact, sign_flip_test,
};
use forkscope_records::types::{Direction, Finding, Findings, Intervention};
use serde_json::{Value, json};

use super::FindingSettings;
use super::catalogue::{Catalogue, Entry, Estimate, Population, Sum};
use crate::AuditError;
use crate::gates::Control;
use crate::intervene::{Arm, Calibration, Kind, Versus};

/// p above which two policies count as not different.
const NOISE: f64 = 0.05;

/// False-discovery rate over the guided arms of a table.
const FALSE_DISCOVERIES: f64 = 0.05;

/// What is counted of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Whether its answer is right.
    Correct,
    /// Whether it shows the behaviour asked for.
    Behaviour,
}

impl Counted {
    fn of(self, row: &Intervention) -> Option<bool> {
        match self {
            Self::Correct => row.correct,
            Self::Behaviour => row.behaviour,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Correct => "are right",
            Self::Behaviour => "show the behaviour",
        }
    }
}

/// Everything the findings are made from.
pub struct InterventionTable<'a> {
    /// All rows: problems, temperatures, samples, arms.
    pub rows: &'a [Intervention],
    /// The arms, in the order of the rows.
    pub arms: &'a [Arm],
    /// The temperatures, in the order of the rows.
    pub temperatures: &'a [f64],
    /// Thresholds.
    pub calibration: &'a Calibration,
    /// What is counted.
    pub counted: Counted,
}

/// One arm's rollout.
struct Unit {
    problem: u32,
    value: Option<bool>,
    tokens: usize,
    touched: usize,
    changed: usize,
    mass: f64,
    same: bool,
}

/// One arm at one temperature, with its sums in the catalogue.
struct Cell<'a> {
    arm: &'a Arm,
    /// End of its ids.
    id: String,
    units: Vec<Unit>,
    of: Population,
    hits: Sum,
    tokens: Sum,
    touched: Sum,
    mass: Sum,
}

/// The findings of all arms.
///
/// # Errors
/// Settings out of range, or rows that are not those of the arms.
pub fn interventions(
    table: &InterventionTable<'_>,
    settings: &FindingSettings,
) -> Result<Findings, AuditError> {
    settings.check()?;
    let mut problems: HashMap<&str, u32> = HashMap::new();
    for row in table.rows {
        let next = problems.len() as u32;
        problems.entry(&row.problem_id).or_insert(next);
    }
    let mut findings = Vec::new();
    for (place, temperature) in table.temperatures.iter().enumerate() {
        for direction in [Direction::Forward, Direction::Reverse] {
            let one = OneTable {
                table,
                problems: &problems,
                temperature: (place, *temperature),
                direction,
                settings,
            };
            findings.extend(one.findings()?);
        }
    }
    Ok(Findings {
        schema: Findings::SCHEMA.to_owned(),
        findings,
    })
}

/// One direction at one temperature.
struct OneTable<'a> {
    table: &'a InterventionTable<'a>,
    problems: &'a HashMap<&'a str, u32>,
    temperature: (usize, f64),
    direction: Direction,
    settings: &'a FindingSettings,
}

impl<'a> OneTable<'a> {
    fn findings(&self) -> Result<Vec<Finding>, AuditError> {
        let mut catalogue = Catalogue::new(self.problems.len());
        let cells = self.cells(&mut catalogue)?;
        let is = |kind: Kind| cells.iter().find(move |c| c.arm.kind == kind);
        let (Some(none), Some(other)) = (is(Kind::None), is(Kind::Other)) else {
            return Ok(Vec::new());
        };
        let way = self.test(other, none);
        for cell in &cells {
            self.of_cell(&mut catalogue, cell)?;
            if cell.arm.kind != Kind::None {
                self.recovery(&mut catalogue, cell, none, other);
                self.difference(&mut catalogue, cell, none);
            }
            if let Kind::Control(_, guide) = &cell.arm.kind
                && let Some(guided) = is(Kind::Guided(*guide))
            {
                self.against(&mut catalogue, cell, guided);
            }
        }
        let mut found = catalogue.finish(self.settings)?;
        self.within_noise(&mut found, &way);
        let mut tests = Vec::new();
        for cell in &cells {
            found.extend(self.of_pairs(cell, none, "none"));
            if let Kind::Control(versus, guide) = &cell.arm.kind
                && let Some(guided) = is(Kind::Guided(*guide))
            {
                let more = self.of_pairs(guided, cell, &cell.arm.name());
                let p = more.iter().find(|f| f.id.starts_with("intervene.p_value."));
                if let (Versus::Positions(Control::Random), Some(p)) = (versus, p) {
                    tests.push((guided, mean_difference(guided, cell), p.value));
                }
                found.extend(more);
            }
        }
        found.extend(self.verdict(&tests, mean_difference(other, none)));
        Ok(found)
    }

    /// `forward.t0.ARM`
    fn id(&self, name: &str) -> String {
        format!("{}.t{}.{name}", self.direction.as_str(), self.temperature.1)
    }

    /// The rows of each arm.
    fn cells(&self, catalogue: &mut Catalogue) -> Result<Vec<Cell<'a>>, AuditError> {
        let wrong =
            || AuditError::Internal("rows of interventions are not those of the arms".into());
        let arms = self.table.arms;
        let mut units: Vec<Vec<Unit>> = arms.iter().map(|_| Vec::new()).collect();
        let other = arms
            .iter()
            .position(|a| a.direction == self.direction && a.kind == Kind::Other);
        for stream in self.table.rows.chunks(arms.len().max(1)) {
            if stream.first().map(|r| r.temperature) != Some(self.temperature.1) {
                continue;
            }
            let other = other.and_then(|at| stream.get(at));
            for ((row, arm), units) in stream.iter().zip(arms).zip(&mut units) {
                if row.direction != arm.direction || row.arm != arm.name() {
                    return Err(wrong());
                }
                if arm.direction == self.direction {
                    units.push(self.unit(row, other));
                }
            }
        }
        let own = arms
            .iter()
            .zip(units)
            .filter(|(arm, _)| arm.direction == self.direction);
        Ok(own
            .map(|(arm, units)| self.cell(catalogue, arm, units))
            .collect())
    }

    fn unit(&self, row: &Intervention, other: Option<&Intervention>) -> Unit {
        Unit {
            problem: self
                .problems
                .get(row.problem_id.as_str())
                .copied()
                .unwrap_or(0),
            value: self.table.counted.of(row),
            tokens: row.completion().len(),
            touched: row.touched.len(),
            changed: row.changed.len(),
            mass: row.touched_entropy_nats,
            same: other.is_some_and(|o| o.token_ids == row.token_ids),
        }
    }

    fn cell(&self, catalogue: &mut Catalogue, arm: &'a Arm, units: Vec<Unit>) -> Cell<'a> {
        let unknown = units.iter().filter(|u| u.value.is_none()).count() as u64;
        let known = units.iter().filter(|u| u.value.is_some());
        let of = catalogue.population(known.map(|u| u.problem), unknown);
        let hit = |u: &Unit| Some((u.problem, f64::from(u8::from(u.value?))));
        let mut sum =
            |of: &dyn Fn(&Unit) -> f64| catalogue.sum(units.iter().map(|u| (u.problem, of(u))));
        let tokens = sum(&|u| u.tokens as f64);
        let touched = sum(&|u| u.touched as f64);
        let mass = sum(&|u| u.mass);
        Cell {
            arm,
            id: self.id(&arm.name()),
            of,
            hits: catalogue.sum(units.iter().filter_map(hit)),
            tokens,
            touched,
            mass,
            units,
        }
    }

    /// What the arm is, for every renderer.
    fn described(&self, arm: &Arm) -> Result<Vec<(&'static str, Value)>, AuditError> {
        let mut out = vec![
            ("arm", json!(arm.name())),
            ("gate", json!(arm.gate())),
            ("direction", json!(self.direction.as_str())),
            ("temperature", json!(self.temperature.1)),
        ];
        let kind = match &arm.kind {
            Kind::None => "none",
            Kind::Other => "other",
            Kind::Guided(_) => "guided",
            Kind::Control(..) => "control",
        };
        out.push(("kind", json!(kind)));
        if let Some(budget) = arm.guide().and_then(|g| g.budget()) {
            out.push(("budget", json!(budget.to_string())));
        }
        if let Kind::Control(versus, guide) = &arm.kind {
            out.push(("control", json!(versus.to_string())));
            out.push(("guide", json!(guide.to_string())));
        }
        if arm.is_identity(self.temperature.1) {
            out.push(("identity", json!(true)));
        }
        if let Some(guide) = arm.guide() {
            let mut taus = Vec::new();
            for half in 0..2 {
                let limits = self
                    .table
                    .calibration
                    .of(half, self.temperature.0, self.direction)?;
                taus.extend(limits.threshold(guide).map(|t| t.tau));
            }
            if !taus.is_empty() {
                out.push(("tau", json!(taus)));
            }
        }
        Ok(out)
    }

    fn of_cell(&self, catalogue: &mut Catalogue, cell: &Cell<'_>) -> Result<(), AuditError> {
        let share = |what: &str| format!("{what}; n counts the arm's completion tokens");
        let tokens = Population {
            count: cell.tokens,
            n: cell.units.iter().map(|u| u.tokens as u64).sum(),
            n_invalid: 0,
            ..cell.of
        };
        catalogue.push(Entry {
            id: format!("intervene.rate.{}", cell.id),
            definition: format!(
                "share of rollouts of the arm that {}; n counts rollouts",
                self.table.counted.what()
            ),
            unit: "share",
            of: cell.of,
            estimate: Estimate::Ratio(cell.hits, cell.of.count),
            thresholds: self.described(cell.arm)?,
            label: Some(cell.arm.name()),
        });
        let sum = |of: &dyn Fn(&Unit) -> f64, catalogue: &mut Catalogue| {
            catalogue.sum(cell.units.iter().map(|u| (u.problem, of(u))))
        };
        let changed = sum(&|u| u.changed as f64, catalogue);
        let same = sum(&|u| f64::from(u8::from(u.same)), catalogue);
        let all = catalogue.population(cell.units.iter().map(|u| u.problem), 0);
        let per_token = [
            (
                "touched",
                cell.touched,
                "tokens that were forced / tokens of the arm",
            ),
            (
                "changed",
                changed,
                "tokens that were forced to something else than the generator's own / tokens of the arm",
            ),
        ];
        for (name, sum, what) in per_token {
            catalogue.push(Entry {
                id: format!("intervene.{name}.{}", cell.id),
                definition: share(what),
                unit: "share",
                of: tokens,
                estimate: Estimate::Ratio(sum, cell.tokens),
                thresholds: Vec::new(),
                label: None,
            });
        }
        let per_rollout = [
            (
                "touched_per_rollout",
                cell.touched,
                "tokens",
                "tokens forced per rollout",
            ),
            (
                "same_as_other",
                same,
                "share",
                "share of rollouts that are the other policy's own, token for token",
            ),
        ];
        for (name, sum, unit, what) in per_rollout {
            catalogue.push(Entry {
                id: format!("intervene.{name}.{}", cell.id),
                definition: format!("{what}; n counts rollouts"),
                unit,
                of: all,
                estimate: Estimate::Ratio(sum, all.count),
                thresholds: Vec::new(),
                label: None,
            });
        }
        Ok(())
    }

    fn recovery(
        &self,
        catalogue: &mut Catalogue,
        cell: &Cell<'_>,
        none: &Cell<'_>,
        other: &Cell<'_>,
    ) {
        catalogue.push(Entry {
            id: format!("intervene.recovery.{}", cell.id),
            definition: "(rate - rate of none) / (rate of other - rate of none); undefined where other and none do not differ beyond noise".into(),
            unit: "ratio",
            of: cell.of,
            estimate: Estimate::Recovery([
                cell.hits,
                cell.of.count,
                none.hits,
                none.of.count,
                other.hits,
                other.of.count,
            ]),
            thresholds: vec![("p_at_most", json!(NOISE))],
            label: None,
        });
    }

    fn difference(&self, catalogue: &mut Catalogue, cell: &Cell<'_>, none: &Cell<'_>) {
        self.subtract(catalogue, (cell, none), format!("{}.minus.none", cell.id));
    }

    /// A control against its guided arm.
    fn against(&self, catalogue: &mut Catalogue, cell: &Cell<'_>, guided: &Cell<'_>) {
        let id = format!("{}.minus.{}", guided.id, cell.arm.name());
        self.subtract(catalogue, (guided, cell), id);
        let ratios = [
            (
                "count_ratio",
                cell.touched,
                guided.touched,
                "positions that the control touched / positions that its guided arm touched",
            ),
            (
                "mass_ratio",
                cell.mass,
                guided.mass,
                "the base's entropy summed over the control's positions / the same of its guided arm",
            ),
        ];
        for (name, above, below, what) in ratios {
            catalogue.push(Entry {
                id: format!("intervene.{name}.{}", cell.id),
                definition: what.into(),
                unit: "ratio",
                of: cell.of,
                estimate: Estimate::Ratio(above, below),
                thresholds: Vec::new(),
                label: None,
            });
        }
    }

    fn subtract(&self, catalogue: &mut Catalogue, (a, b): (&Cell<'_>, &Cell<'_>), id: String) {
        catalogue.push(Entry {
            id: format!("intervene.difference.{id}"),
            definition: "rate of the first arm - rate of the second, paired by problem and sample; n counts rollouts of each".into(),
            unit: "difference",
            of: a.of,
            estimate: Estimate::Difference([a.hits, a.of.count, b.hits, b.of.count]),
            thresholds: Vec::new(),
            label: None,
        });
    }

    /// Recovery means nothing on a way that is not there.
    fn within_noise(&self, found: &mut [Finding], way: &Test) {
        let Some(p) = way.p.filter(|p| *p > NOISE) else {
            return;
        };
        for f in found
            .iter_mut()
            .filter(|f| f.id.starts_with("intervene.recovery."))
        {
            (f.value, f.low, f.high, f.level) = (None, None, None, None);
            f.method =
                format!("undefined: the two policies do not differ beyond noise (p = {p:.3})");
        }
    }

    /// Pairs that changed, and the p-value of the difference.
    fn of_pairs(&self, a: &Cell<'_>, b: &Cell<'_>, name: &str) -> Vec<Finding> {
        if std::ptr::eq(a, b) {
            return Vec::new();
        }
        let test = self.test(a, b);
        let id = format!("{}.minus.{name}", a.id);
        let of =
            |kind: &str, definition: &str, unit: &str, value: Option<f64>, method: &str| Finding {
                id: format!("intervene.{kind}.{id}"),
                definition: definition.into(),
                value,
                unit: unit.into(),
                low: None,
                high: None,
                level: None,
                method: method.into(),
                n: test.pairs,
                n_clusters: a.of.n_clusters,
                n_invalid: a.of.n_invalid,
                thresholds: Default::default(),
                label: None,
            };
        let count = |n: u64| Some(n as f64);
        vec![
            of(
                "p_value",
                "probability of a difference at least as large, of either sign, if the two arms were exchangeable within every problem",
                "probability",
                test.p,
                &test.method,
            ),
            of(
                "wrong_to_right",
                "rollouts that are wrong (or do not show the behaviour) under the second arm and right under the first",
                "count",
                count(test.gained),
                "count over pairs",
            ),
            of(
                "right_to_wrong",
                "rollouts that are right (or show the behaviour) under the second arm and wrong under the first",
                "count",
                count(test.lost),
                "count over pairs",
            ),
        ]
    }

    /// First arm against second, paired.
    fn test(&self, a: &Cell<'_>, b: &Cell<'_>) -> Test {
        let mut sums: HashMap<u32, (f64, u32)> = HashMap::new();
        let mut test = Test::default();
        for (x, y) in a.units.iter().zip(&b.units) {
            let (Some(x_hit), Some(y_hit)) = (x.value, y.value) else {
                continue;
            };
            test.pairs += 1;
            test.gained += u64::from(x_hit && !y_hit);
            test.lost += u64::from(!x_hit && y_hit);
            let slot = sums.entry(x.problem).or_default();
            slot.0 += f64::from(i8::from(x_hit) - i8::from(y_hit));
            slot.1 += 1;
        }
        if sums.values().all(|(_, n)| *n == 1) {
            test.p = mcnemar_exact(test.gained, test.lost)
                .ok()
                .filter(|_| test.pairs > 0);
            test.method = "exact McNemar test, two-sided: one sample per problem".into();
            return test;
        }
        let mut problems: Vec<(u32, f64)> = sums
            .iter()
            .map(|(problem, (sum, n))| (*problem, sum / f64::from(*n)))
            .collect();
        problems.sort_unstable_by_key(|(problem, _)| *problem);
        let differences: Vec<f64> = problems.into_iter().map(|(_, d)| d).collect();
        let how = SignFlipSettings {
            seed: self.settings.seed,
            ..SignFlipSettings::default()
        };
        match sign_flip_test(&differences, &how) {
            Ok(found) => {
                test.p = Some(found.p_value);
                test.method = match found.draws {
                    None => "two-sided sign-flip test over problems, all patterns".into(),
                    Some(n) => format!("two-sided sign-flip test over problems, {n} draws"),
                };
            }
            Err(error) => test.method = format!("undefined: {error}"),
        }
        test
    }

    /// How many guided arms go further towards the other policy than random
    /// positions of the same number, and how many less far.
    fn verdict(&self, tests: &[(&Cell<'_>, f64, Option<f64>)], way: f64) -> Vec<Finding> {
        let defined: Vec<(bool, f64)> = tests
            .iter()
            .filter(|(cell, ..)| !cell.arm.is_identity(self.temperature.1))
            .filter_map(|(_, difference, p)| Some((*difference * way > 0.0, (*p)?)))
            .collect();
        let p_values: Vec<f64> = defined.iter().map(|(_, p)| *p).collect();
        let Ok(found) = benjamini_hochberg(&p_values, FALSE_DISCOVERIES) else {
            return Vec::new();
        };
        let count = |further: bool| {
            let both = defined.iter().zip(&found.rejected);
            both.filter(|((f, _), rejected)| *f == further && **rejected)
                .count()
        };
        let units = tests.first().map_or(0, |(cell, ..)| cell.of.n_clusters);
        [("guided_further", true), ("guided_less_far", false)]
            .into_iter()
            .map(|(name, further)| Finding {
                id: format!("intervene.{name}.{}", self.id("random")),
                definition: format!(
                    "guided arms whose rate lies {} the other policy's than that of as many random positions, at a false-discovery rate of {FALSE_DISCOVERIES} (Benjamini-Hochberg); n counts guided arms, identities left out",
                    if further { "nearer to" } else { "farther from" }
                ),
                value: Some(count(further) as f64),
                unit: "count".into(),
                low: None,
                high: None,
                level: None,
                method: "count".into(),
                n: defined.len() as u64,
                n_clusters: units,
                n_invalid: 0,
                thresholds: [("false_discovery_rate".to_owned(), json!(FALSE_DISCOVERIES))].into(),
                label: None,
            })
            .collect()
    }
}

/// A paired comparison.
#[derive(Default)]
struct Test {
    p: Option<f64>,
    method: String,
    gained: u64,
    lost: u64,
    pairs: u64,
}

fn mean_difference(a: &Cell<'_>, b: &Cell<'_>) -> f64 {
    let rate = |c: &Cell<'_>| {
        let known: Vec<bool> = c.units.iter().filter_map(|u| u.value).collect();
        known.iter().filter(|v| **v).count() as f64 / known.len().max(1) as f64
    };
    rate(a) - rate(b)
}
