//! Arms: what is run, and the table that is run where nobody chose.

use std::fmt;

use forkscope_records::types::Direction;

use super::guide::{Budget, Family, Guide, Guides, Signal};
use crate::AuditError;
use crate::gates::{Control, Gate, Matching, RANDOM_HIGH_NATS};

/// Budgets of the curve where none are given.
pub const BUDGETS: [Budget; 6] = [
    Budget::Share(0.01),
    Budget::Share(0.02),
    Budget::Share(0.05),
    Budget::Share(0.1),
    Budget::Share(0.2),
    Budget::Share(1.0),
];

/// The budget at which every control is run.
const STUDIED: Budget = Budget::Share(0.05);

/// How a control differs from the arm that it is matched to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Versus {
    /// Other positions, the other policy's token.
    Positions(Control),
    /// As many positions where the two policies would write different tokens,
    /// uniformly among those.
    RandomChanged,
    /// Where the guide changes a token, a random one of the generator's 20 most
    /// probable, other than its own, in the place of the other policy's.
    RandomToken,
}

impl fmt::Display for Versus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Positions(control) => control.fmt(f),
            Self::RandomChanged => f.write_str("random-changed"),
            Self::RandomToken => f.write_str("random-token"),
        }
    }
}

impl Versus {
    /// Reads a control's name.
    pub(crate) fn parse(text: &str) -> Result<Self, AuditError> {
        match text.trim() {
            "random-changed" => Ok(Self::RandomChanged),
            "random-token" => Ok(Self::RandomToken),
            other => match format!("{other}@all").parse::<Gate>()? {
                Gate::Control(control, _) => Ok(Self::Positions(control)),
                _ => Err(AuditError::Gate {
                    gate: other.to_owned(),
                    problem: "this is no control".into(),
                }),
            },
        }
    }

    /// Whether it is matched by tenths of entropy over other problems.
    fn needs_calibration(&self) -> bool {
        matches!(
            self,
            Self::Positions(Control::Matched(Matching::PositionAndEntropy))
        )
    }
}

/// What an arm does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// The untouched generator.
    None,
    /// The other policy on its own.
    Other,
    /// The other policy's token where the guide says so.
    Guided(Guide),
    /// Matched to the guided arm of that guide.
    Control(Versus, Guide),
}

/// One arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arm {
    /// Whose tokens intrude.
    pub direction: Direction,
    /// What it does.
    pub kind: Kind,
}

impl Arm {
    /// Its name, the same in both directions.
    pub fn name(&self) -> String {
        match &self.kind {
            Kind::None => "none".into(),
            Kind::Other => "other".into(),
            Kind::Guided(guide) => guide.to_string(),
            Kind::Control(versus, guide) => format!("{versus}@{guide}"),
        }
    }

    /// Its gate in the grammar of gates.
    pub fn gate(&self) -> String {
        match &self.kind {
            Kind::Guided(guide) => guide.gate(),
            Kind::Control(versus, guide) => format!("{versus}@{}", guide.gate()),
            _ => self.name(),
        }
    }

    /// Its guide, or that of the arm that it is matched to.
    pub fn guide(&self) -> Option<&Guide> {
        match &self.kind {
            Kind::Guided(guide) | Kind::Control(_, guide) => Some(guide),
            _ => None,
        }
    }

    /// What it was calibrated to; empty where it was not.
    pub fn budget(&self) -> String {
        let budget = self.guide().and_then(Guide::budget);
        budget.map_or(String::new(), |b| b.to_string())
    }

    /// Whether it needs rollouts of other problems.
    pub fn needs_calibration(&self) -> bool {
        match &self.kind {
            Kind::None | Kind::Other => false,
            Kind::Guided(guide) => guide.needs_calibration(),
            Kind::Control(versus, guide) => guide.needs_calibration() || versus.needs_calibration(),
        }
    }

    /// Whether its text is the other policy's by construction.
    pub fn is_identity(&self, temperature: f64) -> bool {
        matches!(&self.kind, Kind::Guided(guide) if guide.is_identity(temperature))
    }
}

/// The arms of one direction: `none`, `other`, what was asked for, and every
/// arm that a control needs beside it. Each arm is there once.
///
/// `gates` are guides, families (which take every budget) or controls of either,
/// as text; without any it is the full table.
pub fn arms(
    direction: Direction,
    gates: &[String],
    budgets: &[Budget],
) -> Result<Vec<Arm>, AuditError> {
    let mut kinds = vec![Kind::None, Kind::Other];
    match gates.is_empty() {
        true => kinds.extend(full_table(budgets)),
        false => {
            for gate in gates {
                kinds.extend(read(gate, budgets)?);
            }
        }
    }
    let mut arms: Vec<Arm> = Vec::new();
    let mut add = |kind: Kind| {
        let arm = Arm { direction, kind };
        if !arms.contains(&arm) {
            arms.push(arm);
        }
    };
    for kind in kinds {
        if let Kind::Control(_, guide) = kind {
            add(Kind::Guided(guide));
        }
        add(kind);
    }
    Ok(arms)
}

