//! A problem: what is asked, and what would be right.

use serde::{Deserialize, Serialize};

/// One line of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, ...
    pub role: String,
    /// What was said.
    pub content: String,
}

/// What a policy is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ProblemPrompt {
    /// The problem's text, still without a prompt style.
    Text(String),
    /// A conversation, for the chat template.
    Messages(Vec<Message>),
}

/// One problem of a problem file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Unique within the file; the 0-based row index where the file has none.
    pub id: String,
    /// What is asked.
    pub prompt: ProblemPrompt,
    /// The reference answer as the file has it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// A group to report separately, if the file has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
}
