//! What a backslash begins.

use super::Lexer;
use crate::math::token::Kind;
use crate::math::words::{self, DROPPED, LAYOUT, SPACES, TEXT};

impl<'t> Lexer<'t> {
    /// The name of a macro, or the one sign after the backslash.
    pub(super) fn control(&mut self) {
        self.at += 1;
        let rest = self.rest();
        let length = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        if length == 0 {
            return self.control_sign();
        }
        let name = rest.get(..length).unwrap_or("");
        self.at += length;
        self.named(name);
    }

    fn control_sign(&mut self) {
        let Some(c) = self.rest().chars().next() else {
            return self.push(Kind::Sign('\\'));
        };
        self.at += c.len_utf8();
        match c {
            '{' => {
                self.lists += 1;
                self.push(Kind::OpenSet);
            }
            '}' => {
                self.lists = self.lists.saturating_sub(1);
                self.push(Kind::CloseSet);
            }
            '\\' => self.push(Kind::Row),
            '$' => self.push(Kind::Macro("$")),
            '(' | ')' | '[' | ']' | '!' | ',' | ';' | ':' | '>' | ' ' | '/' => self.spaced = true,
            '|' => self.push(Kind::Sign('‖')),
            c if c.is_whitespace() => self.spaced = true,
            c => self.sign(c),
        }
    }

    fn named(&mut self, name: &'t str) {
        if SPACES.contains(&name) {
            self.spaced = true;
        } else if LAYOUT.contains(&name) {
            let rest = self.rest().trim_start();
            match name {
                // The bracket that is not there.
                "left" | "right" if rest.starts_with('.') => self.skip_to(rest, 1),
                "left" | "right" => {}
                _ if rest.starts_with('{') => {
                    self.skip_to(rest, 1);
                    self.brace(true, false);
                }
                _ => {}
            }
        } else if TEXT.contains(&name) {
            let rest = self.rest().trim_start_matches('*').trim_start();
            if rest.starts_with('{') {
                self.skip_to(rest, 1);
                self.brace(true, true);
            }
        } else if DROPPED.contains(&name) {
            self.skip_group();
        } else if name == "begin" || name == "end" {
            self.environment(name);
        } else if let Some(sign) = words::sign(name) {
            match sign {
                '⟨' | '⌊' | '⌈' => self.lists += 1,
                '⟩' | '⌋' | '⌉' => self.lists = self.lists.saturating_sub(1),
                _ => {}
            }
            self.push(Kind::Sign(sign));
        } else if let Some(letter) = words::letter(name) {
            self.push(Kind::Letter(letter));
        } else if name == "lbrace" || name == "rbrace" {
            self.push(match name {
                "lbrace" => Kind::OpenSet,
                _ => Kind::CloseSet,
            });
        } else if words::function(name).is_some() && name != "sqrt" {
            self.push(Kind::Word(name));
        } else {
            let fraction = matches!(name, "frac" | "dfrac" | "tfrac" | "cfrac");
            let choice = matches!(name, "binom" | "dbinom" | "tbinom");
            self.push(Kind::Macro(match (fraction, choice) {
                (true, _) => "frac",
                (_, true) => "binom",
                _ => name,
            }));
            if fraction || choice {
                self.singles = 2;
            }
        }
    }

    /// Goes on `more` bytes into a rest of the text.
    fn skip_to(&mut self, rest: &str, more: usize) {
        self.at = self.text.len() - rest.len() + more;
    }

    fn skip_group(&mut self) {
        let rest = self.rest().trim_start();
        if let Some(inner) = rest.strip_prefix('{') {
            let end = inner.find('}').map_or(inner.len(), |end| end + 1);
            self.skip_to(inner, end);
        }
        self.spaced = true;
    }

    /// `\begin{NAME}`, with the column layout of an array, or `\end{NAME}`.
    fn environment(&mut self, which: &str) {
        let rest = self.rest().trim_start();
        let Some((name, after)) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) else {
            return;
        };
        self.skip_to(after, 0);
        let name = name.trim().trim_end_matches('*');
        if which == "end" {
            self.lists = self.lists.saturating_sub(1);
            return self.push(Kind::End(name));
        }
        if name == "array" {
            self.skip_group();
        }
        self.lists += 1;
        self.push(Kind::Begin(name));
    }
}
