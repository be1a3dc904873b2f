//! The distillation loss against f64, its two teachers against each other, and
//! its source.

use forkscope_metrics::reference;
use forkscope_policy::ModelFiles;
use forkscope_records::types::TopK;

use super::super::cached::{RecordedTop, cache_teacher, recorded_teacher};
use super::super::testing::{check_head, distance, examples, gradients, log_softmax, network};
use super::*;
use crate::engine::Site;

const VOCAB: usize = 13;

/// The policy of a network with other weights than a student's.
fn teacher() -> Policy {
    let mut network = network(VOCAB);
    for p in network
        .parameters_mut()
        .iter_mut()
        .filter(|p| p.is_matrix())
    {
        let noise = super::super::testing::values(p.values.len(), 0.2, 9);
        p.values.iter_mut().zip(noise).for_each(|(x, n)| *x += n);
    }
    let files = ModelFiles::in_memory("teacher", network.saved_files().unwrap());
    Policy::open_files(files, None).unwrap()
}

fn settings(shard_rows: usize, keep_bytes: usize) -> DistillSettings {
    DistillSettings {
        batches: BatchSettings {
            batch: 6,
            seed: 5,
            shard_rows,
            ..BatchSettings::default()
        },
        denominator: Denominator::Tokens,
        keep_bytes,
    }
}

fn source(teacher: Teacher, shard_rows: usize, keep_bytes: usize) -> DistillSource {
    let examples = Box::new(examples(20, VOCAB));
    DistillSource::new(examples, teacher, settings(shard_rows, keep_bytes)).unwrap()
}

/// A shard of two examples with its teacher's full logits in f64.
fn part(policy: &Policy) -> (Part, Vec<f32>, Vec<Vec<f64>>) {
    let batch = &examples(4, VOCAB)[2..];
    let mut weights: Vec<Vec<f64>> = batch.iter().map(|e| e.site_weights(0.0)).collect();
    Denominator::Constant(3.0).divide(&mut weights);
    let part = parts(batch, &weights, 1000).unwrap().remove(0);
    let mut hidden = Vec::new();
    for example in batch {
        hidden.extend(hidden_rows(policy, 0, example).unwrap());
    }
    let mut logits = Vec::new();
    policy.logits(&hidden, &mut logits);
    let wide = logits
        .chunks(VOCAB)
        .map(|row| row.iter().map(|z| f64::from(*z)).collect())
        .collect();
    (part, hidden, wide)
}

#[test]
fn full_logits_give_the_kl_and_its_gradient() {
    let policy = teacher();
    let (part, hidden, logits) = part(&policy);
    let rows = TeacherRows::Policy { policy, hidden };
    let (sites, weights) = (part.sites.clone(), part.weights.clone());
    let shard = DistillShard::new(part.pack, part.sites, part.weights, rows).unwrap();
    let sums = check_head(&shard, 7, VOCAB, |student| {
        let kl = |(i, s): (usize, &Site)| {
            weights[i] * reference::kl(&log_softmax(&logits[i]), &log_softmax(&student[s.row]))
        };
        sites.iter().enumerate().map(kl).sum()
    });
    let entropy: f64 = logits
        .iter()
        .map(|z| reference::entropy(&log_softmax(z)))
        .sum();
    assert!((sums.get(TEACHER_ENTROPY) - entropy).abs() < 1e-4);
    assert_eq!(sums.get(TOKENS), sites.len() as f64);
}

