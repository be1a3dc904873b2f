//! Whether two answers are the same, by their forms.

use crate::answer::{Answer, Shape, quantity, relation, sequence};
use crate::equivalence::Equivalence::{self, Different, Same, Unknown};
use crate::math::expr::Expr;
use crate::math::fuel::Fuel;
use crate::math::points::Points;
use crate::math::scalar::same_value;

/// What one comparison works with.
pub(crate) struct Comparison<'c> {
    pub(crate) points: &'c Points,
    pub(crate) fuel: &'c Fuel,
    /// A percent sign that one side lacks is understood.
    pub(crate) lenient: bool,
}

impl Comparison<'_> {
    pub(crate) fn compare(&self, a: &Answer, b: &Answer) -> Equivalence {
        if self.fuel.take(4).is_none() {
            return Unknown;
        }
        if a.text == b.text && !a.text.is_empty() {
            return Same;
        }
        self.by_shape(a, b)
    }

    fn by_shape(&self, a: &Answer, b: &Answer) -> Equivalence {
        use Shape::{Choice, List, Matrix, Quantity, Ratio, Relation, Sequence, Union, Words};
        match (&a.shape, &b.shape) {
            (Choice(x), Choice(y)) => match (x == y, a.text.len() > 3 && b.text.len() > 3) {
                (true, false) => Same,
                (true, true) => Unknown,
                (false, _) => Different,
            },
            (Relation(..), Relation(..)) => relation::both(a, b, self),
            (List(x), Union(y)) | (Union(y), List(x)) if sequence::is_inequalities(x) => {
                sequence::unions(x, y, self)
            }
            (List(_), Sequence(t)) if t.open != '{' => sequence::list_and_tuple(a, t, self),
            (Sequence(t), List(_)) if t.open != '{' => sequence::list_and_tuple(b, t, self),
            (List(_), _) | (_, List(_)) => sequence::lists(a, b, self),
            (Relation(..), _) => relation::against(a, b, self),
            (_, Relation(..)) => relation::against(b, a, self),
            (Union(x), Union(y)) => sequence::unions(x, y, self),
            (Sequence(x), Sequence(y)) => sequence::sequences(x, y, self),
            (Matrix(x), Matrix(y)) => sequence::matrices(x, y, self),
            (Matrix(x), Sequence(t)) | (Sequence(t), Matrix(x)) => sequence::vector(x, t, self),
            // A set of one is its member.
            (Sequence(s), _) | (_, Sequence(s)) if s.open == '{' && s.items.len() == 1 => {
                sequence::unordered(a.members(), b.members(), self)
            }
            (Quantity(x, u), Quantity(y, v)) => {
                quantity::quantities((x, u.as_ref()), (y, v.as_ref()), self)
            }
            (Ratio(x), Ratio(y)) => self.ratios(x, y),
            (Ratio(x), Quantity(y, None)) | (Quantity(y, None), Ratio(x)) => self.ratio(x, y),
            (Words(x), Words(y)) if x == y && !x.is_empty() => Same,
            (Words(_), _) | (_, Words(_)) => Unknown,
            _ => Different,
        }
    }

    /// `1:2:3` is `2:4:6`.
    fn ratios(&self, a: &[Answer], b: &[Answer]) -> Equivalence {
        if a.len() != b.len() {
            return Different;
        }
        let (Some(first_a), Some(first_b)) = (value(a.first()), value(b.first())) else {
            return Unknown;
        };
        let mut all = Same;
        for (x, y) in a.iter().zip(b).skip(1) {
            let (Some(x), Some(y)) = (value(Some(x)), value(Some(y))) else {
                return Unknown;
            };
            let left = Expr::Product(vec![x.clone(), first_b.clone()]);
            let right = Expr::Product(vec![y.clone(), first_a.clone()]);
            match same_value(&left, &right, self.points, self.fuel) {
                Same => {}
                Different => return Different,
                Unknown => all = Unknown,
            }
        }
        all
    }

    /// `3:4` is `3/4`.
    fn ratio(&self, parts: &[Answer], other: &Expr) -> Equivalence {
        match parts {
            [a, b] => match (value(Some(a)), value(Some(b))) {
                (Some(a), Some(b)) => {
                    let quotient = a.clone().over(b.clone());
                    same_value(&quotient, other, self.points, self.fuel)
                }
                _ => Unknown,
            },
            _ => Different,
        }
    }
}

fn value(answer: Option<&Answer>) -> Option<&Expr> {
    match &answer?.shape {
        Shape::Quantity(value, None) => Some(value),
        _ => None,
    }
}
