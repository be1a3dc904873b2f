//! Prompts of model families that evaluations of mathematical reasoning use.
//!
//! They are those under which the figures of arXiv 2605.06241 were measured (a
//! prompt that says the same in other words gives other figures), but that no
//! benchmark has a prompt of its own: GSM8K is asked for a box too. Stop strings
//! are that paper's, and those that keep a base model from a next problem.

/// A family of models and the prompt it is evaluated with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Qwen2.5 base models: a plain request that ends in `Solution:`.
    QwenBase,
    /// Qwen2.5-Math: ChatML with a system line that asks for a box.
    QwenMath,
    /// Qwen3 without thinking: its chat template.
    Qwen3,
    /// Qwen3 with thinking: its chat template.
    Qwen3Thinking,
    /// Models distilled from R1: their chat template, which thinks by itself.
    R1Distill,
    /// Llama and Mistral base models: question and answer.
    LlamaMistral,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::QwenBase,
        Self::QwenMath,
        Self::Qwen3,
        Self::Qwen3Thinking,
        Self::R1Distill,
        Self::LlamaMistral,
    ];

    /// What `--prompt-style` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::QwenBase => "qwen-base",
            Self::QwenMath => "qwen-math",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Thinking => "qwen3-thinking",
            Self::R1Distill => "r1-distill",
            Self::LlamaMistral => "llama-mistral",
        }
    }

    /// The whole prompt, or what the user says to the chat template.
    pub(super) fn text(self, problem: &str) -> String {
        match self {
            Self::QwenBase => format!(
                "Solve the following math problem step by step. \
                 Put your final answer in \\boxed{{}}.\n\nProblem: {problem}\n\nSolution:"
            ),
            Self::QwenMath => format!(
                "<|im_start|>system\nPlease reason step by step, and put your final answer \
                 within \\boxed{{}}.<|im_end|>\n\
                 <|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n"
            ),
            Self::Qwen3 | Self::Qwen3Thinking | Self::R1Distill => format!(
                "Solve the following math problem step by step. Give a concise solution and \
                 put your final answer in \\boxed{{}}.\n\nProblem: {problem}"
            ),
            Self::LlamaMistral => {
                format!("Question:\n{problem}\nAnswer:\nLet's think step by step.\n")
            }
        }
    }

    /// For families that speak by the chat template: what `enable_thinking` is
    /// set to, if at all.
    #[allow(clippy::option_option)]
    pub(super) fn chat_thinking(self) -> Option<Option<bool>> {
        match self {
            Self::Qwen3 => Some(Some(false)),
            Self::Qwen3Thinking => Some(Some(true)),
            Self::R1Distill => Some(None),
            Self::QwenBase | Self::QwenMath | Self::LlamaMistral => None,
        }
    }

    /// Whether the tokenizer adds its special tokens to the text.
    pub(super) fn add_special_tokens(self) -> bool {
        matches!(self, Self::QwenBase | Self::LlamaMistral)
    }

    /// Base models do not stop by themselves: they go on to a next problem.
    pub(super) fn stop(self) -> &'static [&'static str] {
        match self {
            Self::QwenBase => &[
                "Human:",
                "Assistant:",
                "\nProblem:",
                "<|im_end|>",
                "<|endoftext|>",
            ],
            Self::LlamaMistral => &["\nQuestion:", "<|eot_id|>", "<|end_of_text|>", "</s>"],
            Self::QwenMath | Self::Qwen3 | Self::Qwen3Thinking | Self::R1Distill => {
                &["<|im_end|>", "<|endoftext|>"]
            }
        }
    }
}
