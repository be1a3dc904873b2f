//! How numbers are written: one place, shared by HTML, Markdown and figures.
//!
//! A number carries three significant digits; a share close to one carries two
//! of what it lacks, so that 99.98 % never reads 100 %. A value and its interval
//! are written to the same decimal, which is that of the value, or a finer one
//! where an end of the interval would otherwise vanish.

use forkscope_records::types::Finding;

/// A finding's value and interval as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The value with its unit.
    pub value: String,
    /// The value for a table with a column for the unit.
    pub bare: String,
    /// The interval's ends, without unit, if there is one.
    pub interval: Option<(String, String)>,
}

impl Shown {
    /// The interval as `low – high`, a bound as `≤ high` or `≥ low`, or an empty
    /// text.
    pub fn range(&self) -> String {
        match &self.interval {
            None => String::new(),
            Some((low, high)) if low == NO_END => format!("≤ {high}"),
            Some((low, high)) if high == NO_END => format!("≥ {low}"),
            Some((low, high)) => format!("{low} – {high}"),
        }
    }
}

/// Stands where a bound has no other end.
const NO_END: &str = "·";

/// Writes a finding's value and interval.
pub fn finding(f: &Finding) -> Shown {
    let ends = [f.value, f.low, f.high];
    let style = Style::of(&f.unit, &ends);
    let interval = match (f.low, f.high) {
        (None, None) => None,
        (low, high) => {
            // A bound has one end.
            let end = |v: Option<f64>| v.map_or_else(|| NO_END.to_owned(), |v| style.bare(Some(v)));
            Some((end(low), end(high)))
        }
    };
    let bare = match style.kind {
        Kind::Percent => style.with_unit(f.value),
        _ => style.bare(f.value),
    };
    Shown {
        value: style.with_unit(f.value),
        bare,
        interval,
    }
}

/// Writes one value in a unit.
pub fn value(v: f64, unit: &str) -> String {
    Style::of(unit, &[Some(v)]).with_unit(Some(v))
}

/// Writes a level such as 0.95 as `95 %`.
pub fn level(v: f64) -> String {
    format!("{} %", trimmed(v * 100.0, 2))
}

/// Writes a tick of an axis whose ticks are `step` apart.
pub(crate) fn tick(v: f64, step: f64, unit: &str) -> String {
    if is_share(unit) {
        format!("{} %", fixed(v * 100.0, decimals_for(step * 100.0, 1)))
    } else {
        fixed(v, decimals_for(step, 1))
    }
}

/// Writes a count with separators: 53,012.
pub fn count(n: u64) -> String {
    grouped(&n.to_string())
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Percent,
    Plain,
    Scientific,
}

struct Style<'a> {
    kind: Kind,
    decimals: usize,
    suffix: &'a str,
}

impl<'a> Style<'a> {
    fn of(unit: &'a str, values: &[Option<f64>]) -> Self {
        let finite = || values.iter().flatten().copied().filter(|v| v.is_finite());
        let value = values.first().copied().flatten();
        if is_share(unit) {
            let percent = |v: f64| v * 100.0;
            let decimals = decimals(value.map(percent), finite().map(percent), percent_decimals);
            return Self {
                kind: Kind::Percent,
                decimals: decimals.min(6),
                suffix: " %",
            };
        }
        let suffix = suffix(unit);
        let whole = is_count(unit) && finite().all(|v| v.fract() == 0.0);
        let largest = finite().map(f64::abs).fold(0.0, f64::max);
        if whole && largest < 1e15 {
            return Self {
                kind: Kind::Plain,
                decimals: 0,
                suffix,
            };
        }
        if largest >= 1e7 || (largest > 0.0 && largest < 1e-4) {
            return Self {
                kind: Kind::Scientific,
                decimals: 2,
                suffix,
            };
        }
        Self {
            kind: Kind::Plain,
            decimals: decimals(value, finite(), |v| decimals_for(v.abs(), 3)).min(8),
            suffix,
        }
    }

    fn bare(&self, v: Option<f64>) -> String {
        let Some(v) = v else {
            return "undefined".into();
        };
        if v.is_nan() {
            return "not a number".into();
        }
        if v.is_infinite() {
            return if v > 0.0 {
                "∞".into()
            } else {
                "−∞".into()
            };
        }
        match self.kind {
            Kind::Percent => fixed(v * 100.0, self.decimals),
            Kind::Plain => fixed(v, self.decimals),
            Kind::Scientific => scientific(v, self.decimals),
        }
    }

    fn with_unit(&self, v: Option<f64>) -> String {
        match v {
            None => "undefined".into(),
            Some(v) if v.is_nan() => "not a number".into(),
            some => format!("{}{}", self.bare(some), self.suffix),
        }
    }
}

/// Whether a unit is written in percent.
pub(crate) fn is_share(unit: &str) -> bool {
    matches!(unit, "share" | "fraction" | "probability")
}

