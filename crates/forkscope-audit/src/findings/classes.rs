//! Class shares, base ranks of what the tuned policy prefers, and the entropy
//! that goes with them (arXiv 2605.06241; URIAL cut-offs of arXiv 2312.01552).

use serde_json::json;

use super::FindingSettings;
use super::catalogue::{Catalogue, Entry, Estimate, Population, Sum};
use super::columns::Columns;

const UNSHIFTED: usize = 0;
const RERANKED: usize = 1;
const SHIFTED: usize = 2;

pub(super) fn add(catalogue: &mut Catalogue, columns: &Columns, settings: &FindingSettings) {
    let positions = catalogue.population(columns.cluster.iter().copied(), columns.invalid());
    let class = |i: usize| match columns.changed(i) {
        false => UNSHIFTED,
        true if columns.base_rank[i] <= settings.top_k => RERANKED,
        true => SHIFTED,
    };
    let counts = catalogue.sums(3, units(columns).map(|(i, c)| (c, class(i), 1.0)));
    paper_classes(catalogue, positions, &counts, settings);
    urial_classes(catalogue, columns, positions);
    same_top1(catalogue, positions, counts[UNSHIFTED]);
    let entropies = units(columns).map(|(i, c)| (c, class(i), columns.entropy_base[i]));
    let entropies = catalogue.sums(3, entropies);
    let changed = catalogue.population(
        units(columns)
            .filter(|(i, _)| columns.changed(*i))
            .map(|(_, c)| c),
        columns.invalid(),
    );
    entropy(
        catalogue, columns, positions, changed, &counts, &entropies, settings,
    );
    base_ranks(catalogue, columns, changed);
}

/// Row index and cluster of every row in use.
fn units(columns: &Columns) -> impl Iterator<Item = (usize, u32)> + '_ {
    columns.cluster.iter().copied().enumerate()
}

fn paper_classes(
    catalogue: &mut Catalogue,
    positions: Population,
    counts: &[Sum],
    settings: &FindingSettings,
) {
    let k = settings.top_k;
    for (class, name, rule) in [
        (
            UNSHIFTED,
            "unshifted",
            "p and b have the same argmax".to_owned(),
        ),
        (
            RERANKED,
            "reranked",
            format!("the argmax differs and the tuned argmax has base rank <= {k}"),
        ),
        (
            SHIFTED,
            "shifted",
            format!("the argmax differs and the tuned argmax has base rank > {k}"),
        ),
    ] {
        catalogue.push(Entry {
            id: format!("share.{name}"),
            definition: format!("share of positions at which {rule} (ties: lowest id)"),
            unit: "share",
            of: positions,
            estimate: Estimate::Ratio(counts[class], positions.count),
            thresholds: vec![("k", json!(k))],
            label: None,
        });
    }
}

fn urial_classes(catalogue: &mut Catalogue, columns: &Columns, positions: Population) {
    let class = |i: usize| match columns.base_rank[i] {
        0..=1 => 0,
        2..=3 => 1,
        _ => 2,
    };
    let counts = catalogue.sums(3, units(columns).map(|(i, c)| (c, class(i), 1.0)));
    for (count, (name, rule)) in counts.into_iter().zip([
        ("unshifted", "is 1"),
        ("marginal", "is 2 or 3"),
        ("shifted", "is above 3"),
    ]) {
        catalogue.push(Entry {
            id: format!("share.urial.{name}"),
            definition: format!(
                "share of positions at which the base rank of the tuned argmax {rule}"
            ),
            unit: "share",
            of: positions,
            estimate: Estimate::Ratio(count, positions.count),
            thresholds: vec![],
            label: None,
        });
    }
}

fn same_top1(catalogue: &mut Catalogue, positions: Population, same: Sum) {
    catalogue.push(Entry {
        id: "same_top1".into(),
        definition:
            "share of positions at which both policies have the same argmax; equals share.unshifted"
                .into(),
        unit: "share",
        of: positions,
        estimate: Estimate::Ratio(same, positions.count),
        thresholds: vec![],
        label: None,
    });
}

