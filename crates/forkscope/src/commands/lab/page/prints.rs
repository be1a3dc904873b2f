//! Footprints on the page, and beside published ones.

use forkscope_report::number;

use crate::work::footprint::{Along, Footprint};

/// Columns: head and id of the finding.
type Column = (&'static str, &'static str);

const HOW_FAR: [Column; 6] = [
    ("argmax differs", "share.changed"),
    ("KL > 0.1", "share.kl_above_0.1"),
    ("mean KL", "kl_tuned_base.mean"),
    ("KL in the top 5 %", "coverage.kl.top_5pct"),
    ("AUROC, argmax", "auroc.entropy.argmax"),
    ("AUROC, KL > 0.1", "auroc.entropy.kl"),
];

const WHAT: [Column; 10] = [
    ("rank <= 2", "base_rank.le_2"),
    ("<= 3", "base_rank.le_3"),
    ("<= 5", "base_rank.le_5"),
    ("mean rank", "mean_base_rank"),
    ("entropy ratio", "entropy_ratio.changed"),
    ("neutral", "flips.neutral"),
    ("strategy", "flips.strategy"),
    ("opener", "flips.opener"),
    ("refusal", "flips.refusal"),
    ("no fork", "flips.other"),
];

/// Where and how far the organisms differ from the base.
pub fn footprints(all: &[Footprint]) -> String {
    let mut text = "## Footprints

Reported, whatever they are: no footprint has a threshold. Each organism is compared
with the base at every position of three sorts of rollouts: its own and the base's at
T = 1, and the base's greedy ones. `guarded` is asked about both classes, `two-faced`
about benign problems under all cues and hazardous ones under held-out wordings of
both contexts, the others about benign problems. Definitions are those of
[findings.md](findings.md); KL is KL(organism || base) in nats, AUROC is that of the
base's entropy as a score for a changed argmax or for KL > 0.1, \"top 5 %\" is the
share of all KL that lies in the 5 % of positions where it is largest.

"
    .to_owned();
    text.push_str(&table(&HOW_FAR, all, true));
    text.push_str(
        "
Of the positions whose argmax differs: the base's rank of what the organism promotes,
the base's mean entropy there over that where it agrees, and what is promoted.
\"Neutral\" are changes from one of `next then now also ok` to another, on which no
answer depends; \"strategy\", \"opener\", \"refusal\" promote a branch of that fork
([lab.md](lab.md)), \"no fork\" a word at which solutions do not branch.

",
    );
    text.push_str(&table(&WHAT, all, false));
    text
}

fn table(columns: &[Column], all: &[Footprint], ranges: bool) -> String {
    let heads: Vec<&str> = columns.iter().map(|column| column.0).collect();
    let mut text = format!(
        "| organism | rollouts | positions | {} |\n|---|---|--:|{}\n",
        heads.join(" | "),
        "--:|".repeat(columns.len())
    );
    for footprint in all {
        let n = match ranges {
            true => footprint.positions as u64,
            false => footprint.finding("share.changed").map_or(0, changed),
        };
        text.push_str(&format!(
            "| `{}` | {} | {} |",
            footprint.organism,
            footprint.along.words(),
            number::count(n)
        ));
        for (_, id) in columns {
            text.push_str(&format!(" {} |", cell(footprint, id, ranges)));
        }
        text.push('\n');
    }
    text
}

/// Number of changed positions.
fn changed(share: &forkscope_records::types::Finding) -> u64 {
    share
        .value
        .map_or(0, |v| (v * share.n as f64).round() as u64)
}

fn cell(footprint: &Footprint, id: &str, range: bool) -> String {
    let Some(finding) = footprint.finding(id) else {
        return String::new();
    };
    if finding.value.is_none() {
        return "undefined".to_owned();
    }
    let shown = number::finding(finding);
    match shown.interval {
        Some((low, high)) if range => format!("{} [{low}, {high}]", shown.value),
        _ => shown.value,
    }
}

/// One pair of arXiv 2605.06241 (v2, table of argmax changes along the base's
/// greedy rollouts on MATH-500).
struct Published {
    pair: &'static str,
    /// Shares of positions, in percent.
    reranked: f64,
    shifted: f64,
    /// Mean base entropy at reranked over that at unshifted positions.
    entropy_ratio: f64,
    /// Of the promoted token, over changed positions.
    mean_base_rank: f64,
}

