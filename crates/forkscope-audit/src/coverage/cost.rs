//! What it costs to look at positions.
//!
//! A position is predicted from all tokens before it: whoever wants position o
//! of a completion forwards the prompt and the o completion tokens before it,
//! and gets every earlier position of the rollout for the price of the head.
//! So the cost is, per policy, the prompt of every rollout that is touched (once
//! for neighbours that share it) and the completion up to its last position.

use serde::{Deserialize, Serialize};

use super::population::{Member, Population};

/// Work of auditing some positions, for one policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Positions that are looked at.
    pub positions: u64,
    /// Rollouts that are touched.
    pub rollouts: u64,
    /// Tokens that are forwarded: prefixes and prompts.
    pub tokens: u64,
}

impl Cost {
    /// Of the positions with these indices, ascending.
    pub fn of(population: &Population, indices: impl Iterator<Item = u32>) -> Self {
        let mut cost = Self::default();
        let mut current: Option<(u32, u32)> = None;
        let mut prompt = None;
        for index in indices {
            let Some(position) = population.positions.get(index as usize) else {
                continue;
            };
            cost.positions += 1;
            match current {
                Some((member, offset)) if member == position.member => {
                    cost.tokens += u64::from(position.offset.saturating_sub(offset));
                }
                _ => {
                    cost.rollouts += 1;
                    cost.tokens += u64::from(position.offset);
                    cost.prompt(population.member_of(position), &mut prompt);
                }
            }
            current = Some((position.member, position.offset));
        }
        cost
    }

    fn prompt(&mut self, member: Option<&Member>, before: &mut Option<u32>) {
        if let Some(member) = member
            && *before != Some(member.prompt)
        {
            self.tokens += u64::from(member.prompt_len);
            *before = Some(member.prompt);
        }
    }
}

/// Of every position.
pub fn full_cost(population: &Population) -> Cost {
    Cost::of(population, 0..population.len() as u32)
}
