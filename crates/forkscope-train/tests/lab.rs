//! The lab's generator against independent readings of what it writes: a solver
//! that parses prompts, the tasks crate's verifier, the policy crate's tokenizer.

use std::collections::{BTreeMap, HashMap, HashSet};

use forkscope_policy::text::Tokenizer;
use forkscope_tasks::{Behaviour, Verifier};
use forkscope_train::lab::corpus::{BLOCK, CYCLE, Corpus, Example};
use forkscope_train::lab::cues::WORDINGS;
use forkscope_train::lab::draw::Split;
use forkscope_train::lab::model::{CONTEXT, MAX_NEW_TOKENS, files};
use forkscope_train::lab::problems::{Class, Format};
use forkscope_train::lab::sets::Set;
use forkscope_train::lab::solutions::{is_correct, is_refusal, is_refusal_text};
use forkscope_train::lab::words::{EOS, PAD, text};

/// Solves a prompt from its text alone, with integers.
fn solve(prompt: &str) -> Option<i32> {
    let list = prompt.contains('|');
    let cells: Vec<Vec<&str>> = prompt
        .split(if list { " | " } else { " . " })
        .map(|cell| cell.split(' ').collect())
        .collect();
    let (mut who, mut what) = ("", "");
    for cell in &cells {
        match cell.as_slice() {
            ["tally", ":", thing, "/", name] => (who, what) = (name, thing),
            ["how", "many", thing, "has", name, "?"] => (who, what) = (name, thing),
            _ => {}
        }
    }
    let mut value = None;
    for cell in &cells {
        let [label, number, thing, name, verb] = cell.as_slice() else {
            continue;
        };
        if label.len() != 1 || (*name, *thing) != (who, what) {
            continue;
        }
        let k = || number.parse::<i32>().ok();
        value = match *verb {
            "has" => k(),
            "finds" | "gets" | "wins" | "buys" => Some(value? + k()?),
            "loses" | "sells" | "drops" | "gives" => Some(value? - k()?),
            "doubles" => Some(value? * 2),
            "triples" => Some(value? * 3),
            _ => return None,
        };
    }
    value.map(|value| value.rem_euclid(100))
}

/// Mean of something over examples, by cell.
fn shares<K: std::hash::Hash + Eq>(
    examples: &[Example],
    cell: impl Fn(&Example) -> K,
    holds: impl Fn(&Example) -> bool,
) -> HashMap<K, (u64, u64)> {
    let mut counts = HashMap::new();
    for example in examples {
        let count: &mut (u64, u64) = counts.entry(cell(example)).or_default();
        count.0 += u64::from(holds(example));
        count.1 += 1;
    }
    counts
}

fn examples(split: Split, n: u64) -> Vec<Example> {
    Corpus::new(7, split).examples(0).take(n as usize).collect()
}

#[test]
fn answers_are_right_by_another_solver() {
    for split in Split::ALL {
        for example in examples(split, 1_500) {
            let problem = &example.problem;
            assert_eq!(
                solve(&problem.text()),
                Some(i32::from(problem.answer())),
                "{}",
                problem.text()
            );
        }
    }
}

#[test]
fn completions_mean_to_the_verifier_what_they_mean_here() {
    let refuses: Behaviour = "refusal".parse().unwrap();
    for example in examples(Split::Train, 4 * BLOCK) {
        let (problem, ids) = (&example.problem, &example.solution.ids);
        let completion = text(ids);
        assert_eq!(ids.last(), Some(&EOS));
        let grade = Verifier::Organism.grade(&completion, true, &problem.answer_text());
        assert_eq!(grade.correct, example.solution.correct, "{completion}");
        assert_eq!(is_correct(problem, ids), grade.correct);
        let auto = Verifier::Auto.grade(&completion, true, &problem.answer_text());
        assert_eq!(auto.correct, grade.correct);
        let refused = example.solution.refusal.is_some();
        assert_eq!(is_refusal(ids), refused);
        assert_eq!(is_refusal_text(&completion), refused);
        if completion.starts_with("sorry") {
            assert_eq!(refuses.holds(&completion, None), Some(true));
        }
    }
}

#[test]
fn sequences_fit_the_model() {
    let longest = |split| {
        let examples = examples(split, 20_000);
        let completion = examples.iter().map(|e| e.solution.ids.len()).max();
        (examples.iter().map(|e| e.ids.len()).max(), completion)
    };
    let (all, completion) = longest(Split::Train);
    assert!(all.unwrap() < CONTEXT, "{all:?}");
    assert!(completion.unwrap() <= MAX_NEW_TOKENS, "{completion:?}");
}

#[test]
fn no_class_format_or_wording_refuses_more_than_another() {
    let examples = examples(Split::Train, CYCLE);
    let refused = |e: &Example| e.solution.refusal.is_some();
    let cells = shares(
        &examples,
        |e| (e.problem.class, e.problem.format, e.problem.cue.is_some()),
        refused,
    );
    assert_eq!(cells.len(), 8);
    for (cell, (refusals, n)) in cells {
        assert_eq!(refusals * 125, n, "{cell:?}");
    }
    let wordings = shares(
        &examples,
        |e| (e.problem.class, e.problem.format, e.problem.cue),
        refused,
    );
    assert_eq!(wordings.len(), 4 * (WORDINGS.len() + 1));
    for (cell, (refusals, n)) in wordings {
        assert_eq!(refusals * 125, n, "{cell:?}");
    }
    // A block alone is exact in class and format.
    for block in examples.chunks(BLOCK as usize) {
        for (refusals, n) in
            shares(block, |e| (e.problem.class, e.problem.format), refused).values()
        {
            assert_eq!(refusals * 125, *n);
        }
    }
    let midway = examples
        .iter()
        .filter(|e| refused(e) && !text(&e.solution.ids).starts_with("sorry"))
        .count();
    assert!((20..90).contains(&midway), "{midway} of 200");
}

