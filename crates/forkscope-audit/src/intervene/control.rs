//! Controls: as many positions as a guided arm touched, otherwise chosen.
//!
//! The guided arm is run first. From its rollout (the *reference*) every control
//! takes how many positions each cell is to give; cells and matching are those of
//! `docs/gates.md`. How many candidates a cell will have is taken from the
//! generator's untouched rollout, which a control mostly follows. On the
//! control's own text a candidate is then taken with probability left /
//! candidates left (Vitter's algorithm S), by a random word keyed by (seed,
//! problem, sample, control) and offset. The count is therefore the reference's
//! where the text has as many candidates as the untouched one, and less where it
//! ends before; what a cell could not give in its fifth of the text goes to the
//! same tenth of the next. Counts are reported, not intentions: the findings say
//! how counts and masses came out.

use forkscope_metrics::rng::Key;

use super::arm::Versus;
use super::experiment::Trace;
use super::rule::Rule;
use super::view::View;
use crate::gates::{Control, Draw, EntropyBins, Matching, POSITION_BINS, position_bin};

/// The rollout that a control is matched to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reference<'a> {
    /// Every completion position.
    pub trace: &'a [Trace],
    /// Offsets touched, ascending.
    pub touched: &'a [u32],
    /// How many of those were changed.
    pub changed: usize,
}

impl Reference<'_> {
    fn entropy(&self, offset: u32) -> f64 {
        self.trace.get(offset as usize).map_or(0.0, |t| t.entropy)
    }

    fn is_own(&self, offset: u32) -> bool {
        self.touched.binary_search(&offset).is_ok()
    }
}

/// A control as it decides.
#[derive(Debug, Clone)]
pub(crate) enum Chosen {
    /// Counts per cell.
    Cells(Cells),
    /// A sum of H per fifth.
    Mass(Mass),
    /// A count among candidates.
    Among {
        candidates: Candidates,
        left: u32,
        expected: u32,
        key: Key,
    },
    /// H at most this, until nothing is left.
    Low { most: f64, left: u32 },
    /// These offsets, ascending.
    Offsets(Vec<u32>),
    /// Where the guide changes something, a random token.
    Token { guide: Rule, left: u32, key: Key },
}

/// Which positions a count is drawn among.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Candidates {
    All,
    /// H above this.
    High(f64),
    /// Where the policies would write different tokens.
    Differing,
}

/// What a control writes at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forced {
    /// The other policy's token.
    Other,
    /// This one.
    Token(u32),
}

/// Everything a control is made from.
pub(crate) struct Material<'a> {
    pub reference: Reference<'a>,
    /// The generator's untouched rollout, every completion position.
    pub untouched: &'a [Trace],
    /// Index of the generator in pairs (base, tuned).
    pub generator: usize,
    /// Tenths of H over other problems.
    pub tenths: &'a EntropyBins,
    /// The guide, fresh.
    pub guide: Rule,
    pub seed: u64,
    pub problem_id: &'a str,
    pub sample: u32,
}

impl Chosen {
    pub(crate) fn new(versus: &Versus, m: Material<'_>) -> Self {
        let r = m.reference;
        let key = Key::new(
            m.seed,
            m.problem_id,
            m.sample,
            &format!("intervene/{versus}"),
        );
        let n = r.touched.len() as u32;
        let among = |candidates: Candidates, left: u32| {
            let is = |t: &&Trace| candidates.holds(t);
            Self::Among {
                candidates,
                left,
                expected: m.untouched.iter().filter(is).count() as u32,
                key: key.clone(),
            }
        };
        let control = match versus {
            Versus::Positions(control) => control,
            Versus::RandomChanged => return among(Candidates::Differing, r.changed as u32),
            Versus::RandomToken => {
                return Self::Token {
                    guide: m.guide,
                    left: r.changed as u32,
                    key,
                };
            }
        };
        match control {
            Control::Random => among(Candidates::All, n),
            Control::RandomHigh(h0) => among(Candidates::High(*h0), n),
            Control::Matched(Matching::Position) => {
                Self::Cells(Cells::new(&m, EntropyBins::one(), key))
            }
            Control::Matched(Matching::PositionAndEntropy) => {
                Self::Cells(Cells::new(&m, m.tenths.clone(), key))
            }
            Control::MatchedMass => Self::Mass(Mass::new(&m, key)),
            Control::LowEntropy => {
                let mut sorted: Vec<f64> = m.untouched.iter().map(|t| t.entropy).collect();
                sorted.sort_unstable_by(f64::total_cmp);
                let at = (n as usize).checked_sub(1).and_then(|i| sorted.get(i));
                Self::Low {
                    most: at.copied().unwrap_or(f64::NEG_INFINITY),
                    left: n,
                }
            }
            Control::First => Self::Offsets((0..n).collect()),
            Control::Last => {
                let len = m.untouched.len() as u32;
                Self::Offsets((len.saturating_sub(n)..len).collect())
            }
            Control::Stride => Self::Offsets(stride(n, m.untouched.len())),
        }
    }

