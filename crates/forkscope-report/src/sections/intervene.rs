//! Interventions (`forkscope intervene`): what each arm did and what it took,
//! guided arms against their controls, and the budget curve.

use forkscope_records::types::{Finding, Findings};
use serde_json::Value;

use super::{Section, Table};
use crate::figures::Figure;
use crate::figures::curves::{Axes, Series, draw};
use crate::number;

const RATE: &str = "intervene.rate.";

/// The section, where an arm was run.
pub fn section(findings: &Findings) -> Option<Section> {
    let tables = tables_of(findings);
    if tables.is_empty() {
        return None;
    }
    let mut section = Section {
        id: "interventions",
        title: "Which positions carry the difference".into(),
        paragraphs: vec![
            "One policy writes, the other's token is forced at chosen positions. Forward, the base writes and tokens of the tuned policy intrude; reverse, the other way round. none is the writer left alone, other the other policy on its own.".into(),
        ],
        tables: Vec::new(),
        figures: Vec::new(),
        limits: limits(&tables),
    };
    for one in &tables {
        section.paragraphs.extend(one.sentences());
        section.tables.push(one.arms());
        section.tables.extend(one.controls());
        section.figures.extend(one.curve());
    }
    Some(section)
}

/// Arms of one direction and temperature.
struct Arms<'a> {
    findings: &'a Findings,
    direction: &'a str,
    temperature: f64,
    rates: Vec<&'a Finding>,
}

fn text<'a>(f: &'a Finding, key: &str) -> &'a str {
    f.thresholds.get(key).and_then(Value::as_str).unwrap_or("")
}

/// In the order of the findings.
fn tables_of(findings: &Findings) -> Vec<Arms<'_>> {
    let mut out: Vec<Arms<'_>> = Vec::new();
    for f in findings.findings.iter().filter(|f| f.id.starts_with(RATE)) {
        let direction = text(f, "direction");
        let Some(temperature) = f.thresholds.get("temperature").and_then(Value::as_f64) else {
            continue;
        };
        let same = |a: &&mut Arms<'_>| a.direction == direction && a.temperature == temperature;
        match out.iter_mut().find(same) {
            Some(arms) => arms.rates.push(f),
            None => out.push(Arms {
                findings,
                direction,
                temperature,
                rates: vec![f],
            }),
        }
    }
    out
}

/// Value with its interval; a dash where there is none.
fn cell(f: Option<&Finding>) -> String {
    let Some(f) = f else {
        return String::new();
    };
    let shown = number::finding(f);
    match (f.value, shown.interval) {
        (None, _) => "—".into(),
        (_, Some((low, high))) => format!("{} [{low}, {high}]", shown.value),
        (_, None) => shown.value,
    }
}

fn value(f: Option<&Finding>) -> String {
    match f {
        Some(f) if f.value.is_some() => number::finding(f).value,
        Some(_) => "—".into(),
        None => String::new(),
    }
}

fn p(f: Option<&Finding>) -> String {
    match f.and_then(|f| f.value) {
        Some(p) if p < 0.0001 => "< 0.0001".into(),
        Some(p) => format!("{p:.4}"),
        None => String::new(),
    }
}

fn heads(all: &[(&str, bool)]) -> Vec<(String, bool)> {
    all.iter().map(|(h, n)| ((*h).to_owned(), *n)).collect()
}

