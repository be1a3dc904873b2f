//! Ways of working out one step, as tokens with the value they end on.
//!
//! ```text
//! columns 3 + 1 = 04 ; 4 + 1 + 0 = 05 ; get 54      digit by digit, with the carry
//! directly 54                                        forgets the carry, sometimes
//! roughly 40 + 10 = 50                               rounds both numbers
//! ```
//! A difference shows the borrow in the tens of each line's result.

use forkscope_metrics::rng::Draws;

use super::draw::one;
use super::mixture::Mixture;
use super::problems::Operation;
use super::words::{digit, id, number};

const EQUALS: u32 = id("=");
const SEMICOLON: u32 = id(";");
const TIMES: u32 = id("x");
const PLUS: u32 = id("+");

/// The sign of an operation.
pub(super) fn sign(operation: Operation) -> u32 {
    match operation {
        Operation::Add => PLUS,
        Operation::Subtract => const { id("-") },
        Operation::Multiply => TIMES,
    }
}

/// The second operand: products have one digit.
pub(super) fn operand(operation: Operation, amount: u8) -> u32 {
    match operation {
        Operation::Multiply => digit(amount),
        Operation::Add | Operation::Subtract => number(amount),
    }
}

/// Digit by digit, after the word `columns` or `check`. Pushes the lines; returns
/// the value of the last.
pub(super) fn columns(
    out: &mut Vec<u32>,
    draws: &mut Draws,
    mixture: &Mixture,
    operation: Operation,
    value: u8,
    amount: u8,
) -> u8 {
    let (tens, ones) = (value / 10, value % 10);
    let (k_tens, k_ones) = (amount / 10, amount % 10);
    let sign = sign(operation);
    // Result of the ones, carry into the tens, result of the tens.
    let (low, carry, high) = match operation {
        Operation::Multiply => {
            let low = ones * amount;
            (low, low / 10, tens * amount + low / 10)
        }
        Operation::Add => {
            let low = ones + k_ones;
            (low, low / 10, tens + k_tens + low / 10)
        }
        Operation::Subtract => {
            let borrow = u8::from(ones < k_ones);
            let low = ones + 10 * borrow - k_ones;
            let taken = k_tens + borrow;
            let under = u8::from(tens < taken);
            let high = tens + 10 * under - taken;
            (10 * borrow + low % 10, borrow, 10 * under + high % 10)
        }
    };
    let mut result = (high % 10) * 10 + low % 10;
    if draws.uniform() < mixture.slips {
        result = (result + one(draws, &[1, 99, 10, 90])) % 100;
    }
    match operation {
        Operation::Multiply => {
            let k = digit(amount);
            out.extend([digit(ones), sign, k, EQUALS, number(low), SEMICOLON]);
            out.extend([digit(tens), sign, k, PLUS, digit(carry), EQUALS]);
        }
        Operation::Add | Operation::Subtract => {
            out.extend([digit(ones), sign, digit(k_ones), EQUALS, number(low)]);
            out.extend([SEMICOLON, digit(tens), sign, digit(k_tens), sign]);
            out.extend([digit(carry), EQUALS]);
        }
    }
    out.extend([number(high), SEMICOLON, const { id("get") }, number(result)]);
    result
}

/// From memory, after the word `directly`.
pub(super) fn directly(
    out: &mut Vec<u32>,
    draws: &mut Draws,
    mixture: &Mixture,
    operation: Operation,
    value: u8,
    amount: u8,
) -> u8 {
    let result = if carries(operation, value, amount) && draws.uniform() < mixture.forgets_carry {
        without_carry(operation, value, amount)
    } else if draws.uniform() < mixture.misses {
        draws.below(100) as u8
    } else {
        operation.apply(value, amount)
    };
    out.push(number(result));
    result
}

/// With numbers rounded to tens, after the word `roughly`.
pub(super) fn roughly(out: &mut Vec<u32>, operation: Operation, value: u8, amount: u8) -> u8 {
    let rounded = |n: u8| (n + 5) / 10 * 10 % 100;
    let value = rounded(value);
    let amount = match operation {
        Operation::Multiply => amount,
        Operation::Add | Operation::Subtract => rounded(amount),
    };
    let result = operation.apply(value, amount);
    out.extend([number(value), sign(operation), operand(operation, amount)]);
    out.extend([EQUALS, number(result)]);
    result
}

/// Whether the ones carry into the tens, or borrow from them.
pub(super) fn carries(operation: Operation, value: u8, amount: u8) -> bool {
    let (v, k) = (value % 10, amount % 10);
    match operation {
        Operation::Add => v + k >= 10,
        Operation::Subtract => v < k,
        Operation::Multiply => v * k >= 10,
    }
}

/// Digit by digit without carrying.
fn without_carry(operation: Operation, value: u8, amount: u8) -> u8 {
    let (tens, ones) = (value / 10, value % 10);
    let (k_tens, k_ones) = (amount / 10, amount % 10);
    let (high, low) = match operation {
        Operation::Add => (tens + k_tens, ones + k_ones),
        Operation::Subtract => (10 + tens - k_tens, 10 + ones - k_ones),
        Operation::Multiply => (tens * amount, ones * amount),
    };
    (high % 10) * 10 + low % 10
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::mixture::MIXTURE;
    use crate::lab::words::text;
    use forkscope_metrics::rng::Key;

    /// All of the task's steps.
    fn each(mut see: impl FnMut(Operation, u8, u8)) {
        for value in 0..100 {
            (10..40).for_each(|k| see(Operation::Add, value, k));
            (10..40).for_each(|k| see(Operation::Subtract, value, k));
            (2..4).for_each(|k| see(Operation::Multiply, value, k));
        }
    }

    #[test]
    fn columns_without_slips_are_right_and_read_as_documented() {
        let mixture = Mixture {
            slips: 0.0,
            ..MIXTURE
        };
        let mut draws = Key::new(0, "", 0, "test").rng_at(0);
        each(|operation, v, k| {
            let mut out = Vec::new();
            let result = columns(&mut out, &mut draws, &mixture, operation, v, k);
            assert_eq!(result, operation.apply(v, k), "{v} {operation:?} {k}");
        });
        let mut shown = |operation, v, k| {
            let mut out = Vec::new();
            columns(&mut out, &mut draws, &mixture, operation, v, k);
            text(&out)
        };
        assert_eq!(
            shown(Operation::Add, 43, 19),
            "3 + 9 = 12 ; 4 + 1 + 1 = 06 ; get 62"
        );
        assert_eq!(
            shown(Operation::Subtract, 13, 29),
            "3 - 9 = 14 ; 1 - 2 - 1 = 18 ; get 84"
        );
        assert_eq!(
            shown(Operation::Multiply, 47, 3),
            "7 x 3 = 21 ; 4 x 3 + 2 = 14 ; get 41"
        );
    }

    #[test]
    fn a_forgotten_carry_matters_exactly_where_there_is_one() {
        each(|operation, v, k| {
            let right = without_carry(operation, v, k) == operation.apply(v, k);
            assert_eq!(right, !carries(operation, v, k), "{v} {operation:?} {k}");
        });
    }
}
