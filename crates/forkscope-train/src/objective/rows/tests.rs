//! Rows against f64 from the definitions, finite differences, and identities.

use forkscope_metrics::reference;
use proptest::prelude::*;

use super::*;

fn rows(n: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(-12.0f32..12.0, n)
}

/// Two rows of one length, near each other or not.
fn pair() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (
        2usize..70,
        prop_oneof![Just(1.0f32), Just(1e-3), Just(10.0)],
    )
        .prop_flat_map(|(n, scale)| {
            (rows(n), rows(n)).prop_map(move |(t, d)| {
                let s = t.iter().zip(&d).map(|(t, d)| t + d * scale * 0.1).collect();
                (t, s)
            })
        })
}

fn close(a: f64, b: f64, relative: f64, absolute: f64) -> bool {
    (a - b).abs() <= relative * b.abs() + absolute
}

/// d f / d z of every logit by central differences in f64.
fn differences(z: &[f32], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let z: Vec<f64> = z.iter().map(|z| f64::from(*z)).collect();
    (0..z.len())
        .map(|i| {
            let at = |step: f64| {
                let mut moved = z.clone();
                moved[i] += step;
                f(&moved)
            };
            (at(1e-5) - at(-1e-5)) / 2e-5
        })
        .collect()
}

fn log_softmax(z: &[f64]) -> Vec<f64> {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let ln_sum = libm::log(z.iter().map(|z| libm::exp(z - max)).sum());
    z.iter().map(|z| z - max - ln_sum).collect()
}

fn kl(teacher: &[f64], student: &[f64]) -> f64 {
    reference::kl(&log_softmax(teacher), &log_softmax(student))
}

fn wide(z: &[f32]) -> Vec<f64> {
    z.iter().map(|z| f64::from(*z)).collect()
}

/// The k most probable tokens of a row.
fn top(z: &[f32], k: usize) -> (Vec<u32>, Vec<f32>) {
    let logp = log_softmax(&wide(z));
    let mut ids: Vec<u32> = (0..z.len() as u32).collect();
    ids.sort_by(|a, b| {
        logp[*b as usize]
            .total_cmp(&logp[*a as usize])
            .then(a.cmp(b))
    });
    ids.truncate(k);
    let log_probs = ids.iter().map(|i| logp[*i as usize] as f32).collect();
    (ids, log_probs)
}

/// The bucketed KL from the definition.
fn bucketed(teacher: &[f64], student: &[f64], ids: &[u32]) -> f64 {
    let merge = |z: &[f64]| {
        let logp = log_softmax(z);
        let mut out: Vec<f64> = ids.iter().map(|i| logp[*i as usize]).collect();
        let tail: f64 = (0..z.len() as u32)
            .filter(|i| !ids.contains(i))
            .map(|i| libm::exp(logp[i as usize]))
            .sum();
        out.push(libm::log(tail));
        out
    };
    reference::kl(&merge(teacher), &merge(student))
}

