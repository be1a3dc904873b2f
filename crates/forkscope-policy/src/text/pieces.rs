//! Text of a single token, for display.
//!
//! A tokenizer's decoder works on whole sequences (it strips a first space,
//! joins bytes into characters), so a single token is mapped here by the
//! alphabet that its decoder implies.

use tokenizers::DecoderWrapper;

/// How raw pieces spell text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// Every character stands for one byte (the GPT-2 alphabet).
    ByteLevel,
    /// A low line `▁` is a space, `<0x0A>` a byte.
    SentencePiece,
    /// No decoder: pieces are words, and a space goes between them.
    Words,
    /// The piece is its text.
    Plain,
}

impl PieceKind {
    pub(super) fn of(decoder: Option<&DecoderWrapper>) -> Self {
        let Some(decoder) = decoder else {
            return Self::Words;
        };
        let mut queue = vec![decoder];
        while let Some(decoder) = queue.pop() {
            match decoder {
                DecoderWrapper::ByteLevel(_) => return Self::ByteLevel,
                DecoderWrapper::Metaspace(_)
                | DecoderWrapper::ByteFallback(_)
                | DecoderWrapper::Replace(_) => return Self::SentencePiece,
                DecoderWrapper::Sequence(all) => queue.extend(all.get_decoders()),
                _ => {}
            }
        }
        Self::Plain
    }

    /// Text of a raw piece; the piece itself where it is not a whole number of
    /// characters.
    pub(super) fn text(self, raw: &str) -> String {
        match self {
            Self::Plain => raw.to_owned(),
            Self::Words => format!(" {raw}"),
            Self::ByteLevel => raw
                .chars()
                .map(byte_of)
                .collect::<Option<Vec<u8>>>()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .unwrap_or_else(|| raw.to_owned()),
            Self::SentencePiece => match byte_fallback(raw) {
                Some(byte) if byte.is_ascii() => char::from(byte).to_string(),
                Some(_) => raw.to_owned(),
                None => raw.replace('▁', " "),
            },
        }
    }
}

/// The byte of `<0x0A>`.
fn byte_fallback(raw: &str) -> Option<u8> {
    let digits = raw.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 {
        None
    } else {
        u8::from_str_radix(digits, 16).ok()
    }
}

/// The byte that a character of the GPT-2 alphabet stands for: printable
/// Latin-1 stands for itself, the other 68 bytes are moved to U+0100 onwards
/// in ascending order.
fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_names_every_byte_once() {
        let mut seen = [false; 256];
        for c in (0..0x200u32).filter_map(char::from_u32) {
            if let Some(byte) = byte_of(c) {
                assert!(
                    !std::mem::replace(&mut seen[usize::from(byte)], true),
                    "{byte} twice"
                );
            }
        }
        assert!(seen.iter().all(|&s| s));
    }

    #[test]
    fn pieces_read_as_text() {
        assert_eq!(PieceKind::ByteLevel.text("Ġcat"), " cat");
        assert_eq!(PieceKind::ByteLevel.text("Ċ"), "\n");
        assert_eq!(PieceKind::ByteLevel.text("Ã©"), "é");
        assert_eq!(PieceKind::ByteLevel.text("Ã"), "Ã");
        assert_eq!(PieceKind::SentencePiece.text("▁the"), " the");
        assert_eq!(PieceKind::SentencePiece.text("<0x0A>"), "\n");
        assert_eq!(PieceKind::SentencePiece.text("<0xE2>"), "<0xE2>");
        assert_eq!(PieceKind::Plain.text("▁x"), "▁x");
        assert_eq!(PieceKind::Words.text("pens"), " pens");
    }
}
