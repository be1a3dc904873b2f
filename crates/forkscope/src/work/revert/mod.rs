//! The price of a behaviour into a run: `reversions.parquet` and findings.

mod donor;
mod judge;
mod span;

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use forkscope_audit::AuditError;
use forkscope_audit::findings::FindingSettings;
use forkscope_audit::revert::{
    Described, Donor, Labels, Pair, PromptSearch, RevertSettings, findings, price_all, rows,
};
use forkscope_policy::SamplePrompt;
use forkscope_records::types::{Finding, Findings, Problem, Reversion, ReversionDirection};
use forkscope_records::{RunDir, TableWriter, TokenPieces, read_table};
use forkscope_tasks::{Behaviour, Verifier};

use super::models::Named;
use super::prompts::{ProblemSet, Prompts};
use crate::cli::Settings;
use crate::failure::Failure;
use crate::terminal::progress::Progress;

pub use donor::InduceBy;
pub use judge::TextJudge;
pub use span::check_answers;

/// Name of the table.
pub const TABLE: &str = "reversions";

/// Rows per row group: few, because each may have taken long.
const ROW_GROUP: usize = 64;

/// Problems that are priced together, which is what a killed run may lose.
const WINDOW: usize = 32;

/// Problems with their prompts.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// In file order.
    pub set: &'a ProblemSet,
    /// In the same order.
    pub prompts: &'a Prompts,
}

/// How a search over prompt tokens is bounded.
#[derive(Debug, Clone, Copy)]
pub struct SearchBounds {
    /// Most added tokens.
    pub tokens: usize,
    /// Forward passes per answer.
    pub budget: usize,
}

/// What is priced.
pub struct Job<'a> {
    /// The base policy.
    pub base: &'a Named,
    /// The tuned policy.
    pub tuned: &'a Named,
    /// Problems on which the behaviour is to be undone.
    pub undo: Option<Asked<'a>>,
    /// Problems on which it is to be induced.
    pub induce: Option<Asked<'a>>,
    /// Whose tokens induce it.
    pub induce_by: InduceBy,
    /// The behaviour as the user wrote it.
    pub spelled: &'a str,
    /// The behaviour.
    pub behaviour: &'a Behaviour,
    /// How answers are graded, where the behaviour is correctness.
    pub verifier: Verifier,
    /// Search over prompt tokens, if any.
    pub search: Option<SearchBounds>,
    /// How prices are found; the search over prompt tokens is set here.
    pub prices: RevertSettings,
    /// How findings are made.
    pub findings: FindingSettings,
}

/// Prices what the table lacks, finishes it and gives the findings of all rows.
pub fn run(job: &Job<'_>, dir: &mut RunDir, settings: &Settings) -> Result<Vec<Finding>, Failure> {
    job.verifier_ready()?;
    let began = Instant::now();
    let mut table = dir.table::<Reversion>(TABLE, ROW_GROUP)?;
    let mut all = table.read_kept()?;
    let whole = table.is_whole();
    if !whole {
        for (direction, asked) in job.asked() {
            let donor = job.donor(direction, &all)?;
            let one = OneWay {
                job,
                direction,
                asked,
                donor,
            };
            one.price(&mut table, &mut all, settings)?;
        }
    }
    table.finish()?;
    dir.time("reversions_s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let text = job.tuned.policy.text();
    let described = Described {
        behaviour: job.spelled,
        piece: &|id| text?.tokenizer.piece(id),
    };
    let found = findings(&all, &described, &job.findings)?;
    dir.time("reversion_findings_s", began.elapsed().as_secs_f64());
    Ok(found)
}

/// Writes the pieces of all tokens of the table, for a run of its own.
pub fn write_pieces(tuned: &Named, dir: &RunDir) -> Result<(), Failure> {
    let rows: Vec<Reversion> = read_table(&dir.path().join(format!("{TABLE}.parquet")))?;
    let ids = rows
        .iter()
        .flat_map(|r| r.token_ids.iter().chain(&r.donor_ids));
    let ids: BTreeSet<u32> = ids.copied().collect();
    let text = tuned.policy.text();
    let pieces: TokenPieces = ids
        .into_iter()
        .filter_map(|id| Some((id, text?.tokenizer.piece(id)?)))
        .collect();
    Ok(pieces.write(dir)?)
}

/// Why a complete run says nothing about a direction, if that is so: nobody had
/// what was to be turned.
pub fn nothing_priced(findings: &Findings, behaviour: &str) -> Option<String> {
    let value = |id: String| findings.get(&id).and_then(|f| f.value);
    let empty = |d: &&ReversionDirection| {
        value(format!("revert.{}.answers.eligible", d.as_str())) == Some(0.0)
    };
    let direction = ReversionDirection::ALL.iter().find(empty)?;
    let word = direction.as_str();
    let share = |who: &str| {
        let share = value(format!("revert.{word}.behaviour.{who}"));
        share.map_or("unknown".to_owned(), |s| format!("{:.1} %", 100.0 * s))
    };
    let counted = |what: &str| value(format!("revert.{word}.answers.{what}")).unwrap_or(0.0);
    let remedy = match direction {
        ReversionDirection::Undo => {
            "give problems on which tuning brought it about, or another --behaviour"
        }
        ReversionDirection::Induce => {
            "give problems on which the tuned policy lacks it, or --induce-by exemplar"
        }
    };
    Some(format!(
        "no answer has a price to {word} `{behaviour}`: of the tuned policy's answers {} show it, of the base's {} ({} without a verdict); {remedy}",
        share("tuned"),
        share("base"),
        counted("undecided"),
    ))
}

impl<'a> Job<'a> {
    fn asked(&self) -> impl Iterator<Item = (ReversionDirection, Asked<'a>)> {
        let undo = self.undo.map(|a| (ReversionDirection::Undo, a));
        let induce = self.induce.map(|a| (ReversionDirection::Induce, a));
        undo.into_iter().chain(induce)
    }

    fn verifier_ready(&self) -> Result<(), Failure> {
        match self.behaviour.needs_grade() {
            true => Ok(self.verifier.ready()?),
            false => Ok(()),
        }
    }

    /// Whose tokens are forced; an exemplar comes from the rows that undo.
    fn donor(&self, direction: ReversionDirection, rows: &[Reversion]) -> Result<Donor, Failure> {
        match direction {
            ReversionDirection::Undo => Ok(Donor::Base),
            ReversionDirection::Induce => donor::of(&self.induce_by, self.tuned, rows),
        }
    }
}

/// One direction of a job.
struct OneWay<'a> {
    job: &'a Job<'a>,
    direction: ReversionDirection,
    asked: Asked<'a>,
    donor: Donor,
}

