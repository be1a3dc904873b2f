//! The thin factors of a matrix of low rank.
//!
//! Δ = U S Vᵀ is cut after the smallest r for which
//! sqrt(Σ_{i>r} s_i²) <= tolerance · ‖Δ‖_F, which by Eckart and Young (1936) is
//! the best any matrix of rank r can do. The adapter's halves are
//! B = U √S and A = √S Vᵀ, so that neither carries the whole scale, rounded to
//! f32; the residual that is reported is measured *after* that rounding.
//!
//! The decomposition takes two steps, both in f64 and in a fixed order:
//! Gram-Schmidt with column pivoting finds an orthonormal basis of the column
//! space (a little larger than the largest rank asked for, so the cost is that
//! of a few products with Δ), and one-sided Jacobi rotations (Hestenes, 1958)
//! turn it into singular vectors. What the basis misses stays in the sum as E.

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

/// Basis vectors beyond the largest rank, so that the pivoting's order does not
/// cost accuracy at the cut.
const SPARE: usize = 16;
/// The basis is whole when what it misses is rounding noise of f64.
const NOISE: f64 = 1e-15;
/// Jacobi converges quadratically; ten sweeps are many.
const SWEEPS: usize = 60;

/// u · wᵀ with unit u, and s = |w|: one term of Δ = Σ u wᵀ + E.
struct Term {
    u: Vec<f64>,
    w: Vec<f64>,
    s: f64,
}

/// The singular value decomposition of one difference, not yet cut.
pub(crate) struct Spectrum {
    /// Δ by columns.
    delta: Vec<Vec<f64>>,
    norm: f64,
    /// In descending order of s.
    terms: Vec<Term>,
    /// ‖E‖².
    missed: f64,
}

impl Spectrum {
    /// Decomposes a finite matrix given by its columns, which are of one length.
    pub(crate) fn of(delta: Vec<Vec<f64>>, cut: Cut) -> Self {
        let norm = delta.iter().map(|c| dot(c, c)).sum::<f64>().sqrt();
        let size = cut.max_rank.saturating_add(SPARE);
        let (mut terms, missed) = basis(delta.clone(), size, norm * NOISE);
        orthogonalise(&mut terms);
        Self {
            delta,
            norm,
            terms,
            missed,
        }
    }

    /// Relative Frobenius norm of what rank r leaves out, before rounding.
    pub(crate) fn left_out(&self, rank: usize) -> f64 {
        let tail: f64 = self.terms.iter().skip(rank).map(|t| t.s * t.s).sum();
        (tail + self.missed).sqrt() / self.norm
    }

    /// The smallest rank within the cut, or the residual at its largest rank.
    pub(crate) fn rank(&self, cut: Cut) -> Result<usize, f64> {
        let most = cut.max_rank.min(self.terms.len());
        (1..=most)
            .find(|&rank| self.left_out(rank) <= cut.tolerance)
            .ok_or_else(|| self.left_out(most))
    }

    /// The factors of rank `rank`. A rank above the number of singular values
    /// is filled with zeros, so that projections of different sizes can share one.
    pub(crate) fn factors(&self, rank: usize) -> Factors {
        let rows = self.delta.first().map_or(0, Vec::len);
        let columns = self.delta.len();
        let (mut b, mut a) = (vec![0.0; rows * rank], vec![0.0; rank * columns]);
        for (k, term) in self
            .terms
            .iter()
            .take(rank)
            .enumerate()
            .filter(|(_, t)| t.s > 0.0)
        {
            let root = term.s.sqrt();
            for (to, u) in b.iter_mut().skip(k).step_by(rank).zip(&term.u) {
                *to = (u * root) as f32;
            }
            for (to, w) in a.iter_mut().skip(k * columns).zip(&term.w) {
                *to = (w / root) as f32;
            }
        }
        let (squares, max_error) = self.error(&b, &a, rank);
        Factors {
            rows,
            columns,
            rank,
            b,
            a,
            residual: squares.sqrt() / self.norm,
            max_error,
        }
    }