fn entropy(
    catalogue: &mut Catalogue,
    columns: &Columns,
    positions: Population,
    changed: Population,
    counts: &[Sum],
    entropies: &[Sum],
    settings: &FindingSettings,
) {
    let base = catalogue.sum(units(columns).map(|(i, c)| (c, columns.entropy_base[i])));
    let tuned = catalogue.sum(units(columns).map(|(i, c)| (c, columns.entropy_tuned[i])));
    let over_changed = units(columns).filter(|(i, _)| columns.changed(*i));
    let changed_sum = catalogue.sum(over_changed.map(|(i, c)| (c, columns.entropy_base[i])));
    let class =
        |catalogue: &Catalogue, class: usize| catalogue.counted(counts[class], columns.invalid());
    let means = [
        (
            "entropy_base.mean",
            "H(b) over all positions",
            base,
            positions,
        ),
        (
            "entropy_tuned.mean",
            "H(p) over all positions",
            tuned,
            positions,
        ),
        (
            "entropy_base.unshifted",
            "H(b) over unshifted positions",
            entropies[UNSHIFTED],
            class(catalogue, UNSHIFTED),
        ),
        (
            "entropy_base.reranked",
            "H(b) over reranked positions",
            entropies[RERANKED],
            class(catalogue, RERANKED),
        ),
        (
            "entropy_base.shifted",
            "H(b) over shifted positions",
            entropies[SHIFTED],
            class(catalogue, SHIFTED),
        ),
    ];
    let k = || vec![("k", json!(settings.top_k))];
    for (id, what, sum, of) in means {
        catalogue.push(Entry {
            id: id.into(),
            definition: format!("mean of {what}, H = -Σ p ln p"),
            unit: "nats",
            of,
            estimate: Estimate::Ratio(sum, of.count),
            thresholds: if id.ends_with("mean") { vec![] } else { k() },
            label: None,
        });
    }
    let both = Population {
        n: class(catalogue, UNSHIFTED).n + class(catalogue, RERANKED).n,
        ..positions
    };
    let below = (entropies[UNSHIFTED], counts[UNSHIFTED]);
    for (id, what, above, of, thresholds) in [
        (
            "entropy_ratio",
            "reranked",
            (entropies[RERANKED], counts[RERANKED]),
            both,
            k(),
        ),
        (
            "entropy_ratio.changed",
            "changed (argmax differs)",
            (changed_sum, changed.count),
            positions,
            vec![],
        ),
    ] {
        catalogue.push(Entry {
            id: id.into(),
            definition: format!("mean H(b) over {what} positions divided by mean H(b) over unshifted positions; undefined if either class is empty or the divisor is 0"),
            unit: "ratio",
            of,
            estimate: Estimate::RatioOfRatios([above.0, above.1, below.0, below.1]),
            thresholds,
            label: None,
        });
    }
}

fn base_ranks(catalogue: &mut Catalogue, columns: &Columns, changed: Population) {
    let over_changed = || units(columns).filter(|(i, _)| columns.changed(*i));
    let ranks = catalogue.sum(over_changed().map(|(i, c)| (c, f64::from(columns.base_rank[i]))));
    catalogue.push(Entry {
        id: "mean_base_rank".into(),
        definition: "mean base rank of the tuned argmax over changed positions (argmax differs); rank = 1 + number of tokens with strictly greater logit".into(),
        unit: "rank",
        of: changed,
        estimate: Estimate::Ratio(ranks, changed.count),
        thresholds: vec![],
        label: None,
    });
    for limit in [2u32, 3, 5] {
        let within =
            over_changed().map(|(i, c)| (c, f64::from(u8::from(columns.base_rank[i] <= limit))));
        let within = catalogue.sum(within);
        catalogue.push(Entry {
            id: format!("base_rank.le_{limit}"),
            definition: format!("share of changed positions (argmax differs) whose tuned argmax has base rank <= {limit}"),
            unit: "share",
            of: changed,
            estimate: Estimate::Ratio(within, changed.count),
            thresholds: vec![("rank", json!(limit))],
            label: None,
        });
    }
}
