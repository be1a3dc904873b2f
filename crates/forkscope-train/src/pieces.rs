//! Documents of a corpus, cut to the length that is trained on.
//!
//! A document of more than L predicted tokens becomes pieces that overlap by one
//! token: piece j holds ids jL ..= (j+1)L, so that every token but the first is
//! predicted exactly once, though with no more than L tokens before it. Examples
//! with a prompt or with weights stay whole.

use crate::objective::Example;

/// Cuts what is longer than `most` predicted tokens (at least 1).
pub fn cut_documents(examples: Vec<Example>, most: usize) -> Vec<Example> {
    let most = most.max(1);
    let pieces = |example: Example| {
        let len = example.ids.len();
        if len <= most + 1 || example.prompt_len > 0 || example.weights.is_some() {
            return vec![example];
        }
        let piece = |from: usize| Example {
            ids: example.ids[from..(from + most + 1).min(len)].to_vec(),
            prompt_len: 0,
            weights: None,
        };
        (0..len - 1).step_by(most).map(piece).collect()
    };
    examples.into_iter().flat_map(pieces).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(len: u32) -> Example {
        Example {
            ids: (0..len).collect(),
            prompt_len: 0,
            weights: None,
        }
    }

    #[test]
    fn every_token_but_the_first_is_predicted_once() {
        for len in 2..40 {
            for most in 1..12 {
                let pieces = cut_documents(vec![document(len)], most);
                let predicted: Vec<u32> = pieces.iter().flat_map(|p| p.ids[1..].to_vec()).collect();
                assert_eq!(predicted, (1..len).collect::<Vec<_>>(), "{len} {most}");
                assert!(pieces.iter().all(|p| p.ids.len() <= most + 1));
            }
        }
    }

    #[test]
    fn prompts_keep_their_completions() {
        let long = Example {
            prompt_len: 2,
            ..document(20)
        };
        assert_eq!(cut_documents(vec![long.clone()], 4), [long]);
    }
}
