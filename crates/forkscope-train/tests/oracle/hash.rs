//! Numbers that are a function of a name: what `fixtures/make_common.py`
//! computes, to the same bits.
//!
//! u(name, i) = (2k + 1 - 2^24) / 2^24, with k the upper 24 bits of
//! splitmix64(fnv1a64(name) + i), lies in (-1, 1) and is exact in f32.
//! splitmix64: Steele, Lea, Flood 2014; fnv1a64: Fowler, Noll, Vo.

fn fnv(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn mix(seed: u64, i: usize) -> u64 {
    let mut x = seed
        .wrapping_add(i as u64)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn unit(hash: u64) -> f64 {
    ((hash >> 40) as f64 * 2.0 + 1.0 - 16_777_216.0) / 16_777_216.0
}

/// The i-th 64-bit hash of `name`.
pub fn splitmix(name: &str, i: usize) -> u64 {
    mix(fnv(name), i)
}

/// u(name, i).
pub fn uniform(name: &str, i: usize) -> f64 {
    unit(splitmix(name, i))
}

/// u(name, 0), u(name, 1), ...
pub fn uniforms(name: &str) -> impl Iterator<Item = f64> + use<> {
    let seed = fnv(name);
    (0..).map(move |i| unit(mix(seed, i)))
}

/// `n` token ids below `vocab`.
pub fn tokens(name: &str, n: usize, vocab: usize) -> Vec<u32> {
    (0..n)
        .map(|i| (splitmix(name, i) % vocab as u64) as u32)
        .collect()
}

/// offset + scale u in f32: the product rounded, then the sum.
pub fn weights(name: &str, n: usize, offset: f32, scale: f32) -> Vec<f32> {
    uniforms(name)
        .take(n)
        .map(|u| offset + scale * u as f32)
        .collect()
}
