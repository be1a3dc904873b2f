//! Numbers in text: `1,234.50`, `15,\!000`, `10\,000`, `.5`, `2e-3`,
//! `0.1\overline{6}`.

use crate::math::literal::Literal;

/// Marks between groups of three digits. The plain comma separates members of
/// a list too and is read so where a bracket is open or a space follows.
const SEPARATORS: [&str; 6] = ["{,}", ",\\!", "\\!,", "\\,", "{\\,}", ","];

/// The first period of a repeating decimal and the count of its digits.
pub(crate) type Period = (Literal, u32);

/// A number at the start of a text, the digits that repeat, and how many bytes
/// were read. `None` if it is too large or too small to be read as one.
pub(crate) fn read(text: &str, commas: bool) -> Option<(Literal, Option<Period>, usize)> {
    let mut digits = String::new();
    let mut at = take_digits(text, &mut digits);
    if (1..=3).contains(&at) && !digits.starts_with('0') {
        while let Some(length) = group(text.get(at..)?, commas) {
            let mut three = String::new();
            let skip = length.checked_sub(3)?;
            take_digits(text.get(at + skip..)?, &mut three);
            digits.push_str(&three);
            at += length;
        }
    }
    let mut places = 0;
    if text.as_bytes().get(at) == Some(&b'.') {
        let after = text.get(at + 1..)?;
        places = take_digits(after, &mut digits);
        // "3." ends a sentence; "3./2" is a float.
        if places > 0 || after.starts_with('/') || after.starts_with("\\overline{") {
            at += 1 + places;
        }
        if let Some((period, length)) = repeating(text.get(at..)?) {
            let shift = i64::try_from(places + period.len()).ok()?;
            let repeated = Literal::new(period, 0, -shift)?;
            let value = Literal::new(&digits, places, 0)?;
            let length_of = u32::try_from(period.len()).ok()?;
            return Some((value, Some((repeated, length_of)), at + length));
        }
    }
    let (exponent, length) = exponent(text.get(at..)?);
    let number = Literal::new(&digits, places, exponent)?;
    Some((number, None, at + length))
}

/// One digit at the start of a text.
pub(crate) fn digit(text: &str) -> Option<Literal> {
    let digit = text.chars().next()?.to_digit(10)?;
    Some(Literal::integer(digit))
}

/// A small whole number.
pub(crate) fn small(value: u32) -> Literal {
    Literal::integer(value)
}

fn take_digits(text: &str, into: &mut String) -> usize {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    into.push_str(text.get(..length).unwrap_or(""));
    length
}

/// Bytes of a separator and the three digits after it.
fn group(text: &str, commas: bool) -> Option<usize> {
    SEPARATORS.iter().find_map(|mark| {
        let after = text.strip_prefix(mark)?;
        let plain = *mark == ",";
        if plain && !commas {
            return None;
        }
        let trimmed = if plain { after } else { after.trim_start() };
        let mut bytes = trimmed.bytes();
        let three = bytes.by_ref().take(3).filter(u8::is_ascii_digit).count() == 3;
        let more = bytes.next().is_some_and(|byte| byte.is_ascii_digit());
        (three && !more).then(|| text.len() - trimmed.len() + 3)
    })
}

/// `\overline{6}` after the point, and its length.
fn repeating(text: &str) -> Option<(&str, usize)> {
    let (braced, _) = text.strip_prefix("\\overline{")?.split_once('}')?;
    let inner = braced.trim();
    let plain = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_digit());
    (plain && inner.len() <= 18).then(|| (inner, "\\overline{".len() + braced.len() + 1))
}

/// `e-3`, and its length; zero where there is none.
fn exponent(text: &str) -> (i64, usize) {
    let none = (0, 0);
    let Some(after) = text.strip_prefix(['e', 'E']) else {
        return none;
    };
    let unsigned = after.strip_prefix(['-', '+']).unwrap_or(after);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let length = after.len() - unsigned.len() + digits;
    match after.get(..length).map(str::parse) {
        Some(Ok(exponent)) if digits > 0 => (exponent, 1 + length),
        // Digits that do not fit: far beyond what is read.
        Some(Err(_)) if digits > 0 => (i64::MAX, 1 + length),
        _ => none,
    }
}
