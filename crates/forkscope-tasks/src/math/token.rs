//! What the lexer makes of an answer.

use crate::math::literal::Literal;

/// One sign of an answer, layout removed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind<'t> {
    /// A number: digits with a point, separators, an exponent `e`.
    Number(Box<Literal>),
    /// A variable or a Greek letter.
    Letter(char),
    /// A word: a function, a constant, a unit, or plain language.
    Word(&'t str),
    /// A macro with a meaning, without its backslash.
    Macro(&'t str),
    /// A sign; several spellings share one character (`\le` is `≤`).
    Sign(char),
    /// `\{`
    OpenSet,
    /// `\}`
    CloseSet,
    /// `\\` between the rows of a matrix.
    Row,
    /// `\begin{NAME}`
    Begin(&'t str),
    /// `\end{NAME}`
    End(&'t str),
}

/// A sign and what its place says about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token<'t> {
    pub(crate) kind: Kind<'t>,
    /// White space stands before it.
    pub(crate) spaced: bool,
}

impl Token<'_> {
    pub(crate) fn is(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }

    /// Opens a bracket in which commas separate.
    pub(crate) fn opens(&self) -> bool {
        matches!(
            self.kind,
            Kind::Sign('(' | '[' | '{' | '⟨' | '⌊' | '⌈') | Kind::OpenSet | Kind::Begin(_)
        )
    }

    /// Closes one.
    pub(crate) fn closes(&self) -> bool {
        matches!(
            self.kind,
            Kind::Sign(')' | ']' | '}' | '⟩' | '⌋' | '⌉') | Kind::CloseSet | Kind::End(_)
        )
    }

    fn spell(&self, out: &mut String) {
        match &self.kind {
            Kind::Number(number) => number.spell(out),
            Kind::Letter(letter) | Kind::Sign(letter) => out.push(*letter),
            // Words are the same in either case; single letters are names.
            Kind::Word(word) if word.chars().nth(1).is_some() => {
                out.extend(word.chars().flat_map(char::to_lowercase));
            }
            Kind::Word(word) => out.push_str(word),
            Kind::Macro(name) => {
                out.push('\\');
                out.push_str(name);
            }
            Kind::OpenSet => out.push_str("\\{"),
            Kind::CloseSet => out.push_str("\\}"),
            Kind::Row => out.push_str("\\\\"),
            Kind::Begin(name) => {
                out.push_str("\\begin ");
                out.push_str(name);
            }
            Kind::End(_) => out.push_str("\\end"),
        }
    }

    fn is_wordlike(&self) -> bool {
        matches!(
            self.kind,
            Kind::Number(_) | Kind::Word(_) | Kind::Letter(_) | Kind::Macro(_)
        )
    }
}

/// The one spelling of a run of tokens: no layout, a space only where two words
/// or numbers would run together (`1 2` is not `12`).
pub(crate) fn spelled(tokens: &[Token<'_>]) -> String {
    let mut out = String::with_capacity(tokens.len() * 2);
    let mut last: Option<&Token<'_>> = None;
    for token in tokens {
        if let Some(last) = last {
            let letters = |t: &Token<'_>| matches!(t.kind, Kind::Letter(_));
            let glued = letters(last) && letters(token);
            if last.is_wordlike() && token.is_wordlike() && !glued {
                out.push(' ');
            }
        }
        token.spell(&mut out);
        last = Some(token);
    }
    out
}
