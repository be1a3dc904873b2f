//! A number with what stands around it: currency, percent, degrees, a unit.

use crate::number::Rational;

/// What follows or precedes a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quantity {
    pub(crate) value: Rational,
    pub(crate) percent: bool,
    /// Letters of the unit; empty if there is none.
    pub(crate) unit: String,
}

impl Quantity {
    /// Reads a normalised answer that is one number with at most one unit.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text
            .strip_prefix("\\$")
            .or(text.strip_prefix('$'))
            .unwrap_or(text);
        if let Some(value) = Rational::parse(text) {
            return Some(Self {
                value,
                percent: false,
                unit: String::new(),
            });
        }
        for sign in ["\\%", "%"] {
            if let Some(number) = text.strip_suffix(sign) {
                let value = Rational::parse(number)?;
                return Some(Self {
                    value,
                    percent: true,
                    unit: String::new(),
                });
            }
        }
        for degrees in ["^\\circ", "^{\\circ}", "\\degree", "\u{b0}"] {
            if let Some(number) = text.strip_suffix(degrees) {
                let value = Rational::parse(number)?;
                return Some(Self {
                    value,
                    percent: false,
                    unit: "degrees".to_owned(),
                });
            }
        }
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = text.get(number.len()..).filter(|unit| unit.len() > 1)?;
        // "2pi" and "3ab" are products; a unit is a word that is known as one.
        let known = UNITS.contains(&unit.to_ascii_lowercase().as_str());
        let value = Rational::parse(number).filter(|_| known)?;
        Some(Self {
            value,
            percent: false,
            unit: unit.to_ascii_lowercase(),
        })
    }

    /// Whether two quantities are the same. A unit, or a percent sign, that
    /// only one side writes is taken as understood: `50\%` is `50` and `0.5`,
    /// and is not `5`.
    pub(crate) fn same(&self, other: &Self) -> bool {
        if !self.unit.is_empty() && !other.unit.is_empty() && self.unit != other.unit {
            return false;
        }
        if self.value == other.value {
            return true;
        }
        let hundredth = |q: &Self| Rational::new(1, 100).and_then(|cent| q.value.times(cent));
        match (self.percent, other.percent) {
            (true, false) => hundredth(self) == Some(other.value),
            (false, true) => hundredth(other) == Some(self.value),
            _ => false,
        }
    }
}

const UNITS: &[&str] = &[
    "cm",
    "mm",
    "km",
    "meters",
    "metres",
    "meter",
    "metre",
    "inches",
    "inch",
    "feet",
    "foot",
    "miles",
    "mile",
    "yards",
    "kg",
    "grams",
    "gram",
    "pounds",
    "seconds",
    "second",
    "minutes",
    "minute",
    "hours",
    "hour",
    "days",
    "day",
    "weeks",
    "months",
    "years",
    "year",
    "dollars",
    "dollar",
    "cents",
    "cent",
    "degrees",
    "degree",
    "mph",
    "units",
    "unit",
    "squareunits",
    "cubicunits",
    "percent",
    "people",
    "students",
    "apples",
    "times",
];
