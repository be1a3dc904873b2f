//! The smallest parts of an expression.

use super::{Parser, function, is_math_word, name_of};
use crate::math::expr::Expr;
use crate::math::literal::Literal;
use crate::math::token::{Kind, Token, spelled};
use crate::math::words::Function;

/// Longest numeral in another base, digits.
const MAX_NUMERAL: usize = 64;

/// Macros that begin an expression.
pub(super) fn is_macro(name: &str) -> bool {
    matches!(name, "frac" | "sqrt" | "binom") || is_accent(name)
}

/// Marks on a letter or a pair of points: together they are a name.
fn is_accent(name: &str) -> bool {
    matches!(
        name,
        "vec"
            | "hat"
            | "widehat"
            | "tilde"
            | "dot"
            | "ddot"
            | "bar"
            | "overline"
            | "overrightarrow"
            | "mathbb"
            | "overarc"
            | "widetilde"
    )
}

impl<'a, 't> Parser<'a, 't> {
    pub(super) fn primary(&mut self) -> Option<Expr> {
        let token = self.peek()?;
        self.at += 1;
        match &token.kind {
            Kind::Number(number) => self.number(number),
            Kind::Letter(letter) => self.letter(*letter),
            Kind::Word("pi") => Some(Expr::Pi),
            Kind::Word("inf" | "infinity" | "oo") => Some(Expr::Infinity),
            Kind::Word(word) if is_math_word(word) => {
                let function = function(word)?;
                self.call(function)
            }
            Kind::Macro("frac") => {
                let top = self.argument()?;
                Some(top.over(self.argument()?))
            }
            Kind::Macro("binom") => {
                let top = self.argument()?;
                Some(Expr::Binomial(Box::new(top), Box::new(self.argument()?)))
            }
            Kind::Macro("sqrt") => self.root(),
            Kind::Macro(name) if is_accent(name) => {
                let inner = self.group()?;
                self.named(&format!("\\{name} {}", spelled(inner)))
            }
            Kind::Sign('∞') => Some(Expr::Infinity),
            Kind::Sign('(') => match self.numeral_in_brackets() {
                Some(numeral) => Some(numeral),
                None => self.bracket(')'),
            },
            Kind::Sign('[') => self.bracket(']'),
            Kind::Sign('{') => self.braced(),
            Kind::Sign('⌊') => Some(Expr::call(Function::Floor, self.bracket('⌋')?)),
            Kind::Sign('⌈') => Some(Expr::call(Function::Ceiling, self.bracket('⌉')?)),
            Kind::Sign('|') => Some(Expr::call(Function::Abs, self.bracket('|')?)),
            Kind::Sign('∠' | '△') => self.figure(token),
            _ => None,
        }
    }

    pub(super) fn bracket(&mut self, close: char) -> Option<Expr> {
        let inner = self.sum()?;
        self.eat(close).then_some(inner)
    }

    /// `{sum}` or `{n \choose k}`.
    fn braced(&mut self) -> Option<Expr> {
        let inner = self.whole()?;
        self.eat('}').then_some(inner)
    }

    /// The argument of a macro: a group or one primary.
    pub(super) fn argument(&mut self) -> Option<Expr> {
        let negative = self.signs();
        let value = self.deeper(Self::primary)?;
        Some(if negative { value.negative() } else { value })
    }

    fn root(&mut self) -> Option<Expr> {
        let degree = match self.eat('[') {
            true => Some(self.bracket(']')?),
            false => None,
        };
        let radicand = self.argument()?;
        Some(match degree {
            Some(degree) => Expr::Root(Box::new(degree), Box::new(radicand)),
            None => Expr::call(Function::Sqrt, radicand),
        })
    }

