//! The sentences of a report on one policy's answers (`forkscope eval`).

use forkscope_records::types::{Finding, Findings};

use crate::data::ReportData;
use crate::summary::{brackets, defined, quoted};
use crate::{facts, number};

/// Whether the run evaluates one policy instead of comparing two.
pub(crate) fn is_evaluation(data: &ReportData) -> bool {
    facts::text(&data.run, "command") == Some("eval")
}

/// Whether the run is a sweep over ranks (`forkscope distill`).
pub(crate) fn is_sweep(data: &ReportData) -> bool {
    facts::text(&data.run, "command") == Some("distill")
}

/// Whether the run is a grid of arms (`forkscope ablate`).
pub(crate) fn is_ablation(data: &ReportData) -> bool {
    facts::text(&data.run, "command") == Some("ablate")
}

/// Whether the run looks for evaluation awareness (`forkscope probe`).
pub(crate) fn is_probe(data: &ReportData) -> bool {
    facts::text(&data.run, "command") == Some("probe")
}

/// `Evaluation awareness of MODEL`.
pub(crate) fn probe_heading(data: &ReportData) -> String {
    match facts::model_name(&data.run, "model") {
        Some(model) => format!("Evaluation awareness of {model}"),
        None => "Evaluation awareness".into(),
    }
}

/// What was probed on what.
pub(crate) fn probe_lead(data: &ReportData) -> String {
    let name = |role| facts::model_name(&data.run, role);
    let who = match (name("model"), name("base")) {
        (Some(model), Some(base)) => {
            format!("The policy ({model}) was probed beside its base ({base})")
        }
        (Some(model), None) => format!("The policy ({model}) was probed without a base"),
        _ => "The policy was probed".into(),
    };
    let verdict = data.findings.get("probe.verdict");
    format!(
        "{who} on {} items of {} sources.{}",
        number::count(verdict.map_or(0, |f| f.n)),
        number::count(verdict.map_or(0, |f| f.n_clusters)),
        brackets(&data.findings).unwrap_or_default()
    )
}

/// Whether the run plans an audit, or executes a plan (`forkscope plan`).
pub(crate) fn is_plan(data: &ReportData) -> bool {
    facts::text(&data.run, "command") == Some("plan")
}

/// What was planned, or looked at.
pub(crate) fn plan_lead(data: &ReportData) -> String {
    let name = |role| facts::model_name(&data.run, role);
    let base = name("base").unwrap_or_else(|| "the base".to_owned());
    match name("tuned") {
        Some(tuned) => format!(
            "The tuned policy ({tuned}) was compared with its base ({base}) at the positions of a plan, and nowhere else."
        ),
        None => format!(
            "An audit was planned with the base ({base}) alone, before anything of a tuned policy was seen."
        ),
    }
}

/// How many arms learnt, and what they are measured on.
pub(crate) fn ablation_lead(data: &ReportData) -> String {
    let ids = data.findings.findings.iter().map(|f| f.id.as_str());
    let arms = ids.filter(|id| id.starts_with("rollouts.")).count();
    let first = data.findings.findings.first();
    let problems = first.map_or(0, |f| f.n_clusters);
    let settings = data.run.get("settings");
    let split = settings.and_then(|s| s.get("split_name")?.as_str());
    let split = split.unwrap_or_default();
    let who = facts::model_name(&data.run, "model").unwrap_or_else(|| "the base".to_owned());
    format!(
        "{} arms, the base among them ({who}), were measured on {} held-out {split} problems.{}",
        number::count(arms as u64),
        number::count(problems),
        brackets(&data.findings).unwrap_or_default()
    )
}

/// What a grid does not show.
pub(crate) fn ablation_caveats() -> Vec<String> {
    vec![
        "Intervals are over problems and hold for the seeds that were run; the spread over seeds stands beside them.".into(),
        "Many arms are compared on the same problems: the best of them is best partly by luck, and p-values are of one comparison each.".into(),
        "Settings that were chosen on these problems flatter the arm that they were chosen for.".into(),
    ]
}