    /// ‖Δ - B·A‖² and max |Δ - B·A|.
    fn error(&self, b: &[f32], a: &[f32], rank: usize) -> (f64, f64) {
        let columns = self.delta.len();
        let (mut squares, mut largest) = (0.0, 0.0f64);
        for (j, column) in self.delta.iter().enumerate() {
            let right: Vec<f64> = a
                .iter()
                .skip(j)
                .step_by(columns)
                .map(|&x| x.into())
                .collect();
            for (left, &exact) in b.chunks_exact(rank).zip(column) {
                let product: f64 = left
                    .iter()
                    .zip(&right)
                    .map(|(&l, r)| f64::from(l) * r)
                    .sum();
                squares += (exact - product).powi(2);
                largest = largest.max((exact - product).abs());
            }
        }
        (squares, largest)
    }
}

/// At most `size` orthonormal vectors u that span the columns best, greedily,
/// each with its row w = uᵀΔ; and the squared norm of what they miss.
fn basis(mut columns: Vec<Vec<f64>>, size: usize, noise: f64) -> (Vec<Term>, f64) {
    let mut terms: Vec<Term> = Vec::new();
    loop {
        let squares: Vec<f64> = columns.iter().map(|c| dot(c, c)).collect();
        let left: f64 = squares.iter().sum();
        let rows = columns.first().map_or(0, Vec::len);
        if left.sqrt() <= noise || terms.len() >= size.min(rows).min(columns.len()) {
            return (terms, left);
        }
        let pivot = (0..squares.len()).fold(
            0,
            |best, j| if squares[j] > squares[best] { j } else { best },
        );
        let mut u = columns[pivot].clone();
        // Rounding leaves traces of the earlier vectors in the remainder, which
        // would count twice; two passes remove them.
        for _ in 0..2 {
            for earlier in &terms {
                let trace = dot(&earlier.u, &u);
                add(&mut u, -trace, &earlier.u);
            }
            let length = dot(&u, &u).sqrt();
            if length == 0.0 {
                return (terms, left);
            }
            u.iter_mut().for_each(|x| *x /= length);
        }
        let w: Vec<f64> = columns.iter().map(|c| dot(&u, c)).collect();
        for (column, &x) in columns.iter_mut().zip(&w) {
            add(column, -x, &u);
        }
        terms.push(Term { u, w, s: 0.0 });
    }
}

/// Rotates pairs of terms, which keeps Σ u wᵀ and the orthonormal u as they
/// are, until all w are orthogonal; then sorts by s.
fn orthogonalise(terms: &mut [Term]) {
    for _ in 0..SWEEPS {
        let mut turned = false;
        for j in 1..terms.len() {
            let (before, rest) = terms.split_at_mut(j);
            let [second, ..] = rest else { break };
            for first in before {
                turned |= rotate(first, second);
            }
        }
        if !turned {
            break;
        }
    }
    for term in terms.iter_mut() {
        term.s = dot(&term.w, &term.w).sqrt();
    }
    terms.sort_by(|x, y| y.s.total_cmp(&x.s));
}

/// One Jacobi rotation; false where the pair is orthogonal already.
fn rotate(first: &mut Term, second: &mut Term) -> bool {
    let (alpha, beta) = (dot(&first.w, &first.w), dot(&second.w, &second.w));
    let gamma = dot(&first.w, &second.w);
    if gamma.abs() <= 1e-14 * (alpha * beta).sqrt() {
        return false;
    }
    let zeta = (beta - alpha) / (2.0 * gamma);
    let t = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    turn(&mut first.w, &mut second.w, c, c * t);
    turn(&mut first.u, &mut second.u, c, c * t);
    true
}

