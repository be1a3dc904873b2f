use super::super::{Control, Gate, GateInput, GatePlan, ScoreCurve, decide};
use super::{Owned, chosen_one, gate, inputs};
use crate::AuditError;

fn refusal(text: &str, input: GateInput<'_>) -> String {
    decide(&gate(text), &[input], 0).unwrap_err().to_string()
}

#[test]
fn numbers_that_are_none_are_named() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1] {
        let h = [0.5, 0.5, bad];
        for text in ["entropy:1.4", "all", "quantile:0.1", "random@first:1"] {
            let message = refusal(text, GateInput::new("p-7", 3, &h));
            assert!(
                message.starts_with(
                    "rollout 3 of problem \"p-7\", completion position 2: entropy in nats is"
                ),
                "{message}"
            );
        }
    }
    let signal = [0.1, f64::NAN];
    let input = GateInput {
        signal: Some(&signal),
        ..GateInput::new("p", 0, &[0.5, 0.5])
    };
    assert!(refusal("signal:0.1", input).contains("completion position 1: signal is NaN"));
    // Rounding below 0 is no entropy's fault; an infinite signal is a height.
    assert_eq!(chosen_one("entropy:0.1", &[-1e-6, 1.0]), [1]);
    let signal = [f64::INFINITY, f64::NEG_INFINITY, 0.0];
    let input = GateInput {
        signal: Some(&signal),
        ..GateInput::new("p", 0, &[0.5, 0.5, 0.5])
    };
    for text in [
        "signal:0",
        "signal-top-k:1",
        "signal-quantile:0.4",
        "signal-dual:0:1",
    ] {
        assert_eq!(
            decide(&gate(text), &[input], 0).unwrap(),
            [vec![0]],
            "{text}"
        );
    }
}

#[test]
fn missing_and_uneven_columns_are_named() {
    let bare = GateInput::new("p", 0, &[0.5, 0.5]);
    assert!(refusal("signal:0.1", bare).contains("needs a signal"));
    assert!(refusal("random@signal-top-k:2", bare).contains("needs a signal"));
    assert!(refusal("changed", bare).contains("needs the marks of changed positions"));
    let input = GateInput {
        signal: Some(&[0.1]),
        ..bare
    };
    assert!(refusal("entropy:1", input).contains("2 entropies and 1 signals"));
    // A quantile over all rollouts needs all of them to have a signal, whichever
    // gate each has.
    let with = GateInput {
        problem_id: "q",
        signal: Some(&[0.1, 0.2]),
        ..bare
    };
    let plan: GatePlan = "signal-quantile:0.1/entropy:1".parse().unwrap();
    let error = plan.decide(&[with, bare], &[true, false], 0).unwrap_err();
    assert!(error.to_string().contains("needs a signal"), "{error}");
    assert!(
        plan.decide(&[with], &[true, false], 0)
            .unwrap_err()
            .is_internal()
    );
}

#[test]
fn two_rollouts_of_one_name_would_share_their_draws() {
    let h = [0.5, 1.5];
    let two = [GateInput::new("p", 1, &h), GateInput::new("p", 1, &h)];
    let error = decide(&gate("all"), &two, 0).unwrap_err();
    assert!(matches!(
        error,
        AuditError::DuplicateRollout { sample: 1, .. }
    ));
}

#[test]
fn nothing_to_choose_from_is_no_fault() {
    for text in [
        "entropy:1",
        "quantile:0.1",
        "share:0.1",
        "top-k:3",
        "all",
        "dual:1:1",
        "matched-random@all",
        "matched-mass@quantile:0.5",
        "stride@all",
        "last@all",
        "random-high@all",
    ] {
        assert!(decide(&gate(text), &[], 0).unwrap().is_empty());
        let empty = [GateInput::new("p", 0, &[])];
        assert_eq!(decide(&gate(text), &empty, 0).unwrap(), [Vec::<u32>::new()]);
        assert!(chosen_one(text, &[0.7]).len() <= 1);
    }
    assert_eq!(chosen_one("top-k:4294967295", &[0.7, 0.1]), [0, 1]);
    assert_eq!(chosen_one("dual:0:0:4294967295", &[0.7, 0.1]), [0, 1]);
    assert_eq!(chosen_one("first:4294967295", &[0.7, 0.1]), [0, 1]);
    // All equal: no threshold over a share of them exists, but a ranking does.
    assert_eq!(chosen_one("quantile:0.5", &[0.0; 4]), Vec::<u32>::new());
    assert_eq!(chosen_one("share:0.5", &[0.0; 4]), [0, 1]);
    assert_eq!(
        chosen_one("matched-mass@top-k:2", &[0.0; 4]),
        Vec::<u32>::new()
    );
}

