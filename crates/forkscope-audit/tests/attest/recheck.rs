//! Rows computed again from the weights.

use forkscope_audit::attest::{
    Comparison, Draw, Rechecked, TOLERANCE, recheck_logprobs, recheck_pair,
};

use super::run::{Attested, Fallible};

fn again(attested: &Attested, how: Comparison, share: f64) -> Fallible<[Rechecked; 2]> {
    let draw = Draw { share, seed: 5 };
    let run = attested.run();
    Ok([
        recheck_pair(&run, &attested.base, &attested.tuned, 5, how, draw)?,
        recheck_logprobs(&run, "rollouts.parquet", &attested.tuned, how, draw)?,
    ])
}

#[test]
fn the_same_machine_gives_every_bit_again() -> Fallible {
    let attested = Attested::new("any", |_, _| {})?;
    for done in again(&attested, Comparison::Bits, 1.0)? {
        assert!(done.faults.is_empty(), "{:?}", done.faults);
        assert_eq!((done.rollouts, done.drawn, done.rows), (12, 12, 240));
        assert_eq!(done.greatest_difference, 0.0);
    }
    let [some, _] = again(&attested, Comparison::Bits, 0.01)?;
    assert_eq!((some.drawn, some.rows), (1, 20));
    Ok(())
}

#[test]
fn what_another_processor_would_round_otherwise_passes_as_values_only() -> Fallible {
    let attested = Attested::new("any", |rows, rollouts| {
        for row in rows {
            row.entropy_base_nats += 1e-5;
            row.js_nats += 1e-6;
            row.logprob_tuned -= 1.5e-4;
            row.rank_tuned += 1;
        }
        for logprob in rollouts.iter_mut().filter_map(|r| r.logprobs.as_mut()) {
            logprob.iter_mut().for_each(|l| *l += 1e-4);
        }
    })?;
    for done in again(&attested, Comparison::Tolerance, 1.0)? {
        assert!(done.faults.is_empty(), "{:?}", done.faults);
        assert!(done.greatest_difference > 5e-5 && done.greatest_difference < TOLERANCE);
    }
    for done in again(&attested, Comparison::Bits, 1.0)? {
        // Twenty are listed, the rest is counted.
        assert_eq!(done.faults.len(), 21, "{}", done.table);
    }
    Ok(())
}

#[test]
fn a_forged_row_is_named_under_any_profile() -> Fallible {
    let attested = Attested::new("any", |rows, rollouts| {
        rows[45].js_nats += 3e-4;
        if let Some(logprob) = rollouts[3].logprobs.as_mut().and_then(|l| l.get_mut(7)) {
            *logprob += 1e-3;
        }
    })?;
    for how in [Comparison::Bits, Comparison::Tolerance] {
        let [pair, logprobs] = again(&attested, how, 1.0)?;
        let said = |done: &Rechecked| format!("{:?}", done.faults);
        assert_eq!(pair.faults.len(), 1, "{}", said(&pair));
        assert!(
            said(&pair).contains("rollout 0 of problem problem-1, position 9"),
            "{}",
            said(&pair)
        );
        assert!(said(&pair).contains("js_nats"));
        assert_eq!(logprobs.faults.len(), 1);
        assert!(said(&logprobs).contains("rollout 1 of problem problem-1, position 11"));
    }
    Ok(())
}

#[test]
fn another_model_is_found_out() -> Fallible {
    let attested = Attested::new("any", |_, _| {})?;
    let swapped = Attested {
        base: attested.tuned.clone(),
        tuned: attested.base.clone(),
        dir: attested.dir,
    };
    let [pair, _] = again(&swapped, Comparison::Tolerance, 0.2)?;
    assert!(!pair.faults.is_empty());
    Ok(())
}