proptest! {
    #[test]
    fn normaliser_and_entropy_are_those_of_f64(z in rows(1..1200)) {
        let logp = log_softmax(&wide(&z));
        let n = normaliser(&z);
        prop_assert!(n.entropy >= 0.0 && n.ln_sum >= 0.0);
        prop_assert!(close(n.entropy, reference::entropy(&logp), 1e-5, 1e-6));
        for (i, exact) in logp.iter().enumerate() {
            prop_assert!(close(n.log_prob(&z, i as u32), *exact, 1e-6, 1e-6));
        }
        let best = n.argmax(&z);
        prop_assert!(n.is_argmax(&z, best));
        prop_assert_eq!((0..z.len() as u32).filter(|i| n.is_argmax(&z, *i)).count(), 1);
    }

    #[test]
    fn cross_entropy_gradient_is_the_derivative(z in rows(2..60), at in 0usize..60, w in -3.0f64..3.0) {
        let token = (at % z.len()) as u32;
        let mut gradient = z.clone();
        let terms = cross_entropy_gradient(&mut gradient, token, w);
        let loss = |z: &[f64]| -w * log_softmax(z)[token as usize];
        let exact = differences(&z, loss);
        prop_assert!(close(-w * terms.log_prob, loss(&wide(&z)), 1e-6, 1e-6));
        for (g, exact) in gradient.iter().zip(&exact) {
            prop_assert!(close(f64::from(*g), *exact, 1e-5, 1e-7), "{} {}", g, exact);
        }
        prop_assert!(gradient.iter().map(|g| f64::from(*g)).sum::<f64>().abs() < 1e-6);
        // As a derivative with respect to ln p: the other sign.
        let mut same = z.clone();
        log_prob_gradient(&mut same, token, &normaliser(&z), -w);
        prop_assert_eq!(same, gradient);
    }

    #[test]
    fn a_shift_of_all_logits_changes_nothing(z in rows(2..60), shift in -64i32..64) {
        // Multiples of 1/16, which a shift leaves exact.
        let z: Vec<f32> = z.iter().map(|z| (z * 16.0).round() / 16.0).collect();
        let shifted: Vec<f32> = z.iter().map(|z| z + shift as f32).collect();
        let (mut a, mut b) = (z.clone(), shifted.clone());
        prop_assert_eq!(cross_entropy_gradient(&mut a, 1, 0.7), cross_entropy_gradient(&mut b, 1, 0.7));
        prop_assert_eq!(&a, &b);
        let teacher: Vec<f32> = z.iter().rev().copied().collect();
        let (mut a, mut b) = (z, shifted);
        let (x, y) = (kl_teacher_student(&mut a, &teacher, 1.0), kl_teacher_student(&mut b, &teacher, 1.0));
        prop_assert!(close(x.kl, y.kl, 1e-6, 1e-9));
        for (a, b) in a.iter().zip(&b) {
            prop_assert!(close(f64::from(*a), f64::from(*b), 1e-5, 1e-7));
        }
    }

    #[test]
    fn kl_and_its_gradient((teacher, student) in pair(), w in 0.1f64..3.0) {
        let mut gradient = student.clone();
        let found = kl_teacher_student(&mut gradient, &teacher, w);
        let (t, s) = (wide(&teacher), wide(&student));
        prop_assert!(found.kl >= 0.0);
        prop_assert!(close(found.kl, kl(&t, &s), 1e-4, 1e-11), "{} {}", found.kl, kl(&t, &s));
        let (lt, ls) = (log_softmax(&t), log_softmax(&s));
        // The difference of two logits is rounded to f32.
        for (i, g) in gradient.iter().enumerate() {
            let exact = w * (libm::exp(ls[i]) - libm::exp(lt[i]));
            prop_assert!(close(f64::from(*g), exact, 1e-4, 2e-6 * w * libm::exp(lt[i])), "{} {}", g, exact);
        }
        for (g, d) in gradient.iter().zip(differences(&student, |s| w * kl(&t, s))) {
            prop_assert!(close(f64::from(*g), d, 1e-4, 1e-6));
        }
        prop_assert!(gradient.iter().map(|g| f64::from(*g)).sum::<f64>().abs() < 1e-6 * w);
        // CE(t, s) = H(t) + KL(t||s).
        let ce = reference::cross_entropy(&lt, &ls);
        prop_assert!(close(found.teacher_entropy + found.kl, ce, 1e-5, 1e-6));
        prop_assert!(close(found.student_entropy, reference::entropy(&ls), 1e-5, 1e-6));
    }

    #[test]
    fn bucketed_kl_bounds_the_whole_from_below((teacher, student) in pair(), k in 1usize..12, w in 0.1f64..3.0) {
        let k = k.min(teacher.len() - 1);
        let cached = Bucketed::of_row(&teacher, k).unwrap();
        let (ids, log_probs) = top(&teacher, k);
        prop_assert_eq!(cached.ids(), &ids);
        let recorded = Bucketed::new(ids.clone(), log_probs, teacher.len()).unwrap();
        prop_assert!(close(recorded.tail(), cached.tail(), 0.0, 1e-6));
        let mut gradient = student.clone();
        let found = kl_bucketed(&mut gradient, &cached, w);
        let (t, s) = (wide(&teacher), wide(&student));
        let whole = kl(&t, &s);
        // The cached log-probs are rounded to f32, which moves the bound itself.
        prop_assert!(found.kl >= 0.0 && found.kl <= whole * (1.0 + 1e-5) + 1e-6);
        prop_assert!(close(found.kl, bucketed(&t, &s, &ids), 1e-3, 1e-6));
        for (g, d) in gradient.iter().zip(differences(&student, |s| w * bucketed(&t, s, &ids))) {
            prop_assert!(close(f64::from(*g), d, 1e-4, 3e-6), "{} {}", g, d);
        }
        prop_assert!(gradient.iter().map(|g| f64::from(*g)).sum::<f64>().abs() < 2e-6 * w);
    }

    #[test]
    fn a_bucket_of_nothing_is_the_whole((teacher, student) in pair()) {
        let (ids, log_probs) = top(&teacher, teacher.len());
        let cached = Bucketed::new(ids, log_probs, teacher.len()).unwrap();
        prop_assert_eq!(cached.tail(), 0.0);
        let (mut a, mut b) = (student.clone(), student);
        let all = kl_teacher_student(&mut a, &teacher, 1.0);
        let listed = kl_bucketed(&mut b, &cached, 1.0);
        prop_assert!(close(listed.kl, all.kl, 1e-3, 1e-6));
        prop_assert_eq!(listed.agree, all.agree);
        for (a, b) in a.iter().zip(&b) {
            prop_assert!(close(f64::from(*a), f64::from(*b), 1e-4, 1e-6));
        }
    }
}