#[test]
fn a_cached_teacher_gives_the_bucketed_bound_and_its_gradient() {
    let policy = teacher();
    let (part, _, logits) = part(&policy);
    let listed: Vec<Bucketed> = logits
        .iter()
        .map(|z| {
            let narrow: Vec<f32> = z.iter().map(|z| *z as f32).collect();
            Bucketed::of_row(&narrow, 3).unwrap()
        })
        .collect();
    let (sites, weights) = (part.sites.clone(), part.weights.clone());
    let rows = TeacherRows::Listed(listed.clone());
    let shard = DistillShard::new(part.pack, part.sites, part.weights, rows).unwrap();
    check_head(&shard, 7, VOCAB, |student| {
        let kl = |(i, s): (usize, &Site)| {
            let merge = |z: &[f64]| {
                let logp = log_softmax(z);
                let mut out: Vec<f64> = listed[i].ids().iter().map(|k| logp[*k as usize]).collect();
                let rest = (0..VOCAB as u32).filter(|k| !listed[i].ids().contains(k));
                out.push(rest.map(|k| logp[k as usize].exp()).sum::<f64>().ln());
                out
            };
            weights[i] * reference::kl(&merge(&logits[i]), &merge(&student[s.row]))
        };
        sites.iter().enumerate().map(kl).sum()
    });
}

#[test]
fn caching_the_whole_vocabulary_is_the_full_loss_and_less_is_a_bound() {
    let (student, policy) = (network(VOCAB), teacher());
    let run = |teacher| {
        let mut source = source(teacher, 64, 0);
        let step = source.step(0, &student).unwrap();
        let (gradients, sums) = gradients(&student, &step.shards);
        (gradients, sums.get(Sums::LOSS), source.after(&sums))
    };
    let cached = |k| {
        let lists = cache_teacher(&policy, &examples(20, VOCAB), k, VOCAB).unwrap();
        run(Teacher::Cached(lists))
    };
    let (full, all) = (run(Teacher::Policy(policy.clone())), cached(VOCAB));
    assert!(
        distance(&full.0, &all.0) < 1e-5,
        "{}",
        distance(&full.0, &all.0)
    );
    assert!((full.1 - all.1).abs() < 1e-5 * full.1);
    let (four, one) = (cached(4), cached(1));
    assert!(one.1 > 0.0 && one.1 < four.1 && four.1 < full.1);
    // With a denominator of tokens the loss is the mean KL.
    assert_eq!(
        (full.2[0].0.as_str(), one.2[0].0.as_str()),
        ("kl", "kl_lower_bound")
    );
    assert!((full.2[0].1 - full.1).abs() < 1e-9);
    for i in 1..4 {
        assert!((full.2[i].1 - all.2[i].1).abs() < 1e-5, "{}", full.2[i].0);
    }
}

#[test]
fn keeping_hidden_states_and_cutting_shards_change_nothing() {
    let (student, policy) = (network(VOCAB), teacher());
    let run = |shard_rows, keep| {
        let mut source = source(Teacher::Policy(policy.clone()), shard_rows, keep);
        let steps = (0..8).map(|i| {
            let step = source.step(i, &student).unwrap();
            gradients(&student, &step.shards)
        });
        let steps: Vec<_> = steps.collect();
        (steps, source.kept_bytes)
    };
    let ((a, none), (b, some), (c, all)) = (run(64, 0), run(64, 1500), run(64, 1 << 30));
    assert_eq!(none, 0);
    assert!(some > 0 && some <= 1500 && all > some);
    // The same bits, kept or computed again.
    assert_eq!(a, b);
    assert_eq!(a, c);
    let (d, _) = run(1, 1 << 30);
    for ((a, _), (d, _)) in a.iter().zip(&d) {
        assert!(distance(a, d) < 1e-5);
    }
}

#[test]
fn a_student_that_is_the_teacher_has_nothing_to_learn() {
    let student = network(VOCAB);
    let files = ModelFiles::in_memory("same", student.saved_files().unwrap());
    let same = Policy::open_files(files, None).unwrap();
    let mut source = source(Teacher::Policy(same), 64, 1 << 30);
    let step = source.step(0, &student).unwrap();
    let (gradients, sums) = gradients(&student, &step.shards);
    assert!(sums.get(Sums::LOSS) < 1e-10, "{}", sums.get(Sums::LOSS));
    assert!(gradients.norm() < 1e-4);
    assert_eq!(sums.get(AGREE), sums.get(TOKENS));
}

