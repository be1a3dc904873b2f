//! Whether two expressions have the same value.
//!
//! Constants: as exact fractions where both are rational, else in floats with
//! error bounds, beyond their range by sign and logarithm. With variables: at
//! random points, on the real numbers where both sides stay real. A point that
//! disagrees decides; agreement needs several points.

use std::cell::Cell;

use crate::equivalence::Equivalence::{self, Different, Same, Unknown};
use crate::math::approx::Approx;
use crate::math::exact::Exact;
use crate::math::expr::{Expr, Traits};
use crate::math::fuel::Fuel;
use crate::math::magnitude::magnitude;
use crate::math::points::{ATTEMPTS, Domain, NEEDED, NEEDED_STEPS, Points};
use crate::math::value::Point;

/// Two expressions with what a comparison of them needs.
pub(crate) struct Pair<'p> {
    a: &'p Expr,
    b: &'p Expr,
    symbols: u16,
    imaginary: bool,
    domain: Domain,
    log: bool,
    fuel: &'p Fuel,
}

/// Both values at a point, and whether they are on the real numbers.
struct Seen {
    a: Approx,
    b: Approx,
    real: bool,
}

/// Whether two expressions are the same number or function.
pub(crate) fn same_value(a: &Expr, b: &Expr, points: &Points, fuel: &Fuel) -> Equivalence {
    match (a.infinity(), b.infinity()) {
        (Some(x), Some(y)) if x == y => return Same,
        (Some(_), _) | (_, Some(_)) => return Different,
        _ => {}
    }
    let (of_a, of_b) = (a.traits(), b.traits());
    if of_a.infinite || of_b.infinite {
        return Unknown;
    }
    let pair = Pair::new(a, b, &of_a, &of_b, fuel);
    if pair.symbols == 0
        && let Some(decided) = pair.exactly()
    {
        return decided;
    }
    // A logarithm without a base is natural or decadic; either will do, as long
    // as both sides mean the same.
    let natural = pair.numerically(points.clone(), false);
    match pair.log && natural != Same {
        true if pair.numerically(points.clone(), true) == Same => Same,
        _ => natural,
    }
}

/// Whether two expressions vanish together: `a = c b` with one constant `c`,
/// positive where `oriented`.
pub(crate) fn same_zeros(
    a: &Expr,
    b: &Expr,
    oriented: bool,
    points: &Points,
    fuel: &Fuel,
) -> Equivalence {
    let (of_a, of_b) = (a.traits(), b.traits());
    if of_a.infinite || of_b.infinite {
        return Unknown;
    }
    let pair = Pair::new(a, b, &of_a, &of_b, fuel);
    let mut first: Option<Seen> = None;
    pair.agree(points.clone(), false, |seen| {
        // A common zero says nothing of the factor.
        if seen.a.size() <= seen.a.err && seen.b.size() <= seen.b.err {
            return None;
        }
        let Some(start) = &first else {
            let positive = (seen.a.re > 0.0) == (seen.b.re > 0.0);
            let vanishes = seen.a.size() <= seen.a.err || seen.b.size() <= seen.b.err;
            let fits = !vanishes && (positive || !oriented);
            first = Some(Seen { ..*seen });
            return Some(fits);
        };
        let left = seen.a.times(start.b)?;
        left.equals(start.a.times(seen.b)?)
    })
}

impl<'p> Pair<'p> {
    fn new(a: &'p Expr, b: &'p Expr, of_a: &Traits, of_b: &Traits, fuel: &'p Fuel) -> Self {
        Self {
            a,
            b,
            symbols: of_a.symbols.max(of_b.symbols),
            imaginary: of_a.imaginary || of_b.imaginary,
            domain: match () {
                () if of_a.whole || of_b.whole => Domain::Small,
                () if of_a.steps || of_b.steps => Domain::Large,
                () => Domain::Reals,
            },
            log: of_a.log || of_b.log,
            fuel,
        }
    }

    fn exactly(&self) -> Option<Equivalence> {
        let (a, b) = (Exact::of(self.a, self.fuel), Exact::of(self.b, self.fuel));
        match a?.equals(&b?, self.fuel) {
            Some(true) => Some(Same),
            Some(false) => Some(Different),
            None => None,
        }
    }

    fn numerically(&self, points: Points, decadic: bool) -> Equivalence {
        let found = self.agree(points, decadic, |seen| seen.a.equals(seen.b));
        match found == Unknown && self.symbols == 0 {
            true => self.by_magnitude(),
            false => found,
        }
    }

    /// Both sides at one point.
    fn at(&self, values: &[f64], decadic: bool) -> Option<Seen> {
        let point = Point {
            values,
            decadic,
            fuel: self.fuel,
            left_reals: Cell::new(false),
        };
        let (a, b) = (point.value(self.a), point.value(self.b));
        Some(Seen {
            a: a?,
            b: b?,
            real: self.imaginary || !point.left_reals.get(),
        })
    }

    /// Asks at points until enough agree or one does not. Points off the real
    /// numbers count only if there are no others.
    fn agree(
        &self,
        mut points: Points,
        decadic: bool,
        mut ask: impl FnMut(&Seen) -> Option<bool>,
    ) -> Equivalence {
        let constant = self.symbols == 0;
        let mut agreed = 0;
        let mut aside = Vec::new();
        let attempts = if constant { 1 } else { ATTEMPTS };
        let needed = match self.domain {
            Domain::Large => NEEDED_STEPS,
            _ => NEEDED,
        };
        for attempt in 0..attempts {
            let values = points.draw(attempt, self.domain, self.symbols);
            match self.at(&values, decadic) {
                Some(seen) if seen.real => match ask(&seen) {
                    Some(true) => agreed += 1,
                    Some(false) => return Different,
                    None => {}
                },
                Some(seen) => aside.push(seen),
                None => {}
            }
            if agreed >= needed {
                return Same;
            }
        }
        if agreed == 0 {
            for seen in &aside {
                match ask(seen) {
                    Some(true) => agreed += 1,
                    Some(false) => return Different,
                    None => {}
                }
            }
        }
        let enough = if constant { 1 } else { 2 };
        if agreed >= enough { Same } else { Unknown }
    }

    fn by_magnitude(&self) -> Equivalence {
        let point = Point {
            values: &[],
            decadic: false,
            fuel: self.fuel,
            left_reals: Cell::new(false),
        };
        let (a, b) = (magnitude(self.a, &point), magnitude(self.b, &point));
        let (Some(a), Some(b)) = (a, b) else {
            return Unknown;
        };
        match a.ln.equals(b.ln) {
            _ if a.negative != b.negative => Different,
            Some(false) => Different,
            Some(true) if a.ln.err <= 1e-3 => Same,
            _ => Unknown,
        }
    }
}
