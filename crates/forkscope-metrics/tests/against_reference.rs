//! The fast kernels against the f64 reference: vocabulary sizes around the lane
//! and chunk widths, extreme logits, masks, constant rows, half precision,
//! near-identical policies.

use forkscope_metrics::{Logit, PairMetrics, RowMetrics, pair_rows, reference, score_rows};
use half::{bf16, f16};
use proptest::prelude::*;

/// Relative 1e-4 or absolute 1e-6: the accuracy contract.
fn close(name: &str, got: f64, want: f64) -> Result<(), TestCaseError> {
    let same = got == want || (got - want).abs() <= f64::max(1e-6, 1e-4 * want.abs());
    prop_assert!(same, "{} is {} instead of {}", name, got, want);
    Ok(())
}

fn close_option(name: &str, got: Option<f64>, want: Option<f64>) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.is_some(), want.is_some(), "{}", name);
    close(name, got.unwrap_or(0.0), want.unwrap_or(0.0))
}

fn same_row(got: &RowMetrics, want: &RowMetrics) -> Result<(), TestCaseError> {
    close("entropy", got.entropy_nats, want.entropy_nats)?;
    prop_assert!(got.entropy_nats >= 0.0);
    close("logprob", got.logprob, want.logprob)?;
    close("log-normaliser", got.log_normaliser, want.log_normaliser)?;
    prop_assert_eq!(got.rank, want.rank);
    prop_assert_eq!(got.argmax, want.argmax);
    prop_assert_eq!(got.ties_at_top, want.ties_at_top);
    prop_assert_eq!(got.topk.len(), want.topk.len());
    for (got, want) in got.topk.iter().zip(&want.topk) {
        prop_assert_eq!(got.0, want.0);
        close("top-k logprob", got.1, want.1)?;
    }
    Ok(())
}

fn same_pair(got: &PairMetrics, want: &PairMetrics) -> Result<(), TestCaseError> {
    same_row(&got.base, &want.base)?;
    same_row(&got.tuned, &want.tuned)?;
    prop_assert_eq!(got.only_base_masks, want.only_base_masks);
    prop_assert_eq!(got.only_tuned_masks, want.only_tuned_masks);
    close_option("kl(p||b)", got.kl_tuned_base_nats, want.kl_tuned_base_nats)?;
    close_option("kl(b||p)", got.kl_base_tuned_nats, want.kl_base_tuned_nats)?;
    prop_assert!(got.kl_tuned_base_nats.unwrap_or(0.0) >= 0.0);
    prop_assert!(got.kl_base_tuned_nats.unwrap_or(0.0) >= 0.0);
    close("js", got.js_nats, want.js_nats)?;
    close("tv", got.tv, want.tv)?;
    prop_assert!(got.js_nats >= 0.0 && got.tv >= 0.0);
    close_option("ce", got.ce_base_tuned_nats, want.ce_base_tuned_nats)?;
    close_option("delta", got.delta_logprob, want.delta_logprob)?;
    prop_assert_eq!(
        got.base_rank_of_tuned_argmax,
        want.base_rank_of_tuned_argmax
    );
    close(
        "outside base",
        got.mass_outside_base,
        want.mass_outside_base,
    )?;
    close(
        "outside tuned",
        got.mass_outside_tuned,
        want.mass_outside_tuned,
    )
}

fn check<B: Logit, T: Logit>(base: &[B], tuned: &[T], target: u32) -> Result<(), TestCaseError> {
    let got = pair_rows(base, base.len(), tuned, tuned.len(), &[target], 5).unwrap();
    let want = reference::pair_row(base, tuned, target, 5).unwrap();
    same_pair(&got[0], &want)?;
    let alone = score_rows(base, base.len(), &[target], 5).unwrap();
    same_row(&alone[0], &reference::score_row(base, target, 5).unwrap())?;
    if base.len() == tuned.len() {
        // One policy has the same bits by itself and in a pair.
        prop_assert_eq!(&alone[0], &got[0].base);
        prop_assert_eq!(
            &score_rows(tuned, tuned.len(), &[target], 5).unwrap()[0],
            &got[0].tuned
        );
    }
    Ok(())
}

/// Vocabulary sizes around lane and chunk widths.
fn vocab() -> impl Strategy<Value = usize> {
    prop_oneof![
        prop::sample::select(vec![
            1, 2, 3, 15, 16, 17, 31, 188, 511, 512, 513, 1000, 1024, 1500
        ]),
        1usize..700,
    ]
}

/// One logit: everyday, extreme, tied, masked.
fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        12 => -20.0f32..20.0,
        3 => (-4i8..4).prop_map(f32::from),
        1 => -1e4f32..1e4,
        1 => Just(f32::NEG_INFINITY),
    ]
}

