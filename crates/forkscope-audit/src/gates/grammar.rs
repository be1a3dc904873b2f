//! Gates as text.
//!
//! ```text
//! gate    = high | "first:" K | "changed" | "all" | control "@" gate
//! high    = "entropy:" TAU | "signal:" EPS
//!         | ["signal-"] ( "quantile:" RHO | "top-k:" K | "share:" S
//!                       | "dual:" TAU ":" LAMBDA [":" WINDOW] )
//! control = "random" | "matched-position" | "matched-random" | "matched-mass"
//!         | "random-high" [":" H0] | "low-entropy" | "first" | "last" | "stride"
//! ```
//! Shares are written 0.05 or 5%. What is printed reads back as the same gate.

use std::fmt;
use std::str::FromStr;

use super::gate::{Control, DUAL_WINDOW, Gate, RANDOM_HIGH_NATS, Rule, Score};
use super::matched::Matching;
use crate::AuditError;

/// For messages.
const GATES: &str = "entropy:TAU, quantile:SHARE, top-k:K, share:SHARE, dual:TAU:LAMBDA[:WINDOW], \
                     the same with signal in front (signal:EPS, signal-top-k:K, ...), first:K, changed, all, \
                     or a control of one of them such as random@entropy:1.4";
const CONTROLS: &str = "random, matched-position, matched-random, matched-mass, random-high[:H0], \
                        low-entropy, first, last, stride";

impl FromStr for Gate {
    type Err = AuditError;

    fn from_str(text: &str) -> Result<Self, AuditError> {
        let wrong = |problem: String| AuditError::Gate {
            gate: text.to_owned(),
            problem,
        };
        let text = text.trim();
        let gate = match text.split_once('@') {
            Some((control, reference)) => {
                if reference.contains('@') {
                    return Err(wrong(
                        "there is more than one @; the reference of a control is a plain gate"
                            .into(),
                    ));
                }
                let control = parse_control(control.trim()).map_err(wrong)?;
                Self::Control(
                    control,
                    Box::new(parse_gate(reference.trim()).map_err(wrong)?),
                )
            }
            None => parse_gate(text).map_err(wrong)?,
        };
        gate.check().map_err(|error| wrong(error.to_string()))?;
        Ok(gate)
    }
}

fn parse_gate(text: &str) -> Result<Gate, String> {
    let (word, args) = words(text);
    let (score, rule) = match word {
        "changed" | "all" if !args.is_empty() => {
            return Err(format!("{word} takes no number"));
        }
        "changed" => return Ok(Gate::Changed),
        "all" => return Ok(Gate::All),
        "first" if args.len() == 1 => return Ok(Gate::First(whole(one(word, &args, "K")?)?)),
        "entropy" => (
            Score::Entropy,
            Rule::Above(number(one(word, &args, "TAU")?)?),
        ),
        "signal" => (
            Score::Signal,
            Rule::Above(number(one(word, &args, "EPS")?)?),
        ),
        _ => match word.strip_prefix("signal-") {
            Some(rest) => (Score::Signal, parse_rule(word, rest, &args)?),
            None => (Score::Entropy, parse_rule(word, word, &args)?),
        },
    };
    Ok(Gate::High(score, rule))
}

fn parse_rule(word: &str, name: &str, args: &[&str]) -> Result<Rule, String> {
    Ok(match name {
        "quantile" => Rule::Quantile(share(one(word, args, "SHARE")?)?),
        "share" => Rule::Share(share(one(word, args, "SHARE")?)?),
        "top-k" => Rule::TopK(whole(one(word, args, "K")?)?),
        "dual" => match args {
            [tau, lambda] => Rule::Dual {
                tau: number(tau)?,
                lambda: number(lambda)?,
                window: DUAL_WINDOW,
            },
            [tau, lambda, window] => Rule::Dual {
                tau: number(tau)?,
                lambda: number(lambda)?,
                window: whole(window)?,
            },
            _ => {
                return Err(format!(
                    "{word} is written {word}:TAU:LAMBDA or {word}:TAU:LAMBDA:WINDOW"
                ));
            }
        },
        _ if parse_control(name).is_ok() => {
            return Err(format!(
                "{name} is a control and needs the gate whose count it matches: {name}@entropy:1.4"
            ));
        }
        _ => return Err(format!("there is no such gate; give {GATES}")),
    })
}

