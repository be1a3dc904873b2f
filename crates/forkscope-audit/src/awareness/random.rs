//! Random directions: the control of a steering vector.

use forkscope_metrics::rng::Key;

/// An isotropic direction of a given norm: independent normals (Box and Muller
/// 1958), scaled.
pub fn random_direction(seed: u64, index: u32, width: usize, norm: f64) -> Vec<f32> {
    let mut draws = Key::new(seed, "", index, "awareness-random-direction").rng_at(0);
    let normals: Vec<f64> = (0..width)
        .map(|_| {
            let radius = (-2.0 * libm::log(1.0 - draws.uniform())).sqrt();
            radius * libm::cos(std::f64::consts::TAU * draws.uniform())
        })
        .collect();
    let own = normals.iter().map(|x| x * x).sum::<f64>().sqrt();
    let scale = if own > 0.0 { norm / own } else { 0.0 };
    normals.iter().map(|x| (x * scale) as f32).collect()
}
