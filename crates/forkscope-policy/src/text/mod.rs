//! Text in and out of a policy: tokenizer, chat template, prompt style.
//!
//! ```text
//! problem -> prompt style -> chat template -> text -> token ids
//! ```

mod family;
mod pieces;
mod special;
mod stream;
mod style;
mod template;
mod text_side;
mod tokenizer;
mod user_template;
mod vocabulary;

use std::io::Read as _;
use std::path::Path;

pub use family::Family;
pub use special::SpecialTokens;
pub use stream::StreamDecoder;
pub use style::{Prompt, PromptStyle, RenderedPrompt};
pub use template::{ChatTemplate, Date, Message, TemplateFiles, TemplateInputs};
pub use text_side::TextSide;
pub use tokenizer::{MAX_TOKENIZER_BYTES, Tokenizer};
pub use user_template::PromptTemplate;
pub use vocabulary::VocabularyDifference;

use crate::PolicyError;

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a file of at most `limit` bytes.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, PolicyError> {
    let failed = |source| PolicyError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(PolicyError::bad(
            path,
            format!("the file has more than {limit} bytes"),
            "check that it is the file it is named as",
        ));
    }
    Ok(bytes)
}
