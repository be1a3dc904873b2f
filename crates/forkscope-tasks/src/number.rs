//! Exact rational numbers, as answers spell them.
//!
//! `42`, `-3.50`, `1,234`, `1/2`, `\frac{1}{2}`, `1.5\times10^{3}`, `2e-3`.
//! Nothing is rounded: `0.333` is not `1/3`. A number whose numerator or
//! denominator exceeds an `i128` is not read; it can still be compared as text.

/// A reduced fraction with a positive denominator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rational {
    numerator: i128,
    denominator: i128,
}

impl Rational {
    /// The reduced fraction; `None` for a zero denominator.
    pub fn new(numerator: i128, denominator: i128) -> Option<Self> {
        if denominator == 0 {
            return None;
        }
        let divisor =
            i128::try_from(gcd(numerator.unsigned_abs(), denominator.unsigned_abs())).ok()?;
        let (n, d) = (numerator / divisor, denominator / divisor);
        match d < 0 {
            true => Some(Self {
                numerator: n.checked_neg()?,
                denominator: d.checked_neg()?,
            }),
            false => Some(Self {
                numerator: n,
                denominator: d,
            }),
        }
    }

    /// Numerator and denominator.
    pub fn parts(self) -> (i128, i128) {
        (self.numerator, self.denominator)
    }

    /// Product, if it can be held.
    pub fn times(self, other: Self) -> Option<Self> {
        Self::new(
            self.numerator.checked_mul(other.numerator)?,
            self.denominator.checked_mul(other.denominator)?,
        )
    }

    /// Quotient; `None` if the divisor is zero.
    pub fn over(self, other: Self) -> Option<Self> {
        self.times(Self::new(other.denominator, other.numerator)?)
    }

    fn power_of_ten(exponent: i32) -> Option<Self> {
        let power = 10i128.checked_pow(exponent.unsigned_abs())?;
        match exponent < 0 {
            true => Self::new(1, power),
            false => Self::new(power, 1),
        }
    }

    /// Reads a number without spaces, as `crate::normal` leaves it. `None` if
    /// the whole text is not one number.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let value = Self::unsigned(text)?;
        match negative {
            true => Self::new(value.numerator.checked_neg()?, value.denominator),
            false => Some(value),
        }
    }

    fn unsigned(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("\\frac") {
            let (numerator, rest) = argument(rest)?;
            let (denominator, rest) = argument(rest)?;
            return match rest.is_empty() {
                true => Self::signed_decimal(numerator)?.over(Self::signed_decimal(denominator)?),
                false => None,
            };
        }
        if let Some((numerator, denominator)) = text.split_once('/') {
            return Self::decimal(numerator)?.over(Self::decimal(denominator)?);
        }
        for times in ["\\times10^", "\\cdot10^", "*10^"] {
            if let Some((mantissa, exponent)) = text.split_once(times) {
                let exponent = match exponent.strip_prefix('{') {
                    Some(inner) => inner.strip_suffix('}')?,
                    None => Some(exponent).filter(|e| e.len() == 1)?,
                };
                return Self::decimal(mantissa)?.times(Self::power_of_ten(integer(exponent)?)?);
            }
        }
        if let Some((mantissa, exponent)) = text.split_once(['e', 'E']) {
            return Self::decimal(mantissa)?.times(Self::power_of_ten(integer(exponent)?)?);
        }
        Self::decimal(text)
    }

    fn signed_decimal(text: &str) -> Option<Self> {
        match text.strip_prefix('-') {
            Some(rest) => Self::decimal(rest)?.times(Self::new(-1, 1)?),
            None => Self::decimal(text),
        }
    }

    /// Digits with at most one point; commas only between groups of three.
    fn decimal(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let whole = without_separators(whole)?;
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(fraction) {
            return None;
        }
        let mut digits: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            digits = digits
                .checked_mul(10)?
                .checked_add(i128::from(byte - b'0'))?;
        }
        let scale = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        Self::new(digits, scale)
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A short exponent.
fn integer(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    (!digits.is_empty() && is_digits(digits))
        .then(|| text.parse().ok())
        .flatten()
}

/// `1,234,567` -> `1234567`; digits stay as they are.
fn without_separators(text: &str) -> Option<String> {
    let mut groups = text.split(',');
    let first = groups.next().unwrap_or("");
    let rest: Vec<&str> = groups.collect();
    let grouped = rest
        .iter()
        .all(|group| group.len() == 3 && is_digits(group));
    let leads = rest.is_empty() || (1..=3).contains(&first.len());
    (grouped && leads && is_digits(first)).then(|| text.replace(',', ""))
}

/// The first argument of a macro: `{...}` or a single digit.
fn argument(text: &str) -> Option<(&str, &str)> {
    if let Some(inner) = text.strip_prefix('{') {
        return inner.split_once('}');
    }
    let digit = text.get(..1).filter(|digit| is_digits(digit))?;
    Some((digit, text.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> Option<(i128, i128)> {
        Rational::parse(text).map(Rational::parts)
    }

    #[test]
    fn numbers_are_read_exactly() {
        for (text, n, d) in [
            ("42", 42, 1),
            ("-3.50", -7, 2),
            ("+7", 7, 1),
            (".5", 1, 2),
            ("5.", 5, 1),
            ("1,234,567.5", 2_469_135, 2),
            ("2/4", 1, 2),
            ("-1/3", -1, 3),
            ("\\frac{1}{2}", 1, 2),
            ("\\frac12", 1, 2),
            ("-\\frac{3}{-6}", 1, 2),
            ("1.5\\times10^{3}", 1500, 1),
            ("2\\times10^{-3}", 1, 500),
            ("2e-3", 1, 500),
            ("007", 7, 1),
            ("0", 0, 1),
            ("-0", 0, 1),
        ] {
            assert_eq!(value(text), Some((n, d)), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_not_read() {
        for text in [
            "",
            "-",
            ".",
            "x",
            "1 2",
            "1,23",
            "12,34,567",
            ",123",
            "1234,567",
            "1/0",
            "1/",
            "/2",
            "1//2",
            "--1",
            "1.2.3",
            "\\frac{1}{0}",
            "\\frac{1}",
            "\\frac{1}{2}3",
            "1e",
            "1e99",
            "1e1e1",
            "0x10",
            "inf",
            "NaN",
            "\\frac{x}{2}",
            "1\\times10^33",
            "٣",
            "1000000000000000000000000000000000000000000",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "\\PC{0,30}") {
            Rational::parse(&text);
        }

        #[test]
        fn spellings_agree(n in -100_000i64..100_000, places in 0u32..5) {
            let scale = 10i64.pow(places);
            let sign = if n < 0 { "-" } else { "" };
            let (whole, fraction) = (n.abs() / scale, n.abs() % scale);
            let decimal = match places {
                0 => format!("{sign}{whole}"),
                _ => format!("{sign}{whole}.{fraction:0width$}", width = places as usize),
            };
            let expected = Rational::new(i128::from(n), i128::from(scale));
            prop_assert_eq!(Rational::parse(&decimal), expected);
            prop_assert_eq!(Rational::parse(&format!("{n}/{scale}")), expected);
            prop_assert_eq!(Rational::parse(&format!("\\frac{{{n}}}{{{scale}}}")), expected);
        }
    }
}
