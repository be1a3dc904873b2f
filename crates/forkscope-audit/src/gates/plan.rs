//! One gate for right rollouts, one for wrong ones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::gate::Gate;
use super::{GateInput, decide};
use crate::AuditError;

/// The gates of right and of wrong rollouts. As text: `entropy:1.4` for both, or
/// `entropy:1.2/entropy:1.8` for right/wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GatePlan {
    /// Gate of right rollouts.
    pub right: Gate,
    /// Gate of wrong rollouts.
    pub wrong: Gate,
}

impl GatePlan {
    /// The gate of a rollout.
    pub fn of(&self, right: bool) -> &Gate {
        match right {
            true => &self.right,
            false => &self.wrong,
        }
    }

    /// The gate, where right and wrong rollouts have the same.
    pub fn single(&self) -> Option<&Gate> {
        (self.right == self.wrong).then_some(&self.right)
    }

    /// Whether either gate looks at the signal.
    pub fn needs_signal(&self) -> bool {
        self.right.needs_signal() || self.wrong.needs_signal()
    }

    /// Whether either gate looks at the marks of changed positions.
    pub fn needs_changed(&self) -> bool {
        self.right.needs_changed() || self.wrong.needs_changed()
    }

    /// The chosen positions of every rollout: ascending offsets into its
    /// completion. `right` says which rollouts are right. Whatever is defined
    /// over all rollouts (quantiles, entropy deciles) is so over right and wrong
    /// ones together.
    pub fn decide(
        &self,
        inputs: &[GateInput<'_>],
        right: &[bool],
        seed: u64,
    ) -> Result<Vec<Vec<u32>>, AuditError> {
        if right.len() != inputs.len() {
            return Err(AuditError::Internal(format!(
                "{} rollouts and {} marks of which are right",
                inputs.len(),
                right.len()
            )));
        }
        let gates: Vec<&Gate> = right.iter().map(|right| self.of(*right)).collect();
        decide::by_rollout(&gates, inputs, seed)
    }
}

impl From<Gate> for GatePlan {
    fn from(gate: Gate) -> Self {
        Self {
            right: gate.clone(),
            wrong: gate,
        }
    }
}

impl FromStr for GatePlan {
    type Err = AuditError;

    fn from_str(text: &str) -> Result<Self, AuditError> {
        match text.split_once('/') {
            Some((right, wrong)) => Ok(Self {
                right: right.parse()?,
                wrong: wrong.parse()?,
            }),
            None => Ok(text.parse::<Gate>()?.into()),
        }
    }
}

impl fmt::Display for GatePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(gate) => gate.fmt(f),
            None => write!(f, "{}/{}", self.right, self.wrong),
        }
    }
}

impl TryFrom<String> for GatePlan {
    type Error = AuditError;

    fn try_from(text: String) -> Result<Self, AuditError> {
        text.parse()
    }
}

impl From<GatePlan> for String {
    fn from(plan: GatePlan) -> Self {
        plan.to_string()
    }
}
