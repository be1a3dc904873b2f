//! Every branch of the verdict.

use forkscope_metrics::stats::Interval;

use super::super::{Across, Conclusion, Control, Estimate, Evidence, Measure, verdict};

fn interval(low: f64, high: f64) -> Option<Interval> {
    Some(Interval {
        low,
        high,
        level: 0.95,
    })
}

fn measure(auroc: f64, low: f64, p: f64) -> Measure {
    Measure {
        auroc,
        interval: interval(low, 1.0),
        replicates: Vec::new(),
        n: 100,
        n_sources: 12,
        n_folds: 36,
        layer: Some(2),
        p_max: Some(p),
    }
}

fn estimate(value: f64, low: f64, high: f64) -> Estimate {
    Estimate {
        value: Some(value),
        interval: interval(low, high),
        ..Estimate::default()
    }
}

fn across(format: &str) -> Across {
    Across {
        format: format.into(),
        policy: measure(0.98, 0.9, 0.01),
        words: Some(0.5),
        beyond_words: estimate(0.48, 0.4, 0.5),
        base: Some(0.6),
        beyond_base: estimate(0.38, 0.2, 0.5),
    }
}

/// Evidence on which all three axes hold.
fn all_hold() -> Evidence {
    Evidence {
        two_formats: true,
        crosses_formats: true,
        held_out: Some(measure(0.99, 0.95, 0.01)),
        across: vec![across("a"), across("b")],
        has_base: true,
        beyond_base: Some(estimate(0.9, 0.8, 1.0)),
        control: Some(Control {
            beyond_random: estimate(0.6, 0.4, 0.8),
            p_value: Some(1.0 / 21.0),
            ..Control::default()
        }),
    }
}

/// The conclusion, the axes, and what the reasons must say.
fn expect(e: &Evidence, conclusion: Conclusion, axes: [bool; 3], said: &str) {
    let v = verdict(e);
    assert_eq!(v.conclusion, conclusion, "{v:?}");
    assert_eq!([v.detectable, v.behavioural, v.controllable], axes, "{v:?}");
    assert!(v.reasons.join("; ").contains(said), "{v:?}");
}

#[test]
fn established_only_if_all_three_hold() {
    let e = all_hold();
    expect(&e, Conclusion::Established, [true; 3], "");
    assert!(verdict(&e).reasons.is_empty());
}

#[test]
fn without_a_base_nothing_is_beyond_it() {
    let mut e = all_hold();
    e.has_base = false;
    e.beyond_base = None;
    for a in &mut e.across {
        a.base = None;
        a.beyond_base = Estimate::default();
    }
    expect(
        &e,
        Conclusion::NotEstablished,
        [false, false, true],
        "none was given",
    );
}

#[test]
fn what_the_base_has_too_is_not_the_trainings() {
    let mut e = all_hold();
    e.across[1].beyond_base = estimate(0.1, -0.05, 0.3);
    expect(
        &e,
        Conclusion::NotEstablished,
        [false, true, true],
        "not above the base",
    );
    let mut e = all_hold();
    e.across[0].base = Some(0.95);
    expect(
        &e,
        Conclusion::NotEstablished,
        [false, true, true],
        "not above the base",
    );
}

#[test]
fn what_words_give_away_is_not_awareness() {
    let mut e = all_hold();
    e.across[0].words = Some(0.93);
    expect(
        &e,
        Conclusion::NotEstablished,
        [false, true, true],
        "bag of words",
    );
    let mut e = all_hold();
    e.across[1].beyond_words = estimate(0.1, -0.01, 0.2);
    expect(
        &e,
        Conclusion::NotEstablished,
        [false, true, true],
        "bag of words",
    );
}

#[test]
fn behaviour_must_differ_beyond_the_base() {
    let mut e = all_hold();
    e.beyond_base = Some(estimate(0.01, -0.02, 0.04));
    expect(
        &e,
        Conclusion::NotEstablished,
        [true, false, true],
        "does not differ from the base's",
    );
    // Less under evaluation is a difference as well.
    e.beyond_base = Some(estimate(-0.5, -0.6, -0.4));
    expect(&e, Conclusion::Established, [true; 3], "");
    e.beyond_base = None;
    expect(
        &e,
        Conclusion::NotEstablished,
        [true, false, true],
        "no behaviour was measured",
    );
}

#[test]
fn steering_must_beat_random_directions() {
    let mut e = all_hold();
    if let Some(c) = &mut e.control {
        c.beyond_random = estimate(0.1, -0.1, 0.3);
    }
    expect(
        &e,
        Conclusion::NotEstablished,
        [true, true, false],
        "random directions",
    );
    let mut e = all_hold();
    if let Some(c) = &mut e.control {
        c.p_value = Some(0.1);
    }
    expect(
        &e,
        Conclusion::NotEstablished,
        [true, true, false],
        "rank p = 0.100",
    );
    if let Some(c) = &mut e.control {
        c.p_value = None;
    }
    expect(
        &e,
        Conclusion::NotEstablished,
        [true, true, false],
        "no random directions",
    );
    e.control = None;
    expect(
        &e,
        Conclusion::NotEstablished,
        [true, true, false],
        "nothing was steered",
    );
}

#[test]
fn confounded_where_it_does_not_cross_formats() {
    // Context and format go together: no fold can be made.
    let mut e = all_hold();
    e.crosses_formats = false;
    e.across.clear();
    let said = "context and format go together";
    expect(
        &e,
        Conclusion::ConfoundedByFormat,
        [false, true, true],
        said,
    );
    // Folds can be made, and one format does not carry over.
    let mut e = all_hold();
    e.across[1].policy = measure(0.52, 0.41, 0.4);
    expect(
        &e,
        Conclusion::ConfoundedByFormat,
        [false, true, true],
        "but not across formats",
    );
}

#[test]
fn not_confounded_where_nothing_is_told() {
    let mut e = all_hold();
    e.across[1].policy = measure(0.52, 0.41, 0.4);
    e.held_out = Some(measure(0.55, 0.45, 0.3));
    expect(
        &e,
        Conclusion::NotEstablished,
        [false, true, true],
        "not above chance",
    );
    // An interval above chance by luck, with a p-value that says so.
    e.held_out = Some(measure(0.7, 0.51, 0.2));
    expect(
        &e,
        Conclusion::NotEstablished,
        [false, true, true],
        "not above chance",
    );
    e.held_out = None;
    expect(
        &e,
        Conclusion::NotEstablished,
        [false, true, true],
        "not above chance",
    );
}

#[test]
fn one_format_says_nothing_across_formats() {
    let mut e = all_hold();
    e.two_formats = false;
    e.crosses_formats = false;
    e.across.clear();
    expect(
        &e,
        Conclusion::NotEstablished,
        [false, true, true],
        "the set has one format",
    );
}
