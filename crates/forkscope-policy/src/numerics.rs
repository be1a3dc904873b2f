//! What the bits of a number depend on beside its inputs: the numerics profile.
//!
//! Bits do not depend on threads, batches, caches or paths through the program. What
//! remains is the arithmetic itself: the version of these kernels, the matrix
//! product's version and the instruction set that it picks on this processor (sizes of
//! caches do not matter: sums are cut in [`ops::matmul`](crate::ops::matmul), not by
//! the product). The profile names these, and ends in a probe: the first 16 digits of
//! the SHA-256 over the bits of known products, norms, activations and metrics, so
//! that two machines that compute otherwise in a way that nobody foresaw have two
//! profiles. Equal profiles: bits can be compared; other profiles: values, within a
//! tolerance.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::ops::matmul::{Padding, Product, plain};
use crate::ops::{exp, norm, swiglu};

/// Raised when the order or kind of the operations behind a logit changes.
pub const KERNELS: u32 = 1;

/// The matrix product; a test holds it against the lock file.
pub const GEMM: &str = "0.19.0";

/// The numerics profile of this build on this machine.
pub fn profile() -> &'static str {
    static PROFILE: OnceLock<String> = OnceLock::new();
    PROFILE.get_or_init(|| {
        format!(
            "f32; kernels {KERNELS}; gemm-f32 {GEMM} {}; metrics {}; probe {}",
            product_set(),
            forkscope_metrics::instruction_set(),
            probe()
        )
    })
}

/// The instruction set that the matrix product picks; `plain` where a user asked for
/// products without it.
fn product_set() -> &'static str {
    if plain() {
        return "plain";
    }
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return "avx512f";
        }
        if is_x86_feature_detected!("fma") {
            return "fma";
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        return "neon";
    }
    "scalar"
}

/// Rows, inputs and outputs of the products that are looked at: more and fewer than a
/// tile, one piece of a sum and several.
const PRODUCTS: [[usize; 3]; 5] = [
    [1, 64, 40],
    [9, 352, 128],
    [33, 513, 24],
    [70, 1200, 65],
    [5, 40, 5],
];

fn probe() -> String {
    let mut hasher = Sha256::new();
    let mut padding = Padding::default();
    for [rows, inputs, outputs] in PRODUCTS {
        let (x, w) = (
            values(rows * inputs, 7919),
            values(outputs * inputs, 104_729),
        );
        let mut out = vec![0.0; rows * outputs];
        Product {
            x: &x,
            w: &w,
            inputs,
            outputs,
            stride: outputs,
            add: false,
        }
        .run(&mut out, &mut padding);
        feed(&mut hasher, &out);
    }
    let x = values(320, 31);
    let mut out = vec![0.0; x.len()];
    norm::rms_norm(&x, &values(320, 17), 1e-5, &mut out);
    feed(&mut hasher, &out);
    swiglu::silu_times(&mut out, &x);
    feed(&mut hasher, &out);
    out.iter_mut()
        .zip(&x)
        .for_each(|(o, x)| *o = exp::exp(x * 20.0));
    feed(&mut hasher, &out);
    let logits: Vec<f32> = values(1000, 613).iter().map(|x| x * 24.0).collect();
    if let Ok(rows) = forkscope_metrics::score_rows(&logits, 500, &[3, 499], 3) {
        for row in rows {
            hasher.update(row.entropy_nats.to_bits().to_le_bytes());
            hasher.update(row.logprob.to_bits().to_le_bytes());
        }
    }
    let digest = hasher.finalize();
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

fn feed(hasher: &mut Sha256, values: &[f32]) {
    for value in values {
        hasher.update(value.to_bits().to_le_bytes());
    }
}

/// Numbers in (-0.5, 0.5) with all of their bits in use, so that every order of
/// summing them rounds in its own way.
fn values(n: usize, step: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * step + 11) % 1009) as f32 / 1009.0 - 0.5)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_product_is_the_locked_one() -> Result<(), Box<dyn std::error::Error>> {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
        let lock = std::fs::read_to_string(lock)?;
        let entry = format!("name = \"gemm-f32\"\nversion = \"{GEMM}\"\n");
        assert!(
            lock.contains(&entry),
            "raise GEMM to the version of Cargo.lock"
        );
        Ok(())
    }

    #[test]
    fn the_profile_is_the_same_at_every_look() {
        assert_eq!(probe(), probe());
        assert!(profile().ends_with(&probe()), "{}", profile());
    }
}
