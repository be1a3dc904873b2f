//! Exact fractions that fit into 128 bits.

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
        let (n, d) = (
            numerator.checked_div(divisor)?,
            denominator.checked_div(divisor)?,
        );
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

    /// A whole number.
    pub const fn whole(value: i128) -> Self {
        Self {
            numerator: value,
            denominator: 1,
        }
    }

    /// Numerator and denominator.
    pub fn parts(self) -> (i128, i128) {
        (self.numerator, self.denominator)
    }

    /// Sum, if it can be held.
    pub fn plus(self, other: Self) -> Option<Self> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Self::new(
            left.checked_add(right)?,
            self.denominator.checked_mul(other.denominator)?,
        )
    }

    /// Product, if it can be held.
    pub fn times(self, other: Self) -> Option<Self> {
        Self::new(
            self.numerator.checked_mul(other.numerator)?,
            self.denominator.checked_mul(other.denominator)?,
        )
    }

    /// One over it; `None` for zero.
    pub fn inverse(self) -> Option<Self> {
        Self::new(self.denominator, self.numerator)
    }

    /// The number with the other sign, if it can be held.
    pub fn negative(self) -> Option<Self> {
        Some(Self {
            numerator: self.numerator.checked_neg()?,
            denominator: self.denominator,
        })
    }

    /// A whole power; `None` if it is undefined or cannot be held.
    pub fn power(self, exponent: i32) -> Option<Self> {
        if exponent == 0 && self.numerator == 0 {
            return None;
        }
        let base = if exponent < 0 { self.inverse()? } else { self };
        Some(Self {
            numerator: base.numerator.checked_pow(exponent.unsigned_abs())?,
            denominator: base.denominator.checked_pow(exponent.unsigned_abs())?,
        })
    }

    /// The value, if it is a whole number.
    pub fn as_whole(self) -> Option<i128> {
        (self.denominator == 1).then_some(self.numerator)
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        // Division of 128 bits is slow where 64 do.
        (a, b) = match (u64::try_from(a), u64::try_from(b)) {
            (Ok(small), Ok(divisor)) => (b, u128::from(small % divisor)),
            _ => (b, a % b),
        };
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_held_is_none() {
        let big = Rational::whole(i128::MAX);
        assert_eq!(big.plus(Rational::whole(1)), None);
        assert_eq!(big.times(big), None);
        assert_eq!(Rational::whole(0).inverse(), None);
        assert_eq!(Rational::whole(0).power(0), None);
        assert_eq!(Rational::whole(0).power(-1), None);
        assert_eq!(Rational::new(1, 0), None);
        assert_eq!(Rational::new(i128::MIN, -1), None);
        assert_eq!(Rational::whole(2).power(200), None);
        assert_eq!(Rational::whole(2).power(i32::MIN), None);
    }

    proptest! {
        #[test]
        fn a_field(a in -999i128..999, b in 1i128..999, c in -999i128..999, d in 1i128..999) {
            let (x, y) = (Rational::new(a, b).unwrap(), Rational::new(c, d).unwrap());
            prop_assert_eq!(x.plus(y), Rational::new(a * d + c * b, b * d));
            prop_assert_eq!(x.times(y), Rational::new(a * c, b * d));
            prop_assert_eq!(x.plus(x.negative().unwrap()), Some(Rational::whole(0)));
            if a != 0 {
                prop_assert_eq!(x.times(x.inverse().unwrap()), Some(Rational::whole(1)));
                prop_assert_eq!(x.power(-3), Rational::new(b.pow(3), a.pow(3)));
            }
        }
    }
}
