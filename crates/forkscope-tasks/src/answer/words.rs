//! Plain language: compared without punctuation, articles and case.

use crate::answer::Shape;
use crate::answer::read::Tokens;
use crate::math::token::{Kind, Token, spelled};

/// The words of an answer that is no formula.
pub(super) fn words(tokens: Tokens<'_, '_>) -> Shape {
    let kept: Vec<Token<'_>> = tokens
        .iter()
        .enumerate()
        .filter(|(at, token)| match token.kind {
            Kind::Sign('.' | '\'' | '"' | '?' | ';' | ':' | '-' | '“' | '”') => {
                // Times and negative numbers keep their signs.
                token.is(':') || token.is('-')
            }
            // "a.m." is not an article.
            Kind::Word("a" | "A" | "an" | "the" | "The" | "An") => {
                tokens.get(at + 1).is_some_and(|next| next.is('.'))
            }
            _ => true,
        })
        .map(|(_, token)| token.clone())
        .collect();
    let text = spelled(&kept);
    let mut joined = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let between = digit(joined.chars().last()) && digit(chars.peek().copied());
        if c != ' ' || between {
            joined.push(c);
        }
    }
    Shape::Words(joined)
}
