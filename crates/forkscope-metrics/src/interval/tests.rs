//! Truth lies inside the bounds for random policies cut to their top-k, and
//! constructed policies attain them.

use super::*;
use crate::reference;
use proptest::prelude::*;
use std::f64::consts::LN_2;

const SLACK: f64 = 1e-9;

/// ln p of every token, id = index.
fn policy(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let ln_sum = logits.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
    logits.iter().map(|z| z - max - ln_sum).collect()
}

fn rounded(logprob: f64, decimals: Option<i32>) -> (f64, f64) {
    let Some(decimals) = decimals else {
        return (logprob, 0.0);
    };
    let unit = 10f64.powi(-decimals);
    // A hair more than half a unit, for the division's own rounding.
    (
        ((logprob / unit).round() * unit).min(0.0),
        0.5 * unit + 1e-12,
    )
}

/// The k most probable tokens, and one more.
fn report(logp: &[f64], k: usize, extra: usize, decimals: Option<i32>) -> Vec<Listed> {
    let mut order: Vec<usize> = (0..logp.len()).collect();
    order.sort_by(|a, b| logp[*b].total_cmp(&logp[*a]));
    let mut ids: Vec<usize> = order.into_iter().take(k).collect();
    if !ids.contains(&extra) {
        ids.push(extra);
    }
    ids.into_iter()
        .map(|id| {
            let (logprob, error) = rounded(logp[id], decimals);
            Listed {
                id: id as u32,
                logprob,
                error,
            }
        })
        .collect()
}

fn partial(logp: &[f64], k: usize, extra: usize, decimals: Option<i32>, sized: bool) -> PartialRow {
    let listed = report(logp, k, extra, decimals);
    PartialRow::new(&listed, k, sized.then_some(logp.len())).unwrap()
}

fn true_rank(logp: &[f64], id: usize) -> u32 {
    1 + logp.iter().filter(|other| **other > logp[id]).count() as u32
}

fn ranks_hold(row: &PartialRow, logp: &[f64]) -> Result<(), TestCaseError> {
    for id in 0..logp.len() {
        let rank = true_rank(logp, id);
        let bound = row.rank(id as u32);
        prop_assert!(bound.low <= rank && bound.high.is_none_or(|high| rank <= high));
        let Interval { low, high } = row.logprob(id as u32);
        let p = Interval {
            low: low.exp(),
            high: high.exp(),
        };
        prop_assert!(p.holds(logp[id].exp(), SLACK));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn truth_lies_inside(
        logits in prop::collection::vec((-6.0f64..6.0, -6.0f64..6.0, -0.5f64..0.5), 1..40),
        near in any::<bool>(),
        k in (0usize..45, 0usize..45),
        extra in 0usize..40,
        decimals in prop::option::of(1i32..5),
        sized in any::<bool>(),
    ) {
        let base = policy(&logits.iter().map(|l| l.0).collect::<Vec<_>>());
        let tuned = |l: &(f64, f64, f64)| if near { l.0 + l.2 } else { l.1 };
        let tuned = policy(&logits.iter().map(tuned).collect::<Vec<_>>());
        let extra = extra % logits.len();
        let base_row = partial(&base, k.0, extra, decimals, sized);
        let tuned_row = partial(&tuned, k.1, extra, decimals, sized);
        ranks_hold(&base_row, &base)?;
        ranks_hold(&tuned_row, &tuned)?;
        let pair = PairIntervals::new(&base_row, &tuned_row);
        for (name, interval, truth) in [
            ("H(b)", pair.entropy_base, reference::entropy(&base)),
            ("H(p)", pair.entropy_tuned, reference::entropy(&tuned)),
            ("KL(p||b)", pair.kl_tuned_base, reference::kl(&tuned, &base)),
            ("KL(b||p)", pair.kl_base_tuned, reference::kl(&base, &tuned)),
            ("JS", pair.js, reference::js(&tuned, &base)),
            ("TV", pair.tv, reference::tv(&tuned, &base)),
        ] {
            prop_assert!(interval.holds(truth, SLACK), "{}: {} is not in {:?}", name, truth, interval);
            prop_assert!(interval.low >= 0.0);
        }
        prop_assert!(pair.js.high <= LN_2 + SLACK && pair.tv.high <= 1.0 + SLACK);
        if let (Some(rank), Some(argmax)) = (pair.base_rank_of_tuned_argmax, tuned_row.argmax()) {
            prop_assert_eq!(true_rank(&tuned, argmax as usize), 1);
            let rank_there = true_rank(&base, argmax as usize);
            prop_assert!(rank.low <= rank_there && rank.high.is_none_or(|high| rank_there <= high));
        }
    }
}

fn listed(probabilities: &[(u32, f64)]) -> Vec<Listed> {
    let token = |&(id, p): &(u32, f64)| Listed {
        id,
        logprob: f64::ln(p),
        error: 0.0,
    };
    probabilities.iter().map(token).collect()
}

fn row(probabilities: &[(u32, f64)], vocab: Option<usize>) -> PartialRow {
    PartialRow::new(&listed(probabilities), probabilities.len(), vocab).unwrap()
}

fn ln(probabilities: &[f64]) -> Vec<f64> {
    probabilities.iter().map(|p| p.ln()).collect()
}

fn is(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-9, "{got} is not {want}");
}

