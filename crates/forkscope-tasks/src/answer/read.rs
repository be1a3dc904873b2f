//! Tokens as an answer.

use crate::answer::signs::{branches, encloses};
use crate::answer::unit::Unit;
use crate::answer::words::words;
use crate::answer::{Answer, Sequence, Shape, relation};
use crate::math::expr::Expr;
use crate::math::parse::{Names, Parser};
use crate::math::token::{Kind, Token, spelled};

/// Braces around an answer that are taken off.
const MAX_BRACES: usize = 64;
/// Answers within answers.
const MAX_DEPTH: usize = 16;

pub(super) type Tokens<'a, 't> = &'a [Token<'t>];

/// The answer that tokens spell.
pub(crate) fn read(tokens: Tokens<'_, '_>, names: &mut Names) -> Answer {
    let tokens = stripped(tokens);
    match choice(tokens) {
        Some(letter) => Answer {
            text: spelled(tokens),
            shape: Shape::Choice(letter),
            is_name: false,
        },
        None => list(tokens, names, 0),
    }
}

/// Without what stands around an answer: full stops, whole braces, a leading
/// `=`, and `x \in`.
fn stripped<'a, 't>(mut tokens: Tokens<'a, 't>) -> Tokens<'a, 't> {
    // Each pair of braces is looked for its end, so that their number is bounded.
    let mut braces = 0;
    loop {
        tokens = match tokens {
            [rest @ .., last] if matches!(last.kind, Kind::Sign('.' | ',' | ';' | '?')) => rest,
            // Bold type of Markdown.
            [first, rest @ .., last] if first.is('^') && last.is('^') => rest,
            [first, rest @ ..] if matches!(first.kind, Kind::Sign('=' | '≈' | ':' | ',')) => rest,
            [first, rest @ .., last]
                if first.is('{')
                    && last.is('}')
                    && braces < MAX_BRACES
                    && close_of(tokens) == Some(tokens.len() - 1) =>
            {
                braces += 1;
                rest
            }
            _ => match tokens.iter().position(|t| t.is('∈')) {
                Some(at @ 1..=8) if relation::is_name(tokens.get(..at).unwrap_or(&[])) => {
                    tokens.get(at + 1..).unwrap_or(&[])
                }
                _ => return tokens,
            },
        };
    }
}

/// `A`, `(A)`, `A.`, `(A) text`, `A: text`.
fn choice(tokens: Tokens<'_, '_>) -> Option<char> {
    let letter = |token: &Token<'_>| match token.kind {
        Kind::Letter(letter @ 'A'..='J') => Some(letter),
        Kind::Word(word) => word
            .chars()
            .next()
            .filter(|c| word.len() == 1 && ('A'..='J').contains(c)),
        _ => None,
    };
    match tokens {
        [only] => letter(only),
        [open, only, close, rest @ ..] if open.is('(') && close.is(')') => {
            let behind = rest.first().is_none_or(|t| t.spaced && !is_operator(t));
            letter(only).filter(|_| behind)
        }
        [only, mark, rest @ ..] if matches!(mark.kind, Kind::Sign('.' | ')' | ':')) => {
            letter(only).filter(|_| rest.first().is_none_or(|t| t.spaced))
        }
        _ => None,
    }
}

fn is_operator(token: &Token<'_>) -> bool {
    matches!(
        token.kind,
        Kind::Sign('+' | '-' | '*' | '/' | '^' | '=' | '<' | '>' | '≤' | '≥' | '(' | ',' | '!')
    )
}

/// The place of the bracket that closes the first one.
pub(super) fn close_of(tokens: Tokens<'_, '_>) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        if token.opens() {
            depth += 1;
        } else if token.closes() {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// Splits where no bracket is open; `None` if brackets do not match.
pub(super) fn split<'a, 't>(
    tokens: Tokens<'a, 't>,
    mut at: impl FnMut(&Token<'t>) -> bool,
) -> Option<Vec<Tokens<'a, 't>>> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0usize);
    for (place, token) in tokens.iter().enumerate() {
        if token.opens() {
            depth += 1;
        } else if token.closes() {
            depth = depth.checked_sub(1)?;
        } else if depth == 0 && at(token) {
            parts.push(tokens.get(start..place)?);
            start = place + 1;
        }
    }
    parts.push(tokens.get(start..)?);
    (depth == 0).then_some(parts)
}

