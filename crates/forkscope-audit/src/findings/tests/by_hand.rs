//! Every finding of seven rows that were worked out on paper.

use super::*;

/// Problem A: four rows. Problem B: two rows in use (one without KL), one left out.
fn material() -> (Vec<Rollout>, Vec<Rollout>, Vec<DiffRow>) {
    let mut base = vec![rollout("A", 0, 2, 4), rollout("B", 0, 1, 3)];
    base[0].correct = Some(true);
    base[1].correct = Some(false);
    let mut tuned = vec![
        rollout("A", 0, 2, 2),
        rollout("B", 0, 1, 4),
        rollout("B", 1, 1, 0),
    ];
    tuned[0].correct = Some(true);
    tuned[1].correct = Some(true);
    tuned[1].validity = Validity::Truncated;
    tuned[2].validity = Validity::Empty;
    (base, tuned, rows())
}

fn rows() -> Vec<DiffRow> {
    let same = |name, t, entropy, kl| DiffRow {
        entropy_base_nats: entropy,
        entropy_tuned_nats: 0.5,
        kl_tuned_base_nats: Some(kl),
        js_nats: kl / 4.0,
        tv: kl / 2.0,
        delta_logprob: Some(-kl),
        argmax_base_id: 10,
        argmax_tuned_id: 10,
        ..row(name, 0, t)
    };
    let changed = |row: DiffRow, base, tuned, rank| DiffRow {
        argmax_base_id: base,
        argmax_tuned_id: tuned,
        mass_outside_base: 0.0,
        mass_outside_tuned: 0.0,
        base_rank_of_tuned_argmax: rank,
        ..row
    };
    let mut rows = vec![
        same("A", 2, 0.0, 0.0),
        changed(same("A", 3, 2.0, 0.5), 10, 11, 2),
        same("A", 4, 2.0, 0.05),
        changed(same("A", 5, 3.0, 1.0), 10, 11, 7),
        changed(same("B", 1, 1.0, 0.25), 11, 12, 3),
        same("B", 2, 0.5, 0.05),
        same("B", 3, 9.0, 9.0),
    ];
    rows[1].token_id = 11;
    rows[1].delta_logprob = Some(1.0);
    rows[3].token_id = 11;
    rows[3].delta_logprob = Some(0.5);
    rows[4].kl_tuned_base_nats = None;
    rows[6].validity = Validity::NonFinite;
    rows[0].topk_base.logprobs = vec![-0.7, -0.7];
    rows[1].topk_base.logprobs = vec![-0.6, -0.7];
    rows
}

fn made() -> Findings {
    let (base, tuned, rows) = material();
    let pieces = |token: u32| (token != 12).then(|| format!("<{token}>"));
    let input = FindingInput {
        other_rollouts: Some(&tuned),
        pieces: &pieces,
        ..input(&base, &rows)
    };
    findings(&input, &FindingSettings::default()).unwrap()
}

#[track_caller]
fn assert_value(found: &Findings, id: &str, value: f64, n: u64, n_invalid: u64) {
    let finding = found.get(id).unwrap_or_else(|| panic!("no finding {id}"));
    let got = finding
        .value
        .unwrap_or_else(|| panic!("{id} is undefined: {}", finding.method));
    assert!((got - value).abs() < 1e-12, "{id}: {got}, by hand {value}");
    assert_eq!(
        (finding.n, finding.n_invalid),
        (n, n_invalid),
        "{id}: n, n_invalid"
    );
}

#[test]
fn classes_ranks_and_entropy() {
    let found = made();
    for (id, value) in [
        ("share.unshifted", 3.0 / 6.0),
        ("share.reranked", 2.0 / 6.0),
        ("share.shifted", 1.0 / 6.0),
        ("share.urial.unshifted", 3.0 / 6.0),
        ("share.urial.marginal", 2.0 / 6.0),
        ("share.urial.shifted", 1.0 / 6.0),
        ("same_top1", 3.0 / 6.0),
        ("entropy_base.mean", 8.5 / 6.0),
        ("entropy_tuned.mean", 0.5),
        ("entropy_ratio.changed", 2.0 / (2.5 / 3.0)),
    ] {
        assert_value(&found, id, value, 6, 1);
    }
    assert_value(&found, "entropy_base.unshifted", 2.5 / 3.0, 3, 1);
    assert_value(&found, "entropy_base.reranked", 1.5, 2, 1);
    assert_value(&found, "entropy_base.shifted", 3.0, 1, 1);
    assert_value(&found, "entropy_ratio", 1.8, 5, 1);
    assert_value(&found, "mean_base_rank", 4.0, 3, 1);
    assert_value(&found, "base_rank.le_2", 1.0 / 3.0, 3, 1);
    assert_value(&found, "base_rank.le_3", 2.0 / 3.0, 3, 1);
    assert_value(&found, "base_rank.le_5", 2.0 / 3.0, 3, 1);
    assert_eq!(found.get("share.reranked").unwrap().thresholds["k"], 5);
}

