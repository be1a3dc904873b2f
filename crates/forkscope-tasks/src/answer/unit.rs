//! Units: what stands behind a number, or as currency before it.

use crate::math::token::{Kind, Token};

/// A unit as a product of powers of base units.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Unit {
    /// Base units and their powers, sorted.
    pub(crate) bases: Vec<(String, i32)>,
    /// Its size in base units, as a fraction.
    pub(crate) factor: (u64, u64),
    /// What multiplies the number whether or not the other side has a unit:
    /// percent, thousand, million.
    pub(crate) scale: (u64, u64),
    /// A percent sign.
    pub(crate) percent: bool,
    /// Every word is in the table.
    pub(crate) known: bool,
}

/// Names, base unit, power, size in base units.
type Row = (&'static [&'static str], &'static str, i32, (u64, u64));

const TABLE: &[Row] = &[
    (&["cm", "centimeter", "centimetre"], "m", 1, (1, 100)),
    (&["mm", "millimeter", "millimetre"], "m", 1, (1, 1_000)),
    (&["km", "kilometer", "kilometre"], "m", 1, (1_000, 1)),
    (&["m", "meter", "metre"], "m", 1, (1, 1)),
    (&["in", "inch", "inche"], "m", 1, (254, 10_000)),
    (&["ft", "foot", "feet"], "m", 1, (3_048, 10_000)),
    (&["yd", "yard"], "m", 1, (9_144, 10_000)),
    (&["mi", "mile"], "m", 1, (1_609_344, 1_000)),
    (&["g", "gram", "gm"], "g", 1, (1, 1)),
    (&["kg", "kilogram"], "g", 1, (1_000, 1)),
    (&["mg", "milligram"], "g", 1, (1, 1_000)),
    (&["lb", "pound"], "lb", 1, (1, 1)),
    (&["oz", "ounce"], "lb", 1, (1, 16)),
    (&["s", "sec", "second"], "s", 1, (1, 1)),
    (&["min", "minute"], "s", 1, (60, 1)),
    (&["h", "hr", "hour"], "s", 1, (3_600, 1)),
    (&["day"], "s", 1, (86_400, 1)),
    (&["week"], "s", 1, (604_800, 1)),
    (&["month"], "month", 1, (1, 1)),
    (&["year", "yr"], "month", 1, (12, 1)),
    (&["dollar", "usd", "buck"], "$", 1, (1, 1)),
    (&["cent"], "$", 1, (1, 100)),
    (&["euro"], "€", 1, (1, 1)),
    (&["degree", "deg"], "°", 1, (1, 1)),
    (&["radian", "rad"], "rad", 1, (1, 1)),
    (&["liter", "litre", "l"], "l", 1, (1, 1)),
    (&["ml", "milliliter", "millilitre"], "l", 1, (1, 1_000)),
    (&["unit"], "unit", 1, (1, 1)),
];

const SCALES: &[(&str, u64)] = &[
    ("hundred", 100),
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
    ("dozen", 12),
];

/// Words that change what is said of the number before them.
const DENIALS: &[&str] = &[
    "not", "no", "less", "more", "fewer", "than", "least", "most", "except", "if", "is", "are",
    "or", "and", "but", "when", "where", "mod", "modulo",
];

/// Words of a unit at most.
const MAX_WORDS: usize = 8;

impl Unit {
    fn none() -> Self {
        Self {
            factor: (1, 1),
            scale: (1, 1),
            known: true,
            ..Self::default()
        }
    }

    /// The unit of a currency sign.
    pub(crate) fn currency(token: &Token<'_>) -> Option<Self> {
        let base = match token.kind {
            Kind::Macro("$") => "$",
            Kind::Sign('€') => "€",
            Kind::Sign('£') => "£",
            _ => return None,
        };
        let mut unit = Self::none();
        unit.bases.push((base.to_owned(), 1));
        Some(unit)
    }

    /// Is an angle in degrees.
    pub(crate) fn is_degrees(&self) -> bool {
        matches!(self.bases.as_slice(), [(base, 1)] if base == "°")
    }

