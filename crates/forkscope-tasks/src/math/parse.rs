//! Tokens as an expression, by precedence.
//!
//! ```text
//! sum     = [+|-] product ([+|-] product)*
//! product = power ((* | / | nothing) power)*       1/2x is (1/2)x
//! power   = primary (! | % | degrees)* [^ power]
//! primary = number | name | (sum) | {sum} | |sum| | \frac{}{} | \sqrt[]{} | function argument
//! ```
//! The parser stops at what it does not know; whoever called decides whether
//! what is left is a unit. Depth is bounded, so is the table of names.

use crate::math::expr::Expr;
use crate::math::token::{Kind, Token, spelled};
use crate::math::words::{Function, function};

mod call;
mod primary;

/// Steps down that are taken, two for a bracket: answers nested deeper than 64
/// brackets are compared as text.
pub(crate) const MAX_DEPTH: u32 = 128;
/// Different variables of one comparison.
const MAX_NAMES: usize = 64;
/// Postfix signs on one primary: `3!!!` is the limit of taste.
const MAX_POSTFIX: usize = 4;

/// The variables of both answers.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<String>);

impl Names {
    fn id(&mut self, name: &str) -> Option<u16> {
        let place = match self.0.iter().position(|known| known == name) {
            Some(place) => place,
            None if self.0.len() < MAX_NAMES => {
                self.0.push(name.to_owned());
                self.0.len() - 1
            }
            None => return None,
        };
        u16::try_from(place).ok()
    }
}

pub(crate) struct Parser<'a, 't> {
    tokens: &'a [Token<'t>],
    at: usize,
    depth: u32,
    /// Functions whose argument is being read: degrees are a factor there.
    calls: u32,
    names: &'a mut Names,
}

