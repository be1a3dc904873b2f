//! First pass over one policy: maximum, normaliser, entropy sum, ranks.

use super::{LANES, Line, count, exp, groups, kernel, tree};

/// Sums of one chunk relative to a maximum m.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScanSums {
    /// Sum of e^(z - m) over z != m. The top is counted apart so that small
    /// masses beside it are not lost in its rounding.
    pub(crate) rest: f64,
    /// Sum of (z - m) e^(z - m), <= 0.
    pub(crate) slope: f64,
    /// Number of z = m.
    pub(crate) top: u32,
    /// Number of z > the threshold.
    pub(crate) above: u32,
}

/// Greatest logits of one chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Maxima {
    /// Of each lane.
    pub(crate) lanes: [f32; LANES],
    /// Of all.
    pub(crate) max: f32,
    /// None is NaN or +inf.
    pub(crate) finite: bool,
}

#[inline(always)]
fn maxima_body(z: &[f32]) -> Maxima {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut bad = [0u32; LANES];
    for group in groups(z) {
        for i in 0..LANES {
            let x = group[i];
            lanes[i] = if x > lanes[i] { x } else { lanes[i] };
            bad[i] |= u32::from(x.is_nan() || x == f32::INFINITY);
        }
    }
    let mut max = f32::NEG_INFINITY;
    let mut any = 0;
    for i in 0..LANES {
        max = if lanes[i] > max { lanes[i] } else { max };
        any |= bad[i];
    }
    Maxima {
        lanes,
        max,
        finite: any == 0,
    }
}

#[inline(always)]
fn kth_body(lanes: &[f32; LANES], k: usize) -> f32 {
    let mut greater = [0u32; LANES];
    for other in lanes {
        for i in 0..LANES {
            count(&mut greater[i], *other > lanes[i]);
        }
    }
    let mut least = f32::INFINITY;
    for i in 0..LANES {
        let among = (greater[i] as usize) < k && lanes[i] < least;
        least = if among { lanes[i] } else { least };
    }
    least
}

#[inline(always)]
fn scan_body(z: &[f32], m: f32, threshold: f32, weights: &mut Line) -> ScanSums {
    let (mut rest, mut slope) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (mut top, mut above) = ([0u32; LANES], [0u32; LANES]);
    let weights = weights.0.as_chunks_mut::<LANES>().0;
    for (z, weights) in groups(z).iter().zip(weights) {
        for i in 0..LANES {
            let y = z[i] - m;
            let e = exp(y);
            weights[i] = e;
            // -inf * 0 at masked tokens contributes 0.
            slope[i] += if e > 0.0 { e * y } else { 0.0 };
            rest[i] += if z[i] == m { 0.0 } else { e };
            count(&mut top[i], z[i] == m);
            count(&mut above[i], z[i] > threshold);
        }
    }
    ScanSums {
        rest: tree(&rest),
        slope: tree(&slope),
        top: top.iter().sum(),
        above: above.iter().sum(),
    }
}

kernel! {
    /// Greatest logits, and whether none is NaN or +inf.
    fn maxima(z: &[f32]) -> Maxima = maxima_body;
}
kernel! {
    /// The k-th greatest of the lanes, k in 1..=LANES.
    fn kth(lanes: &[f32; LANES], k: usize) -> f32 = kth_body;
}
kernel! {
    /// Sums relative to `m`; e^(z - m) of each logit is left in `weights`.
    fn scan(z: &[f32], m: f32, threshold: f32, weights: &mut Line) -> ScanSums = scan_body;
}
