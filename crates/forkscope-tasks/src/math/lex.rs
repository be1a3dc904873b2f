//! An answer as tokens: LaTeX, plain text and the usual mixtures of both.
//!
//! Layout goes (`\left`, `\,`, `$`, `\dfrac`); spellings that mean one thing
//! become one token. Linear in the length; there is always a result.

use crate::math::numeral;
use crate::math::token::{Kind, Token};
use crate::math::words;

mod control;

/// What a comma between digits in groups of three is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commas {
    /// Part of the number, where no bracket is open.
    Group,
    /// The end of it.
    Separate,
}

/// Tokens of an answer, at most one per byte.
pub(crate) fn lex(text: &str, commas: Commas) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        text,
        commas,
        at: 0,
        spaced: false,
        tokens: Vec::with_capacity(text.len().min(64)),
        braces: Vec::new(),
        lists: 0,
        singles: 0,
    };
    while lexer.step().is_some() {}
    lexer.tokens
}

/// What a brace that is open belongs to.
struct Brace {
    /// It is not part of the answer: its macro is layout.
    silent: bool,
    /// Words stand in it.
    words: bool,
    /// What `singles` becomes behind it.
    singles: u8,
}

struct Lexer<'t> {
    text: &'t str,
    commas: Commas,
    at: usize,
    spaced: bool,
    tokens: Vec<Token<'t>>,
    braces: Vec<Brace>,
    /// Brackets that are open, in which a comma separates.
    lists: usize,
    /// Arguments of `\frac` still to come: `\frac12` has two of one digit.
    singles: u8,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn push(&mut self, kind: Kind<'t>) {
        self.singles = self.singles.saturating_sub(1);
        let spaced = std::mem::take(&mut self.spaced);
        self.tokens.push(Token { kind, spaced });
    }

    fn in_words(&self) -> bool {
        self.braces.last().is_some_and(|brace| brace.words)
    }

    fn step(&mut self) -> Option<()> {
        let rest = self.rest();
        let c = rest.chars().next()?;
        let point = c == '.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        match c {
            '\\' => self.control(),
            '0'..='9' => self.number(),
            '.' if point => self.number(),
            c if c.is_whitespace() || matches!(c, '~' | '$' | '\u{200b}') => {
                self.dollar(c);
                self.at += c.len_utf8();
                self.spaced = true;
            }
            c if c.is_alphabetic() && !is_greek(c) => self.letters(),
            c => {
                self.at += c.len_utf8();
                self.sign(c);
            }
        }
        Some(())
    }

    /// A lone `$` before a number is currency; others mark mathematics.
    fn dollar(&mut self, c: char) {
        let priced = c == '$'
            && self
                .rest()
                .as_bytes()
                .get(1)
                .is_some_and(u8::is_ascii_digit)
            && self
                .text
                .bytes()
                .filter(|byte| *byte == b'$')
                .take(2)
                .count()
                == 1;
        if priced {
            self.push(Kind::Macro("$"));
        }
    }

    fn number(&mut self) {
        if self.singles > 0 {
            let digit = numeral::digit(self.rest());
            if let Some(number) = digit {
                self.at += 1;
                return self.push(Kind::Number(Box::new(number)));
            }
        }
        match numeral::read(self.rest(), self.lists == 0 && self.commas == Commas::Group) {
            Some((number, repeating, length)) => {
                self.at += length;
                self.push(Kind::Number(Box::new(number)));
                if let Some((repeating, length)) = repeating {
                    self.push(Kind::Macro("repeating"));
                    self.push(Kind::Number(Box::new(repeating)));
                    self.push(Kind::Number(Box::new(numeral::small(length))));
                }
            }
            None => {
                // Too large to be a number: it stays text.
                let length = self.rest().find(|c: char| !c.is_ascii_digit());
                let length = length.unwrap_or(self.rest().len()).max(1);
                let digits = self.rest().get(..length).unwrap_or("");
                self.at += length;
                self.push(Kind::Macro(digits));
            }
        }
    }

    fn letters(&mut self) {
        let rest = self.rest();
        let end = |c: char| !c.is_alphabetic() || is_greek(c);
        let run = rest
            .get(..rest.find(end).unwrap_or(rest.len()))
            .unwrap_or("");
        self.at += run.len();
        let library = matches!(run, "np" | "numpy" | "math" | "sympy");
        if library && self.rest().starts_with('.') {
            self.at += 1;
            return;
        }
        let mut letters = run.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) if !self.in_words() => self.push(Kind::Letter(letter)),
            // "\mathrm{e}" is the number; other letters in words are words.
            (Some(letter @ ('e' | 'i' | 'd')), None) if self.alone() => {
                self.push(Kind::Letter(letter));
            }
            (Some(_), Some(_)) if !self.in_words() && run.is_ascii() && words::is_product(run) => {
                for letter in run.chars() {
                    self.push(Kind::Letter(letter));
                }
            }
            _ => self.push(Kind::Word(run)),
        }
    }

    /// The letter just read fills its braces.
    fn alone(&self) -> bool {
        let before = self.text.get(..self.at.saturating_sub(1)).unwrap_or("");
        self.rest().starts_with('}') && before.ends_with('{')
    }

    fn sign(&mut self, c: char) {
        match c {
            '{' => self.brace(false, false),
            '}' => self.unbrace(),
            '(' | '[' => {
                self.lists += 1;
                self.push(Kind::Sign(c));
            }
            ')' | ']' => {
                self.lists = self.lists.saturating_sub(1);
                self.push(Kind::Sign(c));
            }
            _ => {
                let next = self.rest().chars().next();
                let double = match (c, next) {
                    ('*', Some('*')) => Some('^'),
                    ('<', Some('=')) => Some('≤'),
                    ('>', Some('=')) => Some('≥'),
                    ('!', Some('=')) => Some('≠'),
                    ('=', Some('=')) => Some('='),
                    _ => None,
                };
                if double.is_some() {
                    self.at += 1;
                }
                self.single(double.unwrap_or(c));
            }
        }
    }

    fn single(&mut self, c: char) {
        let kind = match c {
            '\u{2212}' | '\u{2013}' | '\u{2010}' | '\u{2011}' => Kind::Sign('-'),
            '×' | '·' | '⋅' | '∗' => Kind::Sign('*'),
            '÷' => Kind::Sign('/'),
            '⩽' => Kind::Sign('≤'),
            '⩾' => Kind::Sign('≥'),
            'º' | '˚' => Kind::Sign('°'),
            '’' | '′' | '‘' | '`' => Kind::Sign('\''),
            '√' => Kind::Macro("sqrt"),
            '²' | '³' => {
                self.push(Kind::Sign('^'));
                let exponent = if c == '²' { 2 } else { 3 };
                Kind::Number(Box::new(numeral::small(exponent)))
            }
            c if is_greek(c) => Kind::Letter(c),
            c if c.is_control() => return,
            c => Kind::Sign(c),
        };
        self.push(kind);
    }

    fn brace(&mut self, silent: bool, words: bool) {
        let words = words || self.in_words();
        let singles = self.singles.saturating_sub(1);
        if !silent {
            self.push(Kind::Sign('{'));
        }
        self.singles = 0;
        self.braces.push(Brace {
            silent,
            words,
            singles,
        });
    }

    fn unbrace(&mut self) {
        let brace = self.braces.pop();
        if !brace.as_ref().is_some_and(|brace| brace.silent) {
            self.push(Kind::Sign('}'));
        }
        self.singles = brace.map_or(0, |brace| brace.singles);
    }
}

fn is_greek(c: char) -> bool {
    matches!(c, 'α'..='ω' | 'Γ'..='Ω')
}
