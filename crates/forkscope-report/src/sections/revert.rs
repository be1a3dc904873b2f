//! The price of a behaviour (`forkscope revert`).

use forkscope_records::types::{Finding, Findings};

use super::{Section, Table};
use crate::figures::Figure;
use crate::figures::curves::{Axes, Series, draw};
use crate::number;

/// Directions with what is done in them.
const DIRECTIONS: [(&str, &str, &str); 2] =
    [("undo", "undone", "lose"), ("induce", "induced", "show")];

/// Methods whose prices are counted in tokens.
const TOKENS: [&str; 4] = ["tokens", "tokens_first", "prefill", "prompt"];

/// The section, where something was priced.
pub fn section(findings: &Findings) -> Option<Section> {
    let of = |id: &str| findings.get(id);
    let there = |d: &&(&str, &str, &str)| of(&format!("revert.{}.answers.eligible", d.0)).is_some();
    let directions: Vec<_> = DIRECTIONS.iter().filter(there).collect();
    if directions.is_empty() {
        return None;
    }
    let mut section = Section {
        id: "revert",
        title: "What it costs to bring the behaviour back".into(),
        paragraphs: Vec::new(),
        tables: Vec::new(),
        figures: Vec::new(),
        limits: limits(),
    };
    for (direction, done, goal) in directions {
        let prices = Prices {
            findings,
            direction,
        };
        section.paragraphs.extend(prices.sentences(done, goal));
        section.tables.extend(prices.table(done));
        section.tables.extend(prices.links());
        section.figures.extend(prices.figures(done));
    }
    Some(section)
}

fn limits() -> Vec<String> {
    [
        "Prices are upper bounds: what these procedures found. Somebody who searches differently may pay less; only the verified least number of forced tokens is exact, for forced donor tokens on the tuned policy's own answer.",
        "Forcing, prefilling and mixing need a hand on the decoder or the weights. What a user of a remote system can do is closer to the prompt tokens, and those are searched with the weights at hand.",
        "A price is about the behaviour as it was judged. A phrase list misses refusals in other words; an answer that no longer refuses need not be right, or harmful.",
        "A restricted mean counts the cap for an answer that did not turn, and so is a lower bound of the mean price.",
    ]
    .map(str::to_owned)
    .to_vec()
}

struct Prices<'a> {
    findings: &'a Findings,
    direction: &'a str,
}