#[test]
fn spread_and_concentration() {
    let found = made();
    // KL over five positions: 0, 0.05, 0.05, 0.5, 1; sum 1.6.
    for (id, value) in [
        ("kl_tuned_base.mean", 0.32),
        ("kl_tuned_base.p50", 0.05),
        ("kl_tuned_base.p90", 0.8),
        ("kl_tuned_base.p95", 0.9),
        ("kl_tuned_base.p99", 0.98),
        ("kl_tuned_base.p99_9", 0.998),
        ("kl_tuned_base.max", 1.0),
        ("share.kl_above_0.1", 2.0 / 5.0),
        ("share.kl_above_0.5", 1.0 / 5.0),
        ("coverage.kl.top_0.1pct", 0.005 / 1.6),
        ("coverage.kl.top_0.5pct", 0.025 / 1.6),
        ("coverage.kl.top_1pct", 0.05 / 1.6),
        ("coverage.kl.top_2pct", 0.1 / 1.6),
        ("coverage.kl.top_5pct", 0.25 / 1.6),
        ("coverage.kl.top_10pct", 0.5 / 1.6),
        ("coverage.kl.top_20pct", 1.0 / 1.6),
        ("coverage.kl.top_50pct", 1.525 / 1.6),
        // (-2 0.05 + 2 0.5 + 4 1) / (5 1.6)
        ("gini.kl", 4.9 / 8.0),
    ] {
        assert_value(&found, id, value, 5, 2);
    }
    // JS over six: 0, 0.0125, 0.0125, 0.0625, 0.125, 0.25; sum 0.4625.
    assert_value(&found, "js.mean", 0.4625 / 6.0, 6, 1);
    assert_value(&found, "js.p50", 0.0375, 6, 1);
    assert_value(&found, "share.js_above_0.1", 2.0 / 6.0, 6, 1);
    assert_value(&found, "coverage.js.top_50pct", 0.4375 / 0.4625, 6, 1);
    let gini = (-3.0 * 0.0125 - 0.0125 + 0.0625 + 3.0 * 0.125 + 5.0 * 0.25) / (6.0 * 0.4625);
    assert_value(&found, "gini.js", gini, 6, 1);
    assert_value(&found, "tv.mean", 0.925 / 6.0, 6, 1);
    assert_value(&found, "tv.max", 0.5, 6, 1);
    assert_value(&found, "kl_base_tuned.mean", 0.0, 6, 1);
    assert_value(&found, "ce_base_tuned.mean", 0.0, 6, 1);
    // Delta ln p: -0.25, -0.05, -0.05, 0, 0.5, 1.
    assert_value(&found, "delta_logprob.mean", 1.15 / 6.0, 6, 1);
    assert_value(&found, "delta_logprob.min", -0.25, 6, 1);
    assert_value(&found, "delta_logprob.p10", -0.15, 6, 1);
    assert_value(&found, "delta_logprob.p50", -0.025, 6, 1);
    assert_value(&found, "delta_logprob.max", 1.0, 6, 1);
}

#[test]
fn entropy_as_a_gate() {
    let found = made();
    // Changed at H = 1, 2, 3; unchanged at 0, 0.5, 2.
    assert_value(&found, "auroc.entropy.argmax", 7.5 / 9.0, 6, 1);
    assert_value(
        &found,
        "ap.entropy.argmax",
        (1.0 + 2.0 / 3.0 + 0.75) / 3.0,
        6,
        1,
    );
    assert_value(&found, "ap.baseline.argmax", 0.5, 6, 1);
    // KL > 0.1 at H = 2, 3; not at 0, 0.5, 2.
    assert_value(&found, "auroc.entropy.kl", 5.5 / 6.0, 5, 2);
    assert_value(&found, "ap.entropy.kl", (1.0 + 2.0 / 3.0) / 2.0, 5, 2);
    assert_value(&found, "ap.baseline.kl", 0.4, 5, 2);
}

#[test]
fn profile_by_tenth_and_by_first_tokens() {
    let found = made();
    // A: indices 0..4 of 4 -> tenths 0, 2, 5, 7; B: 0, 1 of 3 -> 0, 3.
    assert_value(&found, "profile.kl.d01", 0.0, 1, 2);
    assert_value(&found, "profile.changed.d01", 0.5, 2, 1);
    assert_value(&found, "profile.kl.d03", 0.5, 1, 1);
    assert_value(&found, "profile.kl.d04", 0.05, 1, 1);
    assert_value(&found, "profile.kl.d08", 1.0, 1, 1);
    assert_value(&found, "profile.changed.d06", 0.0, 1, 1);
    assert_eq!(found.get("profile.kl.d02").unwrap().value, None);
    assert_value(&found, "early.kl.first_1", 0.0, 1, 2);
    assert_value(&found, "early.kl.after_1", 0.4, 4, 1);
    assert_value(&found, "early.changed.first_1", 0.5, 2, 1);
    assert_value(&found, "early.changed.after_1", 0.5, 4, 1);
    assert_value(&found, "early.kl_share.first_3", 0.6 / 1.6, 5, 2);
    assert_value(&found, "early.kl_share.first_20", 1.0, 5, 2);
    assert_eq!(found.get("early.kl.after_20").unwrap().value, None);
}

