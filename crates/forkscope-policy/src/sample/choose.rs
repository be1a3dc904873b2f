//! Choosing the next token from a row of logits.
//!
//! The order of transformers: temperature, top-k, top-p, min-p, each on what
//! the one before left, probabilities renormalised between them. Then the
//! inverse of the cumulative distribution in order of token id at one uniform
//! number. Temperature 0 is the argmax, lowest id at ties.

use forkscope_metrics::{MetricsError, normaliser, probabilities};

/// How tokens are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy.
    pub temperature: f64,
    /// Keeps the smallest set of most probable tokens with at least this mass; 1 keeps all.
    pub top_p: f64,
    /// Keeps that many most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Drops tokens below this share of the greatest probability; 0 keeps all.
    pub min_p: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
        }
    }
}

impl Sampling {
    /// Says what is wrong with the settings, if anything is.
    pub fn check(&self) -> Result<(), String> {
        // Below 1e-6 the division by T leaves the range of numbers.
        let t = self.temperature;
        if !(t == 0.0 || (1e-6..=1e6).contains(&t)) {
            return Err(format!(
                "--temperature {t} is neither 0 nor from 1e-6 to 1e6"
            ));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(format!(
                "--top-p {} is not above 0 and at most 1",
                self.top_p
            ));
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return Err(format!("--min-p {} is not from 0 to 1", self.min_p));
        }
        Ok(())
    }
}

/// The token drawn and its ln p under the raw logits at T = 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    pub(crate) token: u32,
    pub(crate) logprob: f64,
}

/// Buffers kept between calls.
#[derive(Debug, Default)]
pub(crate) struct Chooser {
    p: Vec<f64>,
    order: Vec<u32>,
}

impl Chooser {
    /// Draws a token from a row of logits with `uniform` in [0, 1).
    pub(crate) fn choose(
        &mut self,
        logits: &[f32],
        sampling: &Sampling,
        uniform: f64,
    ) -> Result<Choice, MetricsError> {
        let norm = normaliser(logits)?;
        let token = if sampling.temperature == 0.0 {
            logits.iter().position(|z| *z == norm.max).unwrap_or(0) as u32
        } else {
            probabilities(logits, &norm, 1.0 / sampling.temperature, &mut self.p)?;
            self.truncate(sampling);
            self.draw(uniform)
        };
        let logprob = logits
            .get(token as usize)
            .map_or(f64::NEG_INFINITY, |z| norm.logprob(*z));
        Ok(Choice { token, logprob })
    }

    fn truncate(&mut self, s: &Sampling) {
        if s.top_k > 0 && s.top_k < self.p.len() {
            self.rank_first(s.top_k);
            self.keep(s.top_k);
        }
        if s.top_p < 1.0 {
            let total: f64 = self.p.iter().sum();
            let kept = self.nucleus(s.top_p * total);
            self.keep(kept);
        }
        if s.min_p > 0.0 {
            let floor = s.min_p * self.p.iter().copied().fold(0.0, f64::max);
            for p in &mut self.p {
                if *p < floor {
                    *p = 0.0;
                }
            }
        }
    }

    /// Orders the `n` most probable tokens to the front of `order`, ties by
    /// lowest id.
    fn rank_first(&mut self, n: usize) {
        self.order.clear();
        self.order.extend(0..self.p.len() as u32);
        let p = &self.p;
        let by_rank = |a: &u32, b: &u32| p[*b as usize].total_cmp(&p[*a as usize]).then(a.cmp(b));
        if n < self.order.len() {
            self.order.select_nth_unstable_by(n, by_rank);
        }
        let n = n.min(self.order.len());
        self.order[..n].sort_unstable_by(by_rank);
    }

    /// Size of the smallest set of most probable tokens with at least `mass`.
    fn nucleus(&mut self, mass: f64) -> usize {
        let mut n = 64;
        loop {
            self.rank_first(n);
            let mut sum = 0.0;
            for (i, token) in self.order.iter().take(n).enumerate() {
                sum += self.p[*token as usize];
                if sum >= mass {
                    return i + 1;
                }
            }
            if n >= self.p.len() {
                return self.p.len();
            }
            n *= 16;
        }
    }

