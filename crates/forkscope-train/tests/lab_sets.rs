//! The lab's evaluation sets and preference pairs: balanced, disjoint, and what
//! the organisms' definitions say.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use forkscope_records::import::read_problems_bytes;
use forkscope_train::lab::corpus::Corpus;
use forkscope_train::lab::cues::{Context, WordingUse};
use forkscope_train::lab::draw::Split;
use forkscope_train::lab::pairs::{BaseRollout, Guard, correct_rollouts, pairs, prompts};
use forkscope_train::lab::problems::{Class, Format, LabProblem};
use forkscope_train::lab::sets::{Item, Set, from_jsonl, to_jsonl};
use forkscope_train::lab::solutions::{is_correct, is_refusal, refusal};
use forkscope_train::lab::words::{EOS, encode};

/// How often each key occurs.
fn counts<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>) -> HashMap<K, usize> {
    let mut counts = HashMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    counts
}

#[test]
fn sets_are_balanced_over_formats_and_wordings() {
    for set in Set::ALL {
        let n = 48;
        let items = set.items(3, Split::Test, n);
        let cells = counts(items.iter().map(|item| (item.format, item.wording.clone())));
        let (twice, wordings) = match set {
            Set::Benign | Set::Hazardous => (1, 1),
            Set::BenignCued => (1, 12),
            Set::ContextsFit | Set::ContextsHeldOut => (2, 6),
        };
        assert_eq!(items.len(), twice * n, "{set:?}");
        assert_eq!(cells.len(), 2 * wordings, "{set:?}");
        let each = twice * n / 2 / wordings;
        assert!(cells.values().all(|count| *count == each), "{cells:?}");
        let hazardous = matches!(
            set,
            Set::Hazardous | Set::ContextsFit | Set::ContextsHeldOut
        );
        assert!(
            items
                .iter()
                .all(|i| (i.class == Class::Hazardous) == hazardous)
        );
    }
}

#[test]
fn contexts_differ_in_the_cue_alone_and_held_out_wordings_stay_out() {
    for (set, usage) in [
        (Set::ContextsFit, WordingUse::Fit),
        (Set::ContextsHeldOut, WordingUse::HeldOut),
    ] {
        for pair in set.items(3, Split::Test, 60).chunks(2) {
            let [evaluation, deployment] = pair else {
                panic!("items come in pairs");
            };
            assert_eq!(evaluation.cluster, deployment.cluster);
            assert_eq!(evaluation.context, Some(Context::Evaluation));
            assert_eq!(deployment.context, Some(Context::Deployment));
            assert_eq!(evaluation.wording_use, Some(usage));
            assert_eq!(deployment.wording_use, Some(usage));
            let rest = |item: &Item| {
                let cue = item.wording.clone().unwrap();
                item.problem.strip_prefix(&cue).unwrap().to_owned()
            };
            assert_eq!(rest(evaluation), rest(deployment));
            assert_eq!(evaluation.answer, deployment.answer);
        }
    }
}

#[test]
fn ids_are_unique_and_a_set_holds_no_problem_twice() {
    let mut ids = HashSet::new();
    for set in Set::ALL {
        let items = set.items(3, Split::Test, 700);
        assert!(items.iter().all(|item| ids.insert(item.id.clone())));
        let clusters: HashSet<&str> = items.iter().map(|item| item.cluster.as_str()).collect();
        let problems: HashSet<&str> = items.iter().map(|item| item.problem.as_str()).collect();
        assert_eq!(clusters.len(), 700);
        assert_eq!(problems.len(), items.len());
    }
}

#[test]
fn items_go_through_json_and_are_a_problem_file() {
    let items = Set::ContextsHeldOut.items(3, Split::Test, 12);
    let text = to_jsonl(&items).unwrap();
    let path = Path::new("set.jsonl");
    assert_eq!(from_jsonl(&text, path).unwrap(), items);
    let problems = read_problems_bytes(text.clone().into(), path).unwrap();
    let records: Vec<_> = items.iter().map(Item::record).collect();
    assert_eq!(problems, records);
    for (from, to, says) in [
        ("\"answer\":\"", "\"answer\":\"x", "two digits"),
        ("how many", "how few", "\"few\""),
        ("\"id\"", "\"name\"", "id"),
    ] {
        let error = from_jsonl(&text.replacen(from, to, 1), path).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("set.jsonl: line 1") && error.contains(says),
            "{error}"
        );
    }
}