pub(super) fn separates(token: &Token<'_>) -> bool {
    matches!(
        token.kind,
        Kind::Sign(',' | ';') | Kind::Word("or" | "and" | "Or" | "And")
    )
}

/// Answers with commas, "and" or "or" between them.
fn list(tokens: Tokens<'_, '_>, names: &mut Names, depth: usize) -> Answer {
    let tokens = stripped(tokens);
    let text = spelled(tokens);
    let plain = |shape| Answer {
        text: text.clone(),
        shape,
        is_name: relation::is_name(tokens),
    };
    if depth > MAX_DEPTH {
        return plain(words(tokens));
    }
    let Some(parts) = split(tokens, separates) else {
        return plain(words(tokens));
    };
    let mut items: Vec<Answer> = Vec::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        match branches(part) {
            Some(all) if all.len() > 1 && !encloses(part) => {
                items.extend(all.iter().map(|part| item(part, names, depth)));
            }
            Some(_) => items.push(item(part, names, depth)),
            None => return plain(words(tokens)),
        }
    }
    match items.len() {
        0 => plain(words(tokens)),
        1 => plain(items.remove(0).shape),
        _ => plain(Shape::List(items)),
    }
}

/// One member of a list.
fn item(tokens: Tokens<'_, '_>, names: &mut Names, depth: usize) -> Answer {
    let tokens = stripped(tokens);
    let shape = union(tokens, names, depth)
        .or_else(|| relation::read(tokens, &mut |side| item(side, names, depth + 1), depth))
        .or_else(|| bracketed(tokens, names, depth))
        .or_else(|| matrix(tokens, names, depth))
        .or_else(|| ratio(tokens, names, depth))
        .or_else(|| quantity(tokens, names))
        .unwrap_or_else(|| words(tokens));
    Answer {
        text: spelled(tokens),
        shape,
        is_name: relation::is_name(tokens),
    }
}

fn union(tokens: Tokens<'_, '_>, names: &mut Names, depth: usize) -> Option<Shape> {
    let parts = split(tokens, |token| token.is('∪'))?;
    if parts.len() < 2 || depth >= MAX_DEPTH {
        return None;
    }
    let mut all = Vec::new();
    for part in parts {
        let part = item(part, names, depth + 1);
        match part.shape {
            // Brackets say nothing of a union of unions.
            Shape::Union(parts) => all.extend(parts),
            _ => all.push(part),
        }
    }
    Some(Shape::Union(all))
}

fn bracketed(tokens: Tokens<'_, '_>, names: &mut Names, depth: usize) -> Option<Shape> {
    let sequence = |open, close, items| Some(Shape::Sequence(Sequence { open, close, items }));
    if let [only] = tokens
        && only.is('∅')
    {
        return sequence('{', '}', Vec::new());
    }
    let (open, close) = match (&tokens.first()?.kind, &tokens.last()?.kind) {
        (Kind::OpenSet, Kind::CloseSet) => ('{', '}'),
        (Kind::Sign('⟨'), Kind::Sign('⟩')) => ('(', ')'),
        (Kind::Sign(open @ ('(' | '[')), Kind::Sign(close @ (')' | ']'))) => (*open, *close),
        _ => return None,
    };
    if close_of(tokens) != Some(tokens.len() - 1) || depth >= MAX_DEPTH {
        return None;
    }
    let inner = tokens.get(1..tokens.len() - 1)?;
    let parts = split(inner, separates)?;
    let mut items = Vec::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        match (open, branches(part)?) {
            // In a set every sign is a member, in a tuple a list at its place.
            ('{', all) if all.len() > 1 => {
                items.extend(all.iter().map(|part| item(part, names, depth + 1)));
            }
            (_, all) if all.len() > 1 => items.push(list(part, names, depth + 1)),
            _ => items.push(item(part, names, depth + 1)),
        }
    }
    if open != '{' && items.len() < 2 {
        // Brackets around a matrix or a union are its own; others are arithmetic.
        let shape = items.pop()?.shape;
        return matches!(shape, Shape::Matrix(_) | Shape::Union(_)).then_some(shape);
    }
    sequence(open, close, items)
}

