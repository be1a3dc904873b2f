//! Sequences that go through the network together, one row per token, without
//! padding and without seeing each other.
//!
//! A prompt that several completions share is computed once: its rows stand in
//! the pack once, and every completion attends to them and then to itself. The
//! gradient of all completions flows back into the shared rows.

use std::ops::Range;

use crate::TrainError;

/// A stretch of rows of one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Rows that every row of the stretch sees (the shared prompt), if any.
    pub prefix: Range<usize>,
    /// The stretch's own rows; a row sees those before it and itself.
    pub rows: Range<usize>,
}

/// Rows of a forward pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pack {
    /// Input token of each row.
    pub tokens: Vec<u32>,
    /// Position of each row within its sequence.
    pub positions: Vec<u32>,
    /// Stretches in order; together they cover all rows.
    pub stretches: Vec<Stretch>,
}

/// A predicted token that an objective looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Row whose hidden state predicts it: that of the token before.
    pub row: usize,
    /// The token that is there.
    pub token: u32,
}

impl Pack {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Adds one sequence; returns the sites of its tokens `from..ids.len()`
    /// (`from` at least 1: nothing predicts the first token). The last token
    /// predicts nothing and gets no row.
    pub fn add(&mut self, ids: &[u32], from: usize) -> Result<Vec<Site>, TrainError> {
        if ids.len() < 2 || from == 0 || from > ids.len() {
            return Err(TrainError::Setting(format!(
                "a sequence of {} tokens has no token to predict from position {from} on",
                ids.len()
            )));
        }
        let first = self.push(&ids[..ids.len() - 1], 0, 0..0);
        Ok((from..ids.len())
            .map(|t| Site {
                row: first + t - 1,
                token: ids[t],
            })
            .collect())
    }

    /// Adds a prompt and completions of it; returns the sites of each
    /// completion's tokens. Empty completions have none.
    pub fn add_group(
        &mut self,
        prompt: &[u32],
        completions: &[&[u32]],
    ) -> Result<Vec<Vec<Site>>, TrainError> {
        if prompt.is_empty() {
            return Err(TrainError::Setting(
                "a prompt is empty; nothing predicts the first token of its completions".into(),
            ));
        }
        let first = self.push(prompt, 0, 0..0);
        let prefix = first..first + prompt.len();
        let site = |row: usize, token: u32| Site { row, token };
        Ok(completions
            .iter()
            .map(|ids| {
                let Some((head, rest)) = ids.split_first() else {
                    return Vec::new();
                };
                let mut sites = vec![site(prefix.end - 1, *head)];
                if !rest.is_empty() {
                    let own = self.push(&ids[..ids.len() - 1], prompt.len(), prefix.clone());
                    sites.extend(rest.iter().enumerate().map(|(i, t)| site(own + i, *t)));
                }
                sites
            })
            .collect())
    }

    fn push(&mut self, ids: &[u32], position: usize, prefix: Range<usize>) -> usize {
        let first = self.tokens.len();
        self.tokens.extend_from_slice(ids);
        self.positions
            .extend((0..ids.len()).map(|i| (position + i) as u32));
        self.stretches.push(Stretch {
            prefix,
            rows: first..first + ids.len(),
        });
        first
    }

    /// Longest sequence: one more than the greatest position.
    pub fn longest(&self) -> usize {
        self.positions.iter().max().map_or(0, |p| *p as usize + 1)
    }
}