impl<'a> Prices<'a> {
    fn get(&self, what: &str) -> Option<&'a Finding> {
        self.findings
            .get(&format!("revert.{}.{what}", self.direction))
    }

    fn sentences(&self, done: &str, goal: &str) -> Vec<String> {
        let Some(eligible) = self.get("answers.eligible") else {
            return Vec::new();
        };
        let n = eligible.value.unwrap_or(0.0);
        let count = |what: &str| {
            let f = self.get(&format!("answers.{what}"));
            number::count(f.and_then(|f| f.value).unwrap_or(0.0) as u64)
        };
        let mut all = vec![format!(
            "{} of {} answers have a price for the behaviour to be {done}; {} have nothing to turn, on {} the base agrees with the tuned policy, and {} have no verdict.",
            number::count(n as u64),
            number::count(eligible.n),
            count("nothing_to_turn"),
            count("base_agrees"),
            count("undecided"),
        )];
        if n == 0.0 {
            return all;
        }
        if let Some(mean) = self.get("tokens.restricted_mean") {
            let one = self.get("tokens.turned_by.1").map(shown);
            all.push(format!(
                "To make the tuned policy {goal} the behaviour takes {} forced donor tokens in the restricted mean; one token is enough for {} of the answers.",
                shown(mean),
                one.unwrap_or_else(|| "an unknown share".into()),
            ));
        }
        all.extend(self.against_controls());
        let back = self.get("prefill.returned");
        if let Some(back) = back.filter(|f| f.value.is_some_and(|v| v > 0.0)) {
            all.push(format!(
                "Prefilling more is not always more: of the answers that some prefix turned, {} stood again at a longer one.",
                shown(back)
            ));
        }
        all
    }

    /// Whether the methods are cheaper than their controls, in words.
    fn against_controls(&self) -> Option<String> {
        let prefix = format!("revert.{}.", self.direction);
        let differences = self.findings.findings.iter().filter_map(|f| {
            let name = f.id.strip_prefix(&prefix)?.strip_suffix(".difference")?;
            Some((name, f))
        });
        let (mut cheaper, mut not) = (Vec::new(), Vec::new());
        for (name, f) in differences {
            match f.low {
                Some(low) if low > 0.0 => cheaper.push(words(name)),
                _ => not.push(words(name)),
            }
        }
        let mut said = Vec::new();
        if !cheaper.is_empty() {
            said.push(format!(
                "The methods are cheaper than these controls, beyond the interval: {}.",
                cheaper.join("; ")
            ));
        }
        if !not.is_empty() {
            said.push(format!(
                "They are not shown to be cheaper than: {}.",
                not.join("; ")
            ));
        }
        (!said.is_empty()).then(|| said.join(" "))
    }

    /// Names of methods and controls, in the order of the findings.
    fn names(&self) -> Vec<&'a str> {
        let prefix = format!("revert.{}.", self.direction);
        let all = self.findings.findings.iter();
        all.filter_map(|f| f.id.strip_prefix(&prefix)?.strip_suffix(".median"))
            .collect()
    }

    fn table(&self, done: &str) -> Option<Table> {
        let names = self.names();
        if names.is_empty() {
            return None;
        }
        let cell = |name: &str, what: &str| {
            self.get(&format!("{name}.{what}"))
                .map_or(String::new(), shown)
        };
        let p = |name: &str| {
            let f = self.get(&format!("{name}.difference"));
            let p = f.and_then(|f| f.thresholds.get("p_value")?.as_f64());
            p.map_or(String::new(), |p| format!("{p:.4}"))
        };
        let heads = [
            "price",
            "restricted mean",
            "median",
            "by 1",
            "by 2",
            "by 4",
            "by 8",
            "by 16",
            "control minus method",
            "p",
        ];
        let rows = names.iter().map(|name| {
            let mut row = vec![
                words(name),
                cell(name, "restricted_mean"),
                cell(name, "median"),
            ];
            row.extend(["1", "2", "4", "8", "16"].map(|k| cell(name, &format!("turned_by.{k}"))));
            row.extend([cell(name, "difference"), p(name)]);
            row
        });
        Some(Table {
            title: format!("Prices of the behaviour being {done}"),
            heads: heads.iter().map(|h| ((*h).to_owned(), *h != "price")).collect(),
            rows: rows.collect(),
            note: "By k: share of answers with a price of at most k, in the method's unit (tokens, weight, nats). p: two-sided sign-flip test over problems.".into(),
        })
    }

    /// The weakest links, and what single positions do.
    fn links(&self) -> Vec<Table> {
        let mut tables = Vec::new();
        let rows: Vec<Vec<String>> = (0..8)
            .filter_map(|i| {
                let alone = self.get(&format!("turns_alone.index.{i}"));
                let margin = self.get(&format!("margin.index.{i}"))?;
                let n = number::count(margin.n);
                Some(vec![
                    i.to_string(),
                    n,
                    shown(margin),
                    alone.map_or(String::new(), shown),
                ])
            })
            .collect();
        if !rows.is_empty() {
            tables.push(Table {
                title: "Decisions by completion index".into(),
                heads: [("index", true), ("answers", true), ("mean margin", true), ("turn the answer alone", true)]
                    .map(|(h, n)| (h.to_owned(), n))
                    .to_vec(),
                rows,
                note: "A decision is a position where the donor would choose another token; its margin is the logit shift that makes the donor's token the most probable one.".into(),
            });
        }
        let weakest: Vec<Vec<String>> = (1..=10)
            .filter_map(|i| {
                let f = self.get(&format!("weakest.{i}"))?;
                let label = f.label.clone().unwrap_or_default();
                Some(vec![i.to_string(), number::finding(f).value, label])
            })
            .collect();
        if !weakest.is_empty() {
            tables.push(Table {
                title: "Weakest links".into(),
                heads: [
                    ("rank", true),
                    ("nats", true),
                    ("problem and forced tokens", false),
                ]
                .map(|(h, n)| (h.to_owned(), n))
                .to_vec(),
                rows: weakest,
                note: "The answers that the least logit shift turns.".into(),
            });
        }
        tables
    }

    fn figures(&self, done: &str) -> Vec<Figure> {
        let names = self.names();
        let method = |name: &str| name.split('.').next().unwrap_or(name).to_owned();
        let of = |wanted: &dyn Fn(&str) -> bool| -> Vec<&str> {
            let all = names.iter().copied();
            all.filter(|n| wanted(&method(n))).collect()
        };
        [
            (
                "tokens",
                "tokens forced, prefilled or added",
                of(&|m| TOKENS.contains(&m)),
            ),
            (
                "alpha",
                "weight of the base in the mixture",
                of(&|m| m == "alpha"),
            ),
            ("nats", "logit shift in nats", of(&|m| m == "nats")),
        ]
        .into_iter()
        .filter_map(|(what, across, names)| self.figure(done, what, across, &names))
        .collect()
    }

    fn figure(&self, done: &str, what: &str, across: &str, names: &[&str]) -> Option<Figure> {
        let series: Vec<Series<'_>> = names
            .iter()
            .map(|name| Series {
                name: words(name),
                points: self.points(name),
                reference: name.contains('.'),
            })
            .collect();
        let title = format!("Behaviour {done} by {across}");
        let caption = "Share of answers that are turned by at most that price, with intervals over problems; controls are grey and dashed. The rest has survived.";
        let axes = Axes {
            across,
            along: "share of answers turned",
            ratios: what == "nats",
            range: Some((0.0, 1.0)),
        };
        Some(Figure {
            name: format!("revert-{}-{what}", self.direction),
            svg: draw(&series, axes, &title, caption)?,
            title,
            caption: caption.into(),
        })
    }

    /// Shares by level, ascending.
    fn points(&self, name: &str) -> Vec<(f64, &'a Finding)> {
        let prefix = format!("revert.{}.{name}.turned_by.", self.direction);
        let all = self.findings.findings.iter();
        let mut points: Vec<(f64, &Finding)> = all
            .filter_map(|f| Some((f.id.strip_prefix(&prefix)?.parse().ok()?, f)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    }
}

/// `tokens.random_positions` as words.
fn words(name: &str) -> String {
    name.replace('.', ", ").replace('_', " ")
}

fn shown(finding: &Finding) -> String {
    let shown = number::finding(finding);
    match shown.interval {
        Some((low, high)) => format!("{} [{low}, {high}]", shown.value),
        None => shown.value,
    }
}
