//! Exact values of expressions without variables.
//!
//! First in 128 bits, then with big integers of at most [`MAX_BITS`] bits as
//! unreduced fractions: two of them are equal if n1 d2 = n2 d1.

use num_bigint::{BigInt, Sign};

use crate::math::expr::Expr;
use crate::math::fuel::Fuel;
use crate::math::literal::Literal;
use crate::math::rational::Rational;
use crate::math::words::Function;

/// Bits of a numerator or denominator.
const MAX_BITS: u64 = 1 << 16;
/// Largest exponent and factorial.
const MAX_WHOLE: i128 = 1 << 16;

/// An exact value in either precision.
#[derive(Debug, Clone)]
pub(crate) enum Exact {
    Small(Rational),
    Big(Fraction),
}

impl Exact {
    /// The value of an expression, if it has one that is rational and in bounds.
    pub(crate) fn of(expr: &Expr, fuel: &Fuel) -> Option<Self> {
        match evaluate::<Rational>(expr, fuel) {
            Found::Value(value) => Some(Self::Small(value)),
            Found::Nothing => None,
            Found::TooLarge => match evaluate::<Fraction>(expr, fuel) {
                Found::Value(value) => Some(Self::Big(value)),
                _ => None,
            },
        }
    }

    /// Whether two values are equal; `None` if that takes too long.
    pub(crate) fn equals(&self, other: &Self, fuel: &Fuel) -> Option<bool> {
        if let (Self::Small(a), Self::Small(b)) = (self, other) {
            return Some(a == b);
        }
        let (a, b) = (self.big(), other.big());
        let left = product(&a.top, &b.bottom, fuel)?;
        Some(left == product(&b.top, &a.bottom, fuel)?)
    }

    fn big(&self) -> Fraction {
        match self {
            Self::Small(value) => {
                let (top, bottom) = value.parts();
                Fraction {
                    top: top.into(),
                    bottom: bottom.into(),
                }
            }
            Self::Big(value) => value.clone(),
        }
    }
}

/// A fraction, not reduced, with a denominator that is not zero.
#[derive(Debug, Clone)]
pub(crate) struct Fraction {
    top: BigInt,
    bottom: BigInt,
}

/// What came of an evaluation.
enum Found<T> {
    Value(T),
    /// Irrational, undefined, or with variables.
    Nothing,
    /// Rational so far, but beyond what this precision holds.
    TooLarge,
}

macro_rules! found {
    ($found:expr) => {
        match $found {
            Found::Value(value) => value,
            Found::Nothing => return Found::Nothing,
            Found::TooLarge => return Found::TooLarge,
        }
    };
}

fn held<T>(value: Option<T>) -> Found<T> {
    value.map_or(Found::TooLarge, Found::Value)
}

/// Arithmetic of one precision; `None` is beyond its bounds.
trait Arithmetic: Sized + Clone {
    fn literal(literal: &Literal) -> Option<Self>;
    fn whole(value: i128) -> Self;
    fn plus(self, other: Self, fuel: &Fuel) -> Option<Self>;
    fn times(self, other: Self, fuel: &Fuel) -> Option<Self>;
    fn inverse(self) -> Option<Self>;
    fn is_zero(&self) -> bool;
    fn raised(self, exponent: u32, fuel: &Fuel) -> Option<Self>;
    /// The value if it is a small whole number.
    fn as_whole(&self) -> Option<i128>;
    fn is_negative(&self) -> bool;
}

fn evaluate<T: Arithmetic>(expr: &Expr, fuel: &Fuel) -> Found<T> {
    if fuel.take(1).is_none() {
        return Found::Nothing;
    }
    match expr {
        Expr::Number(literal) => held(T::literal(literal)),
        Expr::Sum(terms) => fold(terms, 0, T::plus, fuel),
        Expr::Product(factors) => fold(factors, 1, T::times, fuel),
        Expr::Negative(inner) => {
            let value: T = found!(evaluate(inner, fuel));
            held(value.times(T::whole(-1), fuel))
        }
        Expr::Inverse(inner) => {
            let value: T = found!(evaluate(inner, fuel));
            if value.is_zero() {
                return Found::Nothing;
            }
            held(value.inverse())
        }
        Expr::Power(base, exponent) => {
            let base: T = found!(evaluate(base, fuel));
            let exponent: T = found!(evaluate(exponent, fuel));
            power(base, &exponent, fuel)
        }
        Expr::Binomial(n, k) => {
            let n: T = found!(evaluate(n, fuel));
            let k: T = found!(evaluate(k, fuel));
            binomial(&n, &k, fuel)
        }
        Expr::Call(Function::Factorial, inner) => {
            let n: T = found!(evaluate(inner, fuel));
            match n.as_whole() {
                Some(n @ 0..=MAX_WHOLE) => range_product(1, n, fuel),
                _ => Found::Nothing,
            }
        }
        Expr::Call(Function::Abs, inner) => {
            let value: T = found!(evaluate(inner, fuel));
            match value.is_negative() {
                true => held(value.times(T::whole(-1), fuel)),
                false => Found::Value(value),
            }
        }
        _ => Found::Nothing,
    }
}

fn fold<T: Arithmetic>(
    terms: &[Expr],
    start: i128,
    join: fn(T, T, &Fuel) -> Option<T>,
    fuel: &Fuel,
) -> Found<T> {
    let mut result = T::whole(start);
    let mut too_large = false;
    for term in terms {
        // An irrational term decides at once, however large the others are.
        match evaluate::<T>(term, fuel) {
            Found::Value(value) => match join(result.clone(), value, fuel) {
                Some(joined) => result = joined,
                None => too_large = true,
            },
            Found::Nothing => return Found::Nothing,
            Found::TooLarge => too_large = true,
        }
    }
    match too_large {
        true => Found::TooLarge,
        false => Found::Value(result),
    }
}

