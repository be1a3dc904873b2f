//! The k greatest logits of a row, met chunk by chunk: greatest first, ties by
//! lowest id, masked tokens (-inf) never among them.

use crate::kernels::LANES;

/// Up to this many are kept by insertion; more are selected at the end.
const INSERTION: usize = 64;

/// The k greatest so far.
#[derive(Debug, Default)]
pub(crate) struct Top {
    k: usize,
    /// Sorted while `k <= INSERTION`, else all unmasked tokens.
    kept: Vec<(f32, u32)>,
}

impl Top {
    /// Forgets everything and starts a row.
    pub(crate) fn start(&mut self, k: usize) {
        self.k = k;
        self.kept.clear();
    }

    /// Takes the next chunk, whose maximum is `max`, ids from `start` on.
    #[inline]
    pub(crate) fn absorb(&mut self, chunk: &[f32], max: f32, start: usize) {
        if self.k == 0 || max <= self.least() {
            return;
        }
        if self.k > INSERTION {
            let ids = start as u32..;
            let unmasked = chunk
                .iter()
                .copied()
                .zip(ids)
                .filter(|(z, _)| *z > f32::NEG_INFINITY);
            self.kept.extend(unmasked);
            return;
        }
        for (group, from) in chunk.chunks(LANES).zip((start..).step_by(LANES)) {
            let least = self.least();
            if group.iter().fold(false, |any, &z| any | (z > least)) {
                for (&z, id) in group.iter().zip(from as u32..) {
                    self.insert(z, id);
                }
            }
        }
    }

    /// What a logit must exceed to be kept; ids only grow, so a tie is not.
    fn least(&self) -> f32 {
        if self.k > INSERTION || self.kept.len() < self.k {
            f32::NEG_INFINITY
        } else {
            self.kept.last().map_or(f32::NEG_INFINITY, |&(z, _)| z)
        }
    }

    #[inline]
    fn insert(&mut self, z: f32, id: u32) {
        if z <= self.least() {
            return;
        }
        if self.kept.len() == self.k {
            self.kept.pop();
        }
        let place = self
            .kept
            .iter()
            .rposition(|&(kept, _)| kept >= z)
            .map_or(0, |i| i + 1);
        self.kept.insert(place, (z, id));
    }

    /// The k greatest, sorted.
    pub(crate) fn finish(&mut self) -> &[(f32, u32)] {
        if self.k > INSERTION {
            let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
            // -0 and +0 tie as logits.
            for (z, _) in &mut self.kept {
                *z += 0.0;
            }
            if self.kept.len() > self.k {
                self.kept.select_nth_unstable_by(self.k - 1, order);
                self.kept.truncate(self.k);
            }
            self.kept.sort_unstable_by(order);
        }
        &self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_full_sort(
            logits in prop::collection::vec(
                prop_oneof![4 => (-3i8..3).prop_map(f32::from), 1 => Just(f32::NEG_INFINITY), 1 => Just(-0.0)],
                1..300,
            ),
            k in prop_oneof![0usize..8, 60usize..70, 200usize..400],
        ) {
            let mut sorted: Vec<(f32, u32)> = logits.iter().copied().zip(0..).collect();
            sorted.retain(|(z, _)| *z > f32::NEG_INFINITY);
            sorted.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
            sorted.truncate(k);
            let mut top = Top::default();
            top.start(k);
            for (i, chunk) in logits.chunks(32).enumerate() {
                let max = chunk.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                top.absorb(chunk, max, i * 32);
            }
            prop_assert_eq!(top.finish(), &sorted[..]);
        }
    }
}
