//! Evaluation awareness (`forkscope probe`).

use forkscope_records::types::{Finding, Findings};

use super::{Section, Table};
use crate::figures::Figure;
use crate::figures::curves::{Axes, Series, draw};
use crate::number;

/// The section, where a policy was probed.
pub fn section(findings: &Findings) -> Option<Section> {
    let verdict = findings.get("probe.verdict")?;
    let probe = Probe { findings };
    Some(Section {
        id: "probe",
        title: "Evaluation awareness".into(),
        paragraphs: probe.sentences(verdict),
        tables: [probe.detection(), probe.behaviour(), probe.steering()]
            .into_iter()
            .flatten()
            .collect(),
        figures: probe.figure().into_iter().collect(),
        limits: limits(),
    })
}

fn limits() -> Vec<String> {
    [
        "A context that a probe can read is not one that the policy uses: that is why the three axes are kept apart.",
        "Intervals are over sources. A few benchmarks or wordings are few units, and what holds for these need not hold for others.",
        "A verdict of not established is no proof of absence: another set, behaviour, layer or pooling may show what this one does not.",
        "Steering adds a vector that no input may produce; that behaviour follows it shows a handle, not how the policy decides.",
        "The base separates what training added on these items; a base that has read the wordings before may tell contexts too.",
    ]
    .map(str::to_owned)
    .to_vec()
}

struct Probe<'a> {
    findings: &'a Findings,
}

