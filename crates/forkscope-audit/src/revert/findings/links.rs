//! Where the behaviour hangs by a thread: margins of its decisions, positions
//! that turn it alone, and the answers that cost least.

use std::collections::BTreeMap;

use forkscope_records::types::{Finding, Reversion, ReversionControl, ReversionMethod};
use serde_json::json;

use super::super::curves::mean;
use super::{Group, Maker};

/// Completion positions that are reported one by one.
const INDICES: u32 = 8;
/// Answers that are listed.
const LISTED: usize = 10;

pub(super) fn findings(maker: &Maker<'_>, eligible: &[&Group<'_>]) -> Vec<Finding> {
    let mut all = margins(maker, eligible);
    all.extend(alone(maker, eligible));
    all.extend(weakest(maker, eligible));
    all
}

/// Margins of the decisions in the tuned policy's own answers.
fn margins(maker: &Maker<'_>, eligible: &[&Group<'_>]) -> Vec<Finding> {
    let mut first = Vec::new();
    let mut decisions = Vec::new();
    let mut at: BTreeMap<u32, Vec<(usize, f64)>> = BTreeMap::new();
    for group in eligible {
        let Some(own) = group.own() else { continue };
        decisions.push((group.cluster, own.positions.len() as f64));
        for (i, (t, margin)) in own.positions.iter().zip(&own.margins_nats).enumerate() {
            let unit = (group.cluster, f64::from(*margin));
            if i == 0 {
                first.push(unit);
            }
            let index = t.saturating_sub(own.prompt_len as u32);
            if index < INDICES {
                at.entry(index).or_default().push(unit);
            }
        }
    }
    let what = "max ln p - ln p(donor's token) where the donor would choose another token";
    let mut all = vec![
        maker.finding(
            "decisions",
            "positions of the tuned policy's own answer at which the donor would choose another token"
                .to_owned(),
            "tokens",
            mean(decisions.into_iter(), &maker.draws),
            0,
            &[],
        ),
        maker.finding(
            "margin.first",
            format!("mean margin of the first decision: {what}"),
            "nats",
            mean(first.into_iter(), &maker.draws),
            0,
            &[],
        ),
    ];
    for (index, units) in at {
        all.push(maker.finding(
            &format!("margin.index.{index}"),
            format!("mean margin at completion index {index}, of the answers with a decision there: {what}"),
            "nats",
            mean(units.into_iter(), &maker.draws),
            0,
            &[("index", json!(index))],
        ));
    }
    all
}

/// Positions at which one forced token turns the answer.
fn alone(maker: &Maker<'_>, eligible: &[&Group<'_>]) -> Vec<Finding> {
    let mut at: BTreeMap<u32, Vec<(usize, f64)>> = BTreeMap::new();
    let mut all_positions = Vec::new();
    for group in eligible {
        let Some(row) = find(group, ReversionMethod::TokensMinimal) else {
            continue;
        };
        for (index, turned) in row.levels.iter().zip(&row.turned) {
            let unit = (group.cluster, f64::from(u8::from(*turned == 1)));
            all_positions.push(unit);
            let index = *index as u32;
            if index < INDICES {
                at.entry(index).or_default().push(unit);
            }
        }
    }
    let mut all = vec![maker.finding(
        "turns_alone",
        "share of decisions at which one forced donor token turns the answer".to_owned(),
        "share",
        mean(all_positions.into_iter(), &maker.draws),
        0,
        &[],
    )];
    for (index, units) in at {
        all.push(maker.finding(
            &format!("turns_alone.index.{index}"),
            format!("share of decisions at completion index {index} at which one forced donor token turns the answer"),
            "share",
            mean(units.into_iter(), &maker.draws),
            0,
            &[("index", json!(index))],
        ));
    }
    all
}

/// The answers with the least price in nats.
fn weakest(maker: &Maker<'_>, eligible: &[&Group<'_>]) -> Vec<Finding> {
    let mut priced: Vec<(f64, &Reversion)> = eligible
        .iter()
        .filter_map(|group| {
            let row = find(group, ReversionMethod::Nats)?;
            Some((row.price?, row))
        })
        .collect();
    priced.sort_by(|a, b| a.0.total_cmp(&b.0));
    let listed = priced.into_iter().take(LISTED).enumerate();
    listed
        .map(|(i, (price, row))| {
            let rank = i + 1;
            let mut finding = maker.counted(
                &format!("weakest.{rank}"),
                format!(
                    "the answer with the least price in nats but {i}: its problem, the positions t that are forced and the tokens forced there"
                ),
                0,
                eligible.len(),
            );
            finding.value = Some(price);
            finding.unit = "nats".to_owned();
            finding.label = Some(label(maker, row));
            finding
        })
        .collect()
}

fn label(maker: &Maker<'_>, row: &Reversion) -> String {
    let forced = row.positions.iter().zip(&row.donor_ids);
    let forced: Vec<String> = forced
        .map(|(t, token)| {
            let piece = (maker.described.piece)(*token);
            format!("t={t} {}", piece.unwrap_or_else(|| format!("#{token}")))
        })
        .collect();
    match row.sample {
        0 => format!("{}: {}", row.problem_id, forced.join(", ")),
        sample => format!("{}/{sample}: {}", row.problem_id, forced.join(", ")),
    }
}

fn find<'r>(group: &Group<'r>, method: ReversionMethod) -> Option<&'r Reversion> {
    let mut rows = group.rows.iter().copied();
    rows.find(|r| r.method == method && r.control == ReversionControl::None)
}
