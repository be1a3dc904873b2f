//! Gates by hand, by their identities, and on hostile numbers.

mod by_hand;
mod controls;
mod hostile;
mod properties;
mod reports;

use super::{Gate, GateInput, decide};

/// A rollout that owns its numbers.
#[derive(Debug, Clone)]
struct Owned {
    problem_id: String,
    sample: u32,
    entropies: Vec<f64>,
    signal: Vec<f64>,
    changed: Vec<bool>,
}

impl Owned {
    fn new(problem_id: &str, entropies: Vec<f64>) -> Self {
        Self {
            problem_id: problem_id.to_owned(),
            sample: 0,
            signal: entropies.iter().map(|h| 3.0 - h).collect(),
            changed: entropies.iter().map(|h| *h > 1.0).collect(),
            entropies,
        }
    }

    fn input(&self) -> GateInput<'_> {
        GateInput {
            signal: Some(&self.signal),
            changed: Some(&self.changed),
            ..GateInput::new(&self.problem_id, self.sample, &self.entropies)
        }
    }
}

fn inputs(owned: &[Owned]) -> Vec<GateInput<'_>> {
    owned.iter().map(Owned::input).collect()
}

fn gate(text: &str) -> Gate {
    text.parse().unwrap()
}

/// The positions that the gate written `text` chooses.
fn chosen(text: &str, owned: &[Owned], seed: u64) -> Vec<Vec<u32>> {
    decide(&gate(text), &inputs(owned), seed).unwrap()
}

/// The positions in one rollout of these entropies.
fn chosen_one(text: &str, entropies: &[f64]) -> Vec<u32> {
    let owned = [Owned::new("p", entropies.to_vec())];
    chosen(text, &owned, 42).remove(0)
}