fn power<T: Arithmetic>(base: T, exponent: &T, fuel: &Fuel) -> Found<T> {
    let Some(exponent) = exponent.as_whole() else {
        return Found::Nothing;
    };
    if base.is_zero() && exponent <= 0 {
        return Found::Nothing;
    }
    let Ok(size) = u32::try_from(exponent.unsigned_abs()) else {
        return Found::TooLarge;
    };
    let base = match exponent < 0 {
        true => base.inverse(),
        false => Some(base),
    };
    held(base.and_then(|base| base.raised(size, fuel)))
}

fn binomial<T: Arithmetic>(n: &T, k: &T, fuel: &Fuel) -> Found<T> {
    let (Some(n @ 0..=MAX_WHOLE), Some(k @ 0..=MAX_WHOLE)) = (n.as_whole(), k.as_whole()) else {
        return Found::Nothing;
    };
    if k > n {
        return Found::Value(T::whole(0));
    }
    let k = k.min(n - k);
    let top: T = found!(range_product(n - k + 1, n, fuel));
    let bottom: T = found!(range_product(1, k, fuel));
    held(
        bottom
            .inverse()
            .and_then(|inverse| top.times(inverse, fuel)),
    )
}

fn range_product<T: Arithmetic>(from: i128, to: i128, fuel: &Fuel) -> Found<T> {
    let mut result = T::whole(1);
    for factor in from..=to {
        match result.times(T::whole(factor), fuel) {
            Some(value) => result = value,
            None => return Found::TooLarge,
        }
    }
    Found::Value(result)
}

impl Arithmetic for Rational {
    fn literal(literal: &Literal) -> Option<Self> {
        literal.small()
    }
    fn whole(value: i128) -> Self {
        Self::whole(value)
    }
    fn plus(self, other: Self, _: &Fuel) -> Option<Self> {
        self.plus(other)
    }
    fn times(self, other: Self, fuel: &Fuel) -> Option<Self> {
        fuel.take(1)?;
        self.times(other)
    }
    fn inverse(self) -> Option<Self> {
        self.inverse()
    }
    fn is_zero(&self) -> bool {
        self.parts().0 == 0
    }
    fn raised(self, exponent: u32, _: &Fuel) -> Option<Self> {
        match exponent {
            0 => Some(Self::whole(1)),
            _ => self.power(i32::try_from(exponent).ok()?),
        }
    }
    fn as_whole(&self) -> Option<i128> {
        (*self).as_whole()
    }
    fn is_negative(&self) -> bool {
        self.parts().0 < 0
    }
}

/// A product in bounds.
fn product(a: &BigInt, b: &BigInt, fuel: &Fuel) -> Option<BigInt> {
    let (x, y) = (a.bits(), b.bits());
    let steps = (x / 64 + 1).checked_mul(y / 64 + 1)? / 8 + 1;
    fuel.take(u32::try_from(steps).ok()?)?;
    (x + y <= 4 * MAX_BITS).then(|| a * b)
}

impl Fraction {
    fn bounded(self) -> Option<Self> {
        let fits = self.top.bits() <= MAX_BITS && self.bottom.bits() <= MAX_BITS;
        fits.then_some(self)
    }
}

impl Arithmetic for Fraction {
    fn literal(literal: &Literal) -> Option<Self> {
        let (digits, shift) = literal.parts();
        let digits: BigInt = digits.parse().ok()?;
        let scale = BigInt::from(10).pow(shift.unsigned_abs());
        let one = BigInt::from(1);
        let (top, bottom) = match shift >= 0 {
            true => (digits * scale, one),
            false => (digits, scale),
        };
        Self { top, bottom }.bounded()
    }
    fn whole(value: i128) -> Self {
        Self {
            top: value.into(),
            bottom: 1.into(),
        }
    }
    fn plus(self, other: Self, fuel: &Fuel) -> Option<Self> {
        let left = product(&self.top, &other.bottom, fuel)?;
        let right = product(&other.top, &self.bottom, fuel)?;
        Self {
            top: left + right,
            bottom: product(&self.bottom, &other.bottom, fuel)?,
        }
        .bounded()
    }
    fn times(self, other: Self, fuel: &Fuel) -> Option<Self> {
        Self {
            top: product(&self.top, &other.top, fuel)?,
            bottom: product(&self.bottom, &other.bottom, fuel)?,
        }
        .bounded()
    }
    fn inverse(self) -> Option<Self> {
        (!self.is_zero()).then_some(Self {
            top: self.bottom,
            bottom: self.top,
        })
    }
    fn is_zero(&self) -> bool {
        self.top.sign() == Sign::NoSign
    }
    fn raised(self, exponent: u32, fuel: &Fuel) -> Option<Self> {
        let bits = self.top.bits().max(self.bottom.bits()).max(1) - 1;
        if bits.checked_mul(u64::from(exponent))? > MAX_BITS {
            return None;
        }
        fuel.take(20_000)?;
        Self {
            top: self.top.pow(exponent),
            bottom: self.bottom.pow(exponent),
        }
        .bounded()
    }
    fn as_whole(&self) -> Option<i128> {
        // Unreduced: only where the denominator divides.
        if self.top.bits().max(self.bottom.bits()) > 1_024 {
            return None;
        }
        let whole = &self.top / &self.bottom;
        let exact = &whole * &self.bottom == self.top;
        exact.then(|| i128::try_from(whole).ok()).flatten()
    }
    fn is_negative(&self) -> bool {
        (self.top.sign() == Sign::Minus) != (self.bottom.sign() == Sign::Minus)
    }
}
