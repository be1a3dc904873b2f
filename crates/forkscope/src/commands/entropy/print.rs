//! The analysis as a table or as one JSON document.

use serde_json::{Value, json};

use super::bounds::Bounds;
use super::forks::{Analysis, Fork, Place, Rule};
use super::{Arguments, Source};
use crate::failure::Outcome;
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;

/// Version of the JSON document.
const SCHEMA: &str = "forkscope/entropy/1";

/// Writes the table: all positions, or the top ones, then what they add up to.
pub fn table(
    analysis: &Analysis,
    source: &Source,
    arguments: &Arguments,
    out: &mut Output,
) -> Outcome {
    let shown: Vec<&Place> = match arguments.top {
        None => analysis.places.iter().collect(),
        Some(n) => {
            let n = usize::try_from(n).unwrap_or(usize::MAX);
            analysis
                .top(n)
                .into_iter()
                .filter_map(|i| analysis.places.get(i))
                .collect()
        }
    };
    match source.rounding_nats {
        None => certain(&shown, out)?,
        Some(_) => bounded(&shown, out)?,
    }
    out.line("")?;
    summary(analysis, source, arguments, out)
}

/// Columns for whole distributions.
fn certain(shown: &[&Place], out: &mut Output) -> Outcome {
    let mut columns = Columns::new([
        ("position", Align::Left),
        ("entropy", Align::Right),
        ("fork", Align::Left),
    ]);
    for place in shown {
        let entropy = place.entropy.map_or_else(String::new, |b| decimals(b.low));
        columns.row([sanitise(&place.name).into_owned(), entropy, verdict(place)]);
    }
    columns.write(out)
}

/// Columns for intervals.
fn bounded(shown: &[&Place], out: &mut Output) -> Outcome {
    let mut columns = Columns::new([
        ("position", Align::Left),
        ("token", Align::Left),
        ("ln p", Align::Right),
        ("low", Align::Right),
        ("high", Align::Right),
        ("fork", Align::Left),
    ]);
    for place in shown {
        let token = place
            .token
            .as_deref()
            .map_or_else(String::new, |t| format!("{:?}", Quoted(t)));
        let end =
            |pick: fn(Bounds) -> f64| place.entropy.map(pick).map_or_else(String::new, decimals);
        columns.row([
            sanitise(&place.name).into_owned(),
            token,
            place.logprob.map_or_else(String::new, decimals),
            end(|b| b.low),
            end(|b| b.high),
            verdict(place),
        ]);
    }
    columns.write(out)
}

/// A token in quotes, so that its spaces are seen, and inert.
struct Quoted<'a>(&'a str);

impl std::fmt::Debug for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", sanitise(self.0))
    }
}

fn verdict(place: &Place) -> String {
    match place.fork {
        Some(Fork::Yes) => "fork".to_owned(),
        Some(Fork::No) => String::new(),
        Some(Fork::Undecided) => "undecided".to_owned(),
        None => format!("invalid: {}", place.validity.name()),
    }
}

fn summary(
    analysis: &Analysis,
    source: &Source,
    arguments: &Arguments,
    out: &mut Output,
) -> Outcome {
    let unit = analysis.unit.name();
    let file = arguments.file.display().to_string();
    out.labelled(
        "file",
        &format!("{} ({})", sanitise(&file), source.layouts.join(", ")),
    )?;
    out.labelled("unit", unit)?;
    let origin = match analysis.rule {
        Rule::Default => "the default, 1.2 nats".to_owned(),
        Rule::Tau(_) => "given".to_owned(),
        Rule::Quantile(q) => format!("the {q} quantile"),
    };
    let threshold = range(analysis.threshold, decimals);
    out.labelled(
        "threshold",
        &format!("{threshold} {unit} ({origin}); a fork is above it"),
    )?;
    out.labelled("forks", &forks(analysis))?;
    let invalid = match analysis.n_invalid() {
        0 => "0".to_owned(),
        n => format!("{n} ({})", analysis.invalid_by_reason()),
    };
    out.labelled("invalid", &invalid)?;
    let Some(rounding) = source.rounding_nats else {
        return Ok(());
    };
    let vocabulary = match arguments.vocab_size {
        Some(v) => format!("{v} tokens"),
        None => "unknown: no upper bounds; give --vocab-size".to_owned(),
    };
    out.labelled("vocabulary", &vocabulary)?;
    out.labelled(
        "rounding",
        &format!("log-probs are known within {rounding:e} nats"),
    )?;
    for (label, n) in [
        ("duplicates", analysis.duplicates()),
        ("sentinels", analysis.sentinels()),
    ] {
        if n > 0 {
            out.labelled(label, &format!("{n} entries"))?;
        }
    }
    Ok(())
}

