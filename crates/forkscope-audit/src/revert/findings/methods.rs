//! One block of findings per method and control.

use std::collections::BTreeMap;

use forkscope_records::types::{
    Finding, Reversion, ReversionControl, ReversionMethod, ReversionStatus,
};
use serde_json::json;

use super::super::curves::{Estimated, Prices, difference, mean};
use super::{Group, Maker, undecided};
use crate::AuditError;

/// A method or control with its rows: one per subject.
struct Column<'r> {
    name: String,
    method: ReversionMethod,
    control: ReversionControl,
    clusters: Vec<usize>,
    rows: Vec<&'r Reversion>,
    prices: Prices,
}

pub(super) fn findings(
    maker: &Maker<'_>,
    eligible: &[&Group<'_>],
) -> Result<Vec<Finding>, AuditError> {
    let columns = columns(eligible);
    let mut all = Vec::new();
    for column in &columns {
        all.extend(prices(maker, column));
        if matches!(
            column.method,
            ReversionMethod::Prefill | ReversionMethod::Alpha
        ) {
            all.extend(levels(maker, column));
        }
        let own = columns
            .iter()
            .find(|c| c.method == column.method && c.control == ReversionControl::None);
        if let (Some(own), false) = (own, column.control == ReversionControl::None) {
            all.push(compared(maker, own, column)?);
        }
    }
    Ok(all)
}

/// The columns of subjects, in the order of their rows.
fn columns<'r>(eligible: &[&Group<'r>]) -> Vec<Column<'r>> {
    let Some(first) = eligible.first() else {
        return Vec::new();
    };
    let kinds = first.rows.iter().skip(2).map(|r| (r.method, r.control));
    kinds
        .map(|(method, control)| {
            let of = |group: &&Group<'r>| {
                let mut rows = group.rows.iter();
                let row = rows.find(|r| r.method == method && r.control == control)?;
                Some((group.cluster, *row))
            };
            let (clusters, rows): (Vec<usize>, Vec<&Reversion>) =
                eligible.iter().filter_map(of).unzip();
            let priced = rows.iter().map(|r| (r.problem_id.as_str(), r.price));
            Column {
                name: match control {
                    ReversionControl::None => method.as_str().to_owned(),
                    _ => format!("{}.{}", method.as_str(), control.as_str()),
                },
                method,
                control,
                prices: Prices::new(priced),
                clusters,
                rows,
            }
        })
        .collect()
}

impl Column<'_> {
    fn cap(&self) -> f64 {
        self.rows.first().map_or(0.0, |r| r.cap)
    }

    fn unit(&self) -> &str {
        self.rows.first().map_or("tokens", |r| r.unit.as_str())
    }

    fn invalid(&self) -> usize {
        self.rows.iter().filter(|r| undecided(r)).count()
    }

    /// What a price of this method is, for definitions.
    fn price(&self) -> String {
        let method = match self.method {
            ReversionMethod::Tokens => {
                "forced donor tokens, each where JS is highest behind the one before"
            }
            ReversionMethod::TokensFirst => "forced donor tokens, at the first disagreements",
            ReversionMethod::TokensMinimal => {
                "least number of forced donor tokens, all smaller ones having been tried"
            }
            ReversionMethod::Prefill => {
                "leading tokens of the donor's own answer that are prefilled"
            }
            ReversionMethod::Alpha => "weight |α| of the base in (1-α) ln p + α ln b",
            ReversionMethod::Nats => {
                "sum over forced tokens of max ln p - ln p(token), least over the sets found"
            }
            ReversionMethod::Prompt => "ids added to the prompt, found by search",
            ReversionMethod::Tuned | ReversionMethod::Base => "nothing",
        };
        let control = match self.control {
            ReversionControl::None => "",
            ReversionControl::RandomPositions => "; control: at positions drawn at random",
            ReversionControl::RandomTokens => {
                "; control: tokens drawn at random from the donor's most probable ones"
            }
            ReversionControl::OtherPrompt => "; control: of the base's answer to another prompt",
            ReversionControl::Permuted => {
                "; control: the shift's entries permuted over the vocabulary"
            }
            ReversionControl::RandomSearch => {
                "; control: the best of as many random insertions of the same length"
            }
            ReversionControl::RandomPrompt => "; control: one random insertion of each length",
        };
        format!("{method}{control}")
    }
}

