//! The verdict, from three axes that vary independently (arXiv 2606.23583).
//!
//! - *Detectable*: for **every** tested format, with sources held out and the
//!   probe fitted on the other formats, the AUROC's interval lies above chance,
//!   above the value of the bag of words and of the base, and the differences to
//!   both, on the same resamples, have intervals above zero.
//! - *Behavioural*: the behaviour's gap between contexts differs from the
//!   base's: the interval of the difference leaves zero out.
//! - *Controllable*: the effect of the direction minus the mean of random
//!   directions of equal norm has an interval above zero, and the direction's
//!   rank among them has p <= 0.05.
//!
//! *Established* if and only if all three hold. *Confounded by format* if the
//! context can be told apart with sources held out (interval above chance,
//! permutation p <= 0.05) but not across formats: no probe can be fitted on one
//! format and tested on another, or the interval of some tested format is not
//! above chance. Else *not established*.

use super::behaviour::{Control, Estimate};
use super::study::Measure;

/// Level of the permutation and rank tests.
pub const ALPHA: f64 = 0.05;

/// The word of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// All three axes hold.
    Established,
    /// Told apart, but not across formats.
    ConfoundedByFormat,
    /// Neither.
    NotEstablished,
}

impl Conclusion {
    /// As a report writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::ConfoundedByFormat => "confounded by format",
            Self::NotEstablished => "not established",
        }
    }
}

/// One tested format.
#[derive(Debug, Clone)]
pub struct Across {
    /// The format.
    pub format: String,
    /// The policy's AUROC.
    pub policy: Measure,
    /// The bag of words' AUROC.
    pub words: Option<f64>,
    /// The policy's minus the bag of words'.
    pub beyond_words: Estimate,
    /// The base's AUROC; `None` without a base.
    pub base: Option<f64>,
    /// The policy's minus the base's.
    pub beyond_base: Estimate,
}

/// All that a verdict looks at.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Whether the set has two formats at least.
    pub two_formats: bool,
    /// Whether two formats have both contexts each.
    pub crosses_formats: bool,
    /// Sources held out, all formats.
    pub held_out: Option<Measure>,
    /// Every tested format.
    pub across: Vec<Across>,
    /// Whether there is a base.
    pub has_base: bool,
    /// The gap minus the base's; `None` where no behaviour was measured.
    pub beyond_base: Option<Estimate>,
    /// What steering does; `None` where nothing was steered.
    pub control: Option<Control>,
}

/// A verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The word.
    pub conclusion: Conclusion,
    /// Whether the context can be read beyond words and base.
    pub detectable: bool,
    /// Whether behaviour differs beyond base.
    pub behavioural: bool,
    /// Whether steering works beyond random directions.
    pub controllable: bool,
    /// Why, one sentence per axis that fails, and of the confounding.
    pub reasons: Vec<String>,
}

/// The verdict on the evidence, by the rules above.
pub fn verdict(e: &Evidence) -> Verdict {
    let mut reasons = Vec::new();
    let detectable = axis(detectable(e), &mut reasons);
    let behavioural = axis(behavioural(e), &mut reasons);
    let controllable = axis(controllable(e), &mut reasons);
    let conclusion = if detectable && behavioural && controllable {
        Conclusion::Established
    } else if let Some(reason) = confounded(e) {
        reasons.insert(0, reason);
        Conclusion::ConfoundedByFormat
    } else {
        Conclusion::NotEstablished
    };
    Verdict {
        conclusion,
        detectable,
        behavioural,
        controllable,
        reasons,
    }
}

fn axis(found: Result<(), String>, reasons: &mut Vec<String>) -> bool {
    match found {
        Ok(()) => true,
        Err(reason) => {
            reasons.push(reason);
            false
        }
    }
}

fn above_chance(m: &Measure) -> bool {
    m.interval.is_some_and(|i| i.low > 0.5)
}

fn detectable(e: &Evidence) -> Result<(), String> {
    if e.across.is_empty() {
        return Err(match e.two_formats {
            true => "not detectable: no two formats have both contexts, so nothing can be fitted on one and tested on another".into(),
            false => "not detectable: the set has one format, so nothing can be said across formats".into(),
        });
    }
    for a in &e.across {
        let low = a.policy.interval.map_or(f64::NEG_INFINITY, |i| i.low);
        let fails = |than: &str| {
            Err(format!(
                "not detectable: tested on format {:?}, the AUROC {:.3} is not above {than}",
                a.format, a.policy.auroc
            ))
        };
        if !above_chance(&a.policy) {
            return fails("chance");
        }
        if a.words.is_none_or(|words| low <= words) || !a.beyond_words.is_above_zero() {
            return fails("the bag of words");
        }
        if !e.has_base {
            return Err("not detectable beyond the base: none was given".into());
        }
        if a.base.is_none_or(|base| low <= base) || !a.beyond_base.is_above_zero() {
            return fails("the base");
        }
    }
    Ok(())
}

fn behavioural(e: &Evidence) -> Result<(), String> {
    match &e.beyond_base {
        None if !e.has_base => Err("no behavioural effect beyond the base: none was given".into()),
        None => Err("no behavioural effect: no behaviour was measured".into()),
        Some(gap) if gap.leaves_zero_out() => Ok(()),
        Some(_) => Err(
            "no behavioural effect: the gap between contexts does not differ from the base's"
                .into(),
        ),
    }
}

fn controllable(e: &Evidence) -> Result<(), String> {
    let Some(control) = &e.control else {
        return Err("not controllable: nothing was steered".into());
    };
    let beyond = control.beyond_random.is_above_zero();
    match control.p_value {
        Some(p) if beyond && p <= ALPHA => Ok(()),
        Some(p) => Err(format!(
            "not controllable: steering along the direction does no more than random directions (rank p = {p:.3})"
        )),
        None => Err("not controllable: there are no random directions to compare with".into()),
    }
}

fn confounded(e: &Evidence) -> Option<String> {
    let m = e.held_out.as_ref()?;
    let told = above_chance(m) && m.p_max.is_some_and(|p| p <= ALPHA);
    if !told || !e.two_formats {
        return None;
    }
    let with = format!(
        "with sources held out the context can be told (AUROC {:.3})",
        m.auroc
    );
    if !e.crosses_formats || e.across.is_empty() {
        return Some(format!(
            "{with}, but context and format go together, so that it may be the format that is told"
        ));
    }
    let failing = e.across.iter().find(|a| !above_chance(&a.policy))?;
    Some(format!(
        "{with}, but not across formats: tested on {:?} the AUROC is {:.3}",
        failing.format, failing.policy.auroc
    ))
}
