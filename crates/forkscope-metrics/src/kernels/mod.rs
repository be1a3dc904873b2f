//! Inner loops over one chunk of a row: elementwise arithmetic in f32, sums in
//! a fixed number of lanes and a fixed tree, so that the bits of a row depend
//! on its logits alone, not on the instruction set, the threads or the
//! neighbours.
//!
//! A row is walked in chunks of [`CHUNK`] logits from its start. Within a chunk
//! term `i` is added to f32 lane `i % LANES` (32 additions at most per lane),
//! the lanes of each chunk are added pairwise in f64, and chunks in order in
//! f64. All summed terms are non-negative (or bounded by such sums), so the f32
//! steps cost about 1e-7 relative.
//!
//! The loops are plain Rust that the compiler vectorises; [`kernel!`] compiles
//! each body three times (AVX-512, AVX2 with FMA, and whatever the target
//! guarantees) and picks at run time. Every multiply-add is fused on every
//! path, in software where the CPU lacks it (x86 before 2013: right but slow).

mod exp64;
mod pair;
mod scan;

pub(crate) use exp64::{exp_f64, scaled_exp};
pub(crate) use pair::{LevelTerms, PairSums, moments, pair};
pub(crate) use scan::{Maxima, kth, maxima, scan};

/// Logits per chunk: small enough that a chunk of two rows and its terms stay
/// in the first-level cache.
pub(crate) const CHUNK: usize = 512;

/// Independent sums per chunk.
pub(crate) const LANES: usize = 16;

/// A scratch line of one chunk.
#[derive(Clone)]
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [f32; CHUNK]);

impl Line {
    pub(crate) const fn new() -> Self {
        Self([0.0; CHUNK])
    }
}

/// An instruction set that this CPU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpu(Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Cpu {
    /// The widest.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("fma")
            {
                return Self(Level::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self(Level::Avx2);
            }
        }
        Self(Level::Portable)
    }

    /// Which body a kernel runs.
    #[inline]
    pub(crate) fn level(self) -> Level {
        self.0
    }

    /// All that this CPU has, for the tests that compare them.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self(Level::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            let widest = Self::detect();
            if widest.0 != Level::Portable {
                all.push(Self(Level::Avx2));
            }
            if widest.0 == Level::Avx512 {
                all.push(widest);
            }
        }
        all
    }

    /// Name of the path, for records of a run.
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2+fma",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
        }
    }
}

/// Compiles a body for each instruction set and dispatches on a [`Cpu`].
macro_rules! kernel {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path;) => {
        $(#[$doc])*
        #[inline]
        pub(crate) fn $name(cpu: $crate::kernels::Cpu, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                match cpu.level() {
                    // SAFETY: a `Cpu` of this level exists only where the CPU
                    // was seen to have these features.
                    $crate::kernels::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::kernels::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::kernels::Level::Portable => {}
                }
            }
            let _ = cpu;
            $body($($arg),*)
        }
    };
}
pub(crate) use kernel;

/// Sum of the lanes in f64, halves onto halves: the fixed tree.
#[inline(always)]
fn tree(lanes: &[f32; LANES]) -> f64 {
    let mut wide = lanes.map(f64::from);
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            wide[i] += wide[i + half];
        }
        half /= 2;
    }
    wide[0]
}

/// The chunk, group by group: one logit per lane.
#[inline(always)]
fn groups(chunk: &[f32]) -> &[[f32; LANES]] {
    chunk.as_chunks().0
}

/// Counts a hit. A chunk cannot overflow it, and without a check for that the
/// loop stays a vector loop in debug builds, too.
#[inline(always)]
fn count(lane: &mut u32, hit: bool) {
    *lane = lane.wrapping_add(u32::from(hit));
}

/// ln of the least value that [`exp`] does not flush to 0.
const EXP_CUT: f32 = -86.0;

/// e^y for y <= 0, relative error below 2e-7 (and y's own rounding); 0 below
/// [`EXP_CUT`], about 4.5e-38.
///
/// 2^n * 2^f with n = round(y log2 e): the rounding is the addition of
/// 1.5 * 2^23, which leaves n in the low bits; 2^f on [-1/2, 1/2] is a minimax
/// polynomial of degree 5, relative error 9.2e-8, exact at f = 0.
#[inline(always)]
#[expect(clippy::approx_constant, reason = "a fitted coefficient near ln 2")]
fn exp(y: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    let cut = if y < EXP_CUT { EXP_CUT } else { y };
    let shifted = cut.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let f = cut.mul_add(LOG2_E, -n);
    let mut poly = 0.001_326_512f32;
    poly = poly.mul_add(f, 0.009_671_5);
    poly = poly.mul_add(f, 0.055_507_325);
    poly = poly.mul_add(f, 0.240_222_42);
    poly = poly.mul_add(f, 0.693_147);
    poly = poly.mul_add(f, 1.0);
    let scaled = f32::from_bits(poly.to_bits().wrapping_add(shifted.to_bits() << 23));
    if y < EXP_CUT { 0.0 } else { scaled }
}

/// Name of the instruction set that the kernels use on this machine:
/// "avx512", "avx2+fma" or "portable". The numbers are the same on each.
pub fn instruction_set() -> &'static str {
    Cpu::detect().name()
}

#[cfg(test)]
mod tests;
