//! Counter-based random numbers: the same draw for the same place, whatever
//! was drawn before it, in whichever order and on however many threads.
//!
//! A [`Key`] names a sequence: `sha256(domain, seed, sample, len(problem_id),
//! problem_id, len(purpose), purpose)` is the key of a ChaCha8 cipher, integers
//! little-endian, lengths as u64 so that no two different names collide. A
//! position within the sequence is the cipher's 64-bit stream number; the draws
//! at one position are the words of that stream from word 0 on. Nothing is
//! stateful: [`Key::uniform`] is the first draw at a position, and
//! [`Key::rng_at`] gives as many more as are needed there.
//!
//! Source of the cipher: D. J. Bernstein, "ChaCha, a variant of Salsa20"
//! (2008), 8 rounds. The bits of every draw are part of the record of a run and
//! never change within a schema version (golden values in the tests).

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// Separates these keys from every other use of the hash.
const DOMAIN: &[u8] = b"forkscope/rng/1\0";

/// Distance of neighbouring doubles in [0.5, 1): 2^-53.
const ULP_BELOW_ONE: f64 = 1.0 / 9_007_199_254_740_992.0;

/// The key of one sequence of random numbers.
#[derive(Clone)]
pub struct Key {
    /// The keyed cipher at stream 0, word 0; cloned for each position.
    cipher: ChaCha8Rng,
}

impl Key {
    /// The sequence of `sample` of `problem_id` under `seed`, for one
    /// `purpose` ("sample", "bootstrap", ...). Two purposes never share draws.
    pub fn new(seed: u64, problem_id: &str, sample: u32, purpose: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(seed.to_le_bytes());
        hash.update(sample.to_le_bytes());
        for text in [problem_id, purpose] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        Self {
            cipher: ChaCha8Rng::from_seed(hash.finalize().into()),
        }
    }

    /// The uniform number at `position`: a multiple of 2^-53 in [0, 1).
    pub fn uniform(&self, position: u64) -> f64 {
        self.rng_at(position).uniform()
    }

    /// All the draws at `position`; the first `uniform` of it equals
    /// [`Key::uniform`].
    pub fn rng_at(&self, position: u64) -> Draws {
        let mut cipher = self.cipher.clone();
        cipher.set_stream(position);
        Draws { cipher }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key { .. }")
    }
}

/// The draws at one position of a [`Key`], one after the other.
#[derive(Debug, Clone)]
pub struct Draws {
    cipher: ChaCha8Rng,
}