#[test]
fn descent_approaches_the_teacher() {
    let (mut student, policy) = (network(VOCAB), teacher());
    let lists = cache_teacher(&policy, &examples(20, VOCAB), 4, VOCAB).unwrap();
    let mut source = source(Teacher::Cached(lists), 16, 0);
    let mut losses = Vec::new();
    for i in 0..80 {
        let step = source.step(i, &student).unwrap();
        let (gradients, sums) = gradients(&student, &step.shards);
        losses.push(sums.get(Sums::LOSS));
        for (p, g) in student.parameters_mut().iter_mut().zip(&gradients.tensors) {
            p.values.iter_mut().zip(g).for_each(|(x, g)| *x -= 0.3 * g);
        }
    }
    let mean = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
    assert!(mean(&losses[72..]) < 0.5 * mean(&losses[..8]), "{losses:?}");
}

#[test]
fn a_recorded_teacher_is_matched_by_problem_sample_and_position() {
    let policy = teacher();
    let examples = examples(5, VOCAB);
    let names: Vec<(String, u32)> = (0..5).map(|i| (format!("p{}", i / 2), i % 2)).collect();
    let computed = cache_teacher(&policy, &examples, 3, VOCAB).unwrap();
    let rows = || -> Vec<RecordedTop> {
        let of = |(i, lists): (usize, &Vec<Bucketed>)| {
            let (problem_id, sample) = names[i].clone();
            let from = examples[i].prompt_len;
            lists
                .iter()
                .enumerate()
                .map(|(k, b)| RecordedTop {
                    problem_id: problem_id.clone(),
                    sample,
                    t: (from + k) as u32,
                    top: TopK {
                        ids: b.ids().to_vec(),
                        logprobs: b.log_probs().to_vec(),
                    },
                })
                .collect::<Vec<_>>()
        };
        computed.iter().enumerate().rev().flat_map(of).collect()
    };
    let read = recorded_teacher(rows(), &names, &examples, VOCAB).unwrap();
    for (a, b) in computed.iter().flatten().zip(read.iter().flatten()) {
        assert_eq!(a.ids(), b.ids());
        assert!((a.tail() - b.tail()).abs() < 1e-6);
    }
    let mut short = rows();
    short.pop();
    let error = recorded_teacher(short, &names, &examples, VOCAB).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("lacks positions of problem p0, sample 0"),
        "{error}"
    );
    let mut moved = rows();
    moved[0].t = 0;
    assert!(recorded_teacher(moved, &names, &examples, VOCAB).is_err());
    let mut beyond = rows();
    beyond[0].top.ids[0] = 99;
    let error = recorded_teacher(beyond, &names, &examples, VOCAB).unwrap_err();
    assert!(error.to_string().contains("token id 99"), "{error}");
}

#[test]
fn teachers_that_do_not_fit_are_refused() {
    let student = network(VOCAB);
    let error = |examples: Vec<Example>, teacher| {
        let mut source = DistillSource::new(Box::new(examples), teacher, settings(64, 0)).unwrap();
        source.step(0, &student).err().unwrap().to_string()
    };
    let policy = || Teacher::Policy(teacher());
    let no_prompt = vec![Example::new(&[], &[1, 2])];
    assert!(error(no_prompt, policy()).contains("empty prompt"));
    let lists = vec![vec![Bucketed::new(vec![1], vec![-0.1], VOCAB).unwrap()]];
    let cached = Teacher::Cached(lists);
    let longer = vec![Example::new(&[1], &[1, 2])];
    assert!(error(longer, cached.clone()).contains("1 positions of rollout 0"));
    let two = Box::new(examples(2, VOCAB));
    assert!(DistillSource::new(two, cached, settings(64, 0)).is_err());
}