fn matrix(tokens: Tokens<'_, '_>, names: &mut Names, depth: usize) -> Option<Shape> {
    let [first, inner @ .., last] = tokens else {
        return None;
    };
    let is_matrix = match (&first.kind, &last.kind) {
        (Kind::Begin(name), Kind::End(end)) => {
            name == end && (name.ends_with("matrix") || *name == "array")
        }
        _ => false,
    };
    if !is_matrix || depth >= MAX_DEPTH {
        return None;
    }
    let mut rows = Vec::new();
    for row in split(inner, |token| token.kind == Kind::Row)? {
        if !row.is_empty() {
            let cells = split(row, |token| token.is('&'))?;
            rows.push(cells.iter().map(|c| item(c, names, depth + 1)).collect());
        }
    }
    Some(Shape::Matrix(rows))
}

/// `3:4`, but not `3:30`, which is a time.
fn ratio(tokens: Tokens<'_, '_>, names: &mut Names, depth: usize) -> Option<Shape> {
    let parts = split(tokens, |token| token.is(':'))?;
    if parts.len() < 2 || depth >= MAX_DEPTH {
        return None;
    }
    let minutes = parts.iter().skip(1).all(|part| match part {
        [
            Token {
                kind: Kind::Number(n),
                ..
            },
        ] => n.approx() == 0.0 || (10.0..60.0).contains(&n.approx()),
        _ => false,
    });
    let items: Vec<Answer> = parts.iter().map(|p| item(p, names, depth + 1)).collect();
    let numbers = items
        .iter()
        .all(|item| matches!(item.shape, Shape::Quantity(_, None)));
    (numbers && !minutes).then_some(Shape::Ratio(items))
}

/// An expression with what stands around it: currency before, a unit behind.
fn quantity(tokens: Tokens<'_, '_>, names: &mut Names) -> Option<Shape> {
    let (negative, rest) = match tokens {
        [sign, money, rest @ ..] if sign.is('-') && Unit::currency(money).is_some() => {
            (Unit::currency(money), rest)
        }
        [money, rest @ ..] => match Unit::currency(money) {
            Some(unit) => return priced(rest, unit, false, names),
            None => (None, tokens),
        },
        [] => return None,
    };
    if let Some(unit) = negative {
        return priced(rest, unit, true, names);
    }
    if let [
        Token {
            kind: Kind::Word(word),
            ..
        },
    ] = tokens
        && let Some(value) = number_word(word)
    {
        return Some(Shape::Quantity(Expr::whole(value), None));
    }
    let mut parser = Parser::new(tokens, names);
    let value = parser.whole()?;
    let unit = match parser.rest() {
        [] => None,
        // Words behind a formula say something of it; behind a number they are
        // what is counted.
        rest => Some(Unit::read(rest).filter(|unit| unit.known || !value.has_symbols())?),
    };
    Some(Shape::Quantity(value, unit))
}

fn priced(tokens: Tokens<'_, '_>, unit: Unit, negative: bool, names: &mut Names) -> Option<Shape> {
    let mut parser = Parser::new(tokens, names);
    let value = parser.whole()?;
    let value = if negative { value.negative() } else { value };
    let unit = match parser.rest() {
        [] => unit,
        rest => unit.and(Unit::read(rest)?),
    };
    Some(Shape::Quantity(value, Some(unit)))
}

fn number_word(word: &str) -> Option<u32> {
    let names = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve",
    ];
    let lower = word.to_ascii_lowercase();
    let place = names.iter().position(|name| *name == lower)?;
    u32::try_from(place).ok()
}