#[test]
fn a_certain_token_keeps_the_digits_of_its_gradient() {
    // p(0) = 1 - 2e^-20: 1 - p is far below the resolution of f32 at 1.
    let mut z = [0.0f32, -20.0, -20.0];
    let terms = cross_entropy_gradient(&mut z, 0, 1.0);
    let rest = 2.0 * libm::exp(-20.0);
    assert!(close(-terms.log_prob, rest, 1e-6, 0.0));
    assert!(close(f64::from(z[0]), -rest, 1e-6, 0.0));
    assert!(close(terms.entropy, rest * 21.0, 1e-5, 0.0));
}

#[test]
fn a_small_tail_keeps_its_digits() {
    let teacher = [0.0f32, -18.0, -19.0, -20.0];
    let student = [0.0f32, -16.0, -17.0, -18.5];
    let tail = |z: &[f32]| z[1..].iter().map(|z| libm::exp(f64::from(*z))).sum::<f64>();
    // What a cache knows of this teacher: p = 1 - 2e-8 rounds to ln p = -2e-8.
    let (ids, log_probs) = top(&teacher, 1);
    let cached = Bucketed::new(ids, log_probs, 4).unwrap();
    assert!(close(cached.tail(), tail(&teacher), 1e-6, 0.0));
    let mut gradient = student;
    let found = kl_bucketed(&mut gradient, &cached, 1.0);
    let (t, s) = (tail(&teacher), tail(&student));
    assert!(
        close(found.kl, t * (t / s).ln() + s - t, 1e-5, 0.0),
        "{found:?}"
    );
    assert!(close(f64::from(gradient[0]), t - s, 1e-5, 0.0));
}