fn prices(maker: &Maker<'_>, column: &Column<'_>) -> Vec<Finding> {
    let (cap, unit, price) = (column.cap(), column.unit(), column.price());
    let (name, invalid) = (&column.name, column.invalid());
    let cap_of = [("cap", json!(cap))];
    let mut all = Vec::new();
    if column.method == ReversionMethod::TokensMinimal {
        let known = column.rows.iter().map(|r| {
            let known = r.status == ReversionStatus::Reached;
            f64::from(u8::from(known))
        });
        let verified = mean(column.clusters.iter().copied().zip(known), &maker.draws);
        all.push(maker.finding(
            &format!("{name}.verified"),
            format!("share of answers whose least number of forced tokens is verified ({price})"),
            "share",
            verified,
            invalid,
            &[],
        ));
    } else {
        all.push(maker.finding(
            &format!("{name}.restricted_mean"),
            format!("mean of min(price, {cap}); price: {price}"),
            unit,
            column.prices.restricted_mean(cap, &maker.draws),
            invalid,
            &cap_of,
        ));
    }
    all.push(maker.finding(
        &format!("{name}.median"),
        format!("median price, undefined where fewer than half are known; price: {price}"),
        unit,
        without_interval(
            column.prices.quantile(0.5),
            &column.prices,
            &column.clusters,
        ),
        invalid,
        &cap_of,
    ));
    for level in shown(column) {
        all.push(maker.finding(
            &format!("{name}.turned_by.{level}"),
            format!("share of answers with a price of at most {level}; price: {price}"),
            "share",
            column.prices.turned_by(level, &maker.draws),
            invalid,
            &[("level", json!(level)), ("cap", json!(cap))],
        ));
    }
    let reached = column.clusters.iter().zip(&column.rows);
    let spent = reached.filter_map(|(c, r)| Some((*c, r.price.and(r.kl_nats)?)));
    let spent = mean(spent, &maker.draws);
    if spent.n > 0 {
        all.push(maker.finding(
            &format!("{name}.kl"),
            "mean over turned answers of Σ -ln p(forced token): the KL of the forced choices to the tuned policy"
                .to_owned(),
            "nats",
            spent,
            column.rows.len() - spent.n,
            &[],
        ));
    }
    all
}

fn without_interval(value: Option<f64>, prices: &Prices, clusters: &[usize]) -> Estimated {
    let problems: std::collections::BTreeSet<&usize> = clusters.iter().collect();
    Estimated {
        value,
        interval: None,
        n: prices.len(),
        n_clusters: problems.len(),
    }
}

/// Levels at which the share turned is given.
fn shown(column: &Column<'_>) -> Vec<f64> {
    let cap = column.cap();
    let all: &[f64] = match column.method {
        ReversionMethod::Alpha => &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5],
        ReversionMethod::Nats => &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
        _ => &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0],
    };
    let below = all.iter().copied().filter(|level| *level < cap);
    below.chain([cap]).collect()
}

/// What each level did by itself, and how often more did less.
fn levels(maker: &Maker<'_>, column: &Column<'_>) -> Vec<Finding> {
    let (name, price) = (&column.name, column.price());
    let mut at: BTreeMap<u64, Vec<(usize, f64)>> = BTreeMap::new();
    let mut back = Vec::new();
    for (cluster, row) in column.clusters.iter().zip(&column.rows) {
        let mut turned_before = false;
        let mut returned = false;
        for (level, turned) in row.levels.iter().zip(&row.turned) {
            let turned = *turned == 1;
            returned |= turned_before && !turned;
            turned_before |= turned;
            // All levels are positive, so that their bits are in their order.
            let bits = f64::from(*level).to_bits();
            at.entry(bits)
                .or_default()
                .push((*cluster, f64::from(u8::from(turned))));
        }
        if turned_before {
            back.push((*cluster, f64::from(u8::from(returned))));
        }
    }
    let wanted = shown(column);
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    let mut all = Vec::new();
    for (bits, units) in at {
        let Some(level) = wanted.iter().find(|w| near(**w, f64::from_bits(bits))) else {
            continue;
        };
        all.push(maker.finding(
            &format!("{name}.turned_at.{level}"),
            format!(
                "share of the answers with that level that are turned by exactly {level}; {price}"
            ),
            "share",
            mean(units.into_iter(), &maker.draws),
            0,
            &[("level", json!(level))],
        ));
    }
    all.push(maker.finding(
        &format!("{name}.returned"),
        format!("share of the turned answers that a higher level did not turn, so that more did less; {price}"),
        "share",
        mean(back.into_iter(), &maker.draws),
        0,
        &[],
    ));
    all
}

/// How much dearer the control is.
fn compared(
    maker: &Maker<'_>,
    own: &Column<'_>,
    control: &Column<'_>,
) -> Result<Finding, AuditError> {
    let cap = own.cap();
    let (estimated, p_value) = difference(&own.prices, &control.prices, cap, &maker.draws)?;
    Ok(maker.finding(
        &format!("{}.difference", control.name),
        format!(
            "restricted mean of the control minus that of `{}`, within answers; above 0 the method is cheaper than its control",
            own.name
        ),
        own.unit(),
        estimated,
        control.invalid(),
        &[
            ("cap", json!(cap)),
            ("p_value", json!(p_value)),
            ("test", json!("two-sided sign-flip over problems")),
        ],
    ))
}