fn read(text: &str, budgets: &[Budget]) -> Result<Vec<Kind>, AuditError> {
    let (versus, guides) = match text.split_once('@') {
        Some((versus, guides)) => {
            let versus = Versus::parse(versus).map_err(|error| match error {
                AuditError::Gate { problem, .. } => AuditError::Gate {
                    gate: text.to_owned(),
                    problem: format!("{problem}; also random-changed and random-token"),
                },
                other => other,
            })?;
            (Some(versus), guides)
        }
        None => (None, text),
    };
    let guides: Vec<Guide> = match guides.parse::<Guides>()? {
        Guides::One(guide) => vec![guide],
        Guides::Family(family) => budgets
            .iter()
            .map(|b| Guide::budgeted(family, *b))
            .collect(),
    };
    let kind = |guide| match versus {
        Some(versus) => Kind::Control(versus, guide),
        None => Kind::Guided(guide),
    };
    Ok(guides.into_iter().map(kind).collect())
}

/// Two families along the budgets with random positions beside each point, the
/// published gates, and every control of three of them.
fn full_table(budgets: &[Budget]) -> Vec<Kind> {
    let mut kinds = Vec::new();
    let entropy = Family::Signal(Signal::Entropy);
    let js = Family::Signal(Signal::Js);
    let random = Versus::Positions(Control::Random);
    for family in [entropy, js] {
        for budget in budgets {
            let guide = Guide::budgeted(family, *budget);
            kinds.push(Kind::Guided(guide));
            if guide != Guide::All {
                kinds.push(Kind::Control(random, guide));
            }
        }
    }
    let published = Guide::High(Signal::Entropy, crate::gates::Rule::Above(1.2));
    kinds.push(Kind::Guided(published));
    kinds.push(Kind::Control(random, published));
    kinds.push(Kind::Guided(Guide::Changed));
    let studied = budgets.iter().find(|b| **b == STUDIED).or(budgets.first());
    let studied = studied.into_iter().flat_map(|b| {
        let one = |family| Guide::budgeted(family, *b);
        [one(entropy), one(js)]
    });
    for guide in studied.chain([Guide::Changed]).filter(|g| *g != Guide::All) {
        kinds.extend(controls().map(|versus| Kind::Control(versus, guide)));
    }
    kinds
}

/// Every control of the full table.
fn controls() -> impl Iterator<Item = Versus> {
    let positions = [
        Control::Random,
        Control::Matched(Matching::Position),
        Control::Matched(Matching::PositionAndEntropy),
        Control::MatchedMass,
        Control::RandomHigh(RANDOM_HIGH_NATS),
        Control::First,
    ];
    let positions = positions.into_iter().map(Versus::Positions);
    positions.chain([Versus::RandomChanged, Versus::RandomToken])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(gates: &[&str]) -> Result<Vec<String>, AuditError> {
        let gates: Vec<String> = gates.iter().map(|g| (*g).to_owned()).collect();
        let found = arms(Direction::Forward, &gates, &BUDGETS)?;
        Ok(found.iter().map(Arm::name).collect())
    }

    #[test]
    fn a_control_brings_its_reference_and_nothing_is_there_twice() -> Result<(), AuditError> {
        assert_eq!(
            names(&["random@js:0.1", "js:0.1"])?,
            ["none", "other", "js:0.1", "random@js:0.1"]
        );
        assert_eq!(
            names(&["random-token@changed", "js"])?,
            [
                "none",
                "other",
                "changed",
                "random-token@changed",
                "js/1%",
                "js/2%",
                "js/5%",
                "js/10%",
                "js/20%",
                "all"
            ]
        );
        let full = names(&[])?;
        let mut sorted = full.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(full.len(), sorted.len());
        assert!(
            full.contains(&"matched-random@entropy/5%".to_owned()),
            "{full:?}"
        );
        assert!(
            full.contains(&"random-high:0.5@changed".to_owned()),
            "{full:?}"
        );
        Ok(())
    }

    #[test]
    fn wrong_controls_name_themselves() {
        for gate in ["x@js", "random@random@js", "random@", "@js"] {
            let error = names(&[gate])
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(error.contains("gate"), "{gate}: {error}");
        }
    }
}
