//! An answer with its form: a quantity, a tuple, a set, an equation, words.

pub(crate) mod compare;
pub(crate) mod matching;
pub(crate) mod quantity;
pub(crate) mod read;
pub(crate) mod relation;
pub(crate) mod sequence;
mod signs;
pub(crate) mod unit;
mod words;

use crate::answer::unit::Unit;
use crate::math::expr::Expr;

/// What an answer is, and its one spelling.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The tokens, spelled one way: equal texts are equal answers.
    pub(crate) text: String,
    pub(crate) shape: Shape,
    /// Only names and signs between them: what may stand before `=` as the name
    /// of the answer (`x`, `m+n`, `f(2)`, `\angle ABC`), so not `2x` or `x^2`.
    pub(crate) is_name: bool,
}

/// The forms of answers.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// An expression, with a unit or without.
    Quantity(Expr, Option<Unit>),
    /// `(1, 2)`, `[0, 1)`, `\{1, 2\}`.
    Sequence(Sequence),
    /// `1, 2` or `1 \text{ or } 2`: answers of which the order says nothing.
    List(Vec<Answer>),
    /// `(0, 1) \cup (2, 3)`
    Union(Vec<Answer>),
    /// Rows of cells.
    Matrix(Vec<Vec<Answer>>),
    /// `a = b`, `1 < x \le 2`: the sides and the signs between them, of which
    /// none is `>` or `≥`: those are turned round.
    Relation(Vec<Answer>, Vec<char>),
    /// `3:4`
    Ratio(Vec<Answer>),
    /// A letter that was chosen, with what stands behind it: `(A)`, `A. text`.
    Choice(char),
    /// Anything else, without punctuation and articles.
    Words(String),
}

/// Members in brackets.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    /// `(`, `[` or `{`.
    pub(crate) open: char,
    pub(crate) close: char,
    pub(crate) items: Vec<Answer>,
}

impl Answer {
    /// The answer without variables.
    pub(crate) fn is_constant(&self) -> bool {
        match &self.shape {
            Shape::Quantity(value, _) => !value.has_symbols(),
            _ => false,
        }
    }

    /// Not words, nor made of them.
    pub(crate) fn is_understood(&self) -> bool {
        let all = |items: &[Self]| items.iter().all(Self::is_understood);
        match &self.shape {
            Shape::Words(_) => false,
            Shape::Quantity(_, unit) => unit.as_ref().is_none_or(|unit| unit.known),
            Shape::Choice(_) => true,
            Shape::Sequence(sequence) => all(&sequence.items),
            Shape::List(items) | Shape::Union(items) | Shape::Ratio(items) => all(items),
            Shape::Relation(sides, _) => sides.iter().all(|s| s.is_name || s.is_understood()),
            Shape::Matrix(rows) => rows.iter().all(|row| all(row)),
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        matches!(&self.shape, Shape::Sequence(s) if s.open == '{')
    }

    /// Members of a list or a set; any other answer is its own only member.
    pub(crate) fn members(&self) -> &[Answer] {
        match &self.shape {
            Shape::List(items) => items,
            Shape::Sequence(sequence) if sequence.open == '{' => &sequence.items,
            _ => std::slice::from_ref(self),
        }
    }
}
