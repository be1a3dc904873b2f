//! JSON as Python writes it: `NaN`, `Infinity` and `-Infinity` stand bare.
//!
//! They become `null`, and whoever reads the field decides what a number means
//! that is not there.

use std::borrow::Cow;

/// The same document in strict JSON; borrowed where it is strict already.
pub(super) fn strict(text: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Vec<u8> = Vec::new();
    let (mut copied, mut at, mut in_text) = (0, 0, false);
    while let Some(&b) = text.get(at) {
        if in_text {
            match b {
                b'\\' => at += 1,
                b'"' => in_text = false,
                _ => {}
            }
        } else if b == b'"' {
            in_text = true;
        } else if let Some(word) = bare_number(text.get(at..).unwrap_or(&[])) {
            out.extend_from_slice(text.get(copied..at).unwrap_or(&[]));
            out.extend_from_slice(b"null");
            at += word;
            copied = at;
            continue;
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(text.get(copied..).unwrap_or(&[]));
    Cow::Owned(out)
}

fn bare_number(rest: &[u8]) -> Option<usize> {
    let words: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    words.iter().find(|w| rest.starts_with(w)).map(|w| w.len())
}

#[cfg(test)]
mod tests {
    use super::strict;

    #[test]
    fn bare_words_become_null_and_text_stays() {
        let text = br#"{"a": NaN, "b": [-Infinity, 1, Infinity], "c": "NaN \" Infinity"}"#;
        let expected = br#"{"a": null, "b": [null, 1, null], "c": "NaN \" Infinity"}"#;
        assert_eq!(strict(text).as_ref(), expected);
        assert!(matches!(
            strict(br#"{"a": "NaN\\"}"#),
            std::borrow::Cow::Borrowed(_)
        ));
        assert_eq!(strict(b"\"open \\").as_ref(), b"\"open \\");
    }
}