/// Base and tuned rows and a target; the first tokens are never masked.
fn rows() -> impl Strategy<Value = (Vec<f32>, Vec<f32>, u32)> {
    (vocab(), 0u8..6).prop_flat_map(|(vocab, kind)| {
        let base = prop::collection::vec(logit(), vocab);
        let noise = prop::collection::vec(logit(), vocab);
        (base, noise, 0..vocab as u32).prop_map(move |(mut base, noise, target)| {
            base[0] = 0.5;
            let mut tuned: Vec<f32> = match kind {
                0 => noise.clone(),
                1 => base.clone(),
                2 => base.iter().zip(&noise).map(|(b, n)| b + 0.05 * n).collect(),
                3 => base.iter().zip(&noise).map(|(b, n)| b + 1e-6 * n).collect(),
                4 => base.iter().map(|b| b + 7.25).collect(),
                _ => vec![3.0; base.len()],
            };
            tuned
                .iter_mut()
                .filter(|z| z.is_nan())
                .for_each(|z| *z = f32::NEG_INFINITY);
            tuned[0] = 0.25;
            (base, tuned, target)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn f32_rows((base, tuned, target) in rows()) {
        check(&base, &tuned, target)?;
    }

    #[test]
    fn unequal_vocabularies((base, tuned, target) in rows(), cut in 0.0f64..1.0) {
        let keep = 1 + ((tuned.len() - 1) as f64 * cut) as usize;
        let target = target.min(keep as u32 - 1);
        check(&base, &tuned[..keep], target)?;
        check(&tuned[..keep], &base, target)?;
    }

    #[test]
    fn half_precision_rows((base, tuned, target) in rows()) {
        let f16s = |z: &[f32]| z.iter().map(|&z| f16::from_f32(z)).collect::<Vec<_>>();
        let bf16s = |z: &[f32]| z.iter().map(|&z| bf16::from_f32(z)).collect::<Vec<_>>();
        check(&f16s(&base), &f16s(&tuned), target)?;
        check(&bf16s(&base), &bf16s(&tuned), target)?;
        check(&base, &bf16s(&tuned), target)?;
    }

    /// Not only within 1e-6: the small numbers themselves.
    #[test]
    fn near_identical_policies_keep_their_digits(
        base in prop::collection::vec(-12.0f32..0.0, 2..600),
        noise in prop::collection::vec(-1.0f32..1.0, 600),
        exponent in -8i32..-2,
    ) {
        let scale = 10f64.powi(exponent);
        // Small logits, so that f32 can hold the difference at all.
        let base: Vec<f32> = base.iter().map(|z| if exponent < -5 { z * 1e-2 } else { *z }).collect();
        let tuned: Vec<f32> = base
            .iter()
            .zip(&noise)
            .map(|(b, n)| (f64::from(*b) + f64::from(*n) * scale) as f32)
            .collect();
        let got = &pair_rows(&base, base.len(), &tuned, tuned.len(), &[0], 5).unwrap()[0];
        let want = reference::pair_row(&base, &tuned, 0, 5).unwrap();
        let numbers = [
            ("kl(p||b)", got.kl_tuned_base_nats.unwrap(), want.kl_tuned_base_nats.unwrap()),
            ("kl(b||p)", got.kl_base_tuned_nats.unwrap(), want.kl_base_tuned_nats.unwrap()),
            ("js", got.js_nats, want.js_nats),
            ("tv", got.tv, want.tv),
        ];
        for (name, got, want) in numbers {
            prop_assert!(got >= 0.0);
            prop_assert!((got - want).abs() <= 1e-4 * want + 1e-30, "{} is {} instead of {}", name, got, want);
        }
    }
}

#[test]
fn a_large_vocabulary() {
    let vocab = 32_000;
    let key = forkscope_metrics::rng::Key::new(1, "large", 0, "test");
    let mut draws = key.rng_at(0);
    let mut row = |spread: f64| -> Vec<f32> {
        (0..vocab)
            .map(|_| ((draws.uniform() - 0.5) * spread) as f32)
            .collect()
    };
    let base = row(30.0);
    let noise = row(0.3);
    let tuned: Vec<f32> = base.iter().zip(&noise).map(|(b, n)| b + n).collect();
    check(&base, &tuned, 17).unwrap();
    check(&base, &row(30.0), 31_999).unwrap();
}

#[test]
fn finite_masks_and_large_shifts() {
    let key = forkscope_metrics::rng::Key::new(2, "shift", 0, "test");
    let base: Vec<f32> = (0..700).map(|i| (key.uniform(i) * 9.0) as f32).collect();
    for shift in [1e4f32, -1e4, 3e4] {
        let far: Vec<f32> = base.iter().map(|z| z + 1e4).collect();
        let tuned: Vec<f32> = far
            .iter()
            .zip(0..)
            .map(|(z, i)| z - 1e4 + shift + (i % 5) as f32)
            .collect();
        check(&base, &tuned, 3).unwrap();
        check(&far, &tuned, 3).unwrap();
    }
    // The finite number that frameworks write for "masked".
    let mut masked = base.clone();
    masked[5..40].fill(f32::MIN);
    check(&base, &masked, 3).unwrap();
    check(&masked, &base, 3).unwrap();
    check(&masked, &masked, 10).unwrap();
}
