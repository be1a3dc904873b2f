//! Activations of every item, pooled over rows, layer by layer.

use std::str::FromStr;

use forkscope_audit::awareness::Layer;
use forkscope_policy::{ActivationRequest, ActivationRows, Policy, SamplePrompt, Sites};

use super::decisions::Decisions;
use crate::failure::Failure;
use crate::interrupt::interrupted;

/// Which rows of an item count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The prompt's last, which predicts the first token of the completion.
    Last,
    /// The mean over the prompt.
    Mean,
    /// The mean over the rows that predict decision positions.
    Decision,
}

/// Items computed between two looks at the interrupt flag.
const WINDOW: usize = 64;

impl Pooling {
    /// The word that files hold.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Mean => "mean",
            Self::Decision => "decision",
        }
    }
}

impl FromStr for Pooling {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [Self::Last, Self::Mean, Self::Decision]
            .into_iter()
            .find(|p| p.as_str() == word)
            .ok_or_else(|| "there are last, mean and decision".to_owned())
    }
}

/// One matrix per layer, 0 (the embeddings) to the last.
pub fn layers(
    policy: &Policy,
    prompts: &[SamplePrompt],
    decisions: &Decisions,
    pooling: Pooling,
) -> Result<Vec<Layer>, Failure> {
    let sites = Sites::residual(policy);
    let mut out: Vec<Layer> = sites
        .layers
        .iter()
        .map(|_| Layer {
            width: policy.config().hidden_size,
            values: Vec::new(),
        })
        .collect();
    let items: Vec<usize> = (0..prompts.len()).collect();
    for window in items.chunks(WINDOW) {
        let requests: Vec<ActivationRequest<'_>> = window
            .iter()
            .filter_map(|i| request(prompts.get(*i)?, *i, decisions, pooling))
            .collect();
        let found = policy.activations(&requests, &sites)?;
        for result in &found.results {
            for (layer, number) in out.iter_mut().zip(&sites.layers) {
                let row = found.layer(result.start, *number).ok_or_else(|| {
                    Failure::Internal("a layer that was asked for is missing".into())
                })?;
                layer.values.extend_from_slice(row);
            }
        }
        if interrupted() {
            return Err(Failure::interrupted());
        }
    }
    Ok(out)
}

fn request<'a>(
    prompt: &'a SamplePrompt,
    item: usize,
    decisions: &'a Decisions,
    pooling: Pooling,
) -> Option<ActivationRequest<'a>> {
    Some(match pooling {
        Pooling::Last => ActivationRequest::last(&prompt.ids),
        Pooling::Mean => ActivationRequest::mean(&prompt.ids),
        Pooling::Decision => {
            let text = decisions.texts.get(item)?;
            let positions = decisions.positions.get(item)?;
            // Row i predicts position i + 1.
            let rows: Vec<usize> = positions
                .iter()
                .filter_map(|t| (*t as usize).checked_sub(1))
                .collect();
            match rows.is_empty() {
                true => ActivationRequest::last(&prompt.ids),
                false => ActivationRequest {
                    ids: &text.token_ids,
                    prompt_len: text.prompt_len,
                    rows: ActivationRows::MeanAt(rows),
                },
            }
        }
    })
}
