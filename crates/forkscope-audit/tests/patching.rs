//! Activation patching between a tiny model and itself with an adapter: what is
//! an identity, what a control, and that nothing depends on threads or cuts.

use std::path::{Path, PathBuf};

use forkscope_audit::awareness::patching::{PatchingPlan, PatchingSettings};
use forkscope_audit::findings::{FindingSettings, Patched, patching};
use forkscope_metrics::rng::Key;
use forkscope_policy::{Policy, Steering};
use forkscope_records::types::{
    FinishReason, PatchArm, PatchDirection, PatchingRow, Rollout, Validity,
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../forkscope-policy/tests/fixtures")
}

fn pair() -> (Policy, Policy) {
    let base = fixtures().join("models/llama-default");
    let adapter = fixtures().join("adapters/all-seven");
    let base = base.display().to_string();
    Policy::open_pair(&base, &format!("{base}+{}", adapter.display())).unwrap()
}

fn rollouts(problems: u32, samples: u32) -> Vec<Rollout> {
    let mut out = Vec::new();
    for p in 0..problems {
        for sample in 0..samples {
            let id = format!("p{p}");
            let key = Key::new(3, &id, sample, "tokens");
            let shared = Key::new(3, &id, 0, "tokens");
            let token = |i: u64| {
                let key = if i < 8 { &shared } else { &key };
                3 + (key.uniform(i) * 60.0) as u32
            };
            out.push(Rollout {
                problem_id: id.clone(),
                sample,
                token_ids: (0..30).map(token).collect(),
                prompt_len: 6,
                finish_reason: FinishReason::Length,
                text: String::new(),
                correct: None,
                validity: Validity::Ok,
                logprobs: None,
            });
        }
    }
    out
}

fn own(id: &str) -> String {
    id.to_owned()
}

fn rows(plan: &PatchingPlan<'_>) -> Vec<PatchingRow> {
    let rows: Vec<PatchingRow> = (0..plan.blocks())
        .flat_map(|i| {
            let rows = plan.run(i).unwrap();
            assert_eq!(rows.len(), plan.rows_of(i));
            rows
        })
        .collect();
    assert_eq!(rows.len(), plan.rows());
    rows
}

#[test]
fn first_and_last_layers_are_identities_and_controls_are_not() {
    let (base, tuned) = pair();
    let rollouts = rollouts(9, 2);
    let settings = PatchingSettings {
        positions: 40,
        ..PatchingSettings::default()
    };
    let plan = PatchingPlan::new(&base, &tuned, &rollouts, &own, &settings).unwrap();
    let (counts, rows) = (plan.counts(), rows(&plan));
    assert_eq!(counts.chosen, 40);
    assert!(counts.random > 20 && counts.changed >= 40);
    // 2 layers of 4 heads: 3 + 8 cells.
    assert_eq!(rows.len() as u64, 2 * 11 * (2 * 40 + counts.random));
    let layers = base.config().layers as u32;
    for row in rows.iter().filter(|r| r.head.is_none()) {
        let own = row.arm != PatchArm::RandomValue;
        if row.layer == 0 {
            assert_eq!(row.difference_patched, row.difference_receiver);
            assert_eq!(row.moved_js_nats, 0.0);
        }
        if row.layer == layers && own {
            assert_eq!(row.difference_patched, row.difference_donor);
            assert_eq!(row.logprob_patched, row.logprob_donor);
            assert_eq!(row.argmax_patched_id, row.donor_id);
        }
        if row.arm != PatchArm::RandomPosition {
            assert!(row.difference_receiver <= 0.0 && row.difference_donor >= 0.0);
        }
    }
    let found = patching(
        &Patched {
            rows: &rows,
            counts,
            problem: &own,
            rate: 0.05,
        },
        &FindingSettings::default(),
    )
    .unwrap();
    let get = |id: &str| {
        found
            .iter()
            .find(|f| f.id == format!("probe.patching.{id}"))
    };
    let value = |id: &str| get(id).unwrap_or_else(|| panic!("{id}")).value;
    for direction in PatchDirection::ALL {
        let id = |end: &str| format!("{}.{end}", direction.as_str());
        assert_eq!(value(&id("layer_00.recovery")), Some(0.0));
        assert_eq!(value(&id("layer_00.q_value")), Some(1.0));
        assert_eq!(value(&id("layer_02.recovery")), Some(1.0));
        assert_eq!(value(&id("layer_02.flipped")), Some(1.0));
        assert!(value(&id("layer_02.control")).unwrap() < 0.9);
        assert!(value(&id("layer_02.q_value")).unwrap() < 0.05);
        let excess = get(&id("layer_01.head_03.excess")).unwrap();
        assert!(excess.low.unwrap() <= excess.value.unwrap());
        assert_eq!((excess.n, excess.n_clusters), (40, 9));
        assert!(value(&id("gap")).unwrap() > 0.01);
    }
    assert_eq!(value("positions"), Some(40.0));
}