impl<'a> Probe<'a> {
    fn get(&self, id: &str) -> Option<&'a Finding> {
        self.findings.get(&format!("probe.{id}"))
    }

    fn cell(&self, id: &str) -> String {
        self.get(id).map_or(String::new(), shown)
    }

    fn sentences(&self, verdict: &Finding) -> Vec<String> {
        let word = verdict.label.as_deref().unwrap_or("undefined");
        let mut all = vec![format!(
            "Evaluation awareness is {word}, on {} items of {} sources.",
            number::count(verdict.n),
            number::count(verdict.n_clusters),
        )];
        if verdict.value != Some(1.0) && !verdict.method.is_empty() {
            all.push(format!("{}.", verdict.method));
        }
        if let (Some(gap), Some(beyond)) = (
            self.get("behaviour.gap"),
            self.get("behaviour.gap.beyond_base"),
        ) {
            all.push(format!(
                "The behaviour's gap between evaluation and deployment is {}; beyond the base's, {}.",
                shown(gap),
                shown(beyond)
            ));
        }
        if let Some(share) = self
            .get("steering.share_of_gap")
            .filter(|f| f.value.is_some())
        {
            all.push(format!(
                "Steering along the direction moves {} of the gap; random directions of equal norm have an effect of {} in the mean.",
                shown(share),
                self.cell("steering.random_mean")
            ));
        }
        if let Some(found) = self.get("dimensions.discovered") {
            all.push(format!(
                "Of {} residual dimensions over all layers {} differ between contexts ({}).",
                number::count(found.n),
                number::finding(found).value,
                found.method
            ));
        }
        all
    }

    /// Parts of ids between a prefix and a suffix, in the order of the findings.
    fn names(&self, prefix: &str) -> Vec<&'a str> {
        let prefix = format!("probe.{prefix}");
        let all = self.findings.findings.iter();
        all.filter_map(|f| f.id.strip_prefix(&prefix))
            .filter(|name| !name.contains('.'))
            .collect()
    }

    fn detection(&self) -> Option<Table> {
        let row = |name: &str, id: String| {
            let p = self
                .get(&id)
                .and_then(|f| f.thresholds.get("p_permutation"));
            let p = p.and_then(|p| p.as_f64());
            vec![
                name.to_owned(),
                self.cell(&id),
                self.cell(&format!("{id}.base")),
                self.cell(&format!("{id}.words")),
                self.cell(&format!("{id}.beyond_base")),
                self.cell(&format!("{id}.beyond_words")),
                p.map_or(String::new(), |p| format!("{p:.4}")),
            ]
        };
        let mut rows = vec![row("sources", "auroc.held_out".into())];
        for name in self.names("auroc.across.") {
            let id = format!("auroc.across.{name}");
            let label = self.get(&id).and_then(|f| f.label.clone());
            let label = label.unwrap_or_else(|| name.to_owned());
            rows.push(row(&format!("sources and format, tested on {label}"), id));
        }
        let heads = [
            "held out",
            "policy",
            "base",
            "bag of words",
            "beyond base",
            "beyond words",
            "p",
        ];
        Some(Table {
            title: "AUROC of evaluation against deployment".into(),
            heads: numeric(&heads),
            rows,
            note: "Difference-of-means probe at a layer chosen inside the training folds. p: permutation of contexts over sources, maximum over layers.".into(),
        })
    }

    fn behaviour(&self) -> Option<Table> {
        self.get("behaviour.gap")?;
        let row = |name: &str, suffix: &str| {
            let of = |what: &str| self.cell(&format!("behaviour.{what}{suffix}"));
            vec![
                name.to_owned(),
                of("evaluation"),
                of("deployment"),
                of("gap"),
            ]
        };
        let mut rows = vec![row("policy", "")];
        if self.get("behaviour.gap.base").is_some() {
            rows.push(row("base", ".base"));
        }
        let behaviour = self.get("behaviour.gap")?.thresholds.get("behaviour");
        let behaviour = behaviour
            .and_then(|b| b.as_str())
            .unwrap_or("the behaviour");
        Some(Table {
            title: format!("Share of completions that show {behaviour}"),
            heads: numeric(&["", "evaluation", "deployment", "gap"]),
            rows,
            note: String::new(),
        })
    }

    fn steering(&self) -> Option<Table> {
        let effect = self.get("steering.effect")?;
        let layer = effect.thresholds.get("layer").map(ToString::to_string);
        let mut rows: Vec<Vec<String>> = self
            .names("steering.scale_")
            .into_iter()
            .filter_map(|name| {
                let f = self.get(&format!("steering.scale_{name}"))?;
                let number = |what: &str| f.thresholds.get(what).and_then(|v| v.as_f64());
                Some(vec![
                    format!("direction x {}", number("scale").unwrap_or_default()),
                    shown(f),
                    number("kl_nats").map_or(String::new(), |kl| format!("{kl:.4}")),
                ])
            })
            .collect();
        for (name, id) in [
            ("random directions, mean", "steering.random_mean"),
            ("random directions, most", "steering.random_most"),
            ("direction beyond random", "steering.beyond_random"),
            ("direction, share of the gap", "steering.share_of_gap"),
        ] {
            rows.push(vec![name.into(), self.cell(id), String::new()]);
        }
        Some(Table {
            title: format!("Steering at layer {}", layer.unwrap_or_default()),
            heads: numeric(&["vector", "moves the behaviour by", "KL at decisions, nats"]),
            rows,
            note: "Evaluation items with minus the vector, deployment items with plus; the lesser of the two moves counts, so that merely breaking the policy counts for nothing. Random directions have the direction's norm and count at their best scale.".into(),
        })
    }

    fn figure(&self) -> Option<Figure> {
        let words = self.get("layer.words");
        let mut series: Vec<Series<'_>> = Vec::new();
        for f in &self.findings.findings {
            let Some(rest) = f.id.strip_prefix("probe.layer.") else {
                continue;
            };
            let Some((name, layer)) = rest.rsplit_once('.') else {
                continue;
            };
            let Ok(layer) = layer.parse::<f64>() else {
                continue;
            };
            let name = name.replace('.', ", ");
            match series.iter_mut().find(|s| s.name == name) {
                Some(s) => s.points.push((layer, f)),
                None => series.push(Series {
                    reference: name.starts_with("base"),
                    points: vec![(layer, f)],
                    name,
                }),
            }
        }
        let last = series.iter().flat_map(|s| &s.points).map(|p| p.0);
        let last = last.fold(0.0, f64::max);
        if let Some(words) = words.filter(|f| f.value.is_some()) {
            series.push(Series {
                name: "bag of words".into(),
                points: vec![(0.0, words), (last, words)],
                reference: true,
            });
        }
        let split = words.and_then(|f| f.thresholds.get("split")?.as_str());
        let title = "AUROC by layer".to_owned();
        let caption = format!(
            "Difference-of-means probe at each layer (0: embeddings), held out: {}; bands are intervals over sources. The dashed curves are the base and the bag of words.",
            split.unwrap_or("source").replace('_', " ")
        );
        let axes = Axes {
            across: "layer",
            along: "AUROC",
            ratios: false,
            range: Some((0.0, 1.0)),
        };
        Some(Figure {
            name: "probe-layers".into(),
            svg: draw(&series, axes, &title, &caption)?,
            title,
            caption,
        })
    }
}

/// Heads of columns: the first is text, the others are numbers.
fn numeric(heads: &[&str]) -> Vec<(String, bool)> {
    let head = |(i, h): (usize, &&str)| ((*h).to_owned(), i > 0);
    heads.iter().enumerate().map(head).collect()
}

fn shown(finding: &Finding) -> String {
    let shown = number::finding(finding);
    match shown.interval {
        Some((low, high)) => format!("{} [{low}, {high}]", shown.value),
        None => shown.value,
    }
}