#[test]
fn promoted_and_demoted_tokens() {
    let found = made();
    // Changed: 10 -> 11, 10 -> 11, 11 -> 12.
    for (id, token, label, value) in [
        ("promoted.01", 11, Some("<11>"), 1.0 / 3.0),
        ("promoted.02", 12, None, 1.0 / 3.0),
        ("demoted.01", 10, Some("<10>"), 2.0 / 3.0),
    ] {
        assert_value(&found, id, value, 3, 1);
        let finding = found.get(id).unwrap();
        assert_eq!(finding.label.as_deref(), label);
        assert_eq!(finding.thresholds["token_id"], token);
    }
    assert!(found.get("promoted.03").is_none() && found.get("demoted.02").is_none());
    let eleven = &found.get("promoted.01").unwrap().thresholds;
    assert_eq!(
        (
            eleven["tuned_argmax"].as_u64(),
            eleven["base_argmax"].as_u64()
        ),
        (Some(2), Some(1))
    );
    assert_eq!(eleven["sampled"], 2);
    assert_eq!(eleven["mean_delta_logprob_nats"], 0.75);
    assert!(found.get("promoted.02").unwrap().thresholds["mean_delta_logprob_nats"].is_null());
}

#[test]
fn answers_of_both_policies() {
    let found = made();
    // Base: 4 and 3 tokens, 5 and 3 fed; tuned: 2 and 4 tokens, 3 and 4 fed.
    for (id, value, n, n_invalid) in [
        ("answer.tokens.base", 3.5, 2, 0),
        ("answer.tokens.tuned", 3.0, 2, 1),
        ("answer.tokens.ratio", 6.0 / 7.0, 4, 1),
        ("answer.flops.base", (80.0 + 42.0) / 2.0, 2, 0),
        ("answer.flops.tuned", (42.0 + 60.0) / 2.0, 2, 1),
        ("answer.flops.ratio", 102.0 / 122.0, 4, 1),
        ("answer.accuracy.base", 0.5, 2, 0),
        ("answer.accuracy.tuned", 1.0, 2, 1),
        ("answer.accuracy.difference", 0.5, 4, 1),
        ("answer.truncated.base", 0.0, 2, 0),
        ("answer.truncated.tuned", 0.5, 2, 1),
        ("answer.accuracy.p_value", 1.0, 2, 0),
    ] {
        assert_value(&found, id, value, n, n_invalid);
    }
}

#[test]
fn counts_of_what_was_left_out() {
    let found = made();
    for (id, value, n) in [
        ("rows.total", 7.0, 7),
        ("rows.used", 6.0, 7),
        ("rows.truncated", 0.0, 7),
        ("invalid.rows.non_finite", 1.0, 7),
        ("invalid.rows.tokenizer_mismatch", 0.0, 7),
        ("rollouts.total", 2.0, 2),
        ("other_rollouts.total", 3.0, 3),
        ("other_rollouts.used", 2.0, 3),
        ("other_rollouts.truncated", 1.0, 3),
        ("invalid.other_rollouts.empty", 1.0, 3),
        ("null.kl_tuned_base", 1.0, 6),
        ("null.delta_logprob", 0.0, 6),
        ("ties.top.base", 1.0, 2),
        ("ties.rank_one_changed", 0.0, 6),
    ] {
        assert_value(&found, id, value, n, 0);
    }
    let unknown = found.get("ties.top.tuned").unwrap();
    assert_eq!((unknown.value, unknown.n), (None, 0));
}

#[test]
fn intervals_say_how_they_were_made_or_why_there_is_none() {
    let found = made();
    let share = found.get("share.unshifted").unwrap();
    // A has 2 of 4 unshifted, B 1 of 2: every resample gives one half.
    assert_eq!((share.low, share.high, share.level), (None, None, None));
    assert_eq!(
        share.method,
        "no interval: every cluster-bootstrap replicate gives the same value"
    );
    let mean = found.get("kl_tuned_base.mean").unwrap();
    assert!(mean.low < mean.value && mean.value < mean.high && mean.level == Some(0.95));
    assert_eq!(
        mean.method,
        "cluster bootstrap over problems, 1000 replicates, percentile, seed 42"
    );
    let method = |id: &str| found.get(id).unwrap().method.clone();
    assert_eq!(
        method("kl_tuned_base.max"),
        "no interval: a bootstrap cannot go beyond the sample's extreme"
    );
    assert_eq!(
        method("entropy_base.shifted"),
        "no interval: one problem, and the problem is the unit of inference"
    );
    assert_eq!(
        method("profile.kl.d02"),
        "undefined: a denominator is empty or zero"
    );
    for finding in &found.findings {
        assert!(!finding.definition.is_empty() && !finding.method.is_empty());
        assert_eq!(finding.low.is_some(), finding.level.is_some());
        assert_eq!(finding.low.is_some(), finding.high.is_some());
    }
    let ids: std::collections::HashSet<&str> =
        found.findings.iter().map(|f| f.id.as_str()).collect();
    assert_eq!(ids.len(), found.findings.len(), "ids are unique");
}
