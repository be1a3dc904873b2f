//! Where in the completion the policies differ: by tenth of its length, and in
//! its first tokens against the rest.

use serde_json::{Value, json};

use super::catalogue::{Catalogue, Entry, Estimate, Population, Sum};
use super::columns::Columns;

/// Numbers of first tokens that are set against the rest.
const FIRST: [u32; 6] = [1, 2, 3, 5, 10, 20];

/// Sums of one group of positions.
struct Group {
    positions: Population,
    changed: Sum,
    with_kl: Population,
    kl: Sum,
}

pub(super) fn add(catalogue: &mut Catalogue, columns: &Columns) {
    let deciles = groups(catalogue, columns, 10, |i| usize::from(columns.decile[i]));
    let place = |d: usize| {
        format!(
            "positions with floor(10 j / L) = {d}, j = t - prompt_len, L the completion's length"
        )
    };
    for (d, group) in deciles.iter().enumerate() {
        let thresholds = vec![("decile", json!(d + 1))];
        mean_kl(
            catalogue,
            group,
            &format!("profile.kl.d{:02}", d + 1),
            &place(d),
            thresholds,
        );
    }
    for (d, group) in deciles.iter().enumerate() {
        let thresholds = vec![("decile", json!(d + 1))];
        share_changed(
            catalogue,
            group,
            &format!("profile.changed.d{:02}", d + 1),
            &place(d),
            thresholds,
        );
    }
    let all_kl = kl_sum(catalogue, columns);
    for first in FIRST {
        let split = groups(catalogue, columns, 2, |i| {
            usize::from(columns.index[i] >= first)
        });
        early(catalogue, first, &split, all_kl);
    }
}

fn groups(
    catalogue: &mut Catalogue,
    columns: &Columns,
    number: usize,
    group: impl Fn(usize) -> usize,
) -> Vec<Group> {
    let all = || columns.cluster.iter().copied().enumerate();
    let kl = || all().filter_map(|(i, c)| Some((i, c, columns.kl_tuned_base[i]?)));
    let counts = catalogue.sums(number, all().map(|(i, c)| (c, group(i), 1.0)));
    let changed = all().map(|(i, c)| (c, group(i), f64::from(u8::from(columns.changed(i)))));
    let changed = catalogue.sums(number, changed);
    let kl_counts = catalogue.sums(number, kl().map(|(i, c, _)| (c, group(i), 1.0)));
    let kl_sums = catalogue.sums(number, kl().map(|(i, c, v)| (c, group(i), v)));
    let invalid = columns.invalid();
    (0..number)
        .map(|g| {
            let positions = catalogue.counted(counts[g], invalid);
            let with_kl = catalogue.counted(kl_counts[g], invalid);
            Group {
                positions,
                changed: changed[g],
                with_kl: Population {
                    n_invalid: invalid + positions.n - with_kl.n,
                    ..with_kl
                },
                kl: kl_sums[g],
            }
        })
        .collect()
}

/// Sum of KL over all positions, and these positions.
fn kl_sum(catalogue: &mut Catalogue, columns: &Columns) -> (Sum, Population) {
    let units = || {
        let kept = columns.cluster.iter().zip(&columns.kl_tuned_base);
        kept.filter_map(|(c, v)| Some((*c, (*v)?)))
    };
    let nulls = columns.len() - units().count();
    let of = catalogue.population(units().map(|(c, _)| c), columns.invalid() + nulls as u64);
    (catalogue.sum(units()), of)
}

fn early(catalogue: &mut Catalogue, first: u32, split: &[Group], all_kl: (Sum, Population)) {
    let [head, rest] = split else { return };
    let thresholds = || vec![("first", json!(first))];
    let head_place = format!("the first {first} completion tokens");
    let rest_place = format!("the completion tokens after the first {first}");
    mean_kl(
        catalogue,
        head,
        &format!("early.kl.first_{first}"),
        &head_place,
        thresholds(),
    );
    mean_kl(
        catalogue,
        rest,
        &format!("early.kl.after_{first}"),
        &rest_place,
        thresholds(),
    );
    share_changed(
        catalogue,
        head,
        &format!("early.changed.first_{first}"),
        &head_place,
        thresholds(),
    );
    share_changed(
        catalogue,
        rest,
        &format!("early.changed.after_{first}"),
        &rest_place,
        thresholds(),
    );
    catalogue.push(Entry {
        id: format!("early.kl_share.first_{first}"),
        definition: format!("share of the sum of KL(p ‖ b) over all positions that sits in {head_place}; undefined if the sum is 0"),
        unit: "share",
        of: all_kl.1,
        estimate: Estimate::Ratio(head.kl, all_kl.0),
        thresholds: thresholds(),
        label: None,
    });
}

fn mean_kl(
    catalogue: &mut Catalogue,
    group: &Group,
    id: &str,
    place: &str,
    thresholds: Vec<(&str, Value)>,
) {
    catalogue.push(Entry {
        id: id.into(),
        definition: format!("mean KL(p ‖ b) over {place}"),
        unit: "nats",
        of: group.with_kl,
        estimate: Estimate::Ratio(group.kl, group.with_kl.count),
        thresholds,
        label: None,
    });
}

fn share_changed(
    catalogue: &mut Catalogue,
    group: &Group,
    id: &str,
    place: &str,
    thresholds: Vec<(&str, Value)>,
) {
    catalogue.push(Entry {
        id: id.into(),
        definition: format!("share with a changed argmax among {place}"),
        unit: "share",
        of: group.positions,
        estimate: Estimate::Ratio(group.changed, group.positions.count),
        thresholds,
        label: None,
    });
}
