//! The kernels have the same bits on every instruction set of this CPU, and
//! their exponentials the accuracy they claim.

use super::*;
use crate::pair::{PairMetrics, pair_row};
use crate::pass::Workspace;
use crate::rng::Key;

fn rows(vocab: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
    let key = Key::new(seed, "paths", 0, "test");
    let mut draws = key.rng_at(0);
    let mut base = Vec::new();
    let mut tuned = Vec::new();
    for _ in 0..vocab {
        let z = 40.0 * draws.uniform() - 20.0;
        let noise = draws.uniform() - 0.5;
        let masked = |draw: f64, z: f64| if draw < 0.02 { f64::NEG_INFINITY } else { z };
        base.push(masked(draws.uniform(), z) as f32);
        tuned.push(masked(draws.uniform(), z + 4.0 * noise) as f32);
    }
    base[0] = 0.0;
    tuned[0] = 0.5;
    (base, tuned)
}

fn on(cpu: Cpu, base: &[f32], tuned: &[f32]) -> PairMetrics {
    pair_row(&mut Workspace::new(cpu), base, tuned, 0, 5, 0).unwrap()
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    for (seed, vocab) in (0..).zip([1usize, 16, 17, 188, 512, 513, 2000]) {
        let (base, tuned) = rows(vocab, seed);
        let portable = on(Cpu(Level::Portable), &base, &tuned);
        for cpu in Cpu::all() {
            let here = on(cpu, &base, &tuned);
            assert_eq!(here, portable, "{} at {vocab}", cpu.name());
            let (mut p, mut q) = (vec![0.0; vocab], vec![0.0; vocab]);
            scaled_exp(cpu, &base, 20.0, 1.7, &mut p);
            scaled_exp(Cpu(Level::Portable), &base, 20.0, 1.7, &mut q);
            assert_eq!(p, q, "{}", cpu.name());
        }
    }
}

#[test]
fn exponentials_are_as_accurate_as_they_say() {
    for i in 0..=200_000 {
        let y = -86.0f32 * (i as f32 / 200_000.0);
        let want = libm::exp(f64::from(y));
        let off = (f64::from(exp(y)) - want).abs() / want;
        // 2e-7, and log2(e) rounded to f32 in the argument.
        assert!(
            off <= 2e-7 + 2e-8 * f64::from(-y),
            "e^{y} is off by {off:e}"
        );
        let y = f64::from(y) * 8.2;
        let want = libm::exp(y);
        let off = (exp_f64(y) - want).abs() / want;
        assert!(off <= 6e-16, "e^{y} is off by {off:e}");
    }
    assert_eq!((exp(0.0), exp_f64(0.0)), (1.0, 1.0));
    assert_eq!(
        (exp(f32::NEG_INFINITY), exp(f32::MIN), exp(-86.1)),
        (0.0, 0.0, 0.0)
    );
    assert_eq!((exp_f64(f64::NEG_INFINITY), exp_f64(-709.0)), (0.0, 0.0));
}
