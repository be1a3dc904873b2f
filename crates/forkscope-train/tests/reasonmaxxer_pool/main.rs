//! The pool, the decision positions and the advantages equal those that the
//! published programs write on the same rollouts, to the last bit.

mod refusals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forkscope_audit::gates::GatePlan;
use forkscope_records::import::{ReferenceRollout, read_reference_bytes};
use forkscope_records::{read_reference, write_reference};
use forkscope_train::reasonmaxxer::{
    AdvantageControl, Candidate, Pool, PoolRollout, PoolSettings, from_processed, prepare,
    select_pool, to_processed,
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    select: Vec<String>,
    prepare: Vec<String>,
    /// id, rollouts, right ones, pass rate, truncated, mean tokens
    problems: Vec<(String, usize, usize, f64, usize, f64)>,
    kept: Vec<(String, u32)>,
    cutoff: usize,
    /// id, sample, advantage, predicting positions, reward, prompt length,
    /// completion length, first predicting position, ids, predictions
    processed: Vec<Expected>,
}

type Expected = (
    String,
    u32,
    f64,
    Vec<u32>,
    f64,
    usize,
    usize,
    usize,
    usize,
    usize,
);

impl Case {
    fn settings(&self) -> PoolSettings {
        let number = |name: &str, default: f64| {
            let at = self.select.iter().position(|f| f == name);
            at.map_or(default, |at| self.select[at + 1].parse().unwrap())
        };
        PoolSettings {
            max_problems: number("--max_target_problems", 50.0) as usize,
            min_pass: number("--min_pass", 0.0),
            max_pass: number("--max_pass", 1.0),
            require_both: self.select.iter().any(|f| f == "--require_both_signs"),
            trim_fraction: number("--trim_fraction", 0.8),
            skip_ungraded: false,
        }
    }

