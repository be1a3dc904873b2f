//! Numbers and expressions with units.
//!
//! A unit that only one side writes is understood: `10 cm` is `10`. Percent and
//! words of scale are not: `10%` is `0.1`, `5 million` is `5000000`.

use crate::answer::compare::Comparison;
use crate::answer::unit::Unit;
use crate::equivalence::Equivalence::{self, Different, Same, Unknown};
use crate::math::expr::Expr;
use crate::math::literal::Literal;
use crate::math::scalar::same_value;

pub(super) fn quantities(
    (a, of_a): (&Expr, Option<&Unit>),
    (b, of_b): (&Expr, Option<&Unit>),
    c: &Comparison<'_>,
) -> Equivalence {
    let same = |a: &Expr, b: &Expr| same_value(a, b, c.points, c.fuel);
    match (of_a, of_b) {
        (None, None) => same(a, b),
        (Some(unit), None) => understood(a, unit, b, c),
        (None, Some(unit)) => understood(b, unit, a, c),
        (Some(x), Some(y)) => {
            // "15 units" and "50%" do not say of what.
            let free = |unit: &Unit| unit.bases.is_empty();
            let comparable = x.bases == y.bases || free(x) || free(y);
            if comparable {
                let full = !free(x) && !free(y);
                return same(&sized(a, x, full), &sized(b, y, full));
            }
            let decided = x.known && y.known;
            match decided || same(&sized(a, x, false), &sized(b, y, false)) == Different {
                true => Different,
                false => Unknown,
            }
        }
    }
}

/// A quantity with a unit against a number without.
fn understood(value: &Expr, unit: &Unit, bare: &Expr, c: &Comparison<'_>) -> Equivalence {
    let same = |a: &Expr, b: &Expr| same_value(a, b, c.points, c.fuel);
    let found = same(&sized(value, unit, false), bare);
    if found == Same {
        return found;
    }
    let also = match () {
        // 90 degrees are pi/2.
        () if unit.is_degrees() => {
            let radians = Expr::Product(vec![value.clone(), Expr::Pi.over(Expr::whole(180))]);
            same(&radians, bare) == Same
        }
        () if unit.percent && c.lenient => same(value, bare) == Same,
        () => false,
    };
    if also { Same } else { found }
}

/// The value in base units, or only with percent and words of scale applied.
fn sized(value: &Expr, unit: &Unit, full: bool) -> Expr {
    let mut factors = vec![value.clone()];
    let mut push = |(top, bottom): (u64, u64)| {
        if (top, bottom) != (1, 1) {
            factors.extend(number(top));
            factors.extend(number(bottom).map(|n| Expr::Inverse(Box::new(n))));
        }
    };
    push(unit.scale);
    if full {
        push(unit.factor);
    }
    match factors.len() {
        1 => factors.pop().unwrap_or_else(|| value.clone()),
        _ => Expr::Product(factors),
    }
}

fn number(value: u64) -> Option<Expr> {
    Literal::new(&value.to_string(), 0, 0).map(Expr::Number)
}