impl<'a, 't> Parser<'a, 't> {
    pub(crate) fn new(tokens: &'a [Token<'t>], names: &'a mut Names) -> Self {
        Self {
            tokens,
            at: 0,
            depth: 0,
            calls: 0,
            names,
        }
    }

    /// What was not read.
    pub(crate) fn rest(&self) -> &'a [Token<'t>] {
        self.tokens.get(self.at..).unwrap_or(&[])
    }

    fn peek(&self) -> Option<&'a Token<'t>> {
        self.tokens.get(self.at)
    }

    fn ahead(&self, by: usize) -> Option<&'a Token<'t>> {
        self.tokens.get(self.at.checked_add(by)?)
    }

    fn eat(&mut self, sign: char) -> bool {
        let found = self.peek().is_some_and(|token| token.is(sign));
        self.at += usize::from(found);
        found
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Any number of signs; whether they make a minus.
    fn signs(&mut self) -> bool {
        let mut negative = false;
        loop {
            if self.eat('-') {
                negative = !negative;
            } else if !self.eat('+') {
                return negative;
            }
        }
    }

    /// A sum, or `n \choose k`.
    pub(crate) fn whole(&mut self) -> Option<Expr> {
        let above = self.sum()?;
        let choose = |t: &Token<'_>| t.kind == Kind::Macro("choose");
        if !self.peek().is_some_and(choose) {
            return Some(above);
        }
        self.at += 1;
        let below = self.sum()?;
        Some(Expr::Binomial(Box::new(above), Box::new(below)))
    }

    pub(crate) fn sum(&mut self) -> Option<Expr> {
        self.deeper(|parser| {
            let mut terms = Vec::new();
            loop {
                let negative = parser.signs();
                let term = parser.product()?;
                terms.push(if negative { term.negative() } else { term });
                let next = parser.peek();
                if !next.is_some_and(|token| token.is('+') || token.is('-')) {
                    break;
                }
            }
            Some(only(terms, Expr::Sum))
        })
    }

    fn product(&mut self) -> Option<Expr> {
        let mut factors = vec![self.power()?];
        // A number that a fraction may follow to make a mixed number.
        let mut whole = self.last_is_whole();
        loop {
            if let Some(mixed) = whole.then(|| self.mixed()).flatten() {
                let number = factors.pop()?;
                factors.push(Expr::Sum(vec![number, mixed]));
            } else if self.eat('*') {
                let negative = self.signs();
                let factor = self.power()?;
                factors.push(if negative { factor.negative() } else { factor });
            } else if self.eat('/') {
                let negative = self.signs();
                let divisor = Expr::Inverse(Box::new(self.power()?));
                factors.push(if negative {
                    divisor.negative()
                } else {
                    divisor
                });
            } else if self.starts_factor() {
                factors.push(self.power()?);
            } else {
                break;
            }
            whole = false;
        }
        Some(only(factors, Expr::Product))
    }

    fn last_is_whole(&self) -> bool {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let before = self.at.checked_sub(2).and_then(|at| self.tokens.get(at));
        matches!(last.map(|t| &t.kind), Some(Kind::Number(n)) if n.small().is_some_and(|n| n.as_whole().is_some()))
            && !before.is_some_and(|token| token.is('^') || token.is('_'))
    }

    /// The fraction of a mixed number: `\frac{2}{3}` or ` 2/3`, proper.
    fn mixed(&mut self) -> Option<Expr> {
        let number = |by: usize| match self.ahead(by).map(|t| &t.kind) {
            Some(Kind::Number(n)) => n.small()?.as_whole().map(|v| (v, n.as_ref().clone())),
            _ => None,
        };
        let sign = |by: usize, c: char| self.ahead(by).is_some_and(|t| t.is(c));
        let (top, bottom, length) = match self.peek().map(|t| (&t.kind, t.spaced)) {
            Some((Kind::Macro("frac"), _)) => {
                let braced = |by: usize| sign(by, '{') && sign(by + 2, '}');
                let (top, after) = match braced(1) {
                    true => (number(2)?, 4),
                    false => (number(1)?, 2),
                };
                match braced(after) {
                    true => (top, number(after + 1)?, after + 3),
                    false => (top, number(after)?, after + 1),
                }
            }
            Some((Kind::Number(_), true)) if sign(1, '/') => (number(0)?, number(2)?, 3),
            _ => return None,
        };
        // "2/3^2" and "2/3x" are no mixed numbers.
        let goes_on = |t: &Token<'_>| t.is('^') || t.is('_') || t.is('!');
        if top.0 >= bottom.0 || self.ahead(length).is_some_and(goes_on) {
            return None;
        }
        self.at += length;
        Some(Expr::Number(top.1).over(Expr::Number(bottom.1)))
    }

    /// Whether a factor can follow without a sign.
    fn starts_factor(&self) -> bool {
        match self.peek().map(|token| &token.kind) {
            Some(Kind::Letter(_)) => true,
            Some(Kind::Word(word)) => is_math_word(word),
            Some(Kind::Macro(name)) => primary::is_macro(name),
            Some(Kind::Sign('(' | '[' | '{' | '⌊' | '⌈' | '∞')) => true,
            // "x 2" is a product, "1 2" is not.
            Some(Kind::Number(_)) => {
                let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
                !matches!(last.map(|t| &t.kind), Some(Kind::Number(_)))
            }
            _ => false,
        }
    }

    fn power(&mut self) -> Option<Expr> {
        self.deeper(|parser| {
            let base = parser.primary()?;
            let base = parser.postfix(base);
            if !parser.peek().is_some_and(|token| token.is('^')) || parser.at_degrees() {
                return Some(base);
            }
            parser.at += 1;
            let exponent = parser.exponent()?;
            let power = Expr::Power(Box::new(base), Box::new(exponent));
            Some(parser.postfix(power))
        })
    }

    fn exponent(&mut self) -> Option<Expr> {
        let negative = self.signs();
        let exponent = self.power()?;
        Some(if negative {
            exponent.negative()
        } else {
            exponent
        })
    }

    /// Factorials, percent and degrees. A percent or degree sign at the end of
    /// an answer is its unit and is left there.
    fn postfix(&mut self, mut base: Expr) -> Expr {
        for _ in 0..MAX_POSTFIX {
            if self.eat('!') {
                base = Expr::call(Function::Factorial, base);
            } else if let Some(length) = self.degrees().filter(|l| self.is_within(*l)) {
                self.at += length;
                let half_turn = Expr::whole(180);
                base = Expr::Product(vec![base, Expr::Pi.over(half_turn)]);
            } else if self.peek().is_some_and(|token| token.is('%')) && self.is_within(1) {
                self.at += 1;
                base = base.over(Expr::whole(100));
            } else {
                break;
            }
        }
        base
    }

    /// Tokens of a degree sign: `^\circ`, `^{\circ}`, `°`.
    fn degrees(&self) -> Option<usize> {
        let sign = |by: usize, c: char| self.ahead(by).is_some_and(|t| t.is(c));
        match () {
            () if sign(0, '°') => Some(1),
            () if sign(0, '^') && sign(1, '°') => Some(2),
            () if sign(0, '^') && sign(1, '{') && sign(2, '°') && sign(3, '}') => Some(4),
            () => None,
        }
    }

    fn at_degrees(&self) -> bool {
        self.degrees().is_some()
    }

    /// Whether the answer goes on behind a sign, or a function takes it.
    fn is_within(&self, length: usize) -> bool {
        self.calls > 0 || self.ahead(length).is_some()
    }
}

/// Words that stand in expressions.
fn is_math_word(word: &str) -> bool {
    function(word).is_some() || matches!(word, "pi" | "inf" | "infinity" | "oo")
}

fn only(mut terms: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match (terms.len(), terms.pop()) {
        (1, Some(term)) => term,
        (_, last) => {
            terms.extend(last);
            join(terms)
        }
    }
}

/// The spelling of a name with its index.
fn name_of(letter: &str, index: &[Token<'_>]) -> String {
    format!("{letter}_{}", spelled(index))
}
