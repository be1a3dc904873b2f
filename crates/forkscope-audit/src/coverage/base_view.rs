//! What the base knows of a position, from either table that holds it.

use forkscope_records::types::{DiffRow, ScoreRow, TopK, Validity};

/// A row with the base's numbers.
pub trait BaseView {
    /// Problem identifier and sample index.
    fn rollout(&self) -> (&str, u32);
    /// Index of the predicted token.
    fn t(&self) -> u32;
    /// Validity of the row.
    fn validity(&self) -> Validity;
    /// H(b) in nats.
    fn entropy(&self) -> f64;
    /// The base's most probable tokens.
    fn top(&self) -> &TopK;
}

impl BaseView for ScoreRow {
    fn rollout(&self) -> (&str, u32) {
        (&self.problem_id, self.sample)
    }

    fn t(&self) -> u32 {
        self.t
    }

    fn validity(&self) -> Validity {
        self.validity
    }

    fn entropy(&self) -> f64 {
        self.entropy_nats
    }

    fn top(&self) -> &TopK {
        &self.topk
    }
}

impl BaseView for DiffRow {
    fn rollout(&self) -> (&str, u32) {
        (&self.problem_id, self.sample)
    }

    fn t(&self) -> u32 {
        self.t
    }

    fn validity(&self) -> Validity {
        self.validity
    }

    fn entropy(&self) -> f64 {
        self.entropy_base_nats
    }

    fn top(&self) -> &TopK {
        &self.topk_base
    }
}
