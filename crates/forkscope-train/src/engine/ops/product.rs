//! Matrix products of any orientation, for gradients.
//!
//! C (m x n) (+)= A (m x k) B (k x n), operands with strides, on one thread.

/// A matrix in memory: element (i, j) at `i * row + j * column`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major with `columns` columns.
    pub(crate) fn rows(values: &'a [f32], columns: usize) -> Self {
        Self {
            values,
            rows: values.len() / columns.max(1),
            columns,
            row: columns,
            column: 1,
        }
    }

    /// Columns `from..from + n` of a row-major matrix with `stride` columns.
    pub(crate) fn columns(values: &'a [f32], stride: usize, from: usize, n: usize) -> Self {
        Self {
            values: &values[from.min(values.len())..],
            rows: values.len() / stride.max(1),
            columns: n,
            row: stride,
            column: 1,
        }
    }

    /// Rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row: self.column,
            column: self.row,
            ..self
        }
    }

    fn holds(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row + (self.columns - 1) * self.column < self.values.len()
    }
}

/// out (m x n, rows `stride` apart) = A B, or += with `add`.
pub(crate) fn multiply(
    a: Matrix<'_>,
    b: Matrix<'_>,
    out: &mut [f32],
    stride: usize,
    m: usize,
    n: usize,
    add: bool,
) {
    assert!(a.rows == m && b.columns == n && a.columns == b.rows);
    assert!(a.holds() && b.holds() && stride >= n);
    if m == 0 || n == 0 {
        return;
    }
    assert!(out.len() >= (m - 1) * stride + n);
    // Safety: both operands and the result were checked against their sizes
    // and strides above.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            m,
            n,
            a.columns,
            out.as_mut_ptr(),
            1,
            stride as isize,
            add,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}
