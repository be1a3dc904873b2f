//! Model text, token names and file names made inert for a terminal.
//!
//! Escapes what a terminal acts on or what makes text read other than it is:
//! C0 and C1 controls (ANSI escapes start with one), bidirectional controls,
//! zero-width and invisible format characters, line separators, tag characters,
//! private-use characters. Escapes look like `\x1b` and `\u{202e}`; the
//! backslash itself stays as it is, for reading, not for parsing.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with every acting character escaped, on one line.
pub fn sanitise(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut inert = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => inert.push_str("\\n"),
            '\r' => inert.push_str("\\r"),
            '\t' => inert.push_str("\\t"),
            c if !acts(c) => inert.push(c),
            // Writing to a String cannot fail.
            c if (c as u32) < 0x100 => _ = write!(inert, "\\x{:02x}", c as u32),
            c => _ = write!(inert, "\\u{{{:x}}}", c as u32),
        }
    }
    Cow::Owned(inert)
}

/// Whether a terminal does more with the character than draw it.
fn acts(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_left_alone() {
        for text in ["the", " Ġnaïve 漢字 😀 \u{fffd}", "\\x1b", ""] {
            assert!(matches!(sanitise(text), Cow::Borrowed(t) if t == text));
        }
    }

    #[test]
    fn what_acts_is_shown() {
        assert_eq!(sanitise("a\x1b[31mred\u{7}"), "a\\x1b[31mred\\x07");
        assert_eq!(sanitise("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(
            sanitise("a\u{200b}b\u{feff}\u{9b}2J"),
            "a\\u{200b}b\\u{feff}\\x9b2J"
        );
        assert_eq!(sanitise("two\nlines\tand\r"), "two\\nlines\\tand\\r");
        assert_eq!(sanitise("\u{e0041}\u{2028}"), "\\u{e0041}\\u{2028}");
    }

    #[test]
    fn nothing_that_acts_is_left() {
        let all: String = (0..=0x10ffff).filter_map(char::from_u32).collect();
        assert!(!sanitise(&all).chars().any(|c| c.is_control() || acts(c)));
    }
}
