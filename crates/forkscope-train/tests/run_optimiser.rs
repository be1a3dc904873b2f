//! AdamW, clipping and schedules against torch 2.15, transformers 5.23 and f64.

use forkscope_metrics::rng::Key;
use forkscope_train::engine::{Gradients, Parameter};
use forkscope_train::run::{AdamW, AdamWSettings, Decayed, Schedule, clip_factor, global_norm};
use proptest::prelude::*;

fn parameter(name: &str, shape: &[usize], values: Vec<f32>) -> Parameter {
    Parameter {
        name: name.into(),
        shape: shape.to_vec(),
        values,
    }
}

fn close(ours: &[f32], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(theirs) {
        let gap = (f64::from(*a) - b).abs();
        assert!(gap <= tolerance * b.abs().max(1e-2), "{ours:?} {theirs:?}");
    }
}

/// Five clipped steps of `torch.optim.AdamW` with warm-up: W decays by 0.1, b
/// does not; the gradients are the formulas below.
#[test]
fn five_clipped_steps_are_those_of_torch() {
    let w = vec![0.5, -1.25, 2.0, 0.001, -3.0, 0.75];
    let mut parameters = vec![
        parameter("w", &[2, 3], w),
        parameter("b", &[3], vec![0.1, -0.2, 0.3]),
    ];
    let settings = AdamWSettings {
        learning_rate: 0.01,
        beta2: 0.98,
        weight_decay: 0.1,
        ..AdamWSettings::default()
    };
    let mut adam = AdamW::new(settings, &parameters).unwrap();
    let norms = [
        1.612795114517212,
        1.922577977180481,
        1.9225777387619019,
        1.612794280052185,
        1.8126240968704224,
    ];
    for (s, theirs) in norms.iter().enumerate() {
        let g = |x: usize| ((x % 7) as f32 - 3.0) * 0.37;
        let gradients = Gradients {
            tensors: vec![
                (0..6).map(|k| g(k / 3 * 3 + k % 3 + s * 5)).collect(),
                (0..3)
                    .map(|k| (((k * 2 + s) % 5) as f32 - 2.0) * 1e-3)
                    .collect(),
            ],
        };
        let norm = global_norm(&gradients);
        assert!((norm - theirs).abs() < 1e-6 * theirs, "{norm} {theirs}");
        assert!((norm - gradients.norm()).abs() < 1e-12);
        let rate = 0.01 * ((s + 1) as f64 / 3.0).min(1.0);
        let factor = clip_factor(norm, 1.0);
        adam.update(&mut parameters, &gradients, rate, factor)
            .unwrap();
    }
    let w = [
        0.5085334777832031,
        -1.2432597875595093,
        2.011009693145752,
        -0.0010183461708948016,
        -2.9854071140289307,
        0.730327308177948,
    ];
    let b = [
        0.11785818636417389,
        -0.21220333874225616,
        0.29897162318229675,
    ];
    close(&parameters[0].values, &w, 3e-7);
    close(&parameters[1].values, &b, 3e-7);
    let (first, second) = adam.moments();
    let m = [
        0.002845768118277192,
        -0.05431118234992027,
        -0.06678860634565353,
        0.018941130489110947,
        -0.0044482103548944,
        0.08128152042627335,
    ];
    let v = [
        0.02315317653119564,
        0.019401192665100098,
        0.013424452394247055,
        0.011056268587708473,
        0.0121970409527421,
        0.01684677228331566,
    ];
    close(&first[0], &m, 1e-5);
    close(&second[0], &v, 1e-6);
    assert_eq!(adam.updates(), 5);
}

/// The published formula, one value at a time, in f64.
fn reference(settings: &AdamWSettings, matrix: bool, w: f32, gradients: &[f64]) -> f64 {
    let (mut w, mut m, mut v) = (f64::from(w), 0.0, 0.0);
    for (i, g) in gradients.iter().enumerate() {
        let t = (i + 1) as i32;
        let (b1, b2) = (settings.beta1, settings.beta2);
        if matrix || settings.decayed == Decayed::All {
            w -= settings.learning_rate * settings.weight_decay * w;
        }
        m = b1 * m + (1.0 - b1) * g;
        v = b2 * v + (1.0 - b2) * g * g;
        let (m_hat, v_hat) = (m / (1.0 - b1.powi(t)), v / (1.0 - b2.powi(t)));
        w -= settings.learning_rate * m_hat / (v_hat.sqrt() + settings.eps);
    }
    w
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn many_updates_follow_the_formula_in_f64(
        seed: u64,
        steps in 1u64..40,
        length in 1usize..70,
        beta1 in 0.0f64..0.99,
        beta2 in 0.5f64..0.9999,
        weight_decay in 0.0f64..0.5,
        all: bool,
        matrix: bool,
    ) {
        let decayed = if all { Decayed::All } else { Decayed::Matrices };
        let settings = AdamWSettings {
            learning_rate: 3e-3, beta1, beta2, eps: 1e-8, weight_decay, decayed,
        };
        let draw = |step: u64| -> Vec<f32> {
            let mut rng = Key::new(seed, "g", 0, "values").rng_at(step % 1000 * 4096);
            (0..length).map(|_| (rng.uniform() * 2.0 - 1.0) as f32).collect()
        };
        let start = draw(u64::MAX);
        let shape = if matrix { vec![1, length] } else { vec![length] };
        let mut parameters = vec![parameter("p", &shape, start.clone())];
        let mut adam = AdamW::new(settings, &parameters).unwrap();
        for step in 0..steps {
            let gradients = Gradients { tensors: vec![draw(step)] };
            adam.update(&mut parameters, &gradients, settings.learning_rate, 1.0).unwrap();
        }
        for (i, w) in parameters[0].values.iter().enumerate() {
            let history: Vec<f64> = (0..steps).map(|s| f64::from(draw(s)[i])).collect();
            let exact = reference(&settings, matrix, start[i], &history);
            prop_assert!((f64::from(*w) - exact).abs() < 2e-6 * steps as f64 + 1e-6, "{w} {exact}");
        }
    }

    #[test]
    fn every_schedule_stays_between_0_and_1_and_is_read_back(
        step in 0u64..300, warmup in 0u64..100, total in 1u64..300,
        start_share in 0.0f64..=1.0, min_share in 0.0f64..=1.0,
    ) {
        for schedule in [
            Schedule::Constant,
            Schedule::Linear,
            Schedule::Cosine { min_share },
            Schedule::ConstantCosine { start_share, min_share },
        ] {
            let x = schedule.multiplier(step, warmup, total);
            prop_assert!((0.0..=1.0).contains(&x) || step > total, "{schedule} {x}");
            prop_assert_eq!(schedule.to_string().parse::<Schedule>().unwrap(), schedule);
            let json = serde_json::to_string(&schedule).unwrap();
            prop_assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
        }
    }
}

