//! The thin factors of a matrix of low rank.
//!
//! Δ = U S Vᵀ is cut after the smallest r for which
//! sqrt(Σ_{i>r} s_i²) <= tolerance · ‖Δ‖_F, which by Eckart and Young (1936) is
//! the best any matrix of rank r can do. The adapter's halves are
//! B = U √S and A = √S Vᵀ, so that neither carries the whole scale, rounded to
//! f32; the residual that is reported is measured *after* that rounding.

use nalgebra::{DMatrix, DVector, SVD};

/// What of the difference may be left out, and how many directions may be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Largest rank per projection.
    pub max_rank: usize,
    /// Largest relative Frobenius residual, without unit. Two f32 checkpoints
    /// whose difference has exact low rank leave about 3e-7, the rounding of
    /// the tuned weights.
    pub tolerance: f64,
}

impl Default for Cut {
    fn default() -> Self {
        Self {
            max_rank: 64,
            tolerance: 1e-6,
        }
    }
}

/// B (rows × r) and A (r × columns), row-major f32, with B·A ≈ Δ.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// Rows of Δ.
    pub rows: usize,
    /// Columns of Δ.
    pub columns: usize,
    /// Inner dimension r.
    pub rank: usize,
    /// B, row-major.
    pub b: Vec<f32>,
    /// A, row-major.
    pub a: Vec<f32>,
    /// ‖Δ - B·A‖_F / ‖Δ‖_F with the rounded factors, product in f64.
    pub residual: f64,
    /// max |Δ - B·A| with the rounded factors, product in f64.
    pub max_error: f64,
}

/// The singular value decomposition of one difference, not yet cut.
pub(crate) struct Spectrum {
    delta: DMatrix<f64>,
    norm: f64,
    u: DMatrix<f64>,
    s: DVector<f64>,
    vt: DMatrix<f64>,
}

impl Spectrum {
    /// Decomposes `delta`, which must be finite, not empty and not zero;
    /// `None` where the iteration does not converge.
    pub(crate) fn of(delta: DMatrix<f64>) -> Option<Self> {
        let norm = delta.norm();
        let steps = 100 * delta.nrows().max(delta.ncols());
        let svd = SVD::try_new(delta.clone(), true, true, f64::EPSILON, steps)?;
        Some(Self {
            delta,
            norm,
            u: svd.u?,
            s: svd.singular_values,
            vt: svd.v_t?,
        })
    }

    /// Number of singular values.
    pub(crate) fn full_rank(&self) -> usize {
        self.s.len()
    }

    /// Relative Frobenius norm of what rank r leaves out, before rounding.
    pub(crate) fn left_out(&self, rank: usize) -> f64 {
        let tail: f64 = self.s.iter().skip(rank).map(|s| s * s).sum();
        tail.sqrt() / self.norm
    }

    /// The smallest rank within the cut, or the residual at its largest rank.
    pub(crate) fn rank(&self, cut: Cut) -> Result<usize, f64> {
        let most = cut.max_rank.min(self.full_rank());
        (1..=most)
            .find(|&rank| self.left_out(rank) <= cut.tolerance)
            .ok_or_else(|| self.left_out(most))
    }

    /// The factors of rank `rank`. A rank above the full rank is filled with
    /// zeros, so that projections of different sizes can share one.
    pub(crate) fn factors(&self, rank: usize) -> Factors {
        let (rows, columns) = self.delta.shape();
        let root = |k: usize| self.s.get(k).map_or(0.0, |s| s.sqrt());
        let kept = rank.min(self.full_rank());
        let round = |x: f64| f64::from(x as f32);
        let b = DMatrix::from_fn(rows, rank, |i, k| {
            if k < kept {
                round(self.u[(i, k)] * root(k))
            } else {
                0.0
            }
        });
        let a = DMatrix::from_fn(rank, columns, |k, j| {
            if k < kept {
                round(root(k) * self.vt[(k, j)])
            } else {
                0.0
            }
        });
        let error = &self.delta - &b * &a;
        Factors {
            rows,
            columns,
            rank,
            residual: error.norm() / self.norm,
            max_error: error.amax(),
            b: row_major(&b),
            a: row_major(&a),
        }
    }
}

/// Row-major f32 of a matrix whose entries are f32 values already.
fn row_major(matrix: &DMatrix<f64>) -> Vec<f32> {
    matrix
        .row_iter()
        .flat_map(|row| row.iter().map(|&x| x as f32).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn planted(rows: usize, columns: usize, rank: usize, seed: u64) -> DMatrix<f64> {
        let mut state = seed | 1;
        let mut next = move || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as f64 / f64::from(u32::MAX) - 0.25
        };
        let b = DMatrix::from_fn(rows, rank, |_, _| next());
        let a = DMatrix::from_fn(rank, columns, |_, _| next());
        b * a
    }

    proptest! {
        #[test]
        fn a_planted_rank_is_found(rows in 4usize..24, columns in 4usize..24, rank in 1usize..4, seed: u64) {
            let spectrum = Spectrum::of(planted(rows, columns, rank, seed)).expect("converges");
            prop_assert_eq!(spectrum.rank(Cut::default()), Ok(rank));
            let factors = spectrum.factors(rank);
            prop_assert!(factors.residual < 1e-6, "residual {}", factors.residual);
            prop_assert_eq!(factors.b.len(), rows * rank);
            prop_assert_eq!(factors.a.len(), rank * columns);
        }

        #[test]
        fn more_rank_never_leaves_more(seed: u64) {
            let spectrum = Spectrum::of(planted(9, 7, 7, seed)).expect("converges");
            for rank in 1..7 {
                prop_assert!(spectrum.left_out(rank + 1) <= spectrum.left_out(rank));
            }
        }
    }

    #[test]
    fn the_residual_at_the_largest_rank_is_told() {
        // diag(3, 4): rank 1 leaves 3 of 5.
        let delta = DMatrix::from_row_slice(2, 2, &[3.0, 0.0, 0.0, 4.0]);
        let spectrum = Spectrum::of(delta).expect("converges");
        let told = spectrum
            .rank(Cut {
                max_rank: 1,
                tolerance: 1e-6,
            })
            .expect_err("rank 2");
        assert!((told - 0.6).abs() < 1e-12, "{told}");
    }

    #[test]
    fn a_rank_above_the_full_rank_is_filled_with_zeros() {
        let spectrum = Spectrum::of(planted(3, 5, 2, 7)).expect("converges");
        let factors = spectrum.factors(6);
        assert_eq!(factors.b.len(), 3 * 6);
        assert!(factors.residual < 1e-6);
        assert!(factors.a[3 * 5..].iter().all(|&x| x == 0.0));
    }
}