#[test]
fn what_is_no_gate_says_what_one_is() {
    for (text, part) in [
        ("", "there is no such gate"),
        ("entropi:1.4", "there is no such gate"),
        ("entropy", "entropy:TAU"),
        ("entropy:", "\"\" is not a number"),
        ("entropy:1:2", "entropy:TAU"),
        ("entropy:x", "\"x\" is not a number"),
        ("entropy:nan", "NaN"),
        ("entropy:inf", "inf"),
        ("quantile:0", "(0, 1)"),
        ("quantile:1", "(0, 1)"),
        ("quantile:120%", "(0, 1)"),
        ("share:-5%", "(0, 1)"),
        ("top-k:0", "1 and above"),
        ("top-k:-1", "not a whole number"),
        ("top-k:1.5", "not a whole number"),
        ("top-k:99999999999", "not a whole number"),
        ("first:0", "1 and above"),
        ("dual:1", "TAU:LAMBDA"),
        ("dual:1:2:0", "1 and above"),
        ("dual:1:2:3:4", "TAU:LAMBDA"),
        ("all:1", "takes no number"),
        ("random", "random@entropy:1.4"),
        ("first", "first@entropy:1.4"),
        ("random:5", "random@entropy:1.4"),
        ("random:5@all", "takes no number"),
        ("guess@all", "there is no control"),
        ("random@", "there is no such gate"),
        ("@all", "there is no control"),
        ("random@random@all", "more than one @"),
        ("random@stride", "is a control"),
        ("random-high:nan@all", "NaN"),
        ("signal-", "there is no such gate"),
        ("signal-all", "there is no such gate"),
        ("above:1", "there is no such gate"),
        ("entropy:1.4/entropy:2", "takes one number"),
    ] {
        let message = text.parse::<Gate>().unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("gate {text:?}: ")),
            "{message}"
        );
        assert!(message.contains(part), "{message}");
    }
    assert!("entropy:1/".parse::<GatePlan>().is_err());
    assert!(serde_json::from_str::<Gate>("\"entropy:nan\"").is_err());
    let nested = gate("random@all").control(Control::First);
    assert!(nested.unwrap_err().to_string().contains("itself a control"));
    assert!(Gate::entropy(f64::NAN).check().is_err());
    let unchecked = decide(
        &Gate::entropy(f64::NAN),
        &inputs(&[Owned::new("p", vec![1.0])]),
        0,
    );
    assert!(unchecked.is_err());
}

#[test]
fn a_command_line_can_parse_gates() {
    fn value<T>()
    where
        T: std::str::FromStr<Err = AuditError> + Clone + Send + Sync + 'static,
        AuditError: std::error::Error + Send + Sync + 'static,
    {
    }
    value::<Gate>();
    value::<GatePlan>();
}

#[test]
fn no_threshold_is_calibrated_on_nothing() {
    assert!(ScoreCurve::new([]).is_err());
    assert!(ScoreCurve::new([1.0, f64::NAN]).is_err());
    let one = ScoreCurve::new([1.0]).unwrap();
    for share in [0.0, 1.0, -0.1, f64::NAN, f64::INFINITY] {
        assert!(one.tau_for_share(share).is_err());
    }
    assert_eq!(one.tau_for_share(0.99).unwrap().selected, 0);
    assert!(one.quantile(f64::NAN).is_finite());
}
