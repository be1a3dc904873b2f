//! What is known of one position of one prefix, and the coupled draw.
//!
//! Both policies' next tokens come from the same noise: x = argmax_v(z_v / T +
//! G_v), a draw from softmax(z / T) (Gumbel 1954; Maddison et al. 2014), lowest
//! id at ties. G_v is the draw of token v, in order of id, at position t of the
//! key (seed, problem, sample, `gumbel`), so it is shared by the two policies,
//! all arms, both directions and all temperatures, and by nothing else. Two
//! policies that agree then write the same token, and differ as rarely as their
//! distributions allow a coupling of this kind to. T = 0 is the argmax.
//!
//! Ids that only one of two padded vocabularies has are never drawn.

use forkscope_metrics::PairMetrics;
use forkscope_metrics::rng::Key;
use forkscope_records::types::Direction;

use super::guide::Signal;

/// Generators' tokens that [`super::Versus::RandomToken`] draws from.
pub(crate) const TOP: usize = 20;

/// Index of the generator in pairs (base, tuned).
pub(crate) fn generator(direction: Direction) -> usize {
    match direction {
        Direction::Forward => 0,
        Direction::Reverse => 1,
    }
}

/// The noise of one position over the vocabulary; none at T = 0.
pub(crate) fn noise(key: &Key, t: usize, vocab: usize, out: &mut Vec<f64>) {
    let mut draws = key.rng_at(t as u64);
    out.clear();
    out.extend((0..vocab).map(|_| draws.gumbel()));
}

/// The token of greatest z / T + G; NaN never wins.
pub(crate) fn draw(logits: &[f32], temperature: f64, noise: &[f64]) -> u32 {
    let mut best = (0u32, f64::NEG_INFINITY);
    for ((id, z), g) in (0u32..).zip(logits).zip(noise) {
        let score = f64::from(*z) / temperature + g;
        if score > best.1 {
            best = (id, score);
        }
    }
    best.0
}

/// One position of one prefix, of both policies (base, tuned).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    /// Next token of each.
    pub tokens: [u32; 2],
    /// Argmax of each.
    pub argmax: [u32; 2],
    /// H(b), nats.
    pub entropy: f64,
    pub js: f64,
    /// +inf where the base masks a token that the tuned policy allows.
    pub kl: f64,
    /// +inf where the tuned policy masks one.
    pub ce: f64,
    /// Of each policy's token: ln under itself minus ln under the other.
    pub drop: [f64; 2],
    /// Most probable tokens of each; empty where nobody draws from them.
    pub top: [Vec<u32>; 2],
}

impl View {
    pub(crate) fn new(m: &PairMetrics, tokens: [u32; 2], rows: [&[f32]; 2]) -> Self {
        let norm = [m.base.log_normaliser, m.tuned.log_normaliser];
        let logprob = |policy: usize, token: u32| {
            let z = rows.get(policy).and_then(|row| row.get(token as usize));
            z.map_or(f64::NEG_INFINITY, |z| f64::from(*z) - norm[policy])
        };
        let ids = |top: &[(u32, f64)]| top.iter().map(|t| t.0).collect();
        Self {
            tokens,
            argmax: [m.base.argmax, m.tuned.argmax],
            entropy: m.base.entropy_nats,
            js: m.js_nats,
            kl: m.kl_tuned_base_nats.unwrap_or(f64::INFINITY),
            ce: m.ce_base_tuned_nats.unwrap_or(f64::INFINITY),
            drop: [
                logprob(0, tokens[0]) - logprob(1, tokens[0]),
                logprob(1, tokens[1]) - logprob(0, tokens[1]),
            ],
            top: [ids(&m.base.topk), ids(&m.tuned.topk)],
        }
    }

    /// The signal as a gate of that generator sees it.
    pub(crate) fn signal(&self, signal: Signal, generator: usize) -> f64 {
        let drop = self.drop.get(generator).copied().unwrap_or(0.0);
        match signal {
            Signal::Entropy => self.entropy,
            Signal::Js => self.js,
            Signal::Kl => self.kl,
            Signal::Ce => self.ce,
            Signal::Delta => drop.abs(),
            Signal::Drop => drop,
        }
    }

    /// Whether the policies would write different tokens.
    pub(crate) fn differs(&self) -> bool {
        self.tokens[0] != self.tokens[1]
    }

    /// Whether their argmaxes differ.
    pub(crate) fn changed(&self) -> bool {
        self.argmax[0] != self.argmax[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coupled_draw_is_a_draw_from_each_policy_and_agrees_where_they_do() {
        let p = [0.5f64, 0.3, 0.15, 0.05];
        let q = [0.3f64, 0.5, 0.15, 0.05];
        let logits = |p: &[f64]| p.iter().map(|p| p.ln() as f32).collect::<Vec<f32>>();
        let (z, y) = (logits(&p), logits(&q));
        let key = Key::new(3, "p", 0, "gumbel");
        let (mut counts, mut other, mut apart) = ([0.0; 4], [0.0; 4], 0.0);
        let n = 40_000;
        let mut noise_of = Vec::new();
        for t in 0..n {
            noise(&key, t, 4, &mut noise_of);
            let (a, b) = (draw(&z, 1.0, &noise_of), draw(&y, 1.0, &noise_of));
            counts[a as usize] += 1.0 / n as f64;
            other[b as usize] += 1.0 / n as f64;
            apart += f64::from(u8::from(a != b)) / n as f64;
            assert_eq!(draw(&z, 1.0, &noise_of), a);
            assert_eq!(draw(&z, 1e-6, &noise_of), 0, "cold is the argmax");
        }
        for i in 0..4 {
            assert!((counts[i] - p[i]).abs() < 0.01, "{counts:?}");
            assert!((other[i] - q[i]).abs() < 0.01, "{other:?}");
        }
        // At least the total variation, 0.2; at most twice that.
        assert!((0.19..0.41).contains(&apart), "{apart}");
    }

    #[test]
    fn a_masked_token_is_never_drawn() {
        let key = Key::new(3, "p", 0, "gumbel");
        let mut g = Vec::new();
        for t in 0..200 {
            noise(&key, t, 3, &mut g);
            assert_ne!(draw(&[0.0, f32::NEG_INFINITY, 1.0], 2.0, &g), 1);
        }
    }
}