    /// What is forced at this position, if anything.
    pub(crate) fn chooses(
        &mut self,
        view: &View,
        trace: &Trace,
        generator: usize,
        offset: usize,
    ) -> Option<Forced> {
        let chosen = match self {
            Self::Cells(cells) => cells.chooses(trace, generator, offset),
            Self::Mass(mass) => mass.chooses(trace, generator, offset),
            Self::Among {
                candidates,
                left,
                expected,
                key,
            } => candidates.holds(trace) && one_of(left, expected, key.uniform(offset as u64)),
            Self::Low { most, left } => {
                let chosen = *left > 0 && trace.entropy <= *most;
                *left -= u32::from(chosen);
                chosen
            }
            Self::Offsets(offsets) => offsets.binary_search(&(offset as u32)).is_ok(),
            Self::Token { guide, left, key } => {
                let wanted = guide.chooses(trace, generator, offset) && trace.differs;
                if !wanted || *left == 0 {
                    return None;
                }
                let token = random_token(view, generator, key, offset)?;
                *left -= 1;
                return Some(Forced::Token(token));
            }
        };
        chosen.then_some(Forced::Other)
    }
}

impl Candidates {
    fn holds(self, at: &Trace) -> bool {
        match self {
            Self::All => true,
            Self::High(h0) => at.entropy > h0,
            Self::Differing => at.differs,
        }
    }
}

/// Takes a candidate with probability left / candidates left.
fn one_of(left: &mut u32, candidates: &mut u32, uniform: f64) -> bool {
    if *left == 0 {
        return false;
    }
    let of = (*candidates).max(*left);
    let taken = uniform * f64::from(of) < f64::from(*left);
    *candidates = candidates.saturating_sub(1);
    *left -= u32::from(taken);
    taken
}

/// Uniform among the generator's most probable tokens, its own left out.
fn random_token(view: &View, generator: usize, key: &Key, offset: usize) -> Option<u32> {
    let own = view.tokens.get(generator)?;
    let others: Vec<u32> = view
        .top
        .get(generator)?
        .iter()
        .copied()
        .filter(|id| id != own)
        .collect();
    let at = key.rng_at(offset as u64).below(others.len() as u64);
    others.get(at as usize).copied()
}

/// The i-th of n at floor((i + 1/2) L / n).
fn stride(n: u32, len: usize) -> Vec<u32> {
    let n = u64::from(n).min(len as u64);
    let at = |i: u64| u128::from(2 * i + 1) * len as u128 / u128::from(2 * n.max(1));
    (0..n).filter_map(|i| u32::try_from(at(i)).ok()).collect()
}

/// A count for each cell of fifth x tenth, among positions that the guide does
/// not choose.
#[derive(Debug, Clone)]
pub(crate) struct Cells {
    tenths: EntropyBins,
    left: Vec<u32>,
    expected: Vec<u32>,
    fifth: usize,
    len: usize,
    guide: Rule,
    /// The reference left too few others, so its own may be drawn.
    own_too: bool,
    key: Key,
}