impl<'a> Arms<'a> {
    fn get(&self, what: &str, arm: &str) -> Option<&'a Finding> {
        let (direction, t) = (self.direction, self.temperature);
        self.findings
            .get(&format!("intervene.{what}.{direction}.t{t}.{arm}"))
    }

    fn rate(&self, arm: &str) -> Option<&'a Finding> {
        self.rates.iter().copied().find(|f| text(f, "arm") == arm)
    }

    fn name(&self) -> String {
        format!("{}, T = {}", self.direction, self.temperature)
    }

    fn sentences(&self) -> Vec<String> {
        let (Some(none), Some(other)) = (self.rate("none"), self.rate("other")) else {
            return Vec::new();
        };
        let mut said = format!(
            "{}: {} for the writer alone, {} for the other policy ({} rollouts of {} problems).",
            capital(&self.name()),
            cell(Some(none)),
            cell(Some(other)),
            number::count(none.n),
            number::count(none.n_clusters)
        );
        if none.value == Some(0.0) && other.value == Some(0.0) {
            said +=
                " What is counted never occurs under either policy, so nothing can be recovered.";
        } else if self
            .get("recovery", "other")
            .is_some_and(|f| f.value.is_none())
        {
            said += " The two do not differ beyond noise, so recovery is not defined.";
        }
        let mut all = vec![said];
        if let (Some(further), Some(less)) = (
            self.get("guided_further", "random"),
            self.get("guided_less_far", "random"),
        ) {
            let count = |f: &Finding| number::count(f.value.unwrap_or(0.0) as u64);
            all.push(format!(
                "Of {} guided arms (identities left out) {} come nearer to the other policy than as many random positions do, at a false-discovery rate of 5 %; {} stay farther away; for the rest the difference is not shown.",
                number::count(further.n),
                count(further),
                count(less)
            ));
        }
        let same: Vec<&str> = self
            .rates
            .iter()
            .filter(|f| text(f, "kind") == "guided")
            .filter(|f| f.thresholds.get("identity") == Some(&Value::Bool(true)))
            .map(|f| text(f, "arm"))
            .collect();
        if !same.is_empty() {
            all.push(format!(
                "Identities, no evidence: {} write{} the other policy's own text by construction.",
                same.join(" and "),
                if same.len() == 1 { "s" } else { "" }
            ));
        }
        all
    }

    /// `none`, `other` and the guided arms.
    fn arms(&self) -> Table {
        let guided = self.rates.iter().filter(|f| text(f, "kind") != "control");
        let row = |f: &&Finding| {
            let arm = text(f, "arm");
            let against = format!("{arm}.minus.none");
            let identity = f.thresholds.contains_key("identity");
            vec![
                format!("{arm}{}", if identity { " (identity)" } else { "" }),
                cell(Some(f)),
                cell(self.get("recovery", arm)),
                value(self.get("touched", arm)),
                value(self.get("changed", arm)),
                value(self.get("wrong_to_right", &against)),
                value(self.get("right_to_wrong", &against)),
                p(self.get("p_value", &against)),
                value(self.get("same_as_other", arm)),
            ]
        };
        let behaviour = self.rates.iter().any(|f| text(f, "counted") == "behaviour");
        let (gained, lost) = match behaviour {
            true => ("without→with", "with→without"),
            false => ("wrong→right", "right→wrong"),
        };
        Table {
            title: format!("Arms: {}", self.name()),
            heads: heads(&[
                ("arm", false),
                ("rate", true),
                ("recovery", true),
                ("touched", true),
                ("changed", true),
                (gained, true),
                (lost, true),
                ("p", true),
                ("= other", true),
            ]),
            rows: guided.map(row).collect(),
            note: format!(
                "touched: tokens forced, of all; changed: of those, the ones that are not the writer's own; {gained}, {lost} and p against none; = other: rollouts that are the other policy's own, token for token."
            ),
        }
    }

    /// Guided arms against their controls.
    fn controls(&self) -> Option<Table> {
        let controls = self.rates.iter().filter(|f| text(f, "kind") == "control");
        let row = |f: &&Finding| {
            let (arm, guide) = (text(f, "arm"), text(f, "guide"));
            let against = format!("{guide}.minus.{arm}");
            vec![
                guide.to_owned(),
                text(f, "control").to_owned(),
                cell(self.rate(guide)),
                cell(Some(f)),
                cell(self.get("difference", &against)),
                p(self.get("p_value", &against)),
                value(self.get("touched", arm)),
                value(self.get("changed", arm)),
                value(self.get("count_ratio", arm)),
                value(self.get("mass_ratio", arm)),
            ]
        };
        let rows: Vec<Vec<String>> = controls.map(row).collect();
        (!rows.is_empty()).then(|| Table {
            title: format!("Guided arms against their controls: {}", self.name()),
            heads: heads(&[
                ("guided", false),
                ("control", false),
                ("guided rate", true),
                ("control rate", true),
                ("guided − control", true),
                ("p", true),
                ("touched", true),
                ("changed", true),
                ("count ratio", true),
                ("mass ratio", true),
            ]),
            rows,
            note: "touched and changed of the control; ratios: of the control over its guided arm, positions touched and the base's entropy summed over them (1 where matched). p of one comparison each.".into(),
        })
    }

    /// Rate against the share of tokens touched, family by family.
    fn curve(&self) -> Option<Figure> {
        let mut series: Vec<Series<'a>> = Vec::new();
        for f in &self.rates {
            let control = text(f, "control");
            let guide = match text(f, "kind") {
                "guided" => text(f, "arm"),
                "control" if control == "random" => text(f, "guide"),
                _ => continue,
            };
            let Some((family, _)) = guide.split_once('/') else {
                continue;
            };
            let reference = !control.is_empty();
            let name = match reference {
                true => format!("random @ {family}"),
                false => family.to_owned(),
            };
            let touched = self.get("touched", text(f, "arm")).and_then(|f| f.value);
            let Some(touched) = touched.filter(|x| *x > 0.0) else {
                continue;
            };
            match series.iter_mut().find(|s| s.name == name) {
                Some(s) => s.points.push((touched, f)),
                None => series.push(Series {
                    name,
                    points: vec![(touched, f)],
                    reference,
                }),
            }
        }
        for s in &mut series {
            if let Some(all) = self.rate("all") {
                s.points.push((1.0, all));
            }
            s.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        let title = format!("Budget curve: {}", self.name());
        let caption = "Rate of each guided arm against the share of its tokens that were touched, with its interval; dashed, as many positions at random. The right end is every position, which is the other policy.";
        let axes = Axes {
            across: "share of tokens touched (logarithmic)",
            along: "rate",
            ratios: true,
            range: None,
        };
        let svg = draw(&series, axes, &title, caption)?;
        Some(Figure {
            name: format!("interventions-{}-t{}", self.direction, self.temperature),
            title,
            caption: caption.into(),
            svg,
        })
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

fn limits(tables: &[Arms<'_>]) -> Vec<String> {
    let greedy = tables.iter().any(|t| t.temperature == 0.0);
    let mut out = Vec::new();
    if greedy {
        out.push("At T = 0 an arm that takes the other policy's token at every disagreement writes the other policy's greedy text, token for token: that such an arm recovers everything is an identity. Only partial budgets, guides that do not look at the other policy, random positions, sampling and the reverse direction say something.");
    }
    out.extend([
        "Forced tokens are the other policy's own: an arm that recovers shows where the difference is decided, not that the writer could have found it.",
        "js, kl, ce, delta and drop look at both policies at every position; entropy at the base alone. Touching few tokens is not the same as running the other policy on few.",
        "Random positions mostly meet tokens on which the policies agree. random-changed draws among the disagreements, as many as the guided arm changed: where a guided arm does not beat it, which disagreements are taken does not matter.",
        "Controls are matched to the guided arm's rollout and run on their own text, which parts from it; the ratios say how the match came out.",
        "Thresholds of budgets come from the untouched rollouts of the other half of the problems; what an arm touched on its own text is what it says, not its budget.",
    ]);
    out.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &str, value: f64, thresholds: Value) -> Option<Finding> {
        serde_json::from_value(serde_json::json!({
            "id": format!("intervene.{id}"), "definition": "", "value": value, "unit": "share",
            "low": null, "high": null, "level": null, "method": "", "n": 12, "n_clusters": 12,
            "n_invalid": 0, "thresholds": thresholds,
        }))
        .ok()
    }

    fn rate(arm: &str, kind: &str, value: f64, more: &[(&str, Value)]) -> Option<Finding> {
        let mut thresholds = serde_json::json!({
            "arm": arm, "kind": kind, "direction": "forward", "temperature": 0.0
        });
        for (key, value) in more {
            thresholds[*key] = value.clone();
        }
        finding(&format!("rate.forward.t0.{arm}"), value, thresholds)
    }

    #[test]
    fn arms_and_controls_stand_in_tables_of_their_own() {
        let all = [
            rate("none", "none", 0.25, &[]),
            rate("other", "other", 0.75, &[]),
            rate("js/5%", "guided", 0.5, &[]),
            rate("all", "guided", 0.75, &[("identity", Value::Bool(true))]),
            rate(
                "random@js/5%",
                "control",
                0.25,
                &[("control", "random".into()), ("guide", "js/5%".into())],
            ),
            finding("touched.forward.t0.js/5%", 0.05, serde_json::json!({})),
            finding(
                "difference.forward.t0.js/5%.minus.random@js/5%",
                0.25,
                serde_json::json!({}),
            ),
        ];
        let findings = Findings {
            schema: Findings::SCHEMA.into(),
            findings: all.into_iter().flatten().collect(),
        };
        let section = section(&findings);
        let tables = section.as_ref().map_or(&[][..], |s| &s.tables);
        let firsts: Vec<Vec<&str>> = tables
            .iter()
            .map(|t| {
                t.rows
                    .iter()
                    .filter_map(|r| r.first())
                    .map(String::as_str)
                    .collect()
            })
            .collect();
        assert_eq!(
            firsts,
            [
                vec!["none", "other", "js/5%", "all (identity)"],
                vec!["js/5%"]
            ]
        );
        let text = section.map_or(String::new(), |s| s.paragraphs.join(" "));
        assert!(
            text.contains("Identities, no evidence: all writes"),
            "{text}"
        );
        assert!(
            super::section(&Findings {
                findings: vec![],
                ..findings
            })
            .is_none()
        );
    }
}
