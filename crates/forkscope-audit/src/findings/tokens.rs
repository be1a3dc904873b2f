//! Which tokens the tuned policy prefers instead, and which it prefers no more.
//!
//! Rows hold argmaxes, not whole distributions, so promotion is counted where
//! the argmax changed: net(v) = (changed positions at which v is the tuned
//! argmax) - (changed positions at which v is the base argmax).

use std::collections::HashMap;

use serde_json::json;

use super::FindingSettings;
use super::catalogue::{Catalogue, Entry, Estimate, Population};
use super::columns::Columns;

/// What is known of one token.
#[derive(Default, Clone, Copy)]
struct Tally {
    gained: u64,
    lost: u64,
    sampled: u64,
    delta: f64,
}

impl Tally {
    fn net(&self) -> i64 {
        self.gained as i64 - self.lost as i64
    }
}

pub(super) fn add(
    catalogue: &mut Catalogue,
    columns: &Columns,
    settings: &FindingSettings,
    pieces: &dyn Fn(u32) -> Option<String>,
) {
    let changed: Vec<usize> = (0..columns.len()).filter(|&i| columns.changed(i)).collect();
    let of = catalogue.population(
        changed.iter().map(|&i| columns.cluster[i]),
        columns.invalid(),
    );
    let tallies = tallies(columns, &changed);
    let mut order: Vec<(u32, i64)> = tallies.iter().map(|(&v, tally)| (v, tally.net())).collect();
    for (family, sign) in [("promoted", 1), ("demoted", -1)] {
        order.sort_unstable_by_key(|&(token, net)| (-sign * net, token));
        let listed: Vec<u32> = order
            .iter()
            .filter(|(_, net)| sign * net > 0)
            .take(settings.tokens_listed)
            .map(|&(token, _)| token)
            .collect();
        let sums = net_sums(catalogue, columns, &changed, &listed, sign as f64);
        for (place, (token, sum)) in listed.into_iter().zip(sums).enumerate() {
            let tally = tallies.get(&token).copied().unwrap_or_default();
            let mut entry = entry(family, place + 1, token, tally, of);
            entry.estimate = Estimate::Ratio(sum, of.count);
            entry.label = pieces(token);
            catalogue.push(entry);
        }
    }
}

fn tallies(columns: &Columns, changed: &[usize]) -> HashMap<u32, Tally> {
    let mut tallies: HashMap<u32, Tally> = HashMap::new();
    for &i in changed {
        tallies.entry(columns.argmax_tuned[i]).or_default().gained += 1;
        tallies.entry(columns.argmax_base[i]).or_default().lost += 1;
    }
    for (token, delta) in columns.token.iter().zip(&columns.delta_logprob) {
        if let (Some(delta), Some(tally)) = (delta, tallies.get_mut(token)) {
            tally.sampled += 1;
            tally.delta += delta;
        }
    }
    tallies
}

/// Per problem, the net count of each listed token, times `sign`.
fn net_sums(
    catalogue: &mut Catalogue,
    columns: &Columns,
    changed: &[usize],
    listed: &[u32],
    sign: f64,
) -> Vec<super::catalogue::Sum> {
    let places: HashMap<u32, usize> = listed.iter().copied().zip(0..).collect();
    let steps = changed.iter().flat_map(|&i| {
        [
            (columns.argmax_tuned[i], sign),
            (columns.argmax_base[i], -sign),
        ]
        .map(|(token, step)| (columns.cluster[i], token, step))
    });
    let known = steps.filter_map(|(cluster, token, step)| {
        places.get(&token).map(|&place| (cluster, place, step))
    });
    catalogue.sums(listed.len(), known)
}

fn entry(family: &str, place: usize, token: u32, tally: Tally, of: Population) -> Entry<'static> {
    let (more, less) = match family {
        "promoted" => ("tuned", "base"),
        _ => ("base", "tuned"),
    };
    let mean_delta = (tally.sampled > 0).then(|| tally.delta / tally.sampled as f64);
    Entry {
        id: format!("{family}.{place:02}"),
        definition: format!(
            "net share of changed positions (argmax differs) for the token that is {place}. most {family}: (positions at which it is the {more} argmax - positions at which it is the {less} argmax) / changed positions; the token was chosen on the same data, which the interval does not account for"
        ),
        unit: "share",
        of,
        // Replaced by the caller, who has the sums.
        estimate: Estimate::Ratio(of.count, of.count),
        thresholds: vec![
            ("token_id", json!(token)),
            ("tuned_argmax", json!(tally.gained)),
            ("base_argmax", json!(tally.lost)),
            ("sampled", json!(tally.sampled)),
            ("mean_delta_logprob_nats", json!(mean_delta)),
        ],
        label: None,
    }
}
