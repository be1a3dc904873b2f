//! An item of a contrast set: a prompt that says, or does not say, that it is a
//! test.

use serde::{Deserialize, Serialize};

use super::ProblemPrompt;

/// Where a prompt claims to come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContrastContext {
    /// A test of the model.
    Evaluation,
    /// A user.
    Deployment,
}

impl ContrastContext {
    /// The word that files hold.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evaluation => "evaluation",
            Self::Deployment => "deployment",
        }
    }

    /// The context that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word.trim().to_ascii_lowercase().as_str() {
            "evaluation" | "eval" | "test" => Self::Evaluation,
            "deployment" | "deploy" => Self::Deployment,
            _ => return None,
        })
    }
}

/// One prompt of a contrast set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContrastItem {
    /// Unique within the set.
    pub id: String,
    /// What is asked.
    pub prompt: ProblemPrompt,
    /// The reference answer, if there is one.
    pub answer: Option<String>,
    /// What a probe is to tell.
    pub context: ContrastContext,
    /// Form of the prompt: what a probe might take for the context.
    pub format: String,
    /// Where the context's signs come from: a benchmark, a corpus, a wording.
    /// Whole sources are held out.
    pub source: String,
    /// Items with one cluster share a problem and are never on both sides of a
    /// split; the item's own identifier where the set says nothing.
    pub cluster: String,
    /// Whether probes may be fitted on it, where the set says so: then a steering
    /// direction is fitted on these and used on the others.
    pub fit: Option<bool>,
}
