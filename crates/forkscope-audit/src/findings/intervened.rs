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

mod arms;
mod pairs;

use std::collections::HashMap;

use forkscope_records::types::{Direction, Finding, Findings, Intervention};
use serde_json::{Value, json};

use super::FindingSettings;
use super::catalogue::{Catalogue, Population, Sum};
use crate::AuditError;
use crate::gates::Control;
use crate::intervene::{Arm, Calibration, Kind, Versus};
use pairs::mean_difference;

/// p above which two policies count as not different.
const NOISE: f64 = 0.05;

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

    fn word(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Behaviour => "behaviour",
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
    changed: Sum,
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
        if way.p.is_some_and(|p| p <= NOISE) {
            found.extend(self.verdict(&tests, mean_difference(other, none)));
        }
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
        let changed = sum(&|u| u.changed as f64);
        let mass = sum(&|u| u.mass);
        Cell {
            arm,
            id: self.id(&arm.name()),
            of,
            hits: catalogue.sum(units.iter().filter_map(hit)),
            tokens,
            touched,
            changed,
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
            ("counted", json!(self.table.counted.word())),
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
}

#[cfg(test)]
mod tests;