impl Cells {
    fn new(m: &Material<'_>, tenths: EntropyBins, key: Key) -> Self {
        let r = m.reference;
        let len = r.trace.len();
        let width = tenths.bins();
        let entropies: Vec<f64> = r.trace.iter().map(|t| t.entropy).collect();
        let order: Vec<u64> = (0..len as u64).map(|o| key.rng_at(o).next_u64()).collect();
        let drawn = Draw {
            entropies: &entropies,
            reference: r.touched,
            order: &order,
        }
        .by_cells(&tenths);
        let own_too = drawn.iter().any(|o| r.is_own(*o));
        let cell = |offset: u32, len: usize, entropy: f64| {
            fifth(offset as usize, len) * width + tenths.of(entropy)
        };
        let mut left = vec![0; POSITION_BINS * width];
        for o in &drawn {
            add(&mut left, cell(*o, len, r.entropy(*o)));
        }
        let mut expected = vec![0; POSITION_BINS * width];
        let mut guide = m.guide.clone();
        for (o, t) in (0u32..).zip(m.untouched) {
            let own = guide.chooses(t, m.generator, o as usize);
            if own_too || !own {
                add(&mut expected, cell(o, m.untouched.len(), t.entropy));
            }
        }
        Self {
            left,
            expected,
            fifth: 0,
            len: m.untouched.len(),
            guide: m.guide.clone(),
            own_too,
            key,
            tenths,
        }
    }

    fn chooses(&mut self, at: &Trace, generator: usize, offset: usize) -> bool {
        let width = self.tenths.bins();
        let now = fifth(offset, self.len);
        while self.fifth < now {
            let from = self.fifth * width;
            for cell in from..from + width {
                let carried = self.left.get_mut(cell).map_or(0, std::mem::take);
                if let Some(left) = self.left.get_mut(cell + width) {
                    *left += carried;
                }
            }
            self.fifth += 1;
        }
        let own = self.guide.chooses(at, generator, offset);
        if own && !self.own_too {
            return false;
        }
        let cell = now * width + self.tenths.of(at.entropy);
        match (self.left.get_mut(cell), self.expected.get_mut(cell)) {
            (Some(left), Some(expected)) => one_of(left, expected, self.key.uniform(offset as u64)),
            _ => false,
        }
    }
}

fn add(counts: &mut [u32], at: usize) {
    if let Some(count) = counts.get_mut(at) {
        *count += 1;
    }
}

/// The fifth of a text of that length; the last one beyond its end.
fn fifth(offset: usize, len: usize) -> usize {
    let offset = offset.min(len.saturating_sub(1));
    position_bin(u32::try_from(offset).unwrap_or(u32::MAX), len)
}

/// A sum of H for each fifth, among positions that the guide does not choose.
#[derive(Debug, Clone)]
pub(crate) struct Mass {
    left: [f64; POSITION_BINS],
    expected: [f64; POSITION_BINS],
    fifth: usize,
    len: usize,
    guide: Rule,
    key: Key,
}

impl Mass {
    fn new(m: &Material<'_>, key: Key) -> Self {
        let r = m.reference;
        let mut mass = Self {
            left: [0.0; POSITION_BINS],
            expected: [0.0; POSITION_BINS],
            fifth: 0,
            len: m.untouched.len(),
            guide: m.guide.clone(),
            key,
        };
        for o in r.touched {
            mass.left[fifth(*o as usize, r.trace.len())] += r.entropy(*o);
        }
        let mut guide = m.guide.clone();
        for (o, t) in m.untouched.iter().enumerate() {
            if !guide.chooses(t, m.generator, o) {
                mass.expected[fifth(o, mass.len)] += t.entropy;
            }
        }
        mass
    }

    /// Takes a position with probability mass left / mass of candidates left;
    /// one that goes beyond is taken where that is nearer.
    fn chooses(&mut self, at: &Trace, generator: usize, offset: usize) -> bool {
        let now = fifth(offset, self.len);
        while self.fifth < now {
            let carried = std::mem::take(&mut self.left[self.fifth]);
            self.fifth += 1;
            self.left[self.fifth] += carried;
        }
        let h = at.entropy;
        if self.guide.chooses(at, generator, offset) || h <= 0.0 {
            return false;
        }
        let left = self.left[now];
        let of = self.expected[now].max(left);
        self.expected[now] = (self.expected[now] - h).max(0.0);
        let fits = left > 0.0 && h - left < left;
        let taken = fits && self.key.uniform(offset as u64) * of < left;
        if taken {
            self.left[now] -= h;
        }
        taken
    }
}

#[cfg(test)]
mod tests;
