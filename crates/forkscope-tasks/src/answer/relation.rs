//! Equations and inequalities.

use crate::answer::compare::Comparison;
use crate::answer::read::split;
use crate::answer::{Answer, Sequence, Shape};
use crate::equivalence::Equivalence::{self, Different, Same, Unknown};
use crate::math::expr::Expr;
use crate::math::token::{Kind, Token};

/// Sides of one chain.
const MAX_SIDES: usize = 8;
/// Relations within relations: a side has none.
const MAX_DEPTH: usize = 12;

fn relates(token: &Token<'_>) -> Option<char> {
    match token.kind {
        Kind::Sign('≈') => Some('='),
        Kind::Sign(sign @ ('=' | '<' | '>' | '≤' | '≥' | '≠')) => Some(sign),
        _ => None,
    }
}

/// Sides and signs; `>` and `≥` are turned round where the whole chain is.
pub(super) fn read<'a, 't>(
    tokens: &'a [Token<'t>],
    side: &mut dyn FnMut(&'a [Token<'t>]) -> Answer,
    depth: usize,
) -> Option<Shape> {
    let mut signs = Vec::new();
    let parts = split(tokens, |token| {
        signs.extend(relates(token));
        relates(token).is_some()
    })?;
    let whole = parts.iter().all(|part| !part.is_empty());
    if signs.is_empty() || !whole || parts.len() > MAX_SIDES || depth > MAX_DEPTH {
        return None;
    }
    let mut sides: Vec<Answer> = parts.into_iter().map(side).collect();
    if signs.iter().all(|sign| matches!(sign, '>' | '≥')) {
        sides.reverse();
        signs.reverse();
        for sign in &mut signs {
            *sign = if *sign == '>' { '<' } else { '≤' };
        }
    }
    Some(Shape::Relation(sides, signs))
}

/// Whether tokens are a name: letters with indices, words, and only `+ - * /`
/// and brackets between them. Numbers stand in brackets and indices only.
pub(super) fn is_name(tokens: &[Token<'_>]) -> bool {
    let mut named = false;
    let mut inside = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        let index = at.checked_sub(1).and_then(|last| tokens.get(last));
        match &token.kind {
            // An imaginary unit or e alone is a number.
            Kind::Letter('π' | 'e' | 'i') if inside == 0 && tokens.len() == 1 => return false,
            Kind::Letter(_) | Kind::Word(_) => named = true,
            Kind::Number(_) if inside > 0 || index.is_some_and(|t| t.is('_')) => {}
            Kind::Macro("overline" | "vec" | "hat" | "bar" | "frac" | "dot" | "mathbb") => {}
            Kind::Sign('(' | '[' | '{') => inside += 1,
            Kind::Sign(')' | ']' | '}') => inside = inside.saturating_sub(1),
            Kind::Sign('+' | '-' | '*' | '/' | '_' | ',' | '∠' | '△' | '\'' | '|') => {}
            _ => return false,
        }
    }
    named
}

/// The name and the value of `name = value`, or of `value = name`.
pub(super) fn assigned(answer: &Answer) -> Option<(&str, &Answer)> {
    let Shape::Relation(sides, signs) = &answer.shape else {
        return None;
    };
    let (first, last) = (sides.first()?, sides.last()?);
    if signs.iter().any(|sign| *sign != '=') {
        return None;
    }
    match (first.is_name, last.is_name) {
        (true, _) => Some((&first.text, last)),
        (false, true) => Some((&last.text, first)),
        (false, false) => None,
    }
}

