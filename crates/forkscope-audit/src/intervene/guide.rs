//! What chooses the positions of an arm, as text.
//!
//! ```text
//! guide  = signal ":" EPS | [signal "-"] ( "quantile:" R | "top-k:" K | "share:" S
//!                                        | "dual:" TAU ":" LAMBDA [":" WINDOW] )
//!        | family "/" budget | "first:" K | "changed" | "all"
//! signal = "entropy" | "js" | "kl" | "ce" | "delta" | "drop"
//! family = signal | "first" | "random"
//! budget = SHARE ("5%", "0.05", "100%") | TOKENS per rollout ("8")
//! ```
//! Without a signal `quantile`, `top-k`, `share` and `dual` are of entropy, as
//! in `docs/gates.md`. Decisions are made while the text is written, so a gate
//! over a whole rollout becomes a threshold from other problems (see
//! [`super::calibrate`]).

use std::fmt;
use std::str::FromStr;

use crate::AuditError;
use crate::gates::{Gate, Rule, Score};

/// For messages.
const GATES: &str = "there is no such gate; give SIGNAL:EPS or SIGNAL/BUDGET with entropy, js, kl, \
                     ce, delta or drop, SIGNAL-dual:TAU:LAMBDA, first:K, random/SHARE, changed, all, \
                     or a control of one of them such as random@js/5%";

/// What is known of a position before its token is written. p is the tuned
/// policy, b the base; all are of the prefix so far, T = 1, nats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// H(b); of the base in both directions.
    Entropy,
    /// Jensen-Shannon divergence.
    Js,
    /// KL(p ‖ b).
    Kl,
    /// -sum b ln p.
    Ce,
    /// |ln p(x) - ln b(x)| of the token x that the generator would write.
    Delta,
    /// ln of x under the generator minus ln of x under the other policy: high
    /// where the other would not have written it.
    Drop,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Entropy,
        Self::Js,
        Self::Kl,
        Self::Ce,
        Self::Delta,
        Self::Drop,
    ];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Entropy => "entropy",
            Self::Js => "js",
            Self::Kl => "kl",
            Self::Ce => "ce",
            Self::Delta => "delta",
            Self::Drop => "drop",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.word() == word)
    }
}

/// How much an arm may touch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// Share of all tokens, in (0, 1].
    Share(f64),
    /// Tokens per rollout.
    Tokens(u32),
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // 0.07 x 100 is not 7; six decimals of a percent are.
            Self::Share(s) => write!(f, "{}%", (s * 1e8).round() / 1e6),
            Self::Tokens(k) => write!(f, "{k}"),
        }
    }
}

impl FromStr for Budget {
    type Err = AuditError;

    fn from_str(text: &str) -> Result<Self, AuditError> {
        let wrong = |problem: &str| AuditError::Gate {
            gate: text.to_owned(),
            problem: problem.to_owned(),
        };
        let text = text.trim();
        let share = |x: f64| match x > 0.0 && x <= 1.0 {
            true => Ok(Self::Share(x)),
            false => Err(wrong(
                "a share of tokens lies above 0 % and at most at 100 %",
            )),
        };
        if let Some(percent) = text.strip_suffix('%') {
            let number: Result<f64, _> = percent.trim().parse();
            return share(number.map_err(|_| wrong("this is not a number of percent"))? / 100.0);
        }
        match (text.parse::<u32>(), text.parse::<f64>()) {
            (Ok(0), _) => Err(wrong("a budget is at least 1 token per rollout")),
            (Ok(k), _) => Ok(Self::Tokens(k)),
            (_, Ok(x)) => share(x),
            _ => Err(wrong(
                "a budget is a share of tokens such as 5% or 0.05, or a whole number of tokens per rollout",
            )),
        }
    }
}

/// What calibrated guides are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The highest of a signal.
    Signal(Signal),
    /// The first positions.
    First,
    /// Positions drawn with equal probability.
    Random,
}

impl Family {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "first" => Some(Self::First),
            "random" => Some(Self::Random),
            _ => Signal::parse(word).map(Self::Signal),
        }
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Signal(signal) => signal.word(),
            Self::First => "first",
            Self::Random => "random",
        }
    }
}

/// Chooses the positions of an arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Guide {
    /// Where a signal is high.
    High(Signal, Rule),
    /// A family at a budget below 100 %.
    Budgeted(Family, Budget),
    /// The first k positions.
    First(u32),
    /// Where the two argmaxes differ.
    Changed,
    /// Every position.
    All,
}

impl Guide {
    /// A family at a budget; at 100 % every family is `all`.
    pub fn budgeted(family: Family, budget: Budget) -> Self {
        match (family, budget) {
            (_, Budget::Share(s)) if s >= 1.0 => Self::All,
            (Family::First, Budget::Tokens(k)) => Self::First(k),
            _ => Self::Budgeted(family, budget),
        }
    }

    /// What it was calibrated to, where it was.
    pub fn budget(&self) -> Option<Budget> {
        match self {
            Self::Budgeted(_, budget) => Some(*budget),
            Self::All => Some(Budget::Share(1.0)),
            Self::High(_, Rule::Quantile(s) | Rule::Share(s)) => Some(Budget::Share(*s)),
            Self::High(_, Rule::TopK(k)) | Self::First(k) => Some(Budget::Tokens(*k)),
            Self::High(..) | Self::Changed => None,
        }
    }