    fn gate(&self) -> GatePlan {
        let tau = |name: &str| {
            let at = self.prepare.iter().position(|f| f == name)?;
            Some(self.prepare[at + 1].clone())
        };
        let both = tau("--tau");
        let right = tau("--tau_pos").or(both.clone()).unwrap();
        let wrong = tau("--tau_neg").or(both).unwrap();
        format!("entropy:{right}/entropy:{wrong}").parse().unwrap()
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/pool")
        .join(name)
}

fn cases() -> BTreeMap<String, Case> {
    serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap()
}

fn candidates() -> Vec<Candidate> {
    let read = read_reference(&fixture("rollouts.json")).unwrap();
    let one = |r: ReferenceRollout| Candidate {
        rollout: r.rollout,
        entropies_nats: r.entropies_nats,
    };
    read.into_iter().map(one).collect()
}

fn pool_of(case: &Case) -> Pool {
    select_pool(candidates(), &case.settings()).unwrap()
}

fn predicting(r: &PoolRollout) -> Vec<u32> {
    r.decisions.iter().map(|t| t - 1).collect()
}

#[test]
fn the_pool_is_the_published_one() {
    let cases = cases();
    assert_eq!(cases.len(), 5);
    for (name, case) in &cases {
        let pool = pool_of(case);
        let problems: Vec<_> = pool
            .problems
            .iter()
            .map(|p| {
                let id = p.problem_id.clone();
                (
                    id,
                    p.rollouts,
                    p.correct,
                    p.pass_rate,
                    p.truncated,
                    p.mean_completion_tokens,
                )
            })
            .collect();
        assert_eq!(problems, case.problems, "{name}");
        let kept: Vec<(String, u32)> = pool
            .rollouts
            .iter()
            .map(|c| (c.rollout.problem_id.clone(), c.rollout.sample))
            .collect();
        assert_eq!(kept, case.kept, "{name}");
        assert_eq!(pool.counts.cutoff_completion_tokens, case.cutoff, "{name}");
    }
    let rounds = |name: &str| cases[name].kept.len();
    assert_eq!((rounds("half_down"), rounds("half_up")), (22, 32));
}

#[test]
fn positions_and_advantages_are_the_published_ones() {
    for (name, case) in cases() {
        let pool = pool_of(&case);
        let prepared = prepare(&pool.rollouts, &case.gate(), AdvantageControl::None, 42).unwrap();
        assert_eq!(prepared.rollouts.len(), case.processed.len(), "{name}");
        for (r, e) in prepared.rollouts.iter().zip(&case.processed) {
            let ours = (&r.problem_id, r.sample, r.advantage, predicting(r));
            assert_eq!(ours, (&e.0, e.1, e.2, e.3.clone()), "{name}");
        }
        let decisions: usize = case.processed.iter().map(|e| e.3.len()).sum();
        assert!(decisions > 0 && prepared.gate.selected == decisions as u64);
        let zero = case.processed.iter().filter(|e| e.2 == 0.0).count();
        assert_eq!(prepared.counts.rollouts_without_advantage, zero, "{name}");
        let c = &prepared.counts;
        assert_eq!(
            c.problems_one_sign,
            pool.counts.problems_one_sign_after_trim
        );
    }
}

/// What is written has the fields of the published processed file, and reads
/// back as it was.
#[test]
fn processed_rollouts_are_written_as_published() {
    for (name, case) in cases() {
        let pool = pool_of(&case);
        let prepared = prepare(&pool.rollouts, &case.gate(), AdvantageControl::None, 42).unwrap();
        let mut bytes = Vec::new();
        let out = Path::new("processed.json");
        write_reference(&mut bytes, out, &to_processed(&prepared.rollouts)).unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let rows = document["rollouts"].as_array().unwrap();
        for (row, e) in rows.iter().zip(&case.processed) {
            let number = |field: &str| row[field].as_u64().unwrap() as usize;
            assert_eq!(row["problem_id"], e.0.as_str());
            assert_eq!(number("gen_index"), e.1 as usize);
            assert_eq!(row["advantage"].as_f64(), Some(e.2), "{name}");
            assert_eq!(row["decision_positions"], serde_json::json!(e.3));
            assert_eq!(row["reward"].as_f64(), Some(e.4));
            let lengths = [
                "prompt_length",
                "completion_length",
                "generation_pred_start",
            ];
            assert_eq!(lengths.map(number), [e.5, e.6, e.7]);
            assert_eq!(["num_tokens", "num_pred_tokens"].map(number), [e.8, e.9]);
            assert_eq!(row["input_ids"].as_array().unwrap().len(), e.8);
            assert_eq!(row["entropies"].as_array().unwrap().len(), e.6);
        }
        let read = read_reference_bytes(&bytes, out).unwrap();
        assert_eq!(from_processed(read).unwrap(), prepared.rollouts, "{name}");
        if let Some(folder) = std::env::var_os("FORKSCOPE_POOL_OUT") {
            let path = Path::new(&folder).join(format!("{name}.processed.json"));
            std::fs::write(path, &bytes).unwrap();
        }
    }
}

#[test]
fn everything_left_out_is_counted() {
    for case in cases().values() {
        let c = pool_of(case).counts;
        let problems = c.problems_unusable
            + c.problems_ungraded
            + c.problems_all_right
            + c.problems_all_wrong
            + c.problems_outside_band
            + c.problems_beyond_max
            + c.problems_chosen;
        assert_eq!((c.problems, problems), (40, 40));
        let rollouts =
            c.rollouts_unusable + c.rollouts_not_chosen + c.rollouts_trimmed + c.rollouts_kept;
        assert_eq!((c.rollouts, rollouts), (316, 316));
    }
}

#[test]
fn a_control_changes_advantages_and_nothing_else() {
    let case = &cases()["recipe"];
    let pool = pool_of(case).rollouts;
    let of = |control| prepare(&pool, &case.gate(), control, 7).unwrap();
    let plain = of(AdvantageControl::None);
    let sorted = |rollouts: &[PoolRollout], id: Option<&str>| {
        let of = rollouts
            .iter()
            .filter(|r| id.is_none_or(|id| r.problem_id == id));
        let mut values: Vec<f64> = of.map(|r| r.advantage).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    for control in [
        AdvantageControl::ShuffledWithinProblem,
        AdvantageControl::ShuffledGlobally,
    ] {
        let shuffled = of(control);
        assert_ne!(shuffled.rollouts, plain.rollouts);
        let same = |r: &PoolRollout| PoolRollout {
            advantage: 0.0,
            ..r.clone()
        };
        for (a, b) in shuffled.rollouts.iter().zip(&plain.rollouts) {
            assert_eq!(same(a), same(b));
        }
        assert_eq!(
            sorted(&shuffled.rollouts, None),
            sorted(&plain.rollouts, None)
        );
        let within = plain.rollouts.iter().all(|r| {
            let id = Some(r.problem_id.as_str());
            sorted(&shuffled.rollouts, id) == sorted(&plain.rollouts, id)
        });
        assert_eq!(within, control == AdvantageControl::ShuffledWithinProblem);
    }
    let positives = of(AdvantageControl::PositivesOnly);
    let right = plain.rollouts.iter().filter(|r| r.correct);
    let right: Vec<PoolRollout> = right
        .map(|r| PoolRollout {
            advantage: 1.0,
            ..r.clone()
        })
        .collect();
    assert_eq!(positives.rollouts, right);
    assert_eq!(
        positives.counts.rollouts_left_out,
        plain.rollouts.len() - right.len()
    );
}
