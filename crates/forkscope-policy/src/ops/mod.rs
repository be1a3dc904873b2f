//! The arithmetic of a decoder block on plain slices.
//!
//! Every result is a fixed sequence of IEEE operations per row, so that a row's
//! bits depend on nothing but its own inputs: not on the other rows of a batch,
//! the number of threads, padding or caching. Loops are written over arrays of
//! fixed width with fused multiply-add and compiled for several instruction
//! sets; the arithmetic is the same in all of them.

pub(crate) mod attention;
pub mod exp;
pub mod matmul;
pub mod norm;
pub mod swiglu;

/// Number of lanes of every vector loop; reductions go through this many
/// partial results in a fixed tree.
pub const LANES: usize = 16;

/// Defines a function whose body is compiled for AVX-512, for AVX2 with FMA and
/// for the baseline, and picks one at run time.
#[macro_export]
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn plain($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn wide($($arg: $ty),*) { plain($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn medium($($arg: $ty),*) { plain($($arg),*) }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("fma")
                {
                    // Safety: the features were just detected.
                    return unsafe { wide($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // Safety: the features were just detected.
                    return unsafe { medium($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    };
}
pub(crate) use crate::vectorised;

/// Sum of the lanes in a fixed tree.
#[inline(always)]
pub fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}
