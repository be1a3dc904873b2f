//! Tests of the statistics: golden values, identities, hostile input.

mod finite;
mod golden;
mod properties;
mod resamples;

/// Whether two numbers agree to `tolerance`, relative above 1 and absolute below.
fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * b.abs().max(1.0)
}
