//! Text <-> token ids, by the Hugging Face `tokenizer.json` format.
//!
//! Token ids are the record everywhere in forkscope; text is derived from
//! them. Padding and truncation that a `tokenizer.json` asks for are switched
//! off (as transformers does unless a caller asks for them): a prompt is never
//! cut in silence. `clean_up_tokenization_spaces` is not applied when decoding.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::pieces::PieceKind;
use super::stream::StreamDecoder;
use super::vocabulary::VocabularyDifference;
use crate::PolicyError;

/// Largest `tokenizer.json` that is read, bytes. The largest in use today are
/// near 35 MB.
pub const MAX_TOKENIZER_BYTES: usize = 256 << 20;

const REMEDY: &str = "fetch the model's tokenizer.json again, or score token ids without one";

/// A tokenizer with what forkscope needs beside encoding and decoding.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    kind: PieceKind,
    by_id: BTreeMap<u32, String>,
    special: std::collections::BTreeSet<u32>,
    digest: OnceLock<String>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("tokens", &self.by_id.len())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` from bytes; `path` is what messages call it.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_TOKENIZER_BYTES {
            return Err(PolicyError::bad(
                path,
                format!(
                    "the tokenizer has {} bytes, more than {MAX_TOKENIZER_BYTES}",
                    bytes.len()
                ),
                REMEDY,
            ));
        }
        // The library is written for trusted files and indexes into what it
        // reads; a panic there must not take the process down.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let mut inner = tokenizers::Tokenizer::from_bytes(bytes)?;
            inner.with_truncation(None)?;
            inner.with_padding(None);
            Ok::<_, tokenizers::Error>(inner)
        }));
        let inner = match read {
            Ok(Ok(inner)) => inner,
            Ok(Err(error)) => {
                let reason = shorten(&error.to_string());
                return Err(PolicyError::bad(
                    path,
                    format!("not a tokenizer.json: {reason}"),
                    REMEDY,
                ));
            }
            Err(_) => {
                return Err(PolicyError::bad(
                    path,
                    "the tokenizer contradicts itself",
                    REMEDY,
                ));
            }
        };
        let by_id: BTreeMap<u32, String> = inner
            .get_vocab(true)
            .into_iter()
            .map(|(token, id)| (id, token))
            .collect();
        if by_id.is_empty() {
            return Err(PolicyError::bad(path, "the vocabulary is empty", REMEDY));
        }
        let special = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter_map(|(id, token)| token.special.then_some(id))
            .collect();
        let kind = PieceKind::of(inner.get_decoder());
        Ok(Self {
            inner,
            path: path.to_owned(),
            kind,
            by_id,
            special,
            digest: OnceLock::new(),
        })
    }

    /// Reads a `tokenizer.json` file.
    pub fn from_file(path: &Path) -> Result<Self, PolicyError> {
        let bytes = super::read_bounded(path, MAX_TOKENIZER_BYTES as u64)?;
        Self::from_bytes(&bytes, path)
    }

    /// Token ids of a text. `add_special_tokens` lets the tokenizer put its
    /// own `<bos>` and the like around it. Special tokens that are spelled out
    /// in the text become their ids, as in transformers.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, PolicyError> {
        match catch_unwind(AssertUnwindSafe(|| {
            self.inner.encode_fast(text, add_special_tokens)
        })) {
            Ok(Ok(encoding)) => Ok(encoding.get_ids().to_vec()),
            Ok(Err(error)) => {
                let reason = shorten(&error.to_string());
                Err(PolicyError::bad(
                    &self.path,
                    format!("cannot encode a text: {reason}"),
                    REMEDY,
                ))
            }
            Err(_) => Err(PolicyError::bad(
                &self.path,
                "the tokenizer failed on a text",
                REMEDY,
            )),
        }
    }

    /// Text of token ids, for reading. Ids that the vocabulary lacks (the
    /// padding rows of a head) give no text.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> String {
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            self.inner.decode(ids, skip_special_tokens)
        }));
        match decoded {
            Ok(Ok(text)) => text,
            // A decoder that fails still leaves something to read.
            _ => ids.iter().filter_map(|&id| self.piece(id)).collect(),
        }
    }

    /// Text of a single token for display: what the token adds to the text
    /// (its leading space included), or its raw piece where it is only part of
    /// a character. `None` if the vocabulary has no such id.
    pub fn piece(&self, id: u32) -> Option<String> {
        let raw = self.by_id.get(&id)?;
        if self.special.contains(&id) {
            return Some(raw.clone());
        }
        Some(self.kind.text(raw))
    }

    /// Decodes a growing sequence token by token.
    pub fn stream(&self, skip_special_tokens: bool) -> StreamDecoder<'_> {
        StreamDecoder::new(self, skip_special_tokens)
    }

    /// Id of a token by its exact raw piece.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether the id is marked special.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// Number of ids that a model must at least have logits for: the largest
    /// id + 1. (The head of a model may be padded beyond it.)
    pub fn vocab_size(&self) -> usize {
        self.by_id
            .last_key_value()
            .map_or(0, |(&id, _)| id as usize + 1)
    }

    /// The raw vocabulary in order of id.
    pub fn vocabulary(&self) -> impl Iterator<Item = (u32, &str)> {
        self.by_id.iter().map(|(&id, token)| (id, token.as_str()))
    }

    /// sha256 (hex) over the vocabulary in order of id, each token as id (u32,
    /// little-endian), length in bytes (u64, little-endian) and UTF-8 text.
    /// Two files with the same digest name the same tokens by the same ids,
    /// however they are formatted.
    pub fn vocabulary_digest(&self) -> &str {
        self.digest.get_or_init(|| {
            let mut hash = Sha256::new();
            for (id, token) in &self.by_id {
                hash.update(id.to_le_bytes());
                hash.update((token.len() as u64).to_le_bytes());
                hash.update(token.as_bytes());
            }
            super::hex(&hash.finalize())
        })
    }

    /// Whether both tokenizers name the same tokens by the same ids; if not,
    /// where they differ.
    pub fn same_vocabulary(&self, other: &Self) -> Result<(), VocabularyDifference> {
        VocabularyDifference::between(&self.by_id, &other.by_id)
    }

    /// The file that messages about this tokenizer name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Library errors may quote the file at length.
fn shorten(message: &str) -> String {
    const LIMIT: usize = 300;
    let mut short: String = message.chars().take(LIMIT).collect();
    if message.chars().nth(LIMIT).is_some() {
        short.push_str("...");
    }
    short
}
