//! The findings in a few plain sentences, with what they do not show.
//!
//! Every number in a sentence is read from one finding; a sentence whose
//! finding is missing is left out. Texts are plain: renderers escape them.

use forkscope_records::types::{Finding, Findings};

use crate::data::ReportData;
use crate::{evaluated, facts, number, sections};

/// Plain sentences for the top of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// What was compared with what, over how much.
    pub lead: String,
    /// Command, status, versions and digests in one line; all settings stand
    /// at the end of a report.
    pub provenance: String,
    /// What was found.
    pub sentences: Vec<String>,
    /// What the findings do not show, and what was left out.
    pub caveats: Vec<String>,
}

/// Composes the summary.
pub fn summarise(data: &ReportData) -> Summary {
    let f = &data.findings;
    let evaluated = match evaluated::is_evaluation(data) {
        true => evaluated::sentences(f),
        false => Vec::new(),
    };
    let sentences = [
        classes(f),
        promoted(f),
        divergence(f),
        coverage(f),
        gate(f),
        answers(f),
    ];
    Summary {
        lead: lead(data),
        provenance: facts::provenance(&data.run),
        sentences: sentences.into_iter().flatten().chain(evaluated).collect(),
        caveats: caveats(data),
    }
}

/// The finding with the widest denominator: it says over how many positions
/// and problems the run speaks.
fn widest(findings: &Findings) -> Option<&Finding> {
    findings
        .get("share.unshifted")
        .or_else(|| findings.findings.iter().max_by_key(|f| f.n))
}

fn lead(data: &ReportData) -> String {
    if evaluated::is_evaluation(data) {
        return evaluated::lead(data);
    }
    if evaluated::is_sweep(data) {
        return evaluated::sweep_lead(data);
    }
    if evaluated::is_ablation(data) {
        return evaluated::ablation_lead(data);
    }
    if evaluated::is_plan(data) {
        return evaluated::plan_lead(data);
    }
    if evaluated::is_probe(data) {
        return evaluated::probe_lead(data);
    }
    let tuned = facts::model_name(&data.run, "tuned");
    let base = facts::model_name(&data.run, "base");
    let who = match (tuned, base) {
        (Some(t), Some(b)) => format!("The tuned policy ({t}) was compared with its base ({b})"),
        _ => "The tuned policy was compared with its base".into(),
    };
    let f = &data.findings;
    if f.get("share.unshifted").is_none() && !sections::sections(f).is_empty() {
        return format!(
            "{who}; the sections below say how.{}",
            brackets(f).unwrap_or_default()
        );
    }
    match widest(f) {
        Some(f) => format!(
            "{who}, token by token, at {} positions of rollouts from {} problems.{}",
            number::count(f.n),
            number::count(f.n_clusters),
            brackets(&data.findings).unwrap_or_default()
        ),
        None => format!("{who}; this run has no findings."),
    }
}

/// Value with its interval in brackets: `2.09 % [1.90 – 2.31]`.
pub(crate) fn quoted(f: &Finding) -> String {
    let shown = number::finding(f);
    match shown.interval {
        Some(_) => format!("{} [{}]", shown.value, shown.range()),
        None => shown.value,
    }
}

/// What the brackets hold, if the findings agree on it.
pub(crate) fn brackets(findings: &Findings) -> Option<String> {
    let with_interval = || {
        findings
            .findings
            .iter()
            .filter(|f| f.low.is_some() || f.high.is_some())
    };
    let level = with_interval().find_map(|f| f.level)?;
    let all = with_interval().all(|f| f.level == Some(level));
    all.then(|| format!(" Brackets hold {} intervals.", number::level(level)))
}

pub(crate) fn defined<'a>(findings: &'a Findings, id: &str) -> Option<&'a Finding> {
    findings.get(id).filter(|f| f.value.is_some())
}

fn short(f: &Finding) -> String {
    number::finding(f).value
}

fn classes(f: &Findings) -> Option<String> {
    let unshifted = defined(f, "share.unshifted")?;
    let mut text = format!(
        "The two policies prefer the same token at {} of positions",
        quoted(unshifted)
    );
    if let (Some(reranked), Some(shifted)) =
        (defined(f, "share.reranked"), defined(f, "share.shifted"))
    {
        let k = reranked
            .thresholds
            .get("k")
            .or_else(|| reranked.thresholds.get("rerank_k"))
            .map(|k| format!("the base's top {k}"))
            .unwrap_or_else(|| "the base's first few".into());
        text += &format!(
            "; at {} the tuned policy prefers another of {k} (reranked), and at {} one from further down (shifted)",
            quoted(reranked),
            quoted(shifted)
        );
    }
    Some(text + ".")
}

fn promoted(f: &Findings) -> Option<String> {
    let ratio = defined(f, "entropy_ratio").map(|r| {
        format!(
            "the base's entropy at reranked positions is {} that at unshifted ones",
            quoted(r)
        )
    });
    let rank = defined(f, "mean_base_rank").map(|r| {
        format!(
            "the token that the tuned policy prefers has mean rank {} under the base",
            quoted(r)
        )
    });
    let parts: Vec<_> = [ratio, rank].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("Where they disagree, {}.", parts.join(", and ")))
}

