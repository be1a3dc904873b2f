//! The tree of an expression.

use crate::math::literal::Literal;
use crate::math::words::Function;

/// An expression. Sums and products are flat, so that the depth of a tree is
/// the nesting of brackets, which the parser bounds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Number(Literal),
    /// A variable, by its place in the table of names.
    Symbol(u16),
    Pi,
    E,
    I,
    Infinity,
    Sum(Vec<Expr>),
    Product(Vec<Expr>),
    Negative(Box<Expr>),
    Inverse(Box<Expr>),
    Power(Box<Expr>, Box<Expr>),
    /// Degree and radicand.
    Root(Box<Expr>, Box<Expr>),
    /// Base and argument.
    LogBase(Box<Expr>, Box<Expr>),
    Binomial(Box<Expr>, Box<Expr>),
    Call(Function, Box<Expr>),
}

/// What a comparison needs to know about an expression beforehand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traits {
    /// Largest symbol, plus one.
    pub(crate) symbols: u16,
    /// The imaginary unit is written.
    pub(crate) imaginary: bool,
    /// A logarithm without a base is written.
    pub(crate) log: bool,
    /// Something that is defined for whole numbers only depends on a variable.
    pub(crate) whole: bool,
    /// A floor or ceiling of a variable is taken.
    pub(crate) steps: bool,
    pub(crate) infinite: bool,
}

impl Expr {
    pub(crate) fn whole(value: u32) -> Self {
        Self::Number(Literal::integer(value))
    }

    pub(crate) fn negative(self) -> Self {
        Self::Negative(Box::new(self))
    }

    pub(crate) fn over(self, divisor: Self) -> Self {
        Self::Product(vec![self, Self::Inverse(Box::new(divisor))])
    }

    pub(crate) fn call(function: Function, argument: Self) -> Self {
        Self::Call(function, Box::new(argument))
    }

    pub(crate) fn traits(&self) -> Traits {
        let mut traits = Traits::default();
        self.survey(&mut traits);
        traits
    }

    /// `1` or `-1` for an infinity, `None` for anything else.
    pub(crate) fn infinity(&self) -> Option<i8> {
        match self {
            Self::Infinity => Some(1),
            Self::Negative(inner) => inner.infinity().map(|sign| -sign),
            Self::Sum(terms) | Self::Product(terms) => match terms.as_slice() {
                [only] => only.infinity(),
                _ => None,
            },
            _ => None,
        }
    }

    fn survey(&self, traits: &mut Traits) {
        match self {
            Self::Number(_) | Self::Pi | Self::E => {}
            Self::I => traits.imaginary = true,
            Self::Infinity => traits.infinite = true,
            Self::Symbol(id) => traits.symbols = traits.symbols.max(id.saturating_add(1)),
            Self::Sum(terms) | Self::Product(terms) => {
                for term in terms {
                    term.survey(traits);
                }
            }
            Self::Negative(inner) | Self::Inverse(inner) => inner.survey(traits),
            Self::Power(a, b) => {
                let signed = a.is_negative() && b.has_symbols();
                traits.whole |= signed;
                a.survey(traits);
                b.survey(traits);
            }
            Self::Binomial(a, b) => {
                traits.whole |= a.has_symbols() || b.has_symbols();
                a.survey(traits);
                b.survey(traits);
            }
            Self::Root(a, b) | Self::LogBase(a, b) => {
                a.survey(traits);
                b.survey(traits);
            }
            Self::Call(function, argument) => {
                traits.log |= *function == Function::Log;
                traits.whole |= *function == Function::Factorial && argument.has_symbols();
                let steps = matches!(function, Function::Floor | Function::Ceiling);
                traits.steps |= steps && argument.has_symbols();
                argument.survey(traits);
            }
        }
    }

    fn is_negative(&self) -> bool {
        match self {
            Self::Negative(_) => true,
            Self::Sum(terms) | Self::Product(terms) => match terms.as_slice() {
                [first, ..] => first.is_negative(),
                [] => false,
            },
            _ => false,
        }
    }

    /// Whether it depends on a variable.
    pub(crate) fn has_symbols(&self) -> bool {
        match self {
            Self::Symbol(_) => true,
            Self::Number(_) | Self::Pi | Self::E | Self::I | Self::Infinity => false,
            Self::Sum(terms) | Self::Product(terms) => terms.iter().any(Self::has_symbols),
            Self::Negative(a) | Self::Inverse(a) | Self::Call(_, a) => a.has_symbols(),
            Self::Power(a, b) | Self::Root(a, b) | Self::LogBase(a, b) | Self::Binomial(a, b) => {
                a.has_symbols() || b.has_symbols()
            }
        }
    }
}