fn parse_control(text: &str) -> Result<Control, String> {
    let (word, args) = words(text);
    if word != "random-high" && !args.is_empty() {
        return Err(format!("the control {word} takes no number"));
    }
    Ok(match word {
        "random" => Control::Random,
        "matched-position" => Control::Matched(Matching::Position),
        "matched-random" => Control::Matched(Matching::PositionAndEntropy),
        "matched-mass" => Control::MatchedMass,
        "random-high" if args.is_empty() => Control::RandomHigh(RANDOM_HIGH_NATS),
        "random-high" => Control::RandomHigh(number(one(word, &args, "H0")?)?),
        "low-entropy" => Control::LowEntropy,
        "first" => Control::First,
        "last" => Control::Last,
        "stride" => Control::Stride,
        _ => {
            return Err(format!(
                "there is no control {word:?}; give one of {CONTROLS}"
            ));
        }
    })
}

/// `a:b:c` into `a` and `[b, c]`.
fn words(text: &str) -> (&str, Vec<&str>) {
    let mut parts = text.split(':').map(str::trim);
    (parts.next().unwrap_or(""), parts.collect())
}

fn one<'a>(word: &str, args: &[&'a str], name: &str) -> Result<&'a str, String> {
    match args {
        [arg] => Ok(arg),
        _ => Err(format!("{word} takes one number: {word}:{name}")),
    }
}

fn number(text: &str) -> Result<f64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number"))
}

fn whole(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a whole number"))
}

/// 0.05 or 5%.
fn share(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%') {
        Some(percent) => Ok(number(percent.trim())? / 100.0),
        None => number(text),
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::High(Score::Entropy, Rule::Above(tau)) => write!(f, "entropy:{tau}"),
            Self::High(Score::Signal, Rule::Above(eps)) => write!(f, "signal:{eps}"),
            Self::High(Score::Entropy, rule) => rule.fmt(f),
            Self::High(Score::Signal, rule) => write!(f, "signal-{rule}"),
            Self::First(k) => write!(f, "first:{k}"),
            Self::Changed => f.write_str("changed"),
            Self::All => f.write_str("all"),
            Self::Control(control, reference) => write!(f, "{control}@{reference}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above(x) => write!(f, "above:{x}"),
            Self::Quantile(rho) => write!(f, "quantile:{rho}"),
            Self::TopK(k) => write!(f, "top-k:{k}"),
            Self::Share(s) => write!(f, "share:{s}"),
            Self::Dual {
                tau,
                lambda,
                window,
            } => write!(f, "dual:{tau}:{lambda}:{window}"),
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("random"),
            Self::Matched(Matching::Position) => f.write_str("matched-position"),
            Self::Matched(Matching::PositionAndEntropy) => f.write_str("matched-random"),
            Self::MatchedMass => f.write_str("matched-mass"),
            Self::RandomHigh(h0) => write!(f, "random-high:{h0}"),
            Self::LowEntropy => f.write_str("low-entropy"),
            Self::First => f.write_str("first"),
            Self::Last => f.write_str("last"),
            Self::Stride => f.write_str("stride"),
        }
    }
}

impl TryFrom<String> for Gate {
    type Error = AuditError;

    fn try_from(text: String) -> Result<Self, AuditError> {
        text.parse()
    }
}

impl From<Gate> for String {
    fn from(gate: Gate) -> Self {
        gate.to_string()
    }
}
