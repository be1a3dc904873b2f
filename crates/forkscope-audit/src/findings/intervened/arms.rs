//! What an arm did and took, and how a control came out.

use forkscope_records::types::Finding;
use serde_json::json;

use super::pairs::Test;
use super::{Cell, NOISE, OneTable, Unit};
use crate::AuditError;
use crate::findings::catalogue::{Catalogue, Entry, Estimate, Population};
use crate::intervene::{Kind, Versus};

impl OneTable<'_> {
    pub(super) fn of_cell(
        &self,
        catalogue: &mut Catalogue,
        cell: &Cell<'_>,
    ) -> Result<(), AuditError> {
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
                cell.changed,
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

    pub(super) fn recovery(
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

    pub(super) fn difference(&self, catalogue: &mut Catalogue, cell: &Cell<'_>, none: &Cell<'_>) {
        self.subtract(catalogue, (cell, none), format!("{}.minus.none", cell.id));
    }

    /// A control against its guided arm.
    pub(super) fn against(&self, catalogue: &mut Catalogue, cell: &Cell<'_>, guided: &Cell<'_>) {
        let id = format!("{}.minus.{}", guided.id, cell.arm.name());
        self.subtract(catalogue, (guided, cell), id);
        // What the control's number is matched to.
        let changes = matches!(
            cell.arm.kind,
            Kind::Control(Versus::RandomChanged | Versus::RandomToken, _)
        );
        let count = match changes {
            true => (
                "count_ratio",
                cell.changed,
                guided.changed,
                "positions that the control changed / positions that its guided arm changed",
            ),
            false => (
                "count_ratio",
                cell.touched,
                guided.touched,
                "positions that the control touched / positions that its guided arm touched",
            ),
        };
        let mass = (
            "mass_ratio",
            cell.mass,
            guided.mass,
            "the base's entropy summed over the control's positions / the same of its guided arm",
        );
        let ratios = [count, mass];
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

    pub(super) fn subtract(
        &self,
        catalogue: &mut Catalogue,
        (a, b): (&Cell<'_>, &Cell<'_>),
        id: String,
    ) {
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
    pub(super) fn within_noise(&self, found: &mut [Finding], way: &Test) {
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
}