#[test]
fn threads_and_reruns_give_the_same_bits() {
    let (base, tuned) = pair();
    let rollouts = rollouts(5, 2);
    let settings = PatchingSettings {
        positions: 17,
        heads: false,
        seed: 1,
    };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            rows(&PatchingPlan::new(&base, &tuned, &rollouts, &own, &settings).unwrap())
        })
    };
    let one = run(1);
    assert!(!one.is_empty() && one.iter().all(|r| r.head.is_none()));
    assert_eq!(one, run(2));
}

#[test]
fn a_pair_that_never_differs_has_no_decision_and_one_problem_no_control() {
    let (base, tuned) = pair();
    let some = rollouts(3, 1);
    let plan = PatchingPlan::new(&base, &base, &some, &own, &PatchingSettings::default()).unwrap();
    assert_eq!((plan.blocks(), plan.counts().chosen), (0, 0));
    let nothing = Patched {
        rows: &[],
        counts: plan.counts(),
        problem: &own,
        rate: 0.05,
    };
    let found = patching(&nothing, &FindingSettings::default()).unwrap();
    assert_eq!(found.len(), 2);
    let one = |_: &str| "one".to_owned();
    let plan = PatchingPlan::new(&base, &tuned, &some, &one, &PatchingSettings::default()).unwrap();
    let rows = rows(&plan);
    assert!(rows.iter().all(|r| r.arm != PatchArm::RandomValue));
    let input = Patched {
        rows: &rows,
        counts: plan.counts(),
        problem: &one,
        rate: 0.05,
    };
    let found = patching(&input, &FindingSettings::default()).unwrap();
    let control = found
        .iter()
        .find(|f| f.id.ends_with("layer_01.control"))
        .unwrap();
    assert_eq!((control.value, control.n_clusters), (None, 1));
}

#[test]
fn other_shapes_are_refused_and_steered_policies_are_patched_as_they_are() {
    let (base, _) = pair();
    let other = Policy::open(&fixtures().join("models/qwen3").display().to_string()).unwrap();
    let some = rollouts(3, 1);
    let settings = PatchingSettings::default();
    let error = PatchingPlan::new(&base, &other, &some, &own, &settings).unwrap_err();
    assert!(error.to_string().contains("one shape"), "{error}");
    let width = base.config().hidden_size;
    let steered = base
        .steered(Steering {
            layer: 1,
            vector: (0..width).map(|i| (i % 5) as f32 - 2.0).collect(),
            scale: 1.0,
            rows: forkscope_policy::SteeredRows::All,
        })
        .unwrap();
    let plan = PatchingPlan::new(&base, &steered, &some, &own, &settings).unwrap();
    for row in rows(&plan) {
        let last = row.layer == 2 && row.head.is_none() && row.arm == PatchArm::Decision;
        if last {
            assert_eq!(row.difference_patched, row.difference_donor);
        }
    }
}
