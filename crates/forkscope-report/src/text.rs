//! Hostile text made inert.
//!
//! Model text, file names and settings may hold markup, terminal escapes,
//! bidirectional controls and invisible characters. Two steps make them safe:
//! [`visible`] replaces every character that acts instead of being seen, and
//! one escape per target format (`html`, `json_in_script`, `markdown_code`)
//! keeps the rest from being read as syntax.

use std::fmt::Write as _;

/// Longest piece of text that is shown whole, in characters.
const MAX_SHOWN: usize = 240;

/// Replaces characters that control, reorder or hide text by visible marks.
///
/// Newline and tab become `⏎` and `⇥`, other C0 controls their Unicode control
/// pictures, everything else that has no ink of its own `⟨U+XXXX⟩`. Long text
/// is cut and says by how much.
pub fn visible(text: &str) -> String {
    visible_up_to(text, MAX_SHOWN)
}

/// As [`visible`], for text that is cut at another length, in characters.
pub fn visible_up_to(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most.saturating_mul(4)));
    for (shown, c) in text.chars().enumerate() {
        if shown == most {
            let rest = text.chars().count() - most;
            let _ = write!(out, "… (+{rest} characters)");
            break;
        }
        push_visible(&mut out, c);
    }
    out
}

fn push_visible(out: &mut String, c: char) {
    match c {
        '\n' => out.push('⏎'),
        '\t' => out.push('⇥'),
        '\0'..='\x1f' => out.extend(char::from_u32(0x2400 + c as u32)),
        '\x7f' => out.push('␡'),
        c if hides(c) => {
            let _ = write!(out, "⟨U+{:04X}⟩", c as u32);
        }
        c => out.push(c),
    }
}

/// Whether a character acts on its neighbours or leaves no ink. Listed from
/// the Unicode categories Cf, Zl, Zp, C1 controls, noncharacters, private use
/// and the blank letters that are used to hide text.
fn hides(c: char) -> bool {
    matches!(c as u32,
        0x80..=0x9f | 0xad | 0x34f | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x8e2
        | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f
        | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
        | 0x2800 | 0x3164 | 0xe000..=0xf8ff | 0xfdd0..=0xfdef
        | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0xfffe | 0xffff
        | 0x110bd | 0x110cd | 0x13430..=0x1343f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a
        | 0xe0000..=0x10ffff)
}

/// Escapes text for HTML and SVG, in element content and in quoted attributes.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Foreign text for HTML: visible, then escaped.
pub fn html_foreign(text: &str) -> String {
    html(&visible(text))
}

/// Makes a JSON document safe inside a `<script>` element. `<`, `>` and `&`
/// only occur inside JSON strings, where `\uXXXX` means the same.
pub fn json_in_script(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

/// Foreign text as a Markdown code span that no content can close: visible,
/// with a fence one backtick longer than any run inside, pipes escaped for
/// tables. Inside a code span nothing is markup, link or image.
pub fn markdown_code(text: &str) -> String {
    let text = visible(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.is_empty() || text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{}{pad}{fence}", text.replace('|', "\\|"))
}

/// Prose (definitions, methods) for Markdown: every character that could open
/// markup is escaped, so that prose from a file stays prose. A bracket opens
/// nothing unless a link's target follows it.
pub fn markdown_prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' | '`' | '*' | '_' | '#' | '|' | '~' | '$' => out.extend(['\\', c]),
            ']' if matches!(chars.peek(), Some('(' | '[' | ':')) => out.push_str("\\]"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // Bare addresses become links by these.
            ':' if chars.peek() == Some(&'/') => out.push_str("&#58;"),
            '@' => out.push_str("&#64;"),
            c => push_visible(&mut out, c),
        }
    }
    out.replace("www.", "www&#46;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn controls_become_ink() {
        assert_eq!(visible("a\0b\x1b[31m\x7f"), "a␀b␛[31m␡");
        assert_eq!(visible("\r\n\t"), "␍⏎⇥");
        assert_eq!(visible("x\u{202e}y\u{2066}"), "x⟨U+202E⟩y⟨U+2066⟩");
        assert_eq!(
            visible("\u{200b}\u{feff}\u{ad}"),
            "⟨U+200B⟩⟨U+FEFF⟩⟨U+00AD⟩"
        );
        assert_eq!(visible("\u{e0041}"), "⟨U+E0041⟩");
        assert_eq!(visible("naïve 漢字 עברית 😀"), "naïve 漢字 עברית 😀");
    }

    #[test]
    fn long_text_says_what_was_cut() {
        let shown = visible(&"x".repeat(1000));
        assert!(shown.ends_with("… (+760 characters)"));
    }

    #[test]
    fn script_data_cannot_close_the_script() {
        let json = serde_json::to_string("</script><!--<script>&\u{2028}").unwrap();
        let safe = json_in_script(&json);
        assert!(!safe.contains('<') && !safe.contains('&') && !safe.contains('\u{2028}'));
        let back: String = serde_json::from_str(&safe).unwrap();
        assert_eq!(back, "</script><!--<script>&\u{2028}");
    }

    #[test]
    fn a_code_span_cannot_be_closed() {
        assert_eq!(markdown_code("a``b"), "```a``b```");
        assert_eq!(markdown_code("`"), "`` ` ``");
        assert_eq!(markdown_code("a|b"), "`a\\|b`");
        assert_eq!(markdown_code("\n"), "`⏎`");
    }

    #[test]
    fn prose_stays_prose() {
        let out = markdown_prose("![x](http://evil) [y][z] <b> www.evil.org a@b");
        assert!(out.contains("x\\](") && out.contains("y\\][") && !out.contains("http:"));
        assert!(!out.contains("www.") && !out.contains(['@', '<']));
        assert_eq!(markdown_prose("2 % [1 – 3]: fine"), "2 % [1 – 3\\]: fine");
        assert_eq!(
            markdown_prose("2 % [1 – 3] of all; k: 5"),
            "2 % [1 – 3] of all; k: 5"
        );
    }

    proptest! {
        #[test]
        fn nothing_visible_hides(text in any::<String>()) {
            let shown = visible(&text);
            prop_assert!(shown.chars().all(|c| !c.is_control() && !hides(c)));
            let escaped = html(&shown);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
        }
    }
}