    /// Tokens of a group in braces, or one token.
    pub(super) fn group(&mut self) -> Option<&'a [Token<'t>]> {
        let start = self.at;
        if !self.eat('{') {
            self.at += 1;
            return self.tokens.get(start..self.at);
        }
        let mut depth = 1usize;
        while depth > 0 {
            let token = self.peek()?;
            depth = if token.is('{') {
                depth + 1
            } else {
                depth - usize::from(token.is('}'))
            };
            self.at += 1;
        }
        self.tokens.get(start + 1..self.at - 1)
    }

    /// A variable with its index and primes, or one of the constants.
    fn letter(&mut self, letter: char) -> Option<Expr> {
        let mut name = String::from(letter);
        if self.eat('_') {
            name = name_of(&name, self.group()?);
        }
        let primes = self.primes();
        if primes == 0 && name.chars().nth(1).is_none() {
            match letter {
                'π' => return Some(Expr::Pi),
                'e' => return Some(Expr::E),
                'i' => return Some(Expr::I),
                _ => {}
            }
        }
        name.extend(std::iter::repeat_n('\'', primes));
        if let Some(at) = self.number_in_brackets() {
            name += &at;
        }
        self.named(&name)
    }

    /// `(0)` behind a name: `y(0)` is a value of y. Nobody writes a product so,
    /// and as one it would be nothing.
    fn number_in_brackets(&mut self) -> Option<String> {
        let sign = |by: usize, c: char| self.ahead(by).is_some_and(|t| t.is(c));
        let from = 1 + usize::from(sign(1, '-'));
        let number = matches!(self.ahead(from).map(|t| &t.kind), Some(Kind::Number(_)));
        if !(sign(0, '(') && number && sign(from + 1, ')')) {
            return None;
        }
        let end = self.at.checked_add(from + 2)?;
        let text = spelled(self.tokens.get(self.at..end)?);
        self.at = end;
        Some(text)
    }

    /// `x'`, `x^\prime`, `x^{\prime\prime}`.
    fn primes(&mut self) -> usize {
        let mut count = 0;
        while self.eat('\'') {
            count += 1;
        }
        let sign = |by: usize, c: char| self.ahead(by).is_some_and(|t| t.is(c));
        if sign(0, '^') && sign(1, '\'') {
            self.at += 2;
            return count + 1;
        }
        if sign(0, '^') && sign(1, '{') {
            let inner = (0..4).take_while(|i| sign(2 + i, '\'')).count();
            if inner > 0 && sign(2 + inner, '}') {
                self.at += 3 + inner;
                return count + inner;
            }
        }
        count
    }

    /// `\angle ABC`: a name of letters.
    fn figure(&mut self, mark: &Token<'_>) -> Option<Expr> {
        let start = self.at;
        let is_point = |t: &Token<'_>| matches!(t.kind, Kind::Letter(_) | Kind::Word(_));
        while self.peek().is_some_and(is_point) {
            self.at += 1;
            if self.eat('_') {
                self.group()?;
            }
        }
        let points = self.tokens.get(start..self.at).filter(|p| !p.is_empty())?;
        let name = format!("{}{}", spelled(std::slice::from_ref(mark)), spelled(points));
        self.named(&name)
    }

    fn named(&mut self, name: &str) -> Option<Expr> {
        self.names.id(name).map(Expr::Symbol)
    }

    fn number(&mut self, number: &Literal) -> Option<Expr> {
        let next = self.peek().map(|t| &t.kind);
        if next == Some(&Kind::Macro("repeating")) {
            return self.repeating(number);
        }
        if next == Some(&Kind::Sign('_')) {
            self.at += 1;
            return numeral(number, self.group()?);
        }
        Some(Expr::Number(number.clone()))
    }

    /// `(2032)_5`, behind its bracket.
    fn numeral_in_brackets(&mut self) -> Option<Expr> {
        let sign = |by: usize, c: char| self.ahead(by).is_some_and(|t| t.is(c));
        let Some(Kind::Number(number)) = self.peek().map(|t| &t.kind) else {
            return None;
        };
        if !(sign(1, ')') && sign(2, '_')) {
            return None;
        }
        self.at += 3;
        numeral(number, self.group()?)
    }

    /// `0.1` and the period `0.06` of one digit: 0.1 + 0.06 / (1 - 10^-1).
    fn repeating(&mut self, number: &Literal) -> Option<Expr> {
        let read = |by: usize| match self.ahead(by).map(|t| &t.kind) {
            Some(Kind::Number(n)) => Some(Expr::Number(n.as_ref().clone())),
            _ => None,
        };
        let (period, digits) = (read(1)?, read(2)?);
        self.at += 3;
        let tenths = Expr::Power(Box::new(Expr::whole(10)), Box::new(digits.negative()));
        let scale = Expr::Sum(vec![Expr::whole(1), tenths.negative()]);
        Some(Expr::Sum(vec![
            Expr::Number(number.clone()),
            period.over(scale),
        ]))
    }
}

/// `2032_5`: digits of a numeral in the base that stands below.
fn numeral(digits: &Literal, index: &[Token<'_>]) -> Option<Expr> {
    let base = match index {
        [
            Token {
                kind: Kind::Number(base),
                ..
            },
        ] => base.small()?.as_whole()?,
        [
            Token {
                kind: Kind::Word(word),
                ..
            },
        ] => i128::from(base_word(word)?),
        _ => return None,
    };
    let base = u32::try_from(base)
        .ok()
        .filter(|base| (2..=10).contains(base))?;
    let (_, shift) = digits.parts();
    let text = match shift >= 0 {
        true => digits.whole_digits()?,
        false => digits.parts().0.to_owned(),
    };
    if text.len() > MAX_NUMERAL {
        return None;
    }
    let mut terms = Vec::new();
    let places = shift.min(0);
    for (place, digit) in text.bytes().rev().enumerate() {
        let digit = u32::from(digit.checked_sub(b'0')?);
        if digit >= base {
            return None;
        }
        let exponent = i32::try_from(place).ok()?.checked_add(places)?;
        let size = Expr::whole(exponent.unsigned_abs());
        let exponent = if exponent < 0 { size.negative() } else { size };
        let power = Expr::Power(Box::new(Expr::whole(base)), Box::new(exponent));
        terms.push(Expr::Product(vec![Expr::whole(digit), power]));
    }
    Some(Expr::Sum(terms))
}

fn base_word(word: &str) -> Option<u32> {
    let names = [
        "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    ];
    let place = names.iter().position(|name| *name == word)?;
    u32::try_from(place + 2).ok()
}
