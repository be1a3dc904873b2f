//! The k greatest logits of a row, met chunk by chunk: greatest first, ties by
//! lowest id, masked tokens (-inf) never among them.

use crate::kernels::{Cpu, LANES, Maxima, kth};

/// Up to this many are kept by insertion; more are selected at the end.
const INSERTION: usize = 64;

/// The k greatest so far.
#[derive(Debug, Default)]
pub(crate) struct Top {
    k: usize,
    /// Sorted while `k <= INSERTION`, else all unmasked tokens.
    kept: Vec<(f32, u32)>,
    /// What a logit must exceed to be kept; ids only grow, so a tie is not.
    bar: f32,
}

impl Top {
    /// Forgets everything and starts a row.
    pub(crate) fn start(&mut self, k: usize) {
        self.k = k;
        self.kept.clear();
        self.bar = f32::NEG_INFINITY;
    }

    /// Takes the next chunk, ids from `start` on.
    #[inline]
    pub(crate) fn absorb(&mut self, cpu: Cpu, chunk: &[f32], maxima: &Maxima, start: usize) {
        if self.k == 0 || maxima.max <= self.bar {
            return;
        }
        if self.k > INSERTION {
            let tokens = chunk.iter().copied().zip(start as u32..);
            self.kept
                .extend(tokens.filter(|(z, _)| *z > f32::NEG_INFINITY));
            return;
        }
        if self.k <= LANES {
            // k lanes have a logit of at least this, so nothing below it stays.
            let kth = kth(cpu, &maxima.lanes, self.k);
            self.bar = self.bar.max(kth.next_down());
        }
        for (group, from) in chunk
            .as_chunks::<LANES>()
            .0
            .iter()
            .zip((start..).step_by(LANES))
        {
            let bar = self.bar;
            if group.iter().fold(false, |any, &z| any | (z > bar)) {
                for (&z, id) in group.iter().zip(from as u32..) {
                    if z > self.bar {
                        self.insert(z, id);
                    }
                }
            }
        }
    }

    fn insert(&mut self, z: f32, id: u32) {
        if self.kept.len() < self.k {
            self.kept.push((z, id));
        }
        let mut place = self.kept.len() - 1;
        while let Some(&above) = place.checked_sub(1).and_then(|above| self.kept.get(above)) {
            if above.0 >= z {
                break;
            }
            self.kept[place] = above;
            place -= 1;
        }
        self.kept[place] = (z, id);
        if self.kept.len() == self.k {
            self.bar = self.bar.max(self.kept[self.k - 1].0);
        }
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
    use crate::kernels::maxima;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_full_sort(
            logits in prop::collection::vec(
                prop_oneof![4 => (-3i8..3).prop_map(f32::from), 1 => Just(f32::NEG_INFINITY), 1 => Just(-0.0)],
                1..300,
            ),
            k in prop_oneof![0usize..8, 14usize..19, 60usize..70, 200usize..400],
        ) {
            let mut sorted: Vec<(f32, u32)> = logits.iter().copied().zip(0..).collect();
            sorted.retain(|(z, _)| *z > f32::NEG_INFINITY);
            sorted.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
            sorted.truncate(k);
            let mut top = Top::default();
            top.start(k);
            for (i, part) in logits.chunks(32).enumerate() {
                let mut chunk = [f32::NEG_INFINITY; 32];
                chunk[..part.len()].copy_from_slice(part);
                let maxima = maxima(Cpu::detect(), &chunk);
                top.absorb(Cpu::detect(), &chunk, &maxima, i * 32);
            }
            prop_assert_eq!(top.finish(), &sorted[..]);
        }
    }
}
