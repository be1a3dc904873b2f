//! Complex numbers in floats that know how far they may be off.
//!
//! Every operation adds a bound of its own rounding, so that "equal" can mean
//! "closer than the arithmetic can tell", whatever the size of the numbers and
//! however much was cancelled.

const EPS: f64 = f64::EPSILON;

/// A complex value and a bound of its error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Approx {
    pub(crate) re: f64,
    pub(crate) im: f64,
    pub(crate) err: f64,
}

impl Approx {
    pub(crate) const ONE: Self = Self::exact(1.0);
    pub(crate) const ZERO: Self = Self::exact(0.0);
    pub(crate) const I: Self = Self {
        re: 0.0,
        im: 1.0,
        err: 0.0,
    };

    pub(crate) const fn exact(re: f64) -> Self {
        Self {
            re,
            im: 0.0,
            err: 0.0,
        }
    }

    /// A float that is off by rounding.
    pub(crate) fn rounded(re: f64) -> Self {
        Self {
            re,
            im: 0.0,
            err: re.abs() * EPS,
        }
    }

    /// The value, if it is finite. An imaginary part below the error is none.
    fn checked(re: f64, im: f64, err: f64) -> Option<Self> {
        let im = if im.abs() <= err { 0.0 } else { im };
        let finite = re.is_finite() && im.is_finite() && err.is_finite();
        finite.then_some(Self { re, im, err })
    }

    pub(crate) fn size(self) -> f64 {
        if self.im == 0.0 {
            self.re.abs()
        } else {
            self.re.hypot(self.im)
        }
    }

    pub(crate) fn is_real(self) -> bool {
        self.im == 0.0
    }

    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        let (re, im) = (self.re + other.re, self.im + other.im);
        let err = self.err + other.err + EPS * (re.abs() + im.abs());
        Self::checked(re, im, err)
    }

    pub(crate) fn negative(self) -> Self {
        Self {
            re: -self.re,
            im: -self.im,
            err: self.err,
        }
    }

    pub(crate) fn times(self, other: Self) -> Option<Self> {
        let (re, im) = match self.is_real() && other.is_real() {
            true => (self.re * other.re, 0.0),
            false => (
                self.re * other.re - self.im * other.im,
                self.re * other.im + self.im * other.re,
            ),
        };
        let (a, b) = (self.size(), other.size());
        let err = a * other.err + b * self.err + self.err * other.err + 2.0 * EPS * a * b;
        Self::checked(re, im, err)
    }

    /// One over it; `None` where zero cannot be excluded.
    pub(crate) fn inverse(self) -> Option<Self> {
        let size = self.size();
        if size <= self.err || size == 0.0 {
            return None;
        }
        let (re, im) = match self.is_real() {
            true => (1.0 / self.re, 0.0),
            false => (self.re / size / size, -self.im / size / size),
        };
        let err = self.err / size / (size - self.err) + 4.0 * EPS / size;
        Self::checked(re, im, err)
    }

    pub(crate) fn exp(self) -> Option<Self> {
        let size = self.re.exp();
        let (sin, cos) = self.im.sin_cos();
        let spread = self.err.exp_m1() + 2.0 * EPS * (1.0 + self.size());
        Self::checked(size * cos, size * sin, size * spread)
    }

    /// The principal logarithm.
    pub(crate) fn ln(self) -> Option<Self> {
        let size = self.size();
        if size <= self.err || size == 0.0 {
            return None;
        }
        let im = if self.im == 0.0 && self.re > 0.0 {
            0.0
        } else {
            self.im.atan2(self.re)
        };
        let re = size.ln();
        let err = self.err / (size - self.err) + 2.0 * EPS * (1.0 + re.abs());
        Self::checked(re, im, err)
    }

    /// The principal square root.
    pub(crate) fn sqrt(self) -> Option<Self> {
        let size = self.size();
        let err = match size > 2.0 * self.err {
            true => self.err / size.sqrt() + 2.0 * EPS * size.sqrt(),
            false => (2.0 * self.err).sqrt() * 2.0,
        };
        if self.im == 0.0 {
            return match self.re >= 0.0 {
                true => Self::checked(self.re.sqrt(), 0.0, err),
                // A zero that rounding made negative.
                false if -self.re <= self.err => Self::checked(0.0, 0.0, err),
                false => Self::checked(0.0, (-self.re).sqrt(), err),
            };
        }
        let re = ((size + self.re) / 2.0).max(0.0).sqrt();
        let im = ((size - self.re) / 2.0).max(0.0).sqrt().copysign(self.im);
        // The smaller part suffers from the difference.
        Self::checked(re, im, err + 1e-15 * size.sqrt())
    }

    /// A whole power.
    pub(crate) fn power(self, exponent: i32) -> Option<Self> {
        if exponent == 0 {
            return (self.size() > self.err).then_some(Self::ONE);
        }
        if self.is_real() {
            let value = self.re.powi(exponent);
            let relative = match self.size() {
                size if size > self.err => self.err / (size - self.err),
                _ if exponent < 0 => return None,
                _ => return self.slow_power(exponent),
            };
            let n = f64::from(exponent.unsigned_abs());
            let spread = (n * relative).exp_m1() + 2.0 * EPS * (n + 1.0);
            return Self::checked(value, 0.0, value.abs() * spread);
        }
        self.slow_power(exponent)
    }

    fn slow_power(self, exponent: i32) -> Option<Self> {
        let mut result = Self::ONE;
        let mut square = self;
        let mut left = exponent.unsigned_abs();
        while left > 0 {
            if left & 1 == 1 {
                result = result.times(square)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.times(square)?;
            }
        }
        if exponent < 0 {
            result.inverse()
        } else {
            Some(result)
        }
    }

    /// Sine and cosine.
    pub(crate) fn sin_cos(self) -> Option<(Self, Self)> {
        if self.is_real() {
            let (sin, cos) = self.re.sin_cos();
            // Far out the argument itself has no digits left.
            let err = self.err + EPS * (1.0 + self.re.abs());
            return Some((Self::checked(sin, 0.0, err)?, Self::checked(cos, 0.0, err)?));
        }
        let turned = self.times(Self::I)?;
        let (ahead, back) = (turned.exp()?, turned.negative().exp()?);
        let half = Self::exact(0.5);
        let cos = ahead.plus(back)?.times(half)?;
        let sin = ahead.plus(back.negative())?.times(half)?;
        Some((sin.times(Self::I.negative())?, cos))
    }

    /// A real function whose slope near the value is at most `slope`.
    pub(crate) fn real(self, value: f64, slope: f64) -> Option<Self> {
        if !self.is_real() {
            return None;
        }
        let err = self.err * slope + 2.0 * EPS * (1.0 + value.abs());
        Self::checked(value, 0.0, err)
    }

    /// Whether two values cannot be told apart; `None` if they are too rough to
    /// say so.
    pub(crate) fn equals(self, other: Self) -> Option<bool> {
        let size = self.size().max(other.size());
        let apart = (self.re - other.re).hypot(self.im - other.im);
        let tolerance = 4.0 * (self.err + other.err) + 2.0 * EPS * size;
        if apart > tolerance {
            return Some(false);
        }
        (tolerance <= 1e-7 * size.max(1.0)).then_some(true)
    }
}
