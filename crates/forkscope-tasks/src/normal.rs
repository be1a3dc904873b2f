//! One spelling for what is only laid out differently.
//!
//! Removed: the marks of mathematics (`$`, `\( \)`, `\[ \]`), spacing and
//! sizing macros, spaces (but for those between two digits: `1 2` is not `12`),
//! a full stop at the end. Unified: `\dfrac` and
//! `\tfrac`, Unicode minus, `\text{..}` (its content stays). Nothing that
//! changes a value is touched.

/// Longest answer that is looked at, bytes; longer ones are only equal to
/// themselves.
pub(crate) const MAX_ANSWER: usize = 4_096;

/// Macros that only lay out.
const LAYOUT: &[&str] = &[
    "\\left",
    "\\right",
    "\\displaystyle",
    "\\textstyle",
    "\\!",
    "\\,",
    "\\;",
    "\\:",
    "\\>",
    "\\bigl",
    "\\bigr",
    "\\Bigl",
    "\\Bigr",
    "\\big",
    "\\Big",
];

/// Macros around words.
const WORDS: &[&str] = &[
    "\\text",
    "\\mathrm",
    "\\textbf",
    "\\mathbf",
    "\\operatorname",
    "\\mbox",
];

/// The answer without layout.
pub(crate) fn normal(answer: &str) -> String {
    let mut text = answer.trim().to_owned();
    for (open, close) in [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")] {
        let inner = text
            .strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close));
        if let Some(inner) = inner.filter(|inner| !inner.contains('$')) {
            text = inner.trim().to_owned();
        }
    }
    text = text
        .replace(['\u{2212}', '\u{2013}'], "-")
        .replace("\\dfrac", "\\frac")
        .replace("\\tfrac", "\\frac")
        .replace("{,}", ",")
        .replace("\\qquad", " ")
        .replace("\\quad", " ")
        .replace("\\ ", " ")
        .replace(['~', '\u{a0}'], " ");
    text = without_layout(&text);
    let unstopped = text.trim_end();
    let unstopped = unstopped.strip_suffix('.').unwrap_or(unstopped);
    without_spaces(unstopped)
}

fn without_spaces(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        if digit(out.chars().last()) && digit(word.chars().next()) {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Drops layout macros, and word macros but for their content.
fn without_layout(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // For each brace that is open: whether it belongs to a word macro.
    let mut open = Vec::new();
    while let Some(c) = rest.chars().next() {
        if let Some(after) = after_macro(rest, LAYOUT) {
            rest = after;
            continue;
        }
        if let Some(after) = after_macro(rest, WORDS).and_then(|after| after.strip_prefix('{')) {
            open.push(true);
            rest = after;
            continue;
        }
        // \{ and \} are signs of their own.
        let escaped = c == '\\'
            && rest
                .get(1..)
                .is_some_and(|next| next.starts_with(['{', '}', '\\']));
        let taken = if escaped { 2 } else { c.len_utf8() };
        let (piece, after) = rest.split_at(taken);
        rest = after;
        match c {
            '{' => open.push(false),
            '}' if open.pop() == Some(true) => continue,
            _ => {}
        }
        out.push_str(piece);
    }
    out
}

/// The text after one of the macros, if it begins with one. A macro of letters
/// ends where letters end.
fn after_macro<'t>(text: &'t str, macros: &[&str]) -> Option<&'t str> {
    macros.iter().find_map(|name| {
        let after = text.strip_prefix(name)?;
        let word = name.ends_with(|c: char| c.is_ascii_alphabetic());
        let goes_on = after.starts_with(|c: char| c.is_ascii_alphabetic());
        (!(word && goes_on)).then_some(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layout_goes_and_values_stay() {
        for (from, to) in [
            ("$ 42 $", "42"),
            ("\\( x + 1 \\)", "x+1"),
            (
                "\\left( 3, \\dfrac{\\pi}{2} \\right).",
                "(3,\\frac{\\pi}{2})",
            ),
            ("15,\\!000", "15,000"),
            ("1{,}000", "1,000"),
            ("\\text{Evelyn}", "Evelyn"),
            ("10\\text{ cm}", "10cm"),
            ("\\text{a {b} c}", "a{b}c"),
            ("\\{1, 2\\}", "\\{1,2\\}"),
            ("\u{2212}3", "-3"),
            ("\\leftarrow", "\\leftarrow"),
            ("\\textit{x}", "\\textit{x}"),
            ("$a$ and $b$", "$a$and$b$"),
            ("3.", "3"),
            ("1 2", "1 2"),
            ("1\\quad 2", "1 2"),
            ("1 1/2", "1 1/2"),
            ("3 x 4", "3x4"),
            ("}", "}"),
            ("\\", "\\"),
            ("", ""),
        ] {
            assert_eq!(normal(from), to, "{from}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_normalised(text in "\\PC{0,60}") {
            normal(&text);
        }
    }
}
