//! The value of an expression at a point, in floats with error bounds.

use std::cell::Cell;
use std::f64::consts::{E, LN_10, PI};

use crate::math::approx::Approx;
use crate::math::expr::Expr;
use crate::math::fuel::Fuel;
use crate::math::literal::Literal;
use crate::math::words::Function;

/// Largest factorial of a float.
const MAX_FACTORIAL: f64 = 170.0;

/// Where an expression is evaluated.
pub(crate) struct Point<'p> {
    /// Values of the symbols.
    pub(crate) values: &'p [f64],
    /// The base of a logarithm that names none: ten, else e.
    pub(crate) decadic: bool,
    pub(crate) fuel: &'p Fuel,
    /// A root, a logarithm or a power of real numbers was not real.
    pub(crate) left_reals: Cell<bool>,
}

impl Point<'_> {
    /// The value; `None` where it is undefined or out of range.
    pub(crate) fn value(&self, expr: &Expr) -> Option<Approx> {
        self.fuel.take(1)?;
        match expr {
            Expr::Number(literal) => number(literal),
            Expr::Symbol(id) => self.values.get(usize::from(*id)).map(|v| Approx::exact(*v)),
            Expr::Pi => Some(Approx::rounded(PI)),
            Expr::E => Some(Approx::rounded(E)),
            Expr::I => Some(Approx::I),
            Expr::Infinity => None,
            Expr::Sum(terms) => terms
                .iter()
                .try_fold(Approx::ZERO, |sum, term| sum.plus(self.value(term)?)),
            Expr::Product(factors) => factors
                .iter()
                .try_fold(Approx::ONE, |product, f| product.times(self.value(f)?)),
            Expr::Negative(inner) => Some(self.value(inner)?.negative()),
            Expr::Inverse(inner) => self.value(inner)?.inverse(),
            Expr::Power(base, exponent) => match (&**base, self.value(exponent)?) {
                (Expr::E, exponent) => exponent.exp(),
                (base, exponent) => self.power(self.value(base)?, exponent),
            },
            Expr::Root(degree, radicand) => self.root(self.value(degree)?, self.value(radicand)?),
            Expr::LogBase(base, argument) => {
                let base = self.noted(self.value(base)?, Approx::ln)?;
                let argument = self.noted(self.value(argument)?, Approx::ln)?;
                argument.times(base.inverse()?)
            }
            Expr::Binomial(n, k) => binomial(self.value(n)?, self.value(k)?),
            Expr::Call(function, argument) => self.call(*function, self.value(argument)?),
        }
    }

    /// Applies a function that may leave the real numbers, and notes if it does.
    fn noted(&self, x: Approx, function: fn(Approx) -> Option<Approx>) -> Option<Approx> {
        let value = function(x)?;
        if x.is_real() && !value.is_real() {
            self.left_reals.set(true);
        }
        Some(value)
    }

    fn power(&self, base: Approx, exponent: Approx) -> Option<Approx> {
        if let Some(whole) = whole(exponent) {
            return base.power(whole);
        }
        if base.size() == 0.0 {
            return (exponent.is_real() && exponent.re > 0.0).then_some(Approx::ZERO);
        }
        if exponent.is_real() && exponent.re == 0.5 && exponent.err == 0.0 {
            return self.noted(base, Approx::sqrt);
        }
        self.noted(base, Approx::ln)?.times(exponent)?.exp()
    }

    /// An odd root of a negative number is the real one, as schools have it.
    fn root(&self, degree: Approx, radicand: Approx) -> Option<Approx> {
        let odd = whole(degree).is_some_and(|degree| degree % 2 != 0);
        let inverse = degree.inverse()?;
        match odd && radicand.is_real() && radicand.re < 0.0 {
            true => Some(self.power(radicand.negative(), inverse)?.negative()),
            false => self.power(radicand, inverse),
        }
    }

    fn call(&self, function: Function, x: Approx) -> Option<Approx> {
        match function {
            Function::Sin => Some(x.sin_cos()?.0),
            Function::Cos => Some(x.sin_cos()?.1),
            Function::Tan => ratio(x.sin_cos()?),
            Function::Cot => swapped(x.sin_cos()?),
            Function::Sec => x.sin_cos()?.1.inverse(),
            Function::Csc => x.sin_cos()?.0.inverse(),
            Function::Arcsin => arc(x, f64::asin),
            Function::Arccos => arc(x, f64::acos),
            Function::Arctan => x.real(x.re.atan(), 1.0),
            Function::Sinh => Some(hyperbolic(x)?.0),
            Function::Cosh => Some(hyperbolic(x)?.1),
            Function::Tanh => ratio(hyperbolic(x)?),
            Function::Exp => x.exp(),
            Function::Ln => self.noted(x, Approx::ln),
            Function::Log if self.decadic => self
                .noted(x, Approx::ln)?
                .times(Approx::rounded(LN_10).inverse()?),
            Function::Log => self.noted(x, Approx::ln),
            Function::Abs => Some(Approx {
                re: x.size(),
                im: 0.0,
                err: x.err + f64::EPSILON * x.size(),
            }),
            Function::Floor => step(x, f64::floor),
            Function::Ceiling => step(x, f64::ceil),
            Function::Factorial => factorial(x),
            Function::Sqrt => self.noted(x, Approx::sqrt),
        }
    }
}