#[test]
fn entropy_bounds_are_attained() {
    let known = [(0, 0.5), (1, 0.2)];
    let bound = row(&known, Some(8)).entropy();
    // r = 0.3 in tokens of at most 0.2: one of 0.2, one of 0.1; or six of 0.05.
    is(bound.low, reference::entropy(&ln(&[0.5, 0.2, 0.2, 0.1])));
    is(
        bound.high,
        reference::entropy(&ln(&[0.5, 0.2, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])),
    );
    let open = row(&known, None).entropy();
    is(open.low, bound.low);
    assert_eq!(open.high, f64::INFINITY);
    // Nothing left: exact, vocabulary or not.
    let whole = row(&[(0, 0.75), (1, 0.25)], None).entropy();
    is(whole.low, whole.high);
}

#[test]
fn js_and_tv_upper_bounds_are_attained_by_disjoint_tails() {
    let base = row(&[(0, 0.5), (1, 0.3)], None);
    let tuned = row(&[(0, 0.6), (2, 0.3)], None);
    let pair = PairIntervals::new(&base, &tuned);
    let b = ln(&[0.5, 0.3, 0.0, 0.2, 0.0]);
    let p = ln(&[0.6, 0.0, 0.3, 0.0, 0.1]);
    is(pair.js.high, reference::js(&p, &b));
    is(pair.tv.high, reference::tv(&p, &b));
    assert_eq!(pair.kl_tuned_base.high, f64::INFINITY);
}

#[test]
fn lower_bounds_are_attained_by_tails_of_one_ratio() {
    // Token 2 of the tuned policy cannot exceed the base's cap of 0.1; the rest
    // of the tails, p 0.05 and b 0.2, has one ratio.
    let base = row(&[(0, 0.6), (1, 0.1)], None);
    let tuned = row(&[(0, 0.6), (1, 0.1), (2, 0.25)], None);
    let pair = PairIntervals::new(&base, &tuned);
    let b = ln(&[0.6, 0.1, 0.1, 0.1, 0.1]);
    let p = ln(&[0.6, 0.1, 0.25, 0.025, 0.025]);
    is(pair.kl_tuned_base.low, reference::kl(&p, &b));
    is(pair.kl_base_tuned.low, reference::kl(&b, &p));
    is(pair.js.low, reference::js(&p, &b));
    is(pair.tv.low, reference::tv(&p, &b));
}

#[test]
fn policies_that_may_be_equal_have_lower_bound_zero() {
    let base = row(&[(0, 0.5), (1, 0.2)], None);
    let pair = PairIntervals::new(&base, &base);
    for interval in [pair.kl_tuned_base, pair.kl_base_tuned, pair.js, pair.tv] {
        is(interval.low, 0.0);
    }
}