/// What was distilled from what, and how near it comes.
pub(crate) fn sweep_lead(data: &ReportData) -> String {
    let name = |role| facts::model_name(&data.run, role).unwrap_or_else(|| role.to_owned());
    let ids = data.findings.findings.iter().map(|f| f.id.as_str());
    let ranks: Vec<&str> = ids
        .filter_map(|id| id.strip_prefix("accuracy.rank_"))
        .collect();
    let problems = data
        .findings
        .get("accuracy.tuned")
        .map_or(0, |f| f.n_clusters);
    format!(
        "Adapters of rank {} on the base ({}) were distilled from the tuned policy ({}), and measured on {} held-out problems.{}",
        ranks.join(", "),
        name("base"),
        name("tuned"),
        number::count(problems),
        brackets(&data.findings).unwrap_or_default()
    )
}

/// What a sweep does not show.
pub(crate) fn sweep_caveats() -> Vec<String> {
    vec![
        "A rank that recovers little may need more steps, another rate or more rollouts, not more parameters: every rank was trained with the same settings.".into(),
        "KL is taken on the tuned policy's own rollouts; a student visits other prefixes.".into(),
    ]
}

/// `Answers of MODEL`.
pub(crate) fn heading(data: &ReportData) -> String {
    match facts::model_name(&data.run, "model") {
        Some(model) => format!("Answers of {model}"),
        None => "Answers".into(),
    }
}

/// Who answered how much.
pub(crate) fn lead(data: &ReportData) -> String {
    let who = match facts::model_name(&data.run, "model") {
        Some(model) => format!("The policy ({model})"),
        None => "The policy".into(),
    };
    match data.findings.get("rollouts.total") {
        Some(f) => format!(
            "{who} gave {} answers to {} problems.{}",
            number::count(f.n),
            number::count(f.n_clusters),
            brackets(&data.findings).unwrap_or_default()
        ),
        None => format!("{who} was evaluated; this run has no findings."),
    }
}

/// What was found, from the smallest and the greatest k.
pub(crate) fn sentences(f: &Findings) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(one) = defined(f, "pass_at_1") {
        out.push(format!(
            "A single sample is right with probability {}.",
            quoted(one)
        ));
    }
    if let Some((k, pass)) = greatest(f).filter(|(k, _)| *k > 1) {
        let mut text = format!(
            "Of {k} samples at least one is right for {} of problems",
            quoted(pass)
        );
        if let Some(majority) = defined(f, &format!("maj_at_{k}")) {
            text += &format!(", and their majority for {}", quoted(majority));
        }
        out.push(text + ".");
    }
    if let Some(greedy) = defined(f, "greedy") {
        out.push(format!("Greedy decoding is right for {}.", quoted(greedy)));
    }
    if let (Some(tokens), Some(cut), Some(none)) = (
        defined(f, "tokens_per_answer"),
        defined(f, "truncated_share"),
        defined(f, "no_answer_share"),
    ) {
        out.push(format!(
            "An answer takes {}; {} of samples were cut and {} give no answer.",
            quoted(tokens),
            quoted(cut),
            quoted(none)
        ));
    }
    out
}

fn greatest(f: &Findings) -> Option<(u64, &Finding)> {
    let k_of = |f: &Finding| f.id.strip_prefix("pass_at_")?.parse::<u64>().ok();
    let all = f.findings.iter().filter(|f| f.value.is_some());
    all.filter_map(|f| Some((k_of(f)?, f)))
        .max_by_key(|(k, _)| *k)
}

/// What the numbers do not show.
pub(crate) fn caveats(f: &Findings) -> Vec<String> {
    let mut out = Vec::new();
    let ungraded = f.get("pass_at_1").filter(|f| f.n_invalid > 0);
    if let Some(ungraded) = ungraded {
        out.push(format!(
            "{} samples belong to problems without a reference answer and enter no accuracy.",
            number::count(ungraded.n_invalid)
        ));
    }
    out.push(
        "A sample that was cut counts as wrong unless its answer stands before the cut: a low accuracy with many cut samples may be the token limit's.".into(),
    );
    out.push(
        "The majority is that of the first k samples, one draw and not the mean over all subsets; pass@k counts a right answer that nobody picks out.".into(),
    );
    if let Some(f) = f.get("rollouts.total").filter(|f| f.n_clusters > 0) {
        out.push(format!(
            "The unit of inference is the problem: intervals rest on {} problems, not on {} samples.",
            number::count(f.n_clusters),
            number::count(f.n)
        ));
    }
    out
}
