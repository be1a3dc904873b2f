//! Numbers that are a function of a name: what `fixtures/make_common.py`
//! computes, to the same bits.
//!
//! u(name, i) = (2k + 1 - 2^24) / 2^24 with k = splitmix64(fnv1a64(name) + i)
//! >> 40, in (-1, 1) and exact in f32. splitmix64: Steele, Lea, Flood 2014;
//! fnv1a64: Fowler, Noll, Vo.

fn fnv(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// The i-th 64-bit hash of `name`.
pub fn splitmix(name: &str, i: usize) -> u64 {
    let mut x = fnv(name)
        .wrapping_add(i as u64)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// u(name, i).
pub fn uniform(name: &str, i: usize) -> f64 {
    ((splitmix(name, i) >> 40) as f64 * 2.0 + 1.0 - 16_777_216.0) / 16_777_216.0
}

/// u(name, 0..n).
pub fn uniforms(name: &str, n: usize) -> Vec<f64> {
    (0..n).map(|i| uniform(name, i)).collect()
}

/// `n` token ids below `vocab`.
pub fn tokens(name: &str, n: usize, vocab: usize) -> Vec<u32> {
    (0..n)
        .map(|i| (splitmix(name, i) % vocab as u64) as u32)
        .collect()
}

/// offset + scale u in f32: the product rounded, then the sum.
pub fn weights(name: &str, n: usize, offset: f32, scale: f32) -> Vec<f32> {
    (0..n)
        .map(|i| offset + scale * uniform(name, i) as f32)
        .collect()
}
