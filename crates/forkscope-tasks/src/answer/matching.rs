//! Pairs members of two collections one to one.

use crate::equivalence::Equivalence::{self, Different, Same, Unknown};

/// Members that are matched; larger collections are compared as text.
const MAX_MEMBERS: usize = 64;

/// Whether every member of one side has one of its own on the other: `Same` if
/// the pairs can be chosen among the same, `Unknown` if only with pairs that are
/// not known.
pub(super) fn matched(
    count: usize,
    mut compare: impl FnMut(usize, usize) -> Equivalence,
) -> Equivalence {
    if count > MAX_MEMBERS {
        return Unknown;
    }
    let found: Vec<Vec<Equivalence>> = (0..count)
        .map(|i| (0..count).map(|j| compare(i, j)).collect())
        .collect();
    match () {
        () if perfect(&found, |e| e == Same) => Same,
        () if perfect(&found, |e| e != Different) => Unknown,
        () => Different,
    }
}

/// Whether a perfect matching exists, by augmenting paths.
fn perfect(found: &[Vec<Equivalence>], fits: impl Fn(Equivalence) -> bool + Copy) -> bool {
    let mut partner: Vec<Option<usize>> = vec![None; found.len()];
    (0..found.len()).all(|i| {
        let mut tried = vec![false; found.len()];
        augment(found, i, fits, &mut tried, &mut partner)
    })
}

fn augment(
    found: &[Vec<Equivalence>],
    i: usize,
    fits: impl Fn(Equivalence) -> bool + Copy,
    tried: &mut [bool],
    partner: &mut [Option<usize>],
) -> bool {
    let row = found.get(i).map_or(&[][..], Vec::as_slice);
    for (j, edge) in row.iter().enumerate() {
        if !fits(*edge) || tried.get(j).copied().unwrap_or(true) {
            continue;
        }
        if let Some(seen) = tried.get_mut(j) {
            *seen = true;
        }
        let free = match partner.get(j).copied().flatten() {
            None => true,
            Some(other) => augment(found, other, fits, tried, partner),
        };
        if free {
            if let Some(slot) = partner.get_mut(j) {
                *slot = Some(i);
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greed_does_not_decide() {
        // 0 fits 0 and 1, 1 fits 0 only.
        let table = [[Same, Same], [Same, Different]];
        let at = |i: usize, j: usize| table[i][j];
        assert_eq!(matched(2, at), Same);
        let table = [[Unknown, Same], [Different, Same]];
        let at = |i: usize, j: usize| table[i][j];
        assert_eq!(matched(2, at), Unknown);
        let table = [[Different, Same], [Different, Same]];
        let at = |i: usize, j: usize| table[i][j];
        assert_eq!(matched(2, at), Different);
        assert_eq!(matched(0, |_, _| Different), Same);
        assert_eq!(matched(10_000, |_, _| Same), Unknown);
    }
}
