//! Attention against the formula in f64, and its bits against themselves.

use super::*;

fn values(n: usize, step: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * step + 5) % 997) as f32 / 499.0 - 1.0)
        .collect()
}

struct Case {
    shape: AttentionShape,
    len: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Case {
    fn new(
        heads: usize,
        kv_heads: usize,
        head_dim: usize,
        window: Option<usize>,
        len: usize,
    ) -> Self {
        let shape = AttentionShape {
            heads,
            kv_heads,
            head_dim,
            window,
        };
        let kv = kv_heads * head_dim * len;
        Self {
            shape,
            len,
            q: values(heads * head_dim * len, 7919),
            k: values(kv, 6101),
            v: values(kv, 3571),
        }
    }

    fn segment(&self, range: std::ops::Range<usize>) -> Segment {
        let width = self.shape.kv_heads * self.shape.head_dim;
        let mut segment = Segment::default();
        for (index, pos) in range.enumerate() {
            segment.reserve(self.shape, index + 1, index);
            segment.store(
                self.shape,
                index,
                &self.k[pos * width..(pos + 1) * width],
                &self.v[pos * width..(pos + 1) * width],
            );
        }
        segment
    }

    fn reference(&self) -> Vec<f64> {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim: d,
            window,
        } = self.shape;
        let mut out = vec![0.0; heads * d * self.len];
        for pos in 0..self.len {
            for h in 0..heads {
                let kv = h / (heads / kv_heads);
                let low = window.map_or(0, |w| (pos + 1).saturating_sub(w));
                let at = |x: &[f32], row: usize, n: usize, head: usize, i: usize| {
                    f64::from(x[(row * n + head) * d + i])
                };
                let scores: Vec<f64> = (low..=pos)
                    .map(|j| {
                        (0..d)
                            .map(|i| {
                                at(&self.q, pos, heads, h, i) * at(&self.k, j, kv_heads, kv, i)
                            })
                            .sum::<f64>()
                            / (d as f64).sqrt()
                    })
                    .collect();
                let max = scores.iter().copied().fold(f64::MIN, f64::max);
                let total: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                for i in 0..d {
                    out[(pos * heads + h) * d + i] = scores
                        .iter()
                        .enumerate()
                        .map(|(j, s)| {
                            (s - max).exp() / total * at(&self.v, low + j, kv_heads, kv, i)
                        })
                        .sum();
                }
            }
        }
        out
    }
}

fn whole(case: &Case) -> Vec<f32> {
    let places: Vec<Place> = (0..case.len)
        .map(|index| Place {
            prefix: 0,
            prefix_len: 0,
            segment: 0,
            index,
        })
        .collect();
    let mut out = vec![0.0; case.q.len()];
    attend(
        case.shape,
        &case.q,
        &places,
        &[case.segment(0..case.len)],
        &mut out,
        &mut AttentionScratch::default(),
    );
    out
}

#[test]
fn matches_f64() {
    for case in [
        Case::new(4, 2, 32, None, 70),
        Case::new(2, 2, 16, None, 5),
        Case::new(6, 1, 10, Some(7), 90),
        Case::new(4, 4, 64, Some(33), 100),
    ] {
        for (x, y) in whole(&case).iter().zip(case.reference()) {
            assert!((f64::from(*x) - y).abs() < 2e-6, "{x} {y}");
        }
    }
}

#[test]
fn bits_do_not_depend_on_segments_or_grouping() {
    for case in [
        Case::new(4, 2, 32, None, 75),
        Case::new(6, 2, 16, Some(20), 75),
        Case::new(3, 1, 8, Some(50), 75),
    ] {
        let all = whole(&case);
        let width = case.shape.heads * case.shape.head_dim;
        for cut in [1, 16, 31, 32, 50] {
            let segments = [case.segment(0..cut), case.segment(cut..case.len)];
            let mut scratch = AttentionScratch::default();
            // Rows one at a time, and in groups that mix their order.
            for step in [1, 3, 75] {
                let mut pos = cut;
                while pos < case.len {
                    let n = step.min(case.len - pos);
                    let places: Vec<Place> = (pos..pos + n)
                        .map(|p| Place {
                            prefix: 0,
                            prefix_len: cut,
                            segment: 1,
                            index: p - cut,
                        })
                        .collect();
                    let mut out = vec![0.0; n * width];
                    attend(
                        case.shape,
                        &case.q[pos * width..(pos + n) * width],
                        &places,
                        &segments,
                        &mut out,
                        &mut scratch,
                    );
                    assert!(
                        out == all[pos * width..(pos + n) * width],
                        "cut {cut}, step {step}, position {pos}"
                    );
                    pos += n;
                }
            }
        }
    }
}
