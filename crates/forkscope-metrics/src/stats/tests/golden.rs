//! Values from scipy 1.17.1, scikit-learn 1.9.1, statsmodels 0.15.0 and numpy
//! 2.4.6, typed in with the expression that made them.

use super::super::*;
use super::close;

const TIGHT: f64 = 1e-14;

/// `[((i * a) % m) / d for i in range(n)]`
fn lattice(n: u64, a: u64, m: u64, d: f64) -> Vec<f64> {
    (0..n).map(|i| (i * a % m) as f64 / d).collect()
}

#[test]
fn auroc_and_average_precision_with_ties() {
    // roc_auc_score(y, s), average_precision_score(y, s)
    let scores = [0.1, 0.4, 0.35, 0.8, 0.4, 0.4, 0.9, 0.0, 0.35, 0.7];
    let labels = [0, 0, 1, 1, 1, 0, 1, 0, 0, 0].map(|y| y == 1);
    assert!(close(
        auroc(&scores, &labels).unwrap(),
        0.7708333333333334,
        TIGHT
    ));
    assert!(close(
        average_precision(&scores, &labels).unwrap(),
        0.75,
        TIGHT
    ));
    // i = np.arange(200); s = ((i*37)%23)/7; y = (i*i)%11 < 3
    let scores = lattice(200, 37, 23, 7.0);
    let labels: Vec<bool> = (0..200).map(|i| i * i % 11 < 3).collect();
    assert!(close(
        auroc(&scores, &labels).unwrap(),
        0.4966517857142857,
        TIGHT
    ));
    let ap = average_precision(&scores, &labels).unwrap();
    assert!(close(ap, 0.283680619046232, TIGHT));
}

#[test]
fn quantiles_of_type_7() {
    // [np.quantile(x, q) for q in (0, .05, .25, .5, .9, .999, 1)]
    let x = [3.2, -1.0, 7.5, 0.25, 7.5, 2.0, 11.0];
    let expected = [-1.0, -0.625, 1.125, 3.2, 8.900000000000002, 10.979, 11.0];
    for (q, want) in [0.0, 0.05, 0.25, 0.5, 0.9, 0.999, 1.0]
        .into_iter()
        .zip(expected)
    {
        assert!(close(quantile(&x, q).unwrap(), want, TIGHT), "{q}");
    }
}

#[test]
fn gini_and_lorenz_by_hand() {
    // v = [1,2,3,4,10]: np.abs(v[:,None]-v[None]).sum() / (2*5*v.sum()) = 0.4
    let v = [4.0, 10.0, 1.0, 3.0, 2.0];
    assert!(close(gini(&v).unwrap(), 0.4, TIGHT));
    let curve = lorenz_curve(&v).unwrap();
    let expected = [
        (0.0, 0.0),
        (0.2, 0.05),
        (0.4, 0.15),
        (0.6, 0.3),
        (0.8, 0.5),
        (1.0, 1.0),
    ];
    for (point, want) in curve.iter().zip(expected) {
        assert!(close(point.0, want.0, TIGHT) && close(point.1, want.1, TIGHT));
    }
    for (fraction, want) in [(0.2, 0.5), (0.3, 0.6), (0.4, 0.7), (0.0, 0.0), (1.0, 1.0)] {
        assert!(close(top_share(&v, fraction).unwrap(), want, TIGHT));
    }
}

#[test]
fn binomial_intervals() {
    // stats.binomtest(k, n).proportion_ci(level, "exact" | "wilson")
    #[rustfmt::skip]
    let rows = [
        (0, 10, 0.95, 0.0, 0.30849710781876294, 0.0, 0.27753279986288926),
        (10, 10, 0.95, 0.6915028921812371, 1.0, 0.7224672001371109, 1.0),
        (3, 10, 0.95, 0.06673951117773447, 0.652452850060008, 0.10779126740630102, 0.6032218525388546),
        (1, 1000, 0.99, 5.0125292607668415e-06, 0.007406286938353162, 0.00011741635361832165, 0.008460566219981695),
        (250, 400, 0.9, 0.5833376193579848, 0.6652780894445, 0.5844697196629239, 0.6638506762826538),
        (7, 53000, 0.95, 5.3102785597011855e-05, 0.0002721068948469453, 6.397998485603108e-05, 0.0002726269162599072),
        (123456, 1000000000, 0.95, 0.00012276833053317943, 0.00012414656533096076, 0.00012276930114666216, 0.0001241465393636415),
        (26000, 53000, 0.95, 0.4863012061588266, 0.4948319026815856, 0.486310863649487, 0.49482257927696743),
        (50000000, 100000000, 0.95, 0.4999019968021681, 0.5000980031978318, 0.49990200180265526, 0.5000979981973447),
        (81, 263, 0.95, 0.25273674558504267, 0.36762192260134746, 0.2552885198782742, 0.36620957698280004),
    ];
    for (k, n, level, low, high, wilson_low, wilson_high) in rows {
        let exact = clopper_pearson(k, n, level).unwrap();
        // ln Γ at 10^9 leaves eight digits.
        let tolerance = if n > 1_000_000 { 1e-8 } else { 1e-10 };
        let relative = |a: f64, b: f64| (a - b).abs() <= tolerance * b.abs();
        assert!(relative(exact.low, low), "{k}/{n}: {} {low}", exact.low);
        assert!(relative(exact.high, high), "{k}/{n}: {} {high}", exact.high);
        let score = wilson(k, n, level).unwrap();
        assert!(relative(score.low, wilson_low), "{k}/{n}: {}", score.low);
        assert!(relative(score.high, wilson_high), "{k}/{n}: {}", score.high);
    }
}

