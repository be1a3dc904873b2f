//! Sign and logarithm of constants beyond the range of floats and of exact
//! arithmetic: `10^{100000}`, `(10^6)!`.

use crate::math::approx::Approx;
use crate::math::expr::Expr;
use crate::math::fuel::Fuel;
use crate::math::value::Point;
use crate::math::words::Function;

/// Whether a constant is negative, and ln of its size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Magnitude {
    pub(crate) negative: bool,
    pub(crate) ln: Approx,
}

/// The magnitude of a constant made of products and powers; `None` for others.
pub(crate) fn magnitude(expr: &Expr, point: &Point<'_>) -> Option<Magnitude> {
    let fuel: &Fuel = point.fuel;
    fuel.take(1)?;
    match expr {
        Expr::Number(literal) => {
            let (digits, shift) = literal.parts();
            let head = digits.get(..digits.len().min(17))?;
            let tail = i32::try_from(digits.len() - head.len()).ok()?;
            let ln = Approx::rounded(head.parse().ok()?).ln()?;
            let tens = Approx::exact(f64::from(shift.checked_add(tail)?));
            let scale = tens.times(Approx::exact(10.0).ln()?)?;
            Some(positive(ln.plus(scale)?))
        }
        Expr::Product(factors) => {
            let mut product = positive(Approx::ZERO);
            for factor in factors {
                let next = magnitude(factor, point)?;
                product.negative ^= next.negative;
                product.ln = product.ln.plus(next.ln)?;
            }
            Some(product)
        }
        Expr::Negative(inner) => {
            let inner = magnitude(inner, point)?;
            Some(Magnitude {
                negative: !inner.negative,
                ..inner
            })
        }
        Expr::Inverse(inner) => {
            let inner = magnitude(inner, point)?;
            Some(Magnitude {
                ln: inner.ln.negative(),
                ..inner
            })
        }
        Expr::Power(base, exponent) => {
            let base = magnitude(base, point)?;
            let exponent = point.value(exponent).filter(|e| e.is_real())?;
            // The sign of a power of a negative number needs its parity.
            if base.negative {
                return None;
            }
            Some(positive(base.ln.times(exponent)?))
        }
        Expr::Call(Function::Factorial, argument) => {
            let n = point.value(argument)?;
            let large = n.is_real() && n.re >= 100.0 && n.re <= 1e15 && n.re.fract() == 0.0;
            large.then(|| stirling(n.re)).flatten().map(positive)
        }
        _ => {
            let value = point.value(expr).filter(|v| v.is_real())?;
            let size = Approx {
                re: value.re.abs(),
                ..value
            };
            Some(Magnitude {
                negative: value.re < 0.0,
                ln: size.ln()?,
            })
        }
    }
}

fn positive(ln: Approx) -> Magnitude {
    Magnitude {
        negative: false,
        ln,
    }
}

/// ln n! = n ln n - n + ln(2 pi n)/2 + 1/(12 n) - 1/(360 n^3), n >= 100: the
/// next term is below 1e-13.
fn stirling(n: f64) -> Option<Approx> {
    let ln = n * n.ln() - n + (2.0 * std::f64::consts::PI * n).ln() / 2.0 + 1.0 / (12.0 * n)
        - 1.0 / (360.0 * n * n * n);
    let err = 4.0 * f64::EPSILON * n * (n.ln() + 1.0) + 1e-13;
    Some(Approx {
        re: ln,
        im: 0.0,
        err,
    })
}
