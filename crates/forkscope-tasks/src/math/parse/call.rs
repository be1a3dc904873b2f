//! Functions and their arguments.

use super::{Parser, is_math_word, only};
use crate::math::expr::Expr;
use crate::math::token::Kind;
use crate::math::words::Function;

impl Parser<'_, '_> {
    /// `\sin x`, `\sin^2 x`, `\sin^{-1} x`, `\log_2 x`, `sqrt(x)`, `\ln 2x`.
    pub(super) fn call(&mut self, function: Function) -> Option<Expr> {
        let base = match function == Function::Log && self.eat('_') {
            true => Some(self.argument()?),
            false => None,
        };
        let exponent = match self.peek().is_some_and(|t| t.is('^')) {
            true => {
                self.at += 1;
                Some(self.exponent()?)
            }
            false => None,
        };
        self.calls += 1;
        let argument = self.deeper(Self::function_argument);
        self.calls -= 1;
        let argument = argument?;
        let (function, exponent) = match (exponent, inverse(function)) {
            (Some(exponent), Some(inverse)) if is_minus_one(&exponent) => (inverse, None),
            (exponent, _) => (function, exponent),
        };
        let value = match base {
            Some(base) => Expr::LogBase(Box::new(base), Box::new(argument)),
            None => Expr::call(function, argument),
        };
        Some(match exponent {
            Some(exponent) => Expr::Power(Box::new(value), Box::new(exponent)),
            None => value,
        })
    }

    /// A group, or all factors up to a sign or another function.
    fn function_argument(&mut self) -> Option<Expr> {
        if let Some(Kind::Sign(open @ ('(' | '[' | '{' | '|'))) = self.peek().map(|t| &t.kind) {
            let close = match open {
                '(' => ')',
                '[' => ']',
                '{' => '}',
                _ => '|',
            };
            self.at += 1;
            let inner = self.bracket(close)?;
            return Some(match open {
                '|' => Expr::call(Function::Abs, inner),
                _ => inner,
            });
        }
        let negative = self.signs();
        let mut factors = vec![self.power()?];
        while self.starts_factor() && !self.at_function() {
            factors.push(self.power()?);
        }
        let argument = only(factors, Expr::Product);
        Some(if negative {
            argument.negative()
        } else {
            argument
        })
    }

    fn at_function(&self) -> bool {
        match self.peek().map(|t| &t.kind) {
            Some(Kind::Word(word)) => is_math_word(word) && *word != "pi",
            Some(Kind::Sign('(' | '[')) => true,
            _ => false,
        }
    }
}

fn inverse(function: Function) -> Option<Function> {
    Some(match function {
        Function::Sin => Function::Arcsin,
        Function::Cos => Function::Arccos,
        Function::Tan => Function::Arctan,
        _ => return None,
    })
}

fn is_minus_one(exponent: &Expr) -> bool {
    match exponent {
        Expr::Negative(inner) => **inner == Expr::whole(1),
        _ => false,
    }
}