    /// Zeroes all but the first `n` of `order`.
    fn keep(&mut self, n: usize) {
        for token in self.order.iter().skip(n) {
            self.p[*token as usize] = 0.0;
        }
    }

    fn draw(&self, uniform: f64) -> u32 {
        let total: f64 = self.p.iter().sum();
        let target = uniform * total;
        let mut sum = 0.0;
        let mut last = 0;
        for (token, p) in self.p.iter().enumerate() {
            if *p > 0.0 {
                sum += p;
                last = token as u32;
                if sum > target {
                    return last;
                }
            }
        }
        last // rounding left the target at the very end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(logits: &[f32], s: &Sampling) -> Vec<f64> {
        let mut chooser = Chooser::default();
        let n = 20_000;
        let mut count = vec![0.0; logits.len()];
        for i in 0..n {
            let choice = chooser
                .choose(logits, s, (f64::from(i) + 0.5) / f64::from(n))
                .unwrap();
            count[choice.token as usize] += 1.0 / f64::from(n);
        }
        count
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-4)
    }

    #[test]
    fn draws_the_distribution_each_setting_defines() {
        let p = [0.5f64, 0.25, 0.15, 0.1];
        let logits: Vec<f32> = p.iter().map(|p| libm::log(*p) as f32 + 3.0).collect();
        let all = Sampling::default();
        assert!(close(&frequencies(&logits, &all), &p));
        assert!(close(
            &frequencies(
                &logits,
                &Sampling {
                    top_k: 2,
                    ..all.clone()
                }
            ),
            &[2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]
        ));
        assert!(close(
            &frequencies(
                &logits,
                &Sampling {
                    top_p: 0.75,
                    ..all.clone()
                }
            ),
            &[2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]
        ));
        assert!(close(
            &frequencies(
                &logits,
                &Sampling {
                    top_p: 0.76,
                    ..all.clone()
                }
            ),
            &[0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0.0]
        ));
        assert!(close(
            &frequencies(
                &logits,
                &Sampling {
                    min_p: 0.4,
                    ..all.clone()
                }
            ),
            &[2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]
        ));
        let squares: f64 = p.iter().map(|p| p * p).sum();
        let half: Vec<f64> = p.iter().map(|p| p * p / squares).collect();
        assert!(close(
            &frequencies(
                &logits,
                &Sampling {
                    temperature: 0.5,
                    ..all
                }
            ),
            &half
        ));
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_a_tie_and_the_raw_logprob() {
        let mut chooser = Chooser::default();
        let greedy = Sampling {
            temperature: 0.0,
            ..Sampling::default()
        };
        let choice = chooser.choose(&[1.0, 2.0, 2.0, 0.0], &greedy, 0.9).unwrap();
        assert_eq!(choice.token, 1);
        let cold = chooser
            .choose(
                &[1.0, 2.0, 2.0, 0.0],
                &Sampling {
                    temperature: 1e-3,
                    ..Sampling::default()
                },
                0.0,
            )
            .unwrap();
        assert_eq!(cold, choice);
    }

    #[test]
    fn masked_tokens_are_never_drawn_and_nan_is_an_error() {
        let mut chooser = Chooser::default();
        for u in [0.0, 0.5, 0.999_999_999] {
            let choice = chooser
                .choose(
                    &[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY],
                    &Sampling::default(),
                    u,
                )
                .unwrap();
            assert_eq!(choice.token, 1);
        }
        assert!(
            chooser
                .choose(&[f32::NAN, 0.0], &Sampling::default(), 0.5)
                .is_err()
        );
    }

    #[test]
    fn a_wide_nucleus_is_found_in_a_large_vocabulary() {
        let logits = vec![0.0f32; 5000];
        let mut chooser = Chooser::default();
        let s = Sampling {
            top_p: 0.5,
            ..Sampling::default()
        };
        let choice = chooser.choose(&logits, &s, 0.999_999).unwrap();
        assert!((2498..=2500).contains(&choice.token), "{}", choice.token);
    }
}