impl OneWay<'_> {
    fn price(
        &self,
        table: &mut TableWriter<Reversion>,
        all: &mut Vec<Reversion>,
        settings: &Settings,
    ) -> Result<(), Failure> {
        let prompts = &self.asked.prompts.prompts;
        let problems = &self.asked.set.problems;
        let mut priced = self.job.prices.clone();
        priced.prompt = self.search()?;
        let mut kept = self.kept(all);
        let progress = Progress::new(
            problems.len() as u64,
            &format!("problems priced ({})", self.direction.as_str()),
            settings,
        );
        let windows = prompts.chunks(WINDOW).zip(problems.chunks(WINDOW));
        for (i, (prompts, problems)) in windows.enumerate() {
            // Rows of a later window were written: this one is whole.
            if kept.keys().any(|window| *window > i) || self.is_behind(all) {
                progress.skip(prompts.len() as u64);
                continue;
            }
            let skip = kept.remove(&i).unwrap_or(0);
            let new = self.window(prompts, problems, &priced)?;
            for row in new.into_iter().skip(skip) {
                all.push(row.clone());
                table.append(row)?;
            }
            progress.inc(prompts.len() as u64);
        }
        progress.finish();
        Ok(())
    }

    /// Rows that are there of each window.
    fn kept(&self, all: &[Reversion]) -> HashMap<usize, usize> {
        let places: HashMap<&str, usize> = self
            .asked
            .set
            .problems
            .iter()
            .enumerate()
            .map(|(i, p)| (p.id.as_str(), i / WINDOW))
            .collect();
        let mut kept = HashMap::new();
        for row in all.iter().filter(|r| r.direction == self.direction) {
            if let Some(window) = places.get(row.problem_id.as_str()) {
                *kept.entry(*window).or_default() += 1;
            }
        }
        kept
    }

    /// Whether rows of the other direction, which comes later, are there.
    fn is_behind(&self, all: &[Reversion]) -> bool {
        let last = all.last().map(|r| r.direction);
        last.is_some_and(|last| last > self.direction)
    }

    fn window(
        &self,
        prompts: &[SamplePrompt],
        problems: &[Problem],
        priced: &RevertSettings,
    ) -> Result<Vec<Reversion>, Failure> {
        let job = self.job;
        let pair = Pair {
            base: &job.base.policy,
            tuned: &job.tuned.policy,
        };
        let text = job.tuned.policy.text();
        let judge = TextJudge {
            behaviour: job.behaviour,
            verifier: job.verifier,
            problems,
            text,
        };
        let found = price_all(pair, prompts, &judge, &self.donor, self.direction, priced);
        let found = found.map_err(|error| match error {
            AuditError::Interrupted => Failure::interrupted(),
            other => other.into(),
        })?;
        let labels = Labels {
            direction: self.direction,
            settings: priced,
            text: &|ids| text.map_or(String::new(), |t| t.tokenizer.decode(ids, true)),
        };
        Ok(rows(&found, prompts, &labels))
    }

    fn search(&self) -> Result<Option<PromptSearch>, Failure> {
        let Some(bounds) = self.job.search else {
            return Ok(None);
        };
        let named = self.job.tuned;
        let (head, tail) = span::around(named, self.asked)?;
        let shared = self.job.base.policy.vocab_size();
        Ok(Some(PromptSearch {
            cap: bounds.tokens,
            budget: bounds.budget,
            candidates: 64,
            allowed: span::allowed(named, shared),
            head,
            tail,
        }))
    }
}