fn divergence(f: &Findings) -> Option<String> {
    let mean = defined(f, "kl_tuned_base.mean")?;
    let mut text = format!("KL(tuned ‖ base) averages {} per token", quoted(mean));
    let tails: Vec<_> = [
        ("kl_tuned_base.p50", "the median"),
        ("kl_tuned_base.p99", "the 99th percentile"),
    ]
    .iter()
    .filter_map(|(id, name)| defined(f, id).map(|p| format!("{name} is {}", short(p))))
    .collect();
    if !tails.is_empty() {
        text += &format!("; {}", tails.join(", "));
    }
    Some(text + ".")
}

fn coverage(f: &Findings) -> Option<String> {
    let one = defined(f, "coverage.kl.top_1pct")?;
    let mut text = format!(
        "The most divergent 1 % of positions carry {} of all KL",
        quoted(one)
    );
    if let Some(ten) = defined(f, "coverage.kl.top_10pct") {
        text += &format!(", the first 10 % carry {}", short(ten));
    }
    Some(text + ".")
}

fn gate(f: &Findings) -> Option<String> {
    let argmax = defined(f, "auroc.entropy.argmax")?;
    let mut text = format!(
        "Ranking positions by the base's entropy finds those where they disagree with AUROC {}",
        quoted(argmax)
    );
    if let Some(kl) = defined(f, "auroc.entropy.kl") {
        let cut_off = kl.thresholds.get("kl_changed_nats");
        let cut_off = cut_off.map_or_else(String::new, |c| format!(" above {c} nats"));
        text += &format!(", and those with KL{cut_off} with AUROC {}", short(kl));
    }
    Some(text + "; 0.5 is chance.")
}

fn answers(f: &Findings) -> Option<String> {
    let side = |id: &str| defined(f, id).map(quoted);
    let tokens = match (side("answer.tokens.base"), side("answer.tokens.tuned")) {
        (Some(base), Some(tuned)) => Some(format!(
            "Answers of the base take {base}, those of the tuned policy {tuned}."
        )),
        (Some(base), None) => Some(format!("Answers of the base take {base}.")),
        (None, Some(tuned)) => Some(format!("Answers of the tuned policy take {tuned}.")),
        (None, None) => None,
    };
    let test = defined(f, "answer.accuracy.p_value").map_or_else(String::new, |p| {
        format!(" (paired sign-flip test over problems: p = {})", short(p))
    });
    let right = match (side("answer.accuracy.base"), side("answer.accuracy.tuned")) {
        (Some(base), Some(tuned)) => Some(format!(
            "Of the base's answers {base} are right, of the tuned policy's {tuned}{test}."
        )),
        (Some(base), None) => Some(format!("Of the base's answers {base} are right.")),
        (None, Some(tuned)) => Some(format!("Of the tuned policy's answers {tuned} are right.")),
        (None, None) => None,
    };
    let parts: Vec<_> = [tokens, right].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Says how many of a kind enter the numbers, if not all do.
fn left_out(f: &Findings, family: &str, kind: &str) -> Option<String> {
    let total = defined(f, &format!("{family}.total"))?;
    let used = defined(f, &format!("{family}.used"))?;
    (used.value < total.value).then(|| {
        format!(
            "{} of {} {kind} enter the numbers; the others are invalid and counted by kind below.",
            number::finding(used).bare,
            number::finding(total).bare
        )
    })
}

fn caveats(data: &ReportData) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(status) = facts::text(&data.run, "status").filter(|s| *s != "complete") {
        out.push(format!(
            "The run is marked {status}: everything here describes only what had been written."
        ));
    }
    let f = &data.findings;
    out.extend(left_out(f, "rows", "positions"));
    out.extend(left_out(f, "rollouts", "rollouts"));
    if let Some(cut) = defined(f, "rollouts.truncated").filter(|cut| cut.value > Some(0.0)) {
        out.push(format!(
            "{} of {} rollouts were cut by the token limit; their tokens count, their answers may be missing.",
            number::finding(cut).bare,
            number::count(cut.n)
        ));
    }
    if evaluated::is_evaluation(data) {
        out.extend(evaluated::caveats(f));
        return out;
    }
    if evaluated::is_sweep(data) {
        out.extend(evaluated::sweep_caveats());
        return out;
    }
    if evaluated::is_ablation(data) {
        out.extend(evaluated::ablation_caveats());
        return out;
    }
    if evaluated::is_plan(data) {
        // Its section says what it does not show.
        return out;
    }
    out.push(
        "The numbers describe these rollouts. Other problems, or rollouts written by the other policy, visit other prefixes and give other numbers.".into(),
    );
    if let Some(f) = widest(f).filter(|f| f.n_clusters > 0) {
        out.push(format!(
            "The unit of inference is the problem: tokens of one problem are not independent, so intervals rest on {} problems, not on {} positions.",
            number::count(f.n_clusters),
            number::count(f.n)
        ));
    }
    out.push(
        "A disagreement shows where the policies differ, not that the token decides the outcome. Under greedy decoding, replacing every disagreement reproduces the tuned policy's text by construction, so that alone is no evidence; interventions with matched controls are.".into(),
    );
    out
}
