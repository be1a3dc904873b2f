//! Random points at which expressions are compared.
//!
//! Keyed by both answers, so that no answer can be made to agree at points
//! known beforehand; the same pair always meets the same points.

/// Attempts to find points where both sides are defined.
pub(crate) const ATTEMPTS: u32 = 16;
/// Points that must agree.
pub(crate) const NEEDED: u32 = 5;
/// The same where functions have steps, which differ at few points only.
pub(crate) const NEEDED_STEPS: u32 = 14;

/// The values that are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Domain {
    Reals,
    /// Whole numbers from 1 to 12: factorials and signs of powers.
    Small,
    /// Whole numbers from 1 to 400: floors and ceilings.
    Large,
}

/// Where the values of an attempt lie: from, to, and whether signs vary.
/// Near one for high powers, below one for arcsines, far out for logarithms of
/// differences.
const RANGES: [(f64, f64, bool); 8] = [
    (0.4, 2.1, false),
    (0.4, 2.1, true),
    (0.05, 0.95, false),
    (1.1, 7.0, false),
    (0.9, 1.1, false),
    (2.0, 40.0, true),
    (0.05, 0.95, true),
    (20.0, 90.0, false),
];

/// Numbers that follow from a key.
#[derive(Debug, Clone)]
pub(crate) struct Points {
    state: u64,
}

impl Points {
    /// Keyed by two texts.
    pub(crate) fn keyed(a: &str, b: &str) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for byte in a.bytes().chain([0]).chain(b.bytes()) {
            state = mix(state ^ u64::from(byte));
        }
        Self { state }
    }

    /// Values for `count` symbols.
    pub(crate) fn draw(&mut self, attempt: u32, domain: Domain, count: u16) -> Vec<f64> {
        let place = attempt as usize % RANGES.len();
        let (from, to, signed) = RANGES.get(place).copied().unwrap_or((0.4, 2.1, false));
        (0..count)
            .map(|_| match domain {
                Domain::Small => 1.0 + (self.unit() * 12.0).floor(),
                Domain::Large => 1.0 + (self.unit() * 400.0).floor(),
                Domain::Reals => {
                    let size = from + (to - from) * self.unit();
                    if signed && self.unit() < 0.5 {
                        -size
                    } else {
                        size
                    }
                }
            })
            .collect()
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(self.state) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