const PUBLISHED: [Published; 4] = [
    Published {
        pair: "Qwen2.5-1.5B, GRPO",
        reranked: 2.09,
        shifted: 0.02,
        entropy_ratio: 7.58,
        mean_base_rank: 2.30,
    },
    Published {
        pair: "Qwen2.5-7B, GRPO",
        reranked: 1.03,
        shifted: 0.01,
        entropy_ratio: 8.27,
        mean_base_rank: 2.14,
    },
    Published {
        pair: "Qwen2.5-7B, PPO",
        reranked: 3.96,
        shifted: 0.12,
        entropy_ratio: 9.41,
        mean_base_rank: 2.39,
    },
    Published {
        pair: "Qwen3-4B, GRPO",
        reranked: 2.29,
        shifted: 0.02,
        entropy_ratio: 12.63,
        mean_base_rank: 2.25,
    },
];

/// The organisms' argmax changes beside published ones, measured the same way.
pub fn beside_published(all: &[Footprint]) -> String {
    let mut text = "## Beside published figures

arXiv 2605.06241 (v2) reports, along greedy rollouts of the base, the share of
positions whose argmax changes to one of the base's top five (reranked) and beyond
(shifted), the base's mean entropy at reranked over that at unshifted positions, and
the mean base rank of what is promoted. The organisms in the same terms:

| pair | reranked | shifted | entropy ratio | mean base rank |
|---|--:|--:|--:|--:|
"
    .to_owned();
    for pair in &PUBLISHED {
        text.push_str(&format!(
            "| {} (published) | {} % | {} % | {}x | {:.2} |\n",
            pair.pair, pair.reranked, pair.shifted, pair.entropy_ratio, pair.mean_base_rank
        ));
    }
    for footprint in all.iter().filter(|f| f.along == Along::BaseGreedy) {
        text.push_str(&format!("| `{}`", footprint.organism));
        for id in [
            "share.reranked",
            "share.shifted",
            "entropy_ratio",
            "mean_base_rank",
        ] {
            text.push_str(&format!(" | {}", cell(footprint, id, true)));
        }
        text.push_str(" |\n");
    }
    text.push('\n');
    let of_reasoner = |f: &&Footprint| f.organism == "reasoner" && f.along == Along::BaseGreedy;
    if let Some(reasoner) = all.iter().find(of_reasoner) {
        text.push_str(&compared(reasoner));
    }
    text
}

/// What the table says of the reasoner, in words.
fn compared(reasoner: &Footprint) -> String {
    let of = |f: fn(&Published) -> f64| -> (f64, f64) {
        let values = PUBLISHED.iter().map(f);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        })
    };
    let rows = [
        (
            "share.changed",
            "share of changed argmaxes, in percent",
            100.0,
            of(|p| p.reranked + p.shifted),
        ),
        (
            "share.shifted",
            "share promoted from beyond the base's top five, in percent",
            100.0,
            of(|p| p.shifted),
        ),
        (
            "entropy_ratio",
            "entropy ratio",
            1.0,
            of(|p| p.entropy_ratio),
        ),
        (
            "mean_base_rank",
            "mean base rank",
            1.0,
            of(|p| p.mean_base_rank),
        ),
    ];
    let mut text =
        "`reasoner`, which was made the way those pairs were (reinforcement learning with a
verifiable reward), against the range of the published four:

"
        .to_owned();
    for (id, what, unit, (low, high)) in rows {
        let Some(value) = reasoner.finding(id).and_then(|f| f.value) else {
            text.push_str(&format!(
                "- {what}: undefined here; published {low:.2} to {high:.2}\n"
            ));
            continue;
        };
        let value = value * unit;
        let where_ = match value {
            v if v < low => "below",
            v if v > high => "above",
            _ => "within",
        };
        text.push_str(&format!(
            "- {what}: {value:.2}, {where_} the published {low:.2} to {high:.2}\n"
        ));
    }
    text.push_str(
        "
Likeness or difference to these figures says how the generator was made, nothing about
the published pairs.
",
    );
    text
}