    /// Reads all tokens as a unit: `cm^2`, `square feet`, `km/h`,
    /// `miles per hour`, `\%`, `^\circ`, `apples`.
    pub(crate) fn read(tokens: &[Token<'_>]) -> Option<Self> {
        let mut unit = Self::none();
        let (mut sign, mut prefix, mut words) = (1, 1, 0);
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match &token.kind {
                Kind::Sign('/') | Kind::Word("per") => sign = -1,
                Kind::Sign('*' | '.' | '^' | '{' | '}' | '-') => {}
                Kind::Sign('%') => unit.set_percent(),
                Kind::Sign('°') => unit.push("°", sign),
                Kind::Sign('¢') => {
                    unit.push("$", sign);
                    unit.resize((1, 100), 1);
                }
                Kind::Macro("$") => unit.push("$", sign),
                // "a.m."
                Kind::Word(half @ ("a" | "p")) if is_noon(tokens.get(at..).unwrap_or(&[])) => {
                    at += 2;
                    unit.word(if *half == "a" { "am" } else { "pm" }, 1);
                }
                Kind::Word(word) if DENIALS.contains(word) => return None,
                Kind::Word(word) => {
                    words += 1;
                    let lower = word.to_lowercase();
                    match lower.as_str() {
                        "square" | "sq" => prefix = 2,
                        "cubic" => prefix = 3,
                        "percent" => unit.set_percent(),
                        _ => {
                            let (power, read) = power(tokens.get(at..).unwrap_or(&[]));
                            at += read;
                            unit.word(&lower, sign * prefix * power);
                            prefix = 1;
                        }
                    }
                }
                _ => return None,
            }
        }
        let named = !unit.bases.is_empty() || unit.scale != (1, 1);
        unit.settle();
        (named && words <= MAX_WORDS).then_some(unit)
    }

    /// Both units together, as in `\$5 million`.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.bases.extend(other.bases);
        self.scale = other.scale;
        self.percent |= other.percent;
        self.known &= other.known;
        // "$5 dollars" says it twice.
        self.bases.dedup();
        self.settle();
        self
    }

    fn set_percent(&mut self) {
        self.percent = true;
        self.scale = (1, 100);
    }

    fn push(&mut self, base: &str, power: i32) {
        match self.bases.iter_mut().find(|(known, _)| known == base) {
            Some((_, known)) => *known += power,
            None => self.bases.push((base.to_owned(), power)),
        }
    }

    fn word(&mut self, word: &str, power: i32) {
        if let Some((_, scale)) = SCALES.iter().find(|(name, _)| *name == word) {
            self.scale = (*scale, 1);
            return;
        }
        let single = word
            .strip_suffix('s')
            .filter(|s| !s.is_empty())
            .unwrap_or(word);
        if word == "mph" {
            self.word("mile", 1);
            return self.word("hour", -1);
        }
        let row = TABLE
            .iter()
            .find(|(names, ..)| names.contains(&word) || names.contains(&single));
        match row {
            Some((_, base, base_power, factor)) => {
                self.push(base, base_power * power);
                self.resize(*factor, power);
            }
            None => {
                self.known = false;
                self.push(single, power);
            }
        }
    }

    /// Multiplies the size; one that cannot be held makes the unit unknown.
    fn resize(&mut self, (top, bottom): (u64, u64), power: i32) {
        let (top, bottom) = if power < 0 {
            (bottom, top)
        } else {
            (top, bottom)
        };
        for _ in 0..power.unsigned_abs().min(8) {
            match (
                self.factor.0.checked_mul(top),
                self.factor.1.checked_mul(bottom),
            ) {
                (Some(t), Some(b)) => self.factor = (t, b),
                _ => self.known = false,
            }
        }
    }

    fn settle(&mut self) {
        self.bases.retain(|(_, power)| *power != 0);
        self.bases.sort();
    }
}

/// `.m` behind an `a` or a `p`.
fn is_noon(tokens: &[Token<'_>]) -> bool {
    matches!(tokens, [dot, m, ..] if dot.is('.') && m.kind == Kind::Word("m"))
}

/// `^2`, `^{2}`: the power and the tokens read.
fn power(tokens: &[Token<'_>]) -> (i32, usize) {
    let number = |token: &Token<'_>| match &token.kind {
        Kind::Number(n) => n
            .small()
            .and_then(|n| n.as_whole())
            .and_then(|n| i32::try_from(n).ok())
            .filter(|n| (1..=4).contains(n)),
        _ => None,
    };
    let found = match tokens {
        [hat, n, ..] if hat.is('^') && number(n).is_some() => (number(n), 2),
        [hat, open, n, close, ..] if hat.is('^') && open.is('{') && close.is('}') => (number(n), 4),
        _ => (None, 0),
    };
    match found {
        (Some(power), read) => (power, read),
        _ => (1, 0),
    }
}