#[test]
fn sign_flips_enumerated() {
    // stats.permutation_test((d,), lambda x, axis: np.mean(x, axis=axis),
    //   permutation_type="samples", n_resamples=np.inf, alternative=...).pvalue
    let d = [
        0.5, -0.25, 0.75, 1.0, 0.0, 0.25, -0.5, 0.5, 0.75, 0.0, 1.25, 0.25,
    ];
    let p = |d: &[f64], alternative| {
        let settings = SignFlipSettings {
            alternative,
            ..Default::default()
        };
        sign_flip_test(d, &settings).unwrap().p_value
    };
    assert_eq!(p(&d, Alternative::TwoSided), 0.04296875);
    assert_eq!(p(&d, Alternative::Greater), 0.021484375);
    assert_eq!(p(&d, Alternative::Less), 0.990234375);
    // 0.3 - 0.1 - 0.2 is 0 on paper and not in floating point: a tie.
    let d = [0.3, -0.1, 0.2];
    assert_eq!(p(&d, Alternative::TwoSided), 0.5);
    assert_eq!(p(&d, Alternative::Greater), 0.25);
    assert_eq!(p(&d, Alternative::Less), 0.875);
}

#[test]
fn mcnemar() {
    // mcnemar([[0, b], [c, 0]], exact=True).pvalue
    for (b, c, p) in [
        (3, 9, 0.14599609375),
        (0, 6, 0.03125),
        (5, 5, 1.0),
        (0, 0, 1.0),
        (152, 3, 2.718413923405321e-41),
        (40, 61, 0.046044066929342785),
    ] {
        let found = mcnemar_exact(b, c).unwrap();
        assert!((found - p).abs() <= 1e-10 * p, "{b} {c}: {found} {p}");
    }
}

#[test]
fn false_discovery_rate() {
    // stats.false_discovery_control(p)
    let p = [0.01, 0.04, 0.03, 0.005, 0.55, 0.04, 0.2, 0.9];
    let expected = [
        0.04,
        0.064,
        0.064,
        0.04,
        0.6285714285714286,
        0.064,
        0.26666666666666666,
        0.9,
    ];
    let found = benjamini_hochberg(&p, 0.05).unwrap();
    for (adjusted, want) in found.adjusted.iter().zip(expected) {
        assert!(close(*adjusted, want, TIGHT));
    }
    let rejected: Vec<usize> = (0..8).filter(|&i| found.rejected[i]).collect();
    assert_eq!(rejected, [0, 3]);
}

#[test]
fn bernstein_intervals() {
    // x = ((np.arange(60)*29)%41)/40; L = log(4/.05); mean 0.4945833333333333,
    // sqrt(2*x.var(ddof=1)*L/60) + 7*L/(3*59)
    let x = lattice(60, 29, 41, 40.0);
    let interval = empirical_bernstein(&x, (0.0, 1.0), 0.95).unwrap();
    assert!(close(
        interval.low,
        0.4945833333333333 - 0.28857718833408685,
        TIGHT
    ));
    assert!(close(
        interval.high,
        0.4945833333333333 + 0.28857718833408685,
        TIGHT
    ));
    // The published formula in vectorised numpy (cumulative sums).
    let narrower = predictable_bernstein(&x, (0.0, 1.0), 0.95).unwrap();
    assert!(close(narrower.low, PREDICTABLE.0, 1e-12), "{narrower:?}");
    assert!(close(narrower.high, PREDICTABLE.1, 1e-12), "{narrower:?}");
}

/// t = np.arange(1, 61); mu = (.5 + x.cumsum())/(t+1);
/// var = (.25 + ((x-mu)**2).cumsum())/(t+1), both shifted by one from (.5, .25);
/// lam = np.minimum(.5, np.sqrt(2*np.log(40)/(60*var)));
/// (lam*x).sum()/lam.sum() -+ (np.log(40) + (4*(x-mu)**2*psi).sum())/lam.sum()
const PREDICTABLE: (f64, f64) = (0.33409320463662673, 0.6550734620300399);