fn is_count(unit: &str) -> bool {
    matches!(
        unit,
        "tokens" | "token" | "positions" | "problems" | "rollouts" | "count"
    )
}

/// What follows the number. Unit names that only say "a pure number" are left
/// to the unit column.
fn suffix(unit: &str) -> &'static str {
    match unit {
        "nats" => " nats",
        "bits" => " bits",
        "ratio" => "×",
        "tokens" | "token" => " tokens",
        "flops" | "FLOPs" => " FLOPs",
        "positions" => " positions",
        _ => "",
    }
}

fn percent_decimals(percent: f64) -> usize {
    let (small, rest) = (percent.abs(), (100.0 - percent).abs());
    let (nearer, digits) = if rest < small { (rest, 2) } else { (small, 3) };
    if nearer < 1e-9 {
        0
    } else {
        decimals_for(nearer, digits).clamp(1, 6)
    }
}

/// Decimals for a value and its interval: what the value needs for its digits,
/// and enough for each end to keep its first one.
fn decimals(
    value: Option<f64>,
    ends: impl Iterator<Item = f64>,
    needed: impl Fn(f64) -> usize,
) -> usize {
    let own = value.filter(|v| v.is_finite()).map_or(0, &needed);
    let most = if own > 0 { own + 2 } else { usize::MAX };
    ends.map(|v| needed(v).saturating_sub(2).min(most))
        .fold(own, usize::max)
}

/// Decimals that give `digits` significant digits to a positive number.
fn decimals_for(v: f64, digits: i32) -> usize {
    if v <= 0.0 || !v.is_finite() {
        return 0;
    }
    let exponent = v.log10().floor() as i32;
    usize::try_from((digits - 1 - exponent).clamp(0, 9)).unwrap_or(0)
}

fn fixed(v: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", v.abs());
    let is_zero = text.bytes().all(|b| b == b'0' || b == b'.');
    let sign = if v < 0.0 && !is_zero { "−" } else { "" };
    format!("{sign}{}", grouped(&text))
}

fn trimmed(v: f64, decimals: usize) -> String {
    let text = fixed(v, decimals);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn scientific(v: f64, decimals: usize) -> String {
    if v == 0.0 {
        return "0".into();
    }
    let text = format!("{v:.decimals$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: String = exponent
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '0' => '⁰',
            c => char::from_u32('⁴' as u32 + c as u32 - '4' as u32).unwrap_or(c),
        })
        .collect();
    format!("{}×10{exponent}", mantissa.replace('-', "−"))
}

/// Puts a comma between groups of three digits of the whole part.
fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::with_capacity(text.len() + whole.len() / 3);
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_count_digits_from_the_nearer_end() {
        assert_eq!(value(0.0209, "share"), "2.09 %");
        assert_eq!(value(0.0002, "share"), "0.0200 %");
        assert_eq!(value(0.9998, "share"), "99.980 %");
        assert_eq!(value(0.3, "share"), "30.0 %");
        assert_eq!(value(0.0, "share"), "0 %");
        assert_eq!(value(1.0, "share"), "100 %");
    }

    #[test]
    fn units_and_extremes() {
        assert_eq!(value(0.012345, "nats"), "0.0123 nats");
        assert_eq!(value(7.576, "ratio"), "7.58×");
        assert_eq!(value(0.8512, "auroc"), "0.851");
        assert_eq!(value(53012.0, "tokens"), "53,012 tokens");
        assert_eq!(value(3.25e-7, "nats"), "3.25×10⁻⁷ nats");
        assert_eq!(value(4.56e12, "flops"), "4.56×10¹² FLOPs");
        assert_eq!(value(f64::INFINITY, "nats"), "∞ nats");
        assert_eq!(value(f64::NAN, "nats"), "not a number");
        assert_eq!(value(-0.00001, "auroc"), "−1.00×10⁻⁵");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(level(0.95), "95 %");
        assert_eq!(level(0.999), "99.9 %");
    }

    #[test]
    fn value_and_interval_share_their_decimals() {
        let f = Finding {
            id: "share.reranked".into(),
            definition: String::new(),
            value: Some(0.0209),
            unit: "share".into(),
            low: Some(0.019),
            high: Some(0.0231),
            level: Some(0.95),
            method: String::new(),
            n: 1,
            n_clusters: 1,
            n_invalid: 0,
            thresholds: Default::default(),
            label: None,
        };
        let shown = finding(&f);
        assert_eq!(shown.value, "2.09 %");
        assert_eq!(shown.range(), "1.90 – 2.31");
        let bound = Finding {
            low: None,
            ..f.clone()
        };
        assert_eq!(finding(&bound).range(), "≤ 2.31");
        let undefined = Finding {
            value: None,
            low: None,
            high: None,
            ..f
        };
        assert_eq!(finding(&undefined).value, "undefined");
        assert_eq!(finding(&undefined).range(), "");
    }
}