/// `3 of 10 = 30.0 %`, or the range where positions are undecided.
fn forks(analysis: &Analysis) -> String {
    let (least, n) = (analysis.forks, analysis.n);
    let share = range(analysis.share(), percent);
    match analysis.undecided {
        0 => format!("{least} of {n} = {share}"),
        undecided => format!(
            "{least} to {} of {n} = {share} ({undecided} undecided)",
            least + undecided
        ),
    }
}

fn range(bounds: Bounds, write: fn(f64) -> String) -> String {
    match bounds.value() {
        Some(value) => write(value),
        None => format!("{} to {}", write(bounds.low), write(bounds.high)),
    }
}

/// Four decimals; +inf as `inf`.
fn decimals(value: f64) -> String {
    let text = format!("{value:.4}");
    // A distribution that sums to a hair above one has an entropy a hair below zero.
    if text == "-0.0000" {
        "0.0000".to_owned()
    } else {
        text
    }
}

/// One decimal, more where it would hide that a share is not 0 or not 1.
fn percent(share: f64) -> String {
    let hides = |text: &str| {
        (share > 0.0 && text.parse() == Ok(0.0)) || (share < 1.0 && text.parse() == Ok(100.0))
    };
    let written = |decimals: usize| format!("{:.decimals$}", share * 100.0);
    let text = (1..12)
        .map(written)
        .find(|text| !hides(text))
        .unwrap_or_else(|| written(12));
    format!("{text} %")
}

/// Writes the JSON document: every position in the order of the file.
pub fn json(
    analysis: &Analysis,
    source: &Source,
    arguments: &Arguments,
    out: &mut Output,
) -> Outcome {
    let (rule, q) = match analysis.rule {
        Rule::Default => ("default", None),
        Rule::Tau(_) => ("tau", None),
        Rule::Quantile(q) => ("quantile", Some(q)),
    };
    let share = analysis.share();
    let top = arguments
        .top
        .map(|n| analysis.top(usize::try_from(n).unwrap_or(usize::MAX)));
    let document = json!({
        "schema": SCHEMA,
        "file": arguments.file.display().to_string(),
        "layouts": source.layouts,
        "unit": analysis.unit.name(),
        "vocab_size": arguments.vocab_size,
        "rounding_nats": source.rounding_nats,
        "threshold": {
            "rule": rule,
            "quantile": q,
            "value": analysis.threshold.value().map(number),
            "low": number(analysis.threshold.low),
            "high": number(analysis.threshold.high),
        },
        "n": analysis.n,
        "n_invalid": analysis.n_invalid(),
        "invalid": analysis.invalid,
        "duplicates": analysis.duplicates(),
        "sentinels": analysis.sentinels(),
        "forks": analysis.forks,
        "undecided": analysis.undecided,
        "fork_share": share.value().map(number),
        "fork_share_low": number(share.low),
        "fork_share_high": number(share.high),
        "top": top,
        "positions": analysis.places.iter().map(position).collect::<Vec<Value>>(),
    });
    out.json(&document)
}

fn position(place: &Place) -> Value {
    json!({
        "name": place.name,
        "token": place.token,
        "logprob": place.logprob.map(number),
        "validity": place.validity.name(),
        "entropy": place.entropy.and_then(Bounds::value).map(number),
        "entropy_low": place.entropy.map(|b| number(b.low)),
        "entropy_high": place.entropy.map(|b| number(b.high)),
        "fork": place.fork.map(|fork| match fork {
            Fork::Yes => "yes",
            Fork::No => "no",
            Fork::Undecided => "undecided",
        }),
    })
}

/// A number; +inf as the string "inf".
fn number(value: f64) -> Value {
    if value == f64::INFINITY {
        json!("inf")
    } else {
        json!(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_rounded_to_none_or_all() {
        for (share, text) in [
            (0.3, "30.0 %"),
            (0.0, "0.0 %"),
            (1.0, "100.0 %"),
            (0.000_2, "0.02 %"),
            (0.999_9, "99.99 %"),
            (1.0 / 3.0, "33.3 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn tokens_show_their_spaces_and_nothing_else_happens() {
        assert_eq!(format!("{:?}", Quoted(" the\x1b[2J")), "\" the\\x1b[2J\"");
    }
}
