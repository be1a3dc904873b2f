//! A number as it is written: digits times a power of ten.

use crate::math::rational::Rational;

/// Largest power of ten that is read; beyond it a number is only text.
pub(crate) const MAX_SHIFT: i64 = 20_000;

/// `digits * 10^shift`, with what it is as a fraction and as a float.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Literal {
    digits: String,
    shift: i32,
    small: Option<Rational>,
    approx: f64,
}

impl Literal {
    /// Reads decimal digits of which the last `places` stand after the point.
    /// Zeros at the ends that say nothing are dropped.
    pub(crate) fn new(digits: &str, places: usize, exponent: i64) -> Option<Self> {
        let kept = digits.trim_start_matches('0');
        let short = kept.trim_end_matches('0');
        let dropped = i64::try_from(kept.len() - short.len()).ok()?;
        let places = i64::try_from(places).ok()?;
        let shift = exponent.checked_add(dropped)?.checked_sub(places)?;
        if short.is_empty() {
            return Some(Self::integer(0));
        }
        if shift.abs() > MAX_SHIFT {
            return None;
        }
        let shift = i32::try_from(shift).ok()?;
        let approx = match short.parse::<u64>() {
            // Both factors and so the product are exact.
            Ok(whole) if whole < 1 << 53 && (0..16).contains(&shift) => {
                whole as f64 * 10f64.powi(shift)
            }
            _ => format!("{short}e{shift}").parse().ok()?,
        };
        Some(Self {
            small: small(short, shift),
            digits: short.to_owned(),
            shift,
            approx,
        })
    }

    pub(crate) fn integer(value: u32) -> Self {
        Self {
            digits: value.to_string(),
            shift: 0,
            small: Some(Rational::whole(i128::from(value))),
            approx: f64::from(value),
        }
    }

    /// The fraction, if it fits.
    pub(crate) fn small(&self) -> Option<Rational> {
        self.small
    }

    /// The nearest float; infinite beyond the range of floats.
    pub(crate) fn approx(&self) -> f64 {
        self.approx
    }

    /// Significant digits and the power of ten.
    pub(crate) fn parts(&self) -> (&str, i32) {
        (&self.digits, self.shift)
    }

    /// The digits of a whole number, as a numeral in another base needs them.
    pub(crate) fn whole_digits(&self) -> Option<String> {
        let zeros = usize::try_from(self.shift).ok().filter(|z| *z <= 256)?;
        Some(format!("{}{}", self.digits, "0".repeat(zeros)))
    }

    pub(crate) fn spell(&self, out: &mut String) {
        match usize::try_from(self.shift) {
            Ok(zeros) if zeros <= 20 => {
                out.push_str(&self.digits);
                out.extend(std::iter::repeat_n('0', zeros));
            }
            _ => {
                out.push_str(&self.digits);
                out.push('e');
                out.push_str(&self.shift.to_string());
            }
        }
    }
}

fn small(digits: &str, shift: i32) -> Option<Rational> {
    let whole: i128 = digits.parse().ok()?;
    let scale = 10i128.checked_pow(shift.unsigned_abs())?;
    match shift >= 0 {
        true => Some(Rational::whole(whole.checked_mul(scale)?)),
        false => Rational::new(whole, scale),
    }
}
