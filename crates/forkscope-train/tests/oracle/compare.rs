//! Distances of gradients, relative to the golden gradient's norm.

use super::hash;

/// Dot products that `make_gradients.py` keeps of each gradient.
pub const PROBES: usize = 8;

/// Distance of two vectors over the norm of the second.
pub fn relative(ours: &[f32], golden: &[f64]) -> f64 {
    assert_eq!(ours.len(), golden.len());
    let square = |x: f64| x * x;
    let apart: f64 = ours
        .iter()
        .zip(golden)
        .map(|(a, b)| square(f64::from(*a) - b))
        .sum();
    let norm: f64 = golden.iter().map(|b| square(*b)).sum();
    (apart / norm).sqrt()
}

/// Relative distance of a gradient from the golden one, of which only the norm
/// and [`PROBES`] dot products with hashed vectors r_j are kept.
///
/// The values of r_j have variance 1/3, so the mean of 3 ((g - g') . r_j)^2 is
/// an unbiased estimate of |g - g'|^2. The greater of that and of the distance
/// of the norms is returned.
pub fn probed(name: &str, ours: &[f32], golden: &[f64]) -> f64 {
    let [norm, dots @ ..] = golden else {
        panic!("no golden values for {name}");
    };
    assert_eq!(dots.len(), PROBES);
    let own: f64 = ours.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let mut squares = 0.0;
    for (j, dot) in dots.iter().enumerate() {
        let probe = format!("probe/{j}/{name}");
        let probed = ours.iter().zip(hash::uniforms(&probe));
        let mine: f64 = probed.map(|(x, r)| f64::from(*x) * r).sum();
        squares += (mine - dot) * (mine - dot);
    }
    let apart = (3.0 * squares / PROBES as f64).sqrt();
    apart.max((own.sqrt() - norm).abs()) / norm
}

/// Largest |a - b|.
pub fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}
