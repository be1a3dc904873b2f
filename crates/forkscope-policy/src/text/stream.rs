//! Decoding a sequence that grows token by token.
//!
//! A token may hold part of a character, and some decoders treat the first
//! token differently, so text cannot be concatenated piece by piece. The
//! decoder keeps a window of the last ids that produced text and emits what a
//! new token adds to the window's text, holding back while it ends in an
//! incomplete character.

use super::tokenizer::Tokenizer;

/// A character has at most four bytes: a run of more undecided tokens than
/// this is not waiting for the rest of a character.
const MAX_HELD_BACK: usize = 4;

/// Text so far of the ids pushed; see [`Tokenizer::stream`].
#[derive(Debug)]
pub struct StreamDecoder<'t> {
    tokenizer: &'t Tokenizer,
    skip_special_tokens: bool,
    ids: Vec<u32>,
    /// First id of the window.
    window: usize,
    /// First id whose text has not been emitted.
    emitted: usize,
    /// Text of `ids[window..emitted]`.
    prefix: String,
    text: String,
}

impl<'t> StreamDecoder<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, skip_special_tokens: bool) -> Self {
        Self {
            tokenizer,
            skip_special_tokens,
            ids: Vec::new(),
            window: 0,
            emitted: 0,
            prefix: String::new(),
            text: String::new(),
        }
    }

    /// Takes one more token and returns the text that became certain by it.
    pub fn push(&mut self, id: u32) -> &str {
        self.ids.push(id);
        let before = self.text.len();
        let window = self.decode(self.window);
        let pending = self.ids.len() - self.emitted;
        let complete = !window.ends_with('\u{fffd}') || pending > MAX_HELD_BACK;
        if complete && window.len() > self.prefix.len() {
            match window.strip_prefix(self.prefix.as_str()) {
                Some(added) => self.text.push_str(added),
                // A decoder that rewrites what it said before; start over.
                None => self.text = self.decode(0),
            }
            self.window = self.emitted;
            self.emitted = self.ids.len();
            self.prefix = self.decode(self.window);
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
