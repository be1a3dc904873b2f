//! The questions of an audit with their answers, one line each, and what the
//! whole does not show. Only where a run answers more than one of them.

use forkscope_records::types::{Finding, Findings};

use super::{Section, Table};
use crate::number;

/// Question, and the findings that answer it, each with what it says.
type Question = (&'static str, &'static [(&'static str, &'static str)]);

const QUESTIONS: &[Question] = &[
    (
        "Where did the policy change?",
        &[
            (
                "share.reranked",
                "positions where the new choice was in the base's top 5",
            ),
            ("share.shifted", "positions where it was not"),
            (
                "share.changed_beyond_noise",
                "positions that differ by more than bf16 does by itself",
            ),
            (
                "coverage.kl.top_5pct",
                "of all KL lies in the 5 % most divergent positions",
            ),
        ],
    ),
    (
        "Which positions carry the difference?",
        &[
            (
                "intervene.guided_further.forward.t0.random",
                "guided arms that come nearer to the tuned policy than random positions do, greedy",
            ),
            (
                "intervene.guided_further.reverse.t0.random",
                "guided arms that come nearer to the base than random positions do, greedy",
            ),
        ],
    ),
    (
        "What does it cost to turn it back?",
        &[
            ("revert.undo.answers.eligible", "answers that have a price"),
            (
                "revert.undo.tokens.restricted_mean",
                "forced base tokens, restricted mean",
            ),
            (
                "revert.undo.tokens.turned_by.1",
                "answers that one forced token turns",
            ),
            (
                "revert.undo.prefill.restricted_mean",
                "prefilled base tokens, restricted mean",
            ),
            (
                "revert.undo.alpha.restricted_mean",
                "weight of the base in a mixture, restricted mean",
            ),
        ],
    ),
    (
        "What makes it show where it should not?",
        &[
            (
                "revert.induce.answers.eligible",
                "answers that have a price",
            ),
            (
                "revert.induce.tokens.restricted_mean",
                "forced tokens, restricted mean",
            ),
        ],
    ),
    (
        "Does it act differently when it looks like a test?",
        &[
            ("probe.verdict", "evaluation awareness"),
            (
                "probe.detectable",
                "the context can be read from activations",
            ),
            (
                "probe.behavioural",
                "behaviour differs with it beyond the base's",
            ),
            ("probe.controllable", "steering along it moves behaviour"),
        ],
    ),
    (
        "What may new prompts hold?",
        &[
            (
                "coverage.new_problems.changed_share",
                "mean changed share of a new problem's positions",
            ),
            (
                "coverage.new_problems.tv_mean",
                "mean TV of a new problem's positions",
            ),
        ],
    ),
];

/// The section, where at least two questions have an answer.
pub fn section(findings: &Findings) -> Option<Section> {
    let mut rows = Vec::new();
    let mut answered = 0;
    for (question, answers) in QUESTIONS {
        let found: Vec<_> = answers
            .iter()
            .filter_map(|(id, says)| Some((findings.get(id)?, *says)))
            .collect();
        answered += usize::from(!found.is_empty());
        rows.extend(found.iter().enumerate().map(|(i, (finding, says))| {
            let asked = if i == 0 { *question } else { "" };
            row(asked, finding, says)
        }));
    }
    (answered > 1).then(|| Section {
        id: "overview",
        title: "The audit at a glance".into(),
        paragraphs: Vec::new(),
        tables: vec![Table {
            title: "Questions and answers".into(),
            heads: [
                ("question", false),
                ("answer", true),
                ("interval or bound", true),
                ("of what", false),
                ("n", true),
                ("problems", true),
            ]
            .map(|(head, numeric)| (head.to_owned(), numeric))
            .to_vec(),
            rows,
            note: "Each line is one finding; its definition, method and level stand in the table of findings below.".into(),
        }],
        figures: Vec::new(),
        limits: limits(),
    })
}

fn row(question: &str, finding: &Finding, says: &str) -> Vec<String> {
    let shown = number::finding(finding);
    let answer = match (&finding.label, finding.value) {
        (Some(label), _) => label.clone(),
        (None, None) => "not defined".to_owned(),
        (None, Some(value)) if finding.unit == "truth" => {
            if value > 0.0 { "yes" } else { "no" }.to_owned()
        }
        (None, Some(_)) => shown.value.clone(),
    };
    let range = match finding.low.is_some() || finding.high.is_some() {
        true => shown.range(),
        false => String::new(),
    };
    vec![
        question.to_owned(),
        answer,
        range,
        says.to_owned(),
        number::count(finding.n),
        number::count(finding.n_clusters),
    ]
}

fn limits() -> Vec<String> {
    [
        "This is one pair of policies on the problems given, under the sampling settings given. Other prompts, languages, tools and sampling settings were not looked at; only the bounds for new problems speak of more, and only of problems drawn as these were.",
        "Nothing here shows that a difference is good or bad. Accuracy and refusal are judged by rules that the settings name, and these rules err.",
        "No line of this table accounts for the others: with many findings, some intervals miss.",
        "A small price does not mean that somebody will pay it, a large one does not mean that nobody can find a cheaper way.",
        "An auditor who holds the weights and the key can still choose the problems. An attestation shows that files, settings and numbers belong together, not that the choice was fair.",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

    fn findings(ids: &[(&str, &str)]) -> Result<Findings> {
        let all = ids.iter().map(|(id, label)| {
            serde_json::from_value(serde_json::json!({
                "id": id, "definition": "", "value": 1.0, "unit": "truth", "low": null, "high": null,
                "level": null, "method": "", "n": 12, "n_clusters": 3, "n_invalid": 0, "label": label
            }))
        });
        Ok(Findings {
            schema: Findings::SCHEMA.into(),
            findings: all.collect::<std::result::Result<_, _>>()?,
        })
    }

    #[test]
    fn one_question_is_no_overview_and_two_are() -> Result {
        assert!(section(&findings(&[("share.reranked", "x")])?).is_none());
        let two = findings(&[
            ("share.reranked", "x"),
            ("probe.verdict", "not established"),
        ])?;
        let shown = section(&two).ok_or("no section")?;
        let rows = &shown.tables.first().ok_or("no table")?.rows;
        assert_eq!(rows.len(), 2);
        let heads = shown.tables.first().map_or(0, |t| t.heads.len());
        assert!(rows.iter().all(|r| r.len() == heads));
        assert!(rows.iter().flatten().any(|c| c == "not established"));
        Ok(())
    }
}