#[test]
fn everything_listed_is_exact_and_finite() {
    let (b, p) = ([0.5, 0.3, 0.2], [0.2, 0.2, 0.6]);
    let all = |p: &[f64]| (0..).zip(p.iter().copied()).collect::<Vec<_>>();
    let pair = PairIntervals::new(&row(&all(&b), Some(3)), &row(&all(&p), Some(3)));
    for (interval, truth) in [
        (pair.kl_tuned_base, reference::kl(&ln(&p), &ln(&b))),
        (pair.kl_base_tuned, reference::kl(&ln(&b), &ln(&p))),
        (pair.js, reference::js(&ln(&p), &ln(&b))),
        (pair.tv, 0.4),
    ] {
        is(interval.low, truth);
        is(interval.high, truth);
    }
    assert_eq!(
        pair.base_rank_of_tuned_argmax,
        Some(RankInterval {
            low: 3,
            high: Some(3)
        })
    );
    // One token short of everything is known as well.
    let short = PairIntervals::new(&row(&all(&b)[..2], Some(3)), &row(&all(&p), Some(3)));
    is(short.kl_tuned_base.high, reference::kl(&ln(&p), &ln(&b)));
    is(short.kl_tuned_base.low, reference::kl(&ln(&p), &ln(&b)));
}

#[test]
fn ranks_of_tokens_beyond_the_top() {
    let tokens = listed(&[(7, 0.5), (3, 0.2), (9, 0.02)]);
    let row = PartialRow::new(&tokens, 2, Some(1000)).unwrap();
    assert_eq!(
        row.rank(7),
        RankInterval {
            low: 1,
            high: Some(1)
        }
    );
    assert_eq!(
        row.rank(3),
        RankInterval {
            low: 2,
            high: Some(2)
        }
    );
    // 0.28 of tail holds at most 14 tokens of 0.02.
    assert_eq!(
        row.rank(9),
        RankInterval {
            low: 3,
            high: Some(17)
        }
    );
    assert_eq!(
        row.rank(1),
        RankInterval {
            low: 2,
            high: Some(1000)
        }
    );
    assert!((row.logprob(1).high - 0.2f64.ln()).abs() < 1e-12);
    assert_eq!(
        PartialRow::new(&tokens, 2, None).unwrap().rank(1).high,
        None
    );
    assert_eq!(row.argmax(), Some(7));
    // Known to +-0.06, either may be the most probable.
    let open = [(0, -0.7), (1, -0.8)].map(|(id, logprob)| Listed {
        id,
        logprob,
        error: 0.06,
    });
    let open = PartialRow::new(&open, 2, None).unwrap();
    assert_eq!(open.argmax(), None);
    assert_eq!(
        open.rank(1),
        RankInterval {
            low: 1,
            high: Some(2)
        }
    );
}

#[test]
fn what_cannot_be_a_report_is_refused() {
    let refused = |tokens: &[(u32, f64)], k, vocab, words: &str| {
        let tokens = tokens.iter().map(|&(id, logprob)| Listed {
            id,
            logprob,
            error: 0.0,
        });
        let error = PartialRow::new(&tokens.collect::<Vec<_>>(), k, vocab)
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(&[(0, 0.5)], 1, None, "the log-prob of token 0 is 0.5");
    refused(&[(0, f64::NAN)], 1, None, "the log-prob of token 0 is NaN");
    refused(&[(0, -0.1), (1, -0.2)], 2, None, "sum to 1.7");
    refused(&[(4, -1.0), (4, -2.0)], 2, None, "names token 4 twice");
    refused(
        &[(0, -1.0), (1, -2.0)],
        2,
        Some(1),
        "names 2 tokens of a vocabulary of 1",
    );
    refused(
        &[(0, -0.7), (1, -5.0)],
        2,
        Some(10),
        "check the vocabulary size",
    );
    let tokens = [Listed {
        id: 0,
        logprob: -1.0,
        error: f64::NAN,
    }];
    assert!(PartialRow::new(&tokens, 1, None).is_err());
    refused(&[(0, -0.7), (1, -0.8)], 2, Some(2), "the whole vocabulary");
    // A row of which nothing is known.
    let nothing = PartialRow::new(&[], 0, Some(4)).unwrap();
    assert_eq!(nothing.entropy().low, 0.0);
    assert!((nothing.entropy().high - 4f64.ln()).abs() < 1e-12);
    assert_eq!(nothing.argmax(), None);
}

#[test]
fn printed_digits() {
    assert_eq!(printed_error("-0.3125"), Some(0.5e-4));
    assert_eq!(printed_error("-12"), Some(0.5));
    assert_eq!(printed_error(" -1.5e-3 "), Some(0.5e-4));
    assert_eq!(printed_error("2E2"), Some(50.0));
    assert_eq!(printed_error("-inf"), None);
    assert_eq!(printed_error("1.2.3"), None);
    assert_eq!(printed_error(""), None);
}