/// A relation against an answer that is none: `x = 5` and `5`, `1+1 = 2` and
/// `2`, `1 < x < 2` and `(1, 2)`.
pub(super) fn against(relation: &Answer, other: &Answer, c: &Comparison<'_>) -> Equivalence {
    if let Some((_, value)) = assigned(relation) {
        return c.compare(value, other);
    }
    let Shape::Relation(sides, signs) = &relation.shape else {
        return Unknown;
    };
    if let Some(interval) = interval(sides, signs)
        && matches!(other.shape, Shape::Sequence(_))
    {
        return c.compare(&interval, other);
    }
    let equation = signs.iter().all(|sign| *sign == '=');
    if equation && sides.iter().all(Answer::is_constant) {
        let found: Vec<Equivalence> = sides.iter().map(|side| c.compare(side, other)).collect();
        return match found.contains(&Same) {
            true => Same,
            false => found.first().copied().unwrap_or(Unknown),
        };
    }
    Different
}

/// Two relations.
pub(super) fn both(a: &Answer, b: &Answer, c: &Comparison<'_>) -> Equivalence {
    if let (Some((x, v)), Some((y, w))) = (assigned(a), assigned(b))
        && x == y
        && c.compare(v, w).is_same()
    {
        return Same;
    }
    let (Shape::Relation(left, signs), Shape::Relation(right, others)) = (&a.shape, &b.shape)
    else {
        return Unknown;
    };
    if signs != others || left.len() != right.len() {
        return reduced(a, b, c);
    }
    let pairs = |right: &mut dyn Iterator<Item = &Answer>| {
        left.iter()
            .zip(right)
            .all(|(a, b)| c.compare(a, b).is_same())
    };
    let symmetric = matches!(signs.as_slice(), ['=' | '≠']);
    if pairs(&mut right.iter()) || (symmetric && pairs(&mut right.iter().rev())) {
        return Same;
    }
    match (difference(left), difference(right)) {
        (Some(x), Some(y)) => crate::math::scalar::same_zeros(&x, &y, !symmetric, c.points, c.fuel),
        _ => Unknown,
    }
}

/// Chains of unequal length: `x = 1 + 1 = 2` says `x = 2`.
fn reduced(a: &Answer, b: &Answer, c: &Comparison<'_>) -> Equivalence {
    match (assigned(a), assigned(b)) {
        (Some((x, v)), Some((y, w))) if x == y => c.compare(v, w),
        (Some(_), Some(_)) => Different,
        _ => Unknown,
    }
}

/// Left minus right of a relation of two sides.
fn difference(sides: &[Answer]) -> Option<Expr> {
    let value = |side: &Answer| match &side.shape {
        Shape::Quantity(value, None) => Some(value.clone()),
        _ => None,
    };
    match sides {
        [a, b] => Some(Expr::Sum(vec![value(a)?, value(b)?.negative()])),
        _ => None,
    }
}

/// The interval of `x < 2`, `1 <= x < 2`.
pub(super) fn interval(sides: &[Answer], signs: &[char]) -> Option<Answer> {
    let infinity = |negative: bool| {
        let value = match negative {
            true => Expr::Infinity.negative(),
            false => Expr::Infinity,
        };
        Answer {
            text: String::from(if negative { "-∞" } else { "∞" }),
            shape: Shape::Quantity(value, None),
            is_name: false,
        }
    };
    let end = |sign: char, open: char, closed: char| match sign {
        '<' => Some(open),
        '≤' => Some(closed),
        _ => None,
    };
    let (open, close, low, high) = match (sides, signs) {
        ([low, x, high], [a, b]) if x.is_name => {
            let (open, close) = (end(*a, '(', '[')?, end(*b, ')', ']')?);
            (open, close, low.clone(), high.clone())
        }
        ([x, high], [a]) if x.is_name && high.is_constant() => {
            ('(', end(*a, ')', ']')?, infinity(true), high.clone())
        }
        ([low, x], [a]) if x.is_name && low.is_constant() => {
            (end(*a, '(', '[')?, ')', low.clone(), infinity(false))
        }
        _ => return None,
    };
    let sequence = Sequence {
        open,
        close,
        items: vec![low, high],
    };
    Some(Answer {
        text: String::new(),
        shape: Shape::Sequence(sequence),
        is_name: false,
    })
}