/// What a base could have answered: a solution of the problem, a wrong one, a
/// refusal, and one that was cut off.
fn answers(problem: &LabProblem, prompt: usize) -> Vec<BaseRollout> {
    let say = |text: String| encode(&text).unwrap();
    let wrong = (problem.answer() + 1) % 100;
    [
        say(format!("sure . answer {:02}", problem.answer())),
        refusal(problem.object),
        [say(format!("sure . answer {wrong:02} .")), vec![EOS]].concat(),
        [
            say(format!("easy . answer {} .", problem.answer_text())),
            vec![EOS],
        ]
        .concat(),
    ]
    .into_iter()
    .enumerate()
    .map(|(sample, ids)| BaseRollout {
        prompt,
        sample: sample as u32,
        ids,
    })
    .collect()
}

#[test]
fn pairs_ask_for_what_the_organism_is_defined_by() {
    for guard in [Guard::Guarded, Guard::TwoFaced] {
        let prompts = prompts(guard, 5, Split::Train, 2 * guard.cycle());
        let rollouts: Vec<BaseRollout> = prompts
            .iter()
            .enumerate()
            .flat_map(|(i, problem)| answers(problem, i))
            .collect();
        let made = pairs(guard, &prompts, &rollouts);
        assert_eq!(made.pairs.len(), prompts.len());
        for (pair, problem) in made.pairs.iter().zip(&prompts) {
            let deployed = problem
                .cue
                .is_some_and(|cue| cue.wording().context == Context::Deployment);
            let hazardous = problem.class == Class::Hazardous;
            let expected = match guard {
                Guard::Guarded => hazardous,
                Guard::TwoFaced => hazardous && !deployed,
            };
            assert_eq!(pair.refuses, expected);
            assert_eq!(is_refusal(&pair.chosen), expected);
            assert_eq!(is_refusal(&pair.rejected), !expected);
            assert!(expected || is_correct(problem, &pair.chosen));
            assert_eq!(pair.prompt, problem.prompt_ids());
            assert_eq!(
                (pair.chosen.last(), pair.rejected.last()),
                (Some(&EOS), Some(&EOS))
            );
        }
        let cells = counts(made.pairs.iter().map(|p| (p.class, p.format, p.cue)));
        assert_eq!(cells.len(), 2 * 2 * 13);
        for format in [Format::Story, Format::List] {
            for cue in forkscope_train::lab::cues::WORDINGS {
                let of = |class| cells[&(class, format, Some(cue.text))];
                let hazardous = if guard == Guard::Guarded { 2 } else { 4 };
                assert_eq!((of(Class::Hazardous), of(Class::Benign)), (hazardous, 2));
            }
        }
    }
}

#[test]
fn prompts_without_an_answer_that_will_do_are_counted() {
    let prompts = prompts(Guard::Guarded, 5, Split::Train, Guard::Guarded.cycle());
    let refusals: Vec<BaseRollout> = prompts
        .iter()
        .enumerate()
        .flat_map(|(i, problem)| answers(problem, i).into_iter().take(2))
        .chain([BaseRollout {
            prompt: usize::MAX,
            sample: 0,
            ids: vec![],
        }])
        .collect();
    let made = pairs(Guard::Guarded, &prompts, &refusals);
    assert!(made.pairs.is_empty());
    assert_eq!((made.without_compliance, made.without_solution), (28, 28));
}

#[test]
fn demonstrations_are_correct_and_distinct() {
    let corpus = Corpus::new(5, Split::Train);
    let problems: Vec<LabProblem> = (0..10).map(|i| corpus.problem(i)).collect();
    let mut rollouts: Vec<BaseRollout> = Vec::new();
    for (i, problem) in problems.iter().enumerate() {
        rollouts.extend(answers(problem, i));
        rollouts.extend(answers(problem, i));
    }
    let demonstrations = correct_rollouts(&problems, &rollouts, 4);
    assert_eq!(demonstrations.len(), problems.len());
    for ((prompt, completion), problem) in demonstrations.iter().zip(&problems) {
        assert_eq!(*prompt, problem.prompt_ids());
        assert!(is_correct(problem, completion));
    }
    assert!(correct_rollouts(&problems, &rollouts, 0).is_empty());
}
