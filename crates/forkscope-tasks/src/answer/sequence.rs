//! Tuples, intervals, sets, lists, unions and matrices.

use crate::answer::compare::Comparison;
use crate::answer::matching::matched;
use crate::answer::{Answer, Sequence, Shape, relation};
use crate::equivalence::Equivalence::{self, Different, Same, Unknown};

/// Members in order.
pub(super) fn in_order(a: &[Answer], b: &[Answer], c: &Comparison<'_>) -> Equivalence {
    if a.len() != b.len() {
        return Different;
    }
    let found: Vec<Equivalence> = a.iter().zip(b).map(|(a, b)| c.compare(a, b)).collect();
    all(&found)
}

/// One that differs decides, then one that is not known.
fn all(found: &[Equivalence]) -> Equivalence {
    match () {
        () if found.contains(&Different) => Different,
        () if found.contains(&Unknown) => Unknown,
        () => Same,
    }
}

/// Sequences in brackets.
pub(super) fn sequences(a: &Sequence, b: &Sequence, c: &Comparison<'_>) -> Equivalence {
    match (a.open, a.close) == (b.open, b.close) {
        true if a.open == '{' => unordered(&a.items, &b.items, c),
        true => in_order(&a.items, &b.items, c),
        false => Different,
    }
}

/// Members in any order, each with one of its own.
pub(super) fn unordered(a: &[Answer], b: &[Answer], c: &Comparison<'_>) -> Equivalence {
    if a.len() != b.len() {
        return Different;
    }
    matched(a.len(), |i, j| match (a.get(i), b.get(j)) {
        (Some(a), Some(b)) => c.compare(a, b),
        _ => Unknown,
    })
}

/// Lists of answers. `x = 1, y = 2` against `1, 2` keeps the order, and so do
/// words, which may be a ranking.
pub(super) fn lists(a: &Answer, b: &Answer, c: &Comparison<'_>) -> Equivalence {
    let (left, right) = (a.members(), b.members());
    if let Some(found) = system(left, right, c).or_else(|| system(right, left, c)) {
        return found;
    }
    let worded = |items: &[Answer]| {
        items
            .iter()
            .all(|item| matches!(item.shape, Shape::Words(_)))
    };
    let ranked = !a.is_set() && !b.is_set() && worded(left) && worded(right);
    match ranked {
        true => match in_order(left, right, c) {
            Same => Same,
            _ => Unknown,
        },
        false => unordered(left, right, c),
    }
}

/// Values of different names against values without names: in order.
fn system(named: &[Answer], plain: &[Answer], c: &Comparison<'_>) -> Option<Equivalence> {
    let names: Option<Vec<(&str, &Answer)>> = named.iter().map(relation::assigned).collect();
    let names = names.filter(|names| names.len() > 1)?;
    let mut seen: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    seen.sort_unstable();
    let distinct = seen
        .windows(2)
        .all(|pair| !matches!(pair, [x, y] if x == y));
    let bare = plain.iter().all(|item| relation::assigned(item).is_none());
    if !distinct || !bare || plain.len() != names.len() {
        return None;
    }
    let values = names.iter().zip(plain);
    let found: Vec<Equivalence> = values.map(|((_, v), p)| c.compare(v, p)).collect();
    Some(all(&found))
}

/// A list of assignments against a tuple: `x = 1, y = 2` and `(1, 2)`.
pub(super) fn list_and_tuple(list: &Answer, tuple: &Sequence, c: &Comparison<'_>) -> Equivalence {
    system(list.members(), &tuple.items, c).unwrap_or(Different)
}

/// Unions of intervals; inequalities with "or" between them are one.
pub(super) fn unions(a: &[Answer], b: &[Answer], c: &Comparison<'_>) -> Equivalence {
    let as_intervals = |items: &[Answer]| -> Vec<Answer> {
        items
            .iter()
            .map(|item| match &item.shape {
                Shape::Relation(sides, signs) => {
                    relation::interval(sides, signs).unwrap_or_else(|| item.clone())
                }
                _ => item.clone(),
            })
            .collect()
    };
    unordered(&as_intervals(a), &as_intervals(b), c)
}

/// Whether a list is of inequalities only.
pub(super) fn is_inequalities(items: &[Answer]) -> bool {
    items.iter().all(|item| match &item.shape {
        Shape::Relation(_, signs) => signs.iter().all(|sign| matches!(sign, '<' | '≤')),
        _ => false,
    })
}

/// Matrices, cell by cell.
pub(super) fn matrices(a: &[Vec<Answer>], b: &[Vec<Answer>], c: &Comparison<'_>) -> Equivalence {
    if a.len() != b.len() {
        return Different;
    }
    let rows: Vec<Equivalence> = a.iter().zip(b).map(|(a, b)| in_order(a, b, c)).collect();
    all(&rows)
}

/// A row or a column against a tuple of the same entries.
pub(super) fn vector(rows: &[Vec<Answer>], tuple: &Sequence, c: &Comparison<'_>) -> Equivalence {
    let plain = (tuple.open, tuple.close) == ('(', ')');
    let cells: Vec<Answer> = match rows {
        [row] => row.clone(),
        rows if rows.iter().all(|row| row.len() == 1) => rows.iter().flatten().cloned().collect(),
        _ => return Different,
    };
    match plain {
        true => in_order(&cells, &tuple.items, c),
        false => Different,
    }
}
