//! A synthetic run: plausible in shape, with hostile text in every place that
//! holds text, and the same for a given size every time.
#![allow(dead_code)]

use std::collections::BTreeMap;

use forkscope_records::types::{
    DiffRow, Finding, Findings, FinishReason, Rollout, ShiftClass, TopK, Validity,
};
use forkscope_report::ReportData;
use serde_json::json;

/// Texts that must stay text.
pub const HOSTILE: [&str; 10] = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\u{1b}[2J\u{1b}[31mred",
    "\u{202e}txet desrever",
    "\0nul\0",
    "\\ud800",
    "{{script}}",
    "' onmouseover='alert(1)",
    "]]><!--",
    "\u{200b}\u{feff}\u{2066}",
];

const WORDS: [&str; 24] = [
    " the",
    " sum",
    " is",
    " 12",
    " so",
    " we",
    " add",
    " then",
    ",",
    ".",
    "\n",
    " x",
    " =",
    " +",
    " Let",
    " me",
    " check",
    " therefore",
    " \\boxed{",
    "7",
    "}",
    " עברית",
    " 漢字",
    "é",
];

/// A small deterministic generator (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A run of `rollouts` rollouts with `len` positions each.
pub fn run(rollouts: usize, len: usize) -> ReportData {
    let mut dice = Dice::new(7);
    let mut pieces: BTreeMap<u32, String> = (0..).zip(WORDS.map(String::from)).collect();
    for (id, text) in (100..).zip(HOSTILE) {
        pieces.insert(id, text.into());
    }
    let mut data = ReportData {
        run: run_json(),
        findings: findings(rollouts * len),
        rollouts: Vec::new(),
        rows: Vec::new(),
        pieces,
    };
    for r in 0..rollouts {
        let problem_id = if r == 0 {
            "<b>p0</b>".into()
        } else {
            format!("p{}", r / 2)
        };
        let sample = if r < 2 { 0 } else { (r % 2) as u32 };
        let mut token_ids: Vec<u32> = (0..12).map(|i| i % 24).collect();
        for n in 0..len {
            let row = row(&mut dice, &problem_id, sample, (12 + n) as u32, n);
            token_ids.push(row.token_id);
            data.rows.push(row);
        }
        data.rollouts.push(Rollout {
            problem_id,
            sample,
            token_ids,
            prompt_len: 12,
            finish_reason: if r % 3 == 0 {
                FinishReason::Length
            } else {
                FinishReason::Eos
            },
            text: String::new(),
            correct: [Some(true), Some(false), None][r % 3],
            validity: if r % 3 == 0 {
                Validity::Truncated
            } else {
                Validity::Ok
            },
            logprobs: None,
        });
    }
    data
}

/// One position.
pub fn row(dice: &mut Dice, problem_id: &str, sample: u32, t: u32, n: usize) -> DiffRow {
    let draw = dice.unit();
    let class = match draw {
        d if d < 0.003 => ShiftClass::Shifted,
        d if d < 0.04 => ShiftClass::Reranked,
        _ => ShiftClass::Unshifted,
    };
    let kl = match class {
        ShiftClass::Unshifted => 10f64.powf(-5.0 + 4.0 * dice.unit()),
        ShiftClass::Reranked => 0.1 + dice.unit(),
        ShiftClass::Shifted => 1.0 + 4.0 * dice.unit(),
    };
    // The first tokens of a rollout are the hostile ones.
    let token_id = if n < HOSTILE.len() {
        100 + n as u32
    } else {
        (dice.next() % 24) as u32
    };
    let other = (token_id + 1) % 24;
    let top = |first: u32, p: f64| TopK {
        ids: (0..5)
            .map(|i| if i == 0 { first } else { (first + i) % 24 })
            .collect(),
        logprobs: (0..5)
            .map(|i| {
                if i == 0 {
                    p.ln() as f32
                } else {
                    ((1.0 - p) / 6.0).ln() as f32
                }
            })
            .collect(),
    };
    let argmax_tuned_id = if class == ShiftClass::Unshifted {
        token_id
    } else {
        other
    };
    DiffRow {
        problem_id: problem_id.into(),
        sample,
        t,
        token_id,
        validity: if n == 40 {
            Validity::NonFinite
        } else {
            Validity::Ok
        },
        entropy_base_nats: kl.sqrt() + dice.unit() * 0.3,
        entropy_tuned_nats: kl.sqrt() * 0.7,
        kl_tuned_base_nats: (n != 41).then_some(kl),
        kl_base_tuned_nats: Some(kl * 1.1),
        js_nats: (kl / 4.0).min(0.69),
        tv: (kl / 2.0).sqrt().min(1.0),
        ce_base_tuned_nats: Some(kl + 0.2),
        delta_logprob: Some(kl.sqrt() - 0.2),
        logprob_base: -0.4,
        logprob_tuned: -0.2,
        rank_base: 1 + (kl * 3.0) as u32,
        rank_tuned: 1,
        argmax_base_id: token_id,
        argmax_tuned_id,
        mass_outside_base: 0.0,
        mass_outside_tuned: 0.0,
        base_rank_of_tuned_argmax: match class {
            ShiftClass::Unshifted => 1,
            ShiftClass::Reranked => 2,
            ShiftClass::Shifted => 9,
        },
        class,
        topk_base: top(token_id, 0.62),
        topk_tuned: top(argmax_tuned_id, 0.81),
    }
}

fn run_json() -> serde_json::Value {
    json!({
        "schema": "forkscope/run/1", "command": "diff", "status": "complete",
        "versions": {"forkscope": "0.1.0"},
        "models": {"base": {"path": "models/base"}, "tuned": {"path": "models/reasoner/"}},
        "digests": {
            "base": "5d41402abc4b2a76b9719d911017c592ae8f1c1f2e3d4c5b6a79880706050403",
            "tuned": "7d793037a0760186574b0282f2f435e7aa00bb11cc22dd33ee44ff5566778899"
        },
        "settings": {"seed": 42, "record_topk": 5, "note": HOSTILE[0]},
        "timing": {"seconds": 12.5}
    })
}

/// One finding.
pub fn finding(id: &str, value: f64, unit: &str, spread: f64, n: usize) -> Finding {
    Finding {
        id: id.into(),
        definition: format!("what {id} means, with its formula Σ p ln(p/b)"),
        value: Some(value),
        unit: unit.into(),
        low: Some(value * (1.0 - spread)),
        high: Some((value * (1.0 + spread)).min(if unit == "share" { 1.0 } else { f64::MAX })),
        level: Some(0.95),
        method: "cluster bootstrap over problems, 1000 replicates, percentile".into(),
        n: n as u64,
        n_clusters: 40,
        n_invalid: 3,
        thresholds: BTreeMap::from([("k".into(), json!(5))]),
        label: None,
    }
}

fn findings(n: usize) -> Findings {
    let mut all = Vec::new();
    for (id, value, unit, spread) in [
        ("share.unshifted", 0.9789, "share", 0.003),
        ("share.reranked", 0.0209, "share", 0.1),
        ("share.shifted", 0.0002, "share", 0.6),
        ("share.urial.unshifted", 0.9789, "share", 0.003),
        ("share.urial.marginal", 0.0191, "share", 0.1),
        ("share.urial.shifted", 0.002, "share", 0.3),
        ("same_top1", 0.9789, "share", 0.003),
        ("entropy_ratio", 7.58, "ratio", 0.06),
        ("mean_base_rank", 2.3, "rank", 0.05),
        ("kl_tuned_base.mean", 0.0312, "nats", 0.1),
        ("kl_tuned_base.p50", 0.0004, "nats", 0.2),
        ("kl_tuned_base.p90", 0.012, "nats", 0.2),
        ("kl_tuned_base.p99", 0.41, "nats", 0.2),
        ("kl_tuned_base.max", 5.2, "nats", 0.0),
        ("js.mean", 0.004, "nats", 0.1),
        ("js.p99", 0.11, "nats", 0.1),
        ("coverage.kl.top_0.1pct", 0.09, "share", 0.2),
        ("coverage.kl.top_0.5pct", 0.29, "share", 0.15),
        ("coverage.kl.top_1pct", 0.44, "share", 0.1),
        ("coverage.kl.top_2pct", 0.62, "share", 0.08),
        ("coverage.kl.top_5pct", 0.83, "share", 0.05),
        ("coverage.kl.top_10pct", 0.93, "share", 0.03),
        ("coverage.kl.top_20pct", 0.98, "share", 0.01),
        ("coverage.kl.top_50pct", 0.999, "share", 0.0005),
        ("auroc.entropy.argmax", 0.912, "auroc", 0.02),
        ("auroc.entropy.kl", 0.871, "auroc", 0.02),
        ("early.kl.first_1", 0.21, "nats", 0.3),
        ("early.kl.after_1", 0.03, "nats", 0.1),
        ("early.kl.first_20", 0.09, "nats", 0.2),
        ("early.kl.after_20", 0.02, "nats", 0.1),
        ("answer.tokens.base", 71.25, "tokens", 0.04),
        ("answer.tokens.tuned", 65.5, "tokens", 0.04),
        ("answer.accuracy.base", 0.41, "share", 0.1),
        ("answer.accuracy.tuned", 0.68, "share", 0.1),
        ("answer.accuracy.p_value", 0.0012, "p_value", 0.0),
        ("rows.total", 2403.0, "positions", 0.0),
        ("rows.used", 2400.0, "positions", 0.0),
        ("share.kl_above_0.1", 0.031, "share", 0.1),
    ] {
        all.push(finding(id, value, unit, spread, n));
    }
    for bin in 1..=10 {
        let value = 0.06 / f64::from(bin) + 0.01;
        let n = n / 10;
        all.push(finding(
            &format!("profile.kl.d{bin:02}"),
            value,
            "nats",
            0.2,
            n,
        ));
        all.push(finding(
            &format!("profile.changed.d{bin:02}"),
            value / 2.0,
            "share",
            0.2,
            n,
        ));
    }
    for (i, text) in HOSTILE.iter().enumerate() {
        let id = format!("promoted.{:02}", i + 1);
        let mut f = finding(&id, 0.5 / (i + 1) as f64, "share", 0.2, n);
        f.label = Some((*text).into());
        all.push(f);
    }
    Findings {
        schema: Findings::SCHEMA.into(),
        findings: all,
    }
}
