//! As many positions as a reference, otherwise chosen.

use forkscope_metrics::rng::Key;

use super::GateInput;
use super::gate::Control;
use super::matched::{Draw, EntropyBins, Matching};
use super::rules::{ascending, lowest};

/// The positions of `control` in one rollout, ascending. Every random control
/// has a random order of the positions of its own and takes them from the front,
/// so a larger reference of the same rollout draws a superset (as far as the
/// cells of a matching allow).
pub(super) fn choose(
    control: Control,
    input: &GateInput<'_>,
    reference: &[u32],
    tenths: Option<&EntropyBins>,
    seed: u64,
) -> Vec<u32> {
    let len = input.entropies.len();
    let n = reference.len();
    let order = purpose(control).map_or_else(Vec::new, |p| random_order(input, seed, p));
    let draw = Draw {
        entropies: input.entropies,
        reference,
        order: &order,
    };
    let one = EntropyBins::one();
    match control {
        Control::Random => front(&order, n, |_| true),
        Control::RandomHigh(h0) => front(&order, n, |at| {
            input.entropies.get(at).is_some_and(|h| *h > h0)
        }),
        Control::Matched(Matching::Position) => draw.by_cells(&one),
        Control::Matched(Matching::PositionAndEntropy) => draw.by_cells(tenths.unwrap_or(&one)),
        Control::MatchedMass => draw.by_mass(),
        Control::LowEntropy => lowest(input.entropies, n),
        Control::First => (0..).take(n.min(len)).collect(),
        Control::Last => (0..).take(len).skip(len.saturating_sub(n)).collect(),
        Control::Stride => stride(n, len),
    }
}

/// What the random numbers of a control are called; part of the record.
fn purpose(control: Control) -> Option<&'static str> {
    match control {
        Control::Random => Some("gate/random"),
        Control::RandomHigh(_) => Some("gate/random-high"),
        Control::Matched(Matching::Position) => Some("gate/matched-position"),
        Control::Matched(Matching::PositionAndEntropy) => Some("gate/matched-random"),
        Control::MatchedMass => Some("gate/matched-mass"),
        Control::LowEntropy | Control::First | Control::Last | Control::Stride => None,
    }
}

/// One random word per position; sorted by it, every order is equally likely.
fn random_order(input: &GateInput<'_>, seed: u64, purpose: &str) -> Vec<u64> {
    let key = Key::new(seed, input.problem_id, input.sample, purpose);
    let at = 0..input.entropies.len() as u64;
    at.map(|at| key.rng_at(at).next_u64()).collect()
}

/// The first `n` in random order of those that are eligible.
fn front(order: &[u64], n: usize, eligible: impl Fn(usize) -> bool) -> Vec<u32> {
    let mut sorted: Vec<(u64, u32)> = order
        .iter()
        .copied()
        .zip(0..)
        .filter(|(_, at)| eligible(*at as usize))
        .collect();
    sorted.sort_unstable();
    ascending(sorted.into_iter().take(n).map(|(_, at)| at))
}

/// floor((i + 1/2) L / n), in whole numbers.
fn stride(n: usize, len: usize) -> Vec<u32> {
    let n = n.min(len) as u64;
    let at = |i: u64| u128::from(2 * i + 1) * len as u128 / u128::from(2 * n.max(1));
    (0..n).filter_map(|i| u32::try_from(at(i)).ok()).collect()
}