impl Draws {
    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        self.cipher.next_u64()
    }

    /// A multiple of 2^-53 in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * ULP_BELOW_ONE
    }

    /// A standard Gumbel number, -ln(-ln u) with u uniform in (0, 1): the token
    /// of greatest logit / T + Gumbel is a draw from softmax(logit / T).
    ///
    /// u is an odd multiple of 2^-53, so that neither logarithm sees 0 or 1.
    pub fn gumbel(&mut self) -> f64 {
        let u = ((self.next_u64() >> 12) as f64 + 0.5) * (2.0 * ULP_BELOW_ONE);
        -libm::log(-libm::log(u))
    }

    /// A whole number in `0..n`, each with the same probability; 0 for `n` = 0.
    ///
    /// Multiply-and-reject (Lemire 2019, arXiv 1805.10941), so without the bias
    /// of a remainder.
    pub fn below(&mut self, n: u64) -> u64 {
        if n <= 1 {
            return 0;
        }
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// A fair coin.
    pub fn coin(&mut self) -> bool {
        self.next_u64() >> 63 == 1
    }

    /// Shuffles in place, every order with the same probability (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First 64-bit word of a ChaCha8 stream, written from the paper: state =
    /// constants, key, 64-bit block counter, 64-bit stream number.
    fn chacha8_first_word(key: [u8; 32], stream: u64) -> u64 {
        let mut state = [0u32; 16];
        state[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
        for (word, bytes) in state[4..12].iter_mut().zip(key.chunks(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        state[14] = stream as u32;
        state[15] = (stream >> 32) as u32;
        let start = state;
        let quarter = |s: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize| {
            for (turn_d, turn_b) in [(16, 12), (8, 7)] {
                s[a] = s[a].wrapping_add(s[b]);
                s[d] = (s[d] ^ s[a]).rotate_left(turn_d);
                s[c] = s[c].wrapping_add(s[d]);
                s[b] = (s[b] ^ s[c]).rotate_left(turn_b);
            }
        };
        for _ in 0..4 {
            for i in 0..4 {
                quarter(&mut state, i, 4 + i, 8 + i, 12 + i);
            }
            for i in 0..4 {
                quarter(
                    &mut state,
                    i,
                    4 + (i + 1) % 4,
                    8 + (i + 2) % 4,
                    12 + (i + 3) % 4,
                );
            }
        }
        let low = state[0].wrapping_add(start[0]);
        let high = state[1].wrapping_add(start[1]);
        u64::from(high) << 32 | u64::from(low)
    }

    #[test]
    fn draws_are_chacha8_keyed_by_the_hash_of_the_names() {
        let mut text = DOMAIN.to_vec();
        text.extend(42u64.to_le_bytes());
        text.extend(3u32.to_le_bytes());
        text.extend(4u64.to_le_bytes());
        text.extend(b"p-17");
        text.extend(6u64.to_le_bytes());
        text.extend(b"sample");
        let key: [u8; 32] = Sha256::digest(&text).into();
        let drawn = Key::new(42, "p-17", 3, "sample");
        for position in [0, 1, 2, 1 << 40, u64::MAX] {
            assert_eq!(
                drawn.rng_at(position).next_u64(),
                chacha8_first_word(key, position)
            );
        }
    }

    #[test]
    fn a_draw_depends_on_its_place_only() {
        let key = Key::new(1, "a", 0, "sample");
        let forward: Vec<f64> = (0..100).map(|t| key.uniform(t)).collect();
        let backward: Vec<f64> = (0..100).rev().map(|t| key.uniform(t)).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
        assert_eq!(key.rng_at(7).uniform(), forward[7]);
        for other in [
            Key::new(2, "a", 0, "sample"),
            Key::new(1, "b", 0, "sample"),
            Key::new(1, "a", 1, "sample"),
            Key::new(1, "a", 0, "gate"),
            Key::new(1, "as", 0, "ample"),
        ] {
            assert_ne!(other.uniform(0), forward[0]);
        }
    }

    #[test]
    fn uniform_is_uniform() {
        let key = Key::new(7, "moments", 0, "test");
        let n = 100_000u64;
        let (mut sum, mut squares) = (0.0, 0.0);
        let mut bins = [0u32; 10];
        for position in 0..n {
            let u = key.uniform(position);
            assert!((0.0..1.0).contains(&u));
            sum += u;
            squares += u * u;
            bins[(u * 10.0) as usize] += 1;
        }
        // Five standard errors of the mean and of the second moment.
        let n = n as f64;
        assert!((sum / n - 0.5).abs() < 5.0 * (1.0 / 12.0 / n).sqrt());
        assert!((squares / n - 1.0 / 3.0).abs() < 5.0 * (4.0 / 45.0 / n).sqrt());
        let chi2: f64 = bins
            .iter()
            .map(|&count| (f64::from(count) - n / 10.0).powi(2) / (n / 10.0))
            .sum();
        assert!(chi2 < 33.7, "chi2 with 9 degrees of freedom, p < 1e-4");
    }

    #[test]
    fn gumbel_is_gumbel() {
        let key = Key::new(7, "gumbel", 0, "test");
        let n = 100_000u64;
        let draws: Vec<f64> = (0..n).map(|t| key.rng_at(t).gumbel()).collect();
        assert!(draws.iter().all(|g| g.is_finite()));
        // Mean: Euler's constant; variance: pi^2 / 6; five standard errors.
        let mean = draws.iter().sum::<f64>() / n as f64;
        assert!((mean - 0.577_215_664_9).abs() < 5.0 * (1.644_934 / n as f64).sqrt());
        // P(G <= 0) = 1/e.
        let below = draws.iter().filter(|g| **g <= 0.0).count() as f64 / n as f64;
        assert!((below - 0.367_879_4).abs() < 5.0 * (0.2325 / n as f64).sqrt());
    }

    #[test]
    fn below_is_in_range_and_even() {
        let mut draws = Key::new(7, "below", 0, "test").rng_at(0);
        assert_eq!(draws.below(0), 0);
        assert_eq!(draws.below(1), 0);
        assert!(draws.below(u64::MAX) < u64::MAX);
        let mut bins = [0u32; 3];
        for _ in 0..30_000 {
            bins[draws.below(3) as usize] += 1;
        }
        assert!(bins.iter().all(|&count| (9_600..10_400).contains(&count)));
    }

    #[test]
    fn shuffle_keeps_the_items() {
        let mut items: Vec<u32> = (0..50).collect();
        Key::new(7, "shuffle", 0, "test")
            .rng_at(0)
            .shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