fn number(literal: &Literal) -> Option<Approx> {
    let value = literal.approx();
    let exact = value.fract() == 0.0 && value.abs() < 9e15;
    value.is_finite().then_some(match exact {
        true => Approx::exact(value),
        false => Approx::rounded(value),
    })
}

/// The whole number that a value is, if it is surely one.
fn whole(x: Approx) -> Option<i32> {
    let exact = x.is_real() && x.err == 0.0 && x.re.fract() == 0.0;
    (exact && x.re.abs() <= 1e6).then_some(x.re as i32)
}

fn ratio((top, bottom): (Approx, Approx)) -> Option<Approx> {
    top.times(bottom.inverse()?)
}

fn swapped((bottom, top): (Approx, Approx)) -> Option<Approx> {
    top.times(bottom.inverse()?)
}

/// Arcsine and arccosine, real between -1 and 1.
fn arc(x: Approx, function: fn(f64) -> f64) -> Option<Approx> {
    let inside = x.re.clamp(-1.0, 1.0);
    if !x.is_real() || (x.re - inside).abs() > x.err {
        return None;
    }
    // The slope grows without bound at the ends; so does the error.
    let room = 1.0 - inside.abs();
    let slope = 1.0 / (room.max(x.err).max(f64::EPSILON)).sqrt();
    x.real(function(inside), slope)
}

/// Hyperbolic sine and cosine.
fn hyperbolic(x: Approx) -> Option<(Approx, Approx)> {
    let (ahead, back) = (x.exp()?, x.negative().exp()?);
    let half = Approx::exact(0.5);
    Some((
        ahead.plus(back.negative())?.times(half)?,
        ahead.plus(back)?.times(half)?,
    ))
}

/// Floor and ceiling. A value that cannot be told from a whole number is one.
fn step(x: Approx, function: fn(f64) -> f64) -> Option<Approx> {
    if !x.is_real() || x.re.abs() > 1e15 {
        return None;
    }
    let near = x.re.round();
    let value = match (x.re - near).abs() <= 4.0 * x.err {
        true => near,
        false => function(x.re),
    };
    Some(Approx::exact(value))
}

fn natural(x: Approx) -> Option<u32> {
    let near = x.re.round();
    let is_whole = x.is_real() && (x.re - near).abs() <= 4.0 * x.err;
    (is_whole && (0.0..=MAX_FACTORIAL).contains(&near)).then_some(near as u32)
}

fn factorial(x: Approx) -> Option<Approx> {
    let product = (1..=natural(x)?).fold(1.0, |product, n| product * f64::from(n));
    Some(Approx {
        re: product,
        im: 0.0,
        err: product * f64::EPSILON * MAX_FACTORIAL,
    })
}

fn binomial(n: Approx, k: Approx) -> Option<Approx> {
    let (n, k) = (natural(n)?, natural(k)?);
    let mut value = 1.0;
    for i in 0..k.min(n + 1) {
        value *= (f64::from(n) - f64::from(i)) / (f64::from(i) + 1.0);
    }
    Some(Approx {
        re: value,
        im: 0.0,
        err: value * f64::EPSILON * 2.0 * MAX_FACTORIAL,
    })
}