#[test]
fn masked_and_broken_rows() {
    let inf = f32::INFINITY;
    let mut z = [1.0, -inf, 0.5];
    let terms = cross_entropy_gradient(&mut z, 0, 1.0);
    assert!(terms.log_prob.is_finite() && z[1] == 0.0);
    for broken in [[f32::NAN, 0.0, 1.0], [inf, 0.0, 1.0], [-inf, -inf, -inf]] {
        let mut z = broken;
        let terms = cross_entropy_gradient(&mut z, 1, 1.0);
        assert!(
            terms.log_prob.is_nan() && terms.entropy.is_nan(),
            "{broken:?}"
        );
        let mut z = broken;
        assert!(kl_teacher_student(&mut z, &[0.0; 3], 1.0).kl.is_nan());
        let mut z = [0.0; 3];
        assert!(kl_teacher_student(&mut z, &broken, 1.0).kl.is_nan());
        let mut z = broken;
        let cached = Bucketed::new(vec![0], vec![-0.5], 3).unwrap();
        assert!(kl_bucketed(&mut z, &cached, 1.0).kl.is_nan());
    }
    // A student that masks what the teacher allows is infinitely far.
    let mut z = [0.0, -inf];
    assert_eq!(
        kl_teacher_student(&mut z, &[0.0, 0.0], 1.0).kl,
        f64::INFINITY
    );
    // What both mask is no difference; what only the teacher masks is finite.
    let mut z = [0.0, -inf, 0.0];
    let found = kl_teacher_student(&mut z, &[0.0, -inf, -inf], 1.0);
    assert!(close(found.kl, std::f64::consts::LN_2, 1e-6, 0.0));
    assert_eq!(z, [-0.5, 0.0, 0.5]);
    assert!(
        cross_entropy_gradient(&mut [0.0, 1.0], 7, 1.0)
            .log_prob
            .is_nan()
    );
}

#[test]
fn padding_of_either_vocabulary() {
    let teacher = [0.3f32, -0.2, 0.9];
    let student = [0.1f32, 0.4, -0.5, -3.0, -2.0];
    let mut gradient = student;
    let found = kl_teacher_student(&mut gradient, &teacher, 1.0);
    let mut padded = wide(&teacher);
    padded.extend([f64::NEG_INFINITY; 2]);
    assert!(close(found.kl, kl(&padded, &wide(&student)), 1e-6, 0.0));
    assert!(gradient.iter().sum::<f32>().abs() < 1e-6);
    let mut shorter = teacher;
    let found = kl_teacher_student(&mut shorter, &student, 1.0);
    assert!(close(
        found.kl,
        kl(&wide(&student[..3]), &wide(&teacher)),
        1e-6,
        0.0
    ));
}

#[test]
fn the_top_of_a_row() {
    let z = [1.0f32, 3.0, f32::NEG_INFINITY, 3.0, -2.0, 0.5];
    let cached = Bucketed::of_row(&z, 3).unwrap();
    assert_eq!(cached.ids(), [1, 3, 0]);
    let logp = log_softmax(&wide(&z));
    assert!(close(
        cached.tail(),
        logp[4].exp() + logp[5].exp(),
        1e-6,
        0.0
    ));
    let all = Bucketed::of_row(&z, 100).unwrap();
    assert_eq!((all.ids(), all.tail()), (&[1, 3, 0, 5, 4][..], 0.0));
    // A tail far below the resolution of 1 - p.
    let sure = Bucketed::of_row(&[40.0, 0.0], 0).unwrap();
    assert!(close(sure.tail(), libm::exp(-40.0), 1e-5, 0.0));
    assert_eq!(Bucketed::of_row(&[f32::NAN, 1.0], 1), None);
}

#[test]
fn what_no_cache_may_hold() {
    let refused = |ids: &[u32], lps: &[f32]| Bucketed::new(ids.to_vec(), lps.to_vec(), 4).is_err();
    assert!(refused(&[], &[]));
    assert!(refused(&[0, 1], &[-1.0]));
    assert!(refused(&[1, 1], &[-1.0, -1.0]));
    assert!(refused(&[4], &[-1.0]));
    assert!(refused(&[0], &[f32::NAN]));
    assert!(refused(&[0], &[0.5]));
    assert!(refused(&[0, 1], &[-0.1, -0.1]));
    assert!(!refused(&[0, 1], &[-std::f32::consts::LN_2; 2]));
}
