//! The value of a prefix from the rollouts that begin with it.
//!
//! The rollouts of a problem form a trie over token ids. V(root) is the pass
//! rate; going down, with n rollouts that begin with s x, c of them right,
//!
//! V(s x) = (c + kappa V(s)) / (n + kappa),
//!
//! the mean of a Beta posterior whose prior is centred at the parent's value, so
//! that a branch which few rollouts take moves the value little (kappa = 0: the
//! plain mean). Where all rollouts that begin with s take one token, V does not
//! change. Below a node with fewer than `min_count` rollouts nothing is known
//! and every change is 0.
//!
//! Branches are found in the sorted completions without building the trie: the
//! cost is that of sorting.

use std::ops::Range;

use super::PivotalitySettings;

/// A stretch of sorted completions that agree on their first `depth` tokens.
struct Node {
    range: Range<usize>,
    depth: usize,
    value: f64,
}

/// V(s x) - V(s) of every token of every completion.
pub(super) fn changes(
    completions: &[&[u32]],
    rewards: &[bool],
    settings: &PivotalitySettings,
) -> Vec<Vec<f64>> {
    let mut out: Vec<Vec<f64>> = completions.iter().map(|c| vec![0.0; c.len()]).collect();
    let mut order: Vec<usize> = (0..completions.len()).collect();
    order.sort_by_key(|i| completions[*i]);
    let completion = |at: usize| completions[order[at]];
    let right = |range: Range<usize>| range.filter(|at| rewards[order[*at]]).count() as f64;
    let mut open = vec![Node {
        range: 0..order.len(),
        depth: 0,
        value: right(0..order.len()) / order.len().max(1) as f64,
    }];
    while let Some(node) = open.pop() {
        let Range { start, end } = node.range;
        if end - start < settings.min_count.max(2) {
            continue;
        }
        let (first, last) = (completion(start), completion(end - 1));
        let alike = first
            .iter()
            .zip(last)
            .skip(node.depth)
            .take_while(|(a, b)| a == b)
            .count();
        let depth = node.depth + alike;
        // Those that end here come first.
        let mut at = start
            + (start..end)
                .take_while(|i| completion(*i).len() == depth)
                .count();
        while at < end {
            let token = completion(at)[depth];
            let n = (at..end)
                .take_while(|i| completion(*i)[depth] == token)
                .count();
            let range = at..at + n;
            let value = (right(range.clone()) + settings.shrinkage * node.value)
                / (n as f64 + settings.shrinkage);
            for i in range.clone() {
                out[order[i]][depth] = value - node.value;
            }
            open.push(Node {
                range,
                depth: depth + 1,
                value,
            });
            at += n;
        }
    }
    out
}