fn shape(name: &str, warmup: u64, total: u64) -> Vec<f64> {
    let schedule: Schedule = name.parse().unwrap();
    let steps = 0..total;
    steps
        .map(|s| schedule.multiplier(s, warmup, total))
        .collect()
}

#[test]
fn the_schedules_are_those_of_transformers() {
    let third = 1.0 / 3.0;
    let warm = [0.0, third, 2.0 * third, 1.0];
    let expected = [
        ("constant", 3, vec![1.0, 1.0]),
        (
            "linear",
            3,
            vec![
                0.8571428571428571,
                0.7142857142857143,
                0.5714285714285714,
                0.42857142857142855,
                0.2857142857142857,
                0.14285714285714285,
            ],
        ),
        (
            "cosine",
            3,
            vec![
                0.9504844339512095,
                0.8117449009293668,
                0.6112604669781572,
                0.38873953302184283,
                0.18825509907063326,
                0.04951556604879048,
            ],
        ),
        (
            "cosine:0.1",
            3,
            vec![
                0.9554359905560885,
                0.8305704108364301,
                0.6501344202803414,
                0.44986557971965857,
                0.26942958916356996,
                0.14456400944391146,
            ],
        ),
    ];
    for (name, warmup, rest) in expected {
        let theirs: Vec<f64> = warm.iter().copied().chain(rest).collect();
        let ours = shape(name, warmup, theirs.len() as u64);
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() < 1e-15, "{name}: {ours:?} {theirs:?}");
        }
    }
    let ours = shape("constant-cosine:0.6", 2, 12);
    let fall = [
        0.9045084971874737,
        0.6545084971874737,
        0.34549150281252633,
        0.09549150281252633,
    ];
    assert_eq!(ours[..8], [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    for (a, b) in ours[8..].iter().zip(fall) {
        assert!((a - b).abs() < 1e-15, "{ours:?}");
    }
}

#[test]
fn threads_and_blocks_change_no_bit() {
    let length = 200_001;
    let values = |seed: u64| -> Vec<f32> {
        let mut rng = Key::new(seed, "g", 0, "values").rng_at(0);
        (0..length).map(|_| rng.uniform() as f32 - 0.5).collect()
    };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let mut parameters = vec![parameter("p", &[1, length], values(1))];
            let mut adam = AdamW::new(AdamWSettings::default(), &parameters).unwrap();
            let gradients = Gradients {
                tensors: vec![values(2)],
            };
            let norm = global_norm(&gradients);
            adam.update(&mut parameters, &gradients, 1e-3, clip_factor(norm, 1.0))
                .unwrap();
            (parameters, norm.to_bits())
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_clipped_gradient_has_about_the_greatest_norm_and_a_small_one_is_left() {
    assert_eq!(clip_factor(0.5, 1.0), 1.0);
    assert_eq!(clip_factor(0.0, 1.0), 1.0);
    assert!((clip_factor(4.0, 1.0) * 4.0 - 1.0).abs() < 1e-6);
    let one_bad = Gradients {
        tensors: vec![vec![1.0; 40], vec![1.0, f32::NAN]],
    };
    assert!(!global_norm(&one_bad).is_finite());
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let say = |settings: AdamWSettings| AdamW::new(settings, &[]).unwrap_err().to_string();
    let default = AdamWSettings::default();
    let message = say(AdamWSettings {
        beta2: 1.0,
        ..default
    });
    assert!(
        message.contains("beta2") && message.contains("below 1"),
        "{message}"
    );
    let message = say(AdamWSettings {
        learning_rate: f64::NAN,
        ..default
    });
    assert!(message.contains("learning rate"), "{message}");
    for bad in [
        "",
        "cos",
        "cosine:2",
        "cosine:x",
        "constant-cosine",
        "linear:1",
    ] {
        let message = bad.parse::<Schedule>().unwrap_err().to_string();
        assert!(message.contains("between 0 and 1"), "{message}");
    }
}

#[test]
fn tensors_of_another_size_are_a_fault() {
    let mut parameters = vec![parameter("p", &[2], vec![0.0; 2])];
    let mut adam = AdamW::new(AdamWSettings::default(), &parameters).unwrap();
    let gradients = Gradients {
        tensors: vec![vec![0.0; 3]],
    };
    assert!(adam.update(&mut parameters, &gradients, 1e-3, 1.0).is_err());
}
