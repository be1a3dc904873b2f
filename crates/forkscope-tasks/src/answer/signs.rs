//! Plus-minus signs: one answer that is several.

use crate::answer::read::{Tokens, close_of, separates, split};
use crate::math::token::{Kind, Token};

/// Signs `\pm` of one answer, each of which is two.
const MAX_SIGNS: usize = 3;

/// Whether one bracket holds all of it, with members: signs are theirs.
pub(super) fn encloses(part: Tokens<'_, '_>) -> bool {
    let inner = part.get(1..part.len().saturating_sub(1)).unwrap_or(&[]);
    let whole = close_of(part) == part.len().checked_sub(1);
    let is_set = part.first().is_some_and(|t| t.kind == Kind::OpenSet);
    whole && (is_set || split(inner, separates).is_some_and(|parts| parts.len() > 1))
}

/// What `\pm` and `\mp` stand for: if both occur they go together, else every
/// sign is free. `None` if there are too many.
pub(super) fn branches<'t>(part: Tokens<'_, 't>) -> Option<Vec<Vec<Token<'t>>>> {
    let signs = part.iter().filter(|t| t.is('±') || t.is('∓')).count();
    if signs == 0 {
        return Some(vec![Vec::new()]);
    }
    let together = part.iter().any(|t| t.is('∓'));
    if signs > MAX_SIGNS && !together {
        return None;
    }
    let ways = if together { 2 } else { 1usize << signs };
    let branch = |way: usize| {
        let mut seen = 0;
        let replaced = part.iter().map(|token| {
            let flipped = match token.kind {
                Kind::Sign('±') => false,
                Kind::Sign('∓') => true,
                _ => return token.clone(),
            };
            let bit = if together { way & 1 } else { way >> seen & 1 };
            seen += 1;
            Token {
                kind: Kind::Sign(if (bit == 1) == flipped { '+' } else { '-' }),
                spaced: token.spaced,
            }
        });
        replaced.collect()
    };
    Some((0..ways).map(branch).collect())
}