fn turn(x: &mut [f64], y: &mut [f64], c: f64, s: f64) {
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// x += k · y.
fn add(x: &mut [f64], k: f64, y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += k * y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A product of rank `rank`, by columns.
    fn planted(rows: usize, columns: usize, rank: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut state = seed | 1;
        let mut next = move || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as f64 / f64::from(1u32 << 31) - 0.5
        };
        let b: Vec<Vec<f64>> = (0..rank)
            .map(|_| (0..rows).map(|_| next()).collect())
            .collect();
        (0..columns)
            .map(|_| {
                let mut column = vec![0.0; rows];
                for direction in &b {
                    add(&mut column, next(), direction);
                }
                column
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_planted_rank_is_found(rows in 4usize..24, columns in 4usize..24, rank in 1usize..4, seed: u64) {
            let spectrum = Spectrum::of(planted(rows, columns, rank, seed), Cut::default());
            let found = spectrum.rank(Cut { tolerance: 1e-12, ..Cut::default() });
            prop_assert_eq!(found, Ok(rank));
            let factors = spectrum.factors(rank);
            prop_assert!(factors.residual < 1e-6, "residual {}", factors.residual);
            prop_assert_eq!(factors.b.len(), rows * rank);
            prop_assert_eq!(factors.a.len(), rank * columns);
        }

        #[test]
        fn the_terms_are_a_singular_value_decomposition(rows in 1usize..16, columns in 1usize..16, seed: u64) {
            let delta = planted(rows, columns, 16, seed);
            let squares: f64 = delta.iter().map(|c| dot(c, c)).sum();
            let spectrum = Spectrum::of(delta, Cut::default());
            let sum: f64 = spectrum.terms.iter().map(|t| t.s * t.s).sum();
            prop_assert!((sum / squares - 1.0).abs() < 1e-12);
            let largest = spectrum.terms[0].s;
            for (i, x) in spectrum.terms.iter().enumerate() {
                prop_assert!((dot(&x.u, &x.u) - 1.0).abs() < 1e-12);
                for y in spectrum.terms.iter().skip(i + 1) {
                    prop_assert!(dot(&x.u, &y.u).abs() < 1e-12);
                    prop_assert!(dot(&x.w, &y.w).abs() < 1e-12 * largest * largest);
                    prop_assert!(x.s >= y.s);
                }
            }
        }

        #[test]
        fn what_is_left_out_is_what_the_factors_miss(seed: u64, rank in 1usize..7) {
            let spectrum = Spectrum::of(planted(9, 7, 7, seed), Cut::default());
            prop_assert!(spectrum.left_out(rank) <= spectrum.left_out(rank - 1));
            let missed = spectrum.factors(rank).residual;
            prop_assert!((missed - spectrum.left_out(rank)).abs() < 1e-6, "{missed}");
        }
    }

    #[test]
    fn the_singular_values_of_a_known_matrix() {
        // [[1, 2], [3, 4], [5, 6]]: AᵀA has eigenvalues (91 ± sqrt(91² - 4·24)) / 2.
        let spectrum = Spectrum::of(
            vec![vec![1.0, 3.0, 5.0], vec![2.0, 4.0, 6.0]],
            Cut::default(),
        );
        let root = f64::sqrt(91.0 * 91.0 - 96.0);
        let expected = [
            f64::sqrt((91.0 + root) / 2.0),
            f64::sqrt((91.0 - root) / 2.0),
        ];
        for (term, s) in spectrum.terms.iter().zip(expected) {
            assert!((term.s / s - 1.0).abs() < 1e-13, "{} and {s}", term.s);
        }
    }

    #[test]
    fn the_residual_at_the_largest_rank_is_told() {
        // diag(3, 4): rank 1 leaves 3 of 5.
        let cut = Cut {
            max_rank: 1,
            tolerance: 1e-6,
        };
        let spectrum = Spectrum::of(vec![vec![3.0, 0.0], vec![0.0, 4.0]], cut);
        let told = spectrum.rank(cut).expect_err("rank 2");
        assert!((told - 0.6).abs() < 1e-12, "{told}");
    }

    #[test]
    fn a_rank_above_the_full_rank_is_filled_with_zeros() {
        let spectrum = Spectrum::of(planted(3, 5, 2, 7), Cut::default());
        let factors = spectrum.factors(6);
        assert_eq!(factors.b.len(), 3 * 6);
        assert!(factors.residual < 1e-6);
        assert!(factors.a[3 * 5..].iter().all(|&x| x == 0.0));
    }
}
