//! Decoding a sequence that grows token by token.
//!
//! A token may hold part of a character, and some decoders treat the first
//! token differently, so text cannot be concatenated piece by piece. The
//! decoder keeps a window of the last ids that produced text and emits what a
//! new token adds to the window's text, holding back what may still be part of
//! a character.

use super::tokenizer::Tokenizer;

/// What decoders write for bytes that are no character (yet).
const REPLACEMENT: char = '\u{fffd}';

/// Bytes that an incomplete character has at most; a decoder writes one
/// replacement for them or one for each.
const MAX_INCOMPLETE: usize = 3;

/// Tokens without a whole character after which the window moves on all the
/// same: only a broken model gets here, and it must not cost quadratic time.
const MAX_HELD_BACK: usize = 32;

/// Text so far of the ids pushed; see [`Tokenizer::stream`].
#[derive(Debug, Clone)]
pub struct StreamDecoder<'t> {
    tokenizer: &'t Tokenizer,
    skip_special_tokens: bool,
    ids: Vec<u32>,
    /// First id of the window.
    window: usize,
    /// First id after the last one that ended in a whole character.
    whole: usize,
    /// What of the window's text has been emitted.
    emitted: String,
    text: String,
}

impl<'t> StreamDecoder<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, skip_special_tokens: bool) -> Self {
        Self {
            tokenizer,
            skip_special_tokens,
            ids: Vec::new(),
            window: 0,
            whole: 0,
            emitted: String::new(),
            text: String::new(),
        }
    }

    /// Takes one more token and returns the text that became certain by it.
    pub fn push(&mut self, id: u32) -> &str {
        self.ids.push(id);
        let before = self.text.len();
        let window = self.decode(self.window);
        let complete = !window.ends_with(REPLACEMENT);
        if (complete || self.ids.len() - self.whole > MAX_HELD_BACK) && window != self.emitted {
            let certain = certain(&window);
            match certain.strip_prefix(self.emitted.as_str()) {
                Some(added) => self.text.push_str(added),
                // A decoder that takes back what it said; start over.
                None => self.text = certain_of(self.decode(0)),
            }
            self.window = self.whole;
            self.whole = self.ids.len();
            self.emitted = certain_of(self.decode(self.window));
        }
        self.text.get(before..).unwrap_or("")
    }

    /// Text so far, without a character that is still incomplete.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The ids pushed.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The whole text, incomplete characters included: the same as decoding
    /// all ids at once.
    pub fn finish(self) -> String {
        self.decode(0)
    }

    fn decode(&self, from: usize) -> String {
        let ids = self.ids.get(from..).unwrap_or(&[]);
        self.tokenizer.decode(ids, self.skip_special_tokens)
    }
}

/// A text without the replacements at its end that may yet become a character.
fn certain(text: &str) -> &str {
    let mut certain = text;
    for _ in 0..MAX_INCOMPLETE {
        certain = certain.strip_suffix(REPLACEMENT).unwrap_or(certain);
    }
    certain
}

fn certain_of(mut text: String) -> String {
    text.truncate(certain(&text).len());
    text
}
