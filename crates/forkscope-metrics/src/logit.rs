//! Element types of logits. Arithmetic starts from their exact f32 value.

use half::{bf16, f16};

/// A number that a model writes as a logit.
pub trait Logit: Copy + Send + Sync {
    /// The same value as f32 (every f16 and bf16 is one).
    fn to_f32(self) -> f32;

    /// Widens `row` into `buffer`, as far as both go.
    #[inline]
    fn fill(row: &[Self], buffer: &mut [f32]) {
        for (wide, narrow) in buffer.iter_mut().zip(row) {
            *wide = narrow.to_f32();
        }
    }

    /// `row` as f32: itself where it is f32 already, else the start of
    /// `buffer` after [`Logit::fill`].
    #[inline]
    fn widen<'a>(row: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32] {
        Self::fill(row, buffer);
        let len = row.len().min(buffer.len());
        &buffer[..len]
    }
}

impl Logit for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn widen<'a>(row: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        row
    }
}

impl Logit for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        // The upper half of an f32; `bf16::to_f32` also quiets NaNs, which
        // would keep the loop from becoming a shift.
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Logit for f16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }

    #[inline]
    fn fill(row: &[Self], buffer: &mut [f32]) {
        use half::slice::HalfFloatSliceExt;
        let len = row.len().min(buffer.len());
        row[..len].convert_to_f32_slice(&mut buffer[..len]);
    }
}