    /// Whether it needs rollouts of other problems.
    pub fn needs_calibration(&self) -> bool {
        match self {
            Self::Budgeted(Family::Random, Budget::Share(_)) => false,
            Self::Budgeted(..) => true,
            Self::High(_, rule) => {
                matches!(rule, Rule::Quantile(_) | Rule::Share(_) | Rule::TopK(_))
            }
            Self::First(_) | Self::Changed | Self::All => false,
        }
    }

    /// Whether taking the other policy's token wherever it says so leaves
    /// nothing of the generator's choices, so that the text is the other
    /// policy's own by construction.
    pub fn is_identity(&self, temperature: f64) -> bool {
        match self {
            Self::All => true,
            Self::Changed => temperature == 0.0,
            _ => false,
        }
    }

    /// In the grammar of gates, the signal's name in front.
    pub fn gate(&self) -> String {
        let high = |signal: Signal, rule: &Rule| match rule {
            Rule::Above(x) => format!("{}:{x}", signal.word()),
            _ if signal == Signal::Entropy => Gate::High(Score::Entropy, *rule).to_string(),
            _ => {
                let text = Gate::High(Score::Signal, *rule).to_string();
                text.replacen("signal", signal.word(), 1)
            }
        };
        match self {
            Self::High(signal, rule) => high(*signal, rule),
            Self::Budgeted(Family::Signal(signal), Budget::Share(s)) => {
                high(*signal, &Rule::Quantile(*s))
            }
            Self::Budgeted(Family::Signal(signal), Budget::Tokens(k)) => {
                high(*signal, &Rule::TopK(*k))
            }
            Self::Budgeted(family, budget) => format!("{}/{budget}", family.word()),
            Self::First(k) => format!("first:{k}"),
            Self::Changed => "changed".into(),
            Self::All => "all".into(),
        }
    }
}

impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budgeted(family, budget) => write!(f, "{}/{budget}", family.word()),
            _ => f.write_str(&self.gate()),
        }
    }
}

/// What a user wrote: one guide, or a family that takes every budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Guides {
    /// One.
    One(Guide),
    /// One per budget.
    Family(Family),
}

impl FromStr for Guides {
    type Err = AuditError;

    fn from_str(text: &str) -> Result<Self, AuditError> {
        let text = text.trim();
        let wrong = |problem: String| AuditError::Gate {
            gate: text.to_owned(),
            problem,
        };
        if let Some(family) = Family::parse(text) {
            return Ok(Self::Family(family));
        }
        if let Some((word, budget)) = text.split_once('/') {
            let family = Family::parse(word.trim()).ok_or_else(|| {
                wrong("before the / stands a signal (entropy, js, kl, ce, delta, drop), first or random".into())
            })?;
            let budget: Budget = budget.parse()?;
            return Ok(Self::One(Guide::budgeted(family, budget)));
        }
        let other = Signal::ALL.into_iter().filter(|s| *s != Signal::Entropy);
        let mut named = other.filter_map(|s| {
            let rest = text.strip_prefix(s.word())?;
            rest.starts_with([':', '-'])
                .then(|| (s, format!("signal{rest}")))
        });
        let (signal, read) = match named.next_back() {
            Some((signal, read)) => (signal, read),
            None if text.starts_with("signal") => {
                return Err(wrong(
                    "name the signal: js, kl, ce, delta or drop, as in js:0.1".into(),
                ));
            }
            None => (Signal::Entropy, text.to_owned()),
        };
        let gate: Gate = read.parse().map_err(|error| match error {
            AuditError::Gate { problem, .. } if problem.starts_with("there is no such gate") => {
                wrong(GATES.into())
            }
            AuditError::Gate { problem, .. } => wrong(problem),
            other => other,
        })?;
        Ok(Self::One(match gate {
            Gate::High(Score::Entropy, rule) => Guide::High(Signal::Entropy, rule),
            Gate::High(Score::Signal, rule) => Guide::High(signal, rule),
            Gate::First(k) => Guide::First(k),
            Gate::Changed => Guide::Changed,
            Gate::All => Guide::All,
            Gate::Control(..) => {
                return Err(wrong("a control stands before a single @".into()));
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() -> Result<(), AuditError> {
        for text in [
            "entropy:1.2",
            "js:0.1",
            "delta-top-k:8",
            "quantile:0.05",
            "drop-quantile:0.07",
            "kl-dual:0.1:2:16",
            "first:5",
            "changed",
            "all",
            "js/5%",
            "entropy/7%",
            "random/25%",
            "ce/8",
            "first/0.5%",
        ] {
            let Guides::One(guide) = text.parse::<Guides>()? else {
                return Err(AuditError::Internal(text.into()));
            };
            assert_eq!(guide.to_string(), text);
        }
        assert_eq!("js/100%".parse::<Guides>()?, Guides::One(Guide::All));
        assert_eq!(
            "js".parse::<Guides>()?,
            Guides::Family(Family::Signal(Signal::Js))
        );
        Ok(())
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in [
            "",
            "js:",
            "js/0%",
            "js/101%",
            "js/0",
            "js/x",
            "changed/5%",
            "signal:1",
            "jss:1",
            "all:1",
            "random@js",
            "kl-quantile:2",
            "js/nan",
        ] {
            assert!(text.parse::<Guides>().is_err(), "{text}");
        }
    }
}