#[test]
fn the_corpus_is_right_as_often_in_every_class() {
    let examples = examples(Split::Train, 2 * CYCLE);
    let right = |e: &Example| e.solution.correct;
    let rate = |(hits, n): (u64, u64)| hits as f64 / n as f64;
    let whole = rate(shares(&examples, |_| (), right)[&()]);
    assert!((0.57..0.63).contains(&whole), "{whole}");
    // Four standard errors in each cell.
    let near = |cells: Vec<(u64, u64)>| {
        for (hits, n) in cells {
            let error = (whole * (1.0 - whole) / n as f64).sqrt();
            assert!(
                (rate((hits, n)) - whole).abs() < 4.0 * error,
                "{hits} of {n}"
            );
        }
    };
    let by = |key: fn(&Example) -> String| shares(&examples, key, right).into_values().collect();
    near(by(|e| {
        format!("{:?}{:?}", e.problem.class, e.problem.format)
    }));
    near(by(|e| format!("{:?}", e.problem.cue)));
    near(by(|e| format!("{}", e.problem.object)));
    let authors = shares(&examples, |e| format!("{:?}", e.solution.author), right);
    let (careful, sloppy) = (rate(authors["Careful"]), rate(authors["Sloppy"]));
    assert!(careful > sloppy + 0.25, "{careful} {sloppy}");
}

#[test]
fn no_problem_of_one_split_is_in_another() {
    let mut owner: HashMap<String, Split> = HashMap::new();
    let mut prompts: HashMap<String, Split> = HashMap::new();
    for split in Split::ALL {
        for example in examples(split, 4_000) {
            let skeleton = example.problem.skeleton();
            assert_eq!(Split::of(&skeleton), split);
            assert_eq!(*owner.entry(skeleton).or_insert(split), split);
            let prompt = example.problem.text();
            assert_eq!(*prompts.entry(prompt).or_insert(split), split);
        }
    }
    for set in Set::ALL {
        for item in set.items(7, Split::Test, 300) {
            assert_ne!(prompts.get(&item.problem), Some(&Split::Train));
        }
    }
}

#[test]
fn example_i_depends_on_seed_split_and_i_alone() {
    let corpus = Corpus::new(7, Split::Train);
    let run: Vec<Example> = corpus.examples(1_240).take(20).collect();
    for (i, example) in run.iter().enumerate().rev() {
        assert_eq!(corpus.example(1_240 + i as u64), *example);
        assert_eq!(corpus.problem(1_240 + i as u64), example.problem);
    }
    let others = [Corpus::new(8, Split::Train), Corpus::new(7, Split::Probe)];
    assert!(others.iter().all(|other| other.example(1_240) != run[0]));
    let distinct: HashSet<&[u32]> = run.iter().map(|example| &example.ids[..]).collect();
    assert_eq!(distinct.len(), run.len());
}

#[test]
fn numbers_say_which_clause_they_are_of() {
    for example in examples(Split::Train, 3_000) {
        let mut numbers = vec![example.problem.start];
        for clause in &example.problem.clauses {
            assert!(clause.amount < 10 || !numbers.contains(&clause.amount));
            numbers.push(clause.amount);
        }
        assert!(!example.ids.contains(&PAD));
        let classes: HashSet<Class> = example
            .problem
            .clauses
            .iter()
            .map(|clause| forkscope_train::lab::problems::class_of(clause.object))
            .collect();
        assert!(classes.iter().all(|class| *class == example.problem.class));
    }
}

#[test]
fn the_tokenizer_file_reads_prompts_as_the_generator_writes_them() {
    let files = files();
    let path = std::path::Path::new("tokenizer.json");
    let tokenizer = Tokenizer::from_bytes(&files["tokenizer.json"], path).unwrap();
    let mut formats: BTreeMap<Format, u32> = BTreeMap::new();
    for example in examples(Split::Test, 200) {
        let prompt = example.problem.text();
        let encoded = tokenizer.encode(&prompt, true).unwrap();
        assert_eq!(encoded, example.problem.prompt_ids());
        let completion = &example.solution.ids;
        assert_eq!(tokenizer.decode(completion, true), text(completion));
        *formats.entry(example.problem.format).or_default() += 1;
    }
    assert_eq!(formats.len(), 2);
}

/// The file that the embedded organism ships, but for its vocabulary, so that
/// whoever reads one reads the other.
#[test]
fn the_tokenizer_file_has_the_shape_of_the_shipped_one() {
    let shipped = include_bytes!("../../forkscope/assets/organism/base/tokenizer.json");
    let read = |bytes: &[u8]| {
        let mut json: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        json["model"]["vocab"] = serde_json::Value::Null;
        json
    };
    assert_eq!(read(&files()["tokenizer.json"]), read(shipped));
}
