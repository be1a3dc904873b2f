//! Comparison of two vocabularies, token by token.

use std::collections::BTreeMap;

/// Where two vocabularies differ. Its text completes "the vocabularies differ: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.describe())]
pub struct VocabularyDifference {
    /// Lowest id whose token is not the same on both sides.
    pub first_id: u32,
    /// The first side's token at `first_id`.
    pub left: Option<String>,
    /// The second side's token at `first_id`.
    pub right: Option<String>,
    /// Ids that both have, with different tokens.
    pub conflicting: usize,
    /// Ids that only the first has.
    pub only_left: usize,
    /// Ids that only the second has.
    pub only_right: usize,
    /// Ids that at least one side has.
    pub ids: usize,
}

impl VocabularyDifference {
    pub(super) fn between(
        left: &BTreeMap<u32, String>,
        right: &BTreeMap<u32, String>,
    ) -> Result<(), Self> {
        let mut differing = left
            .iter()
            .map(|(&id, token)| (id, Some(token), right.get(&id)))
            .filter(|(_, l, r)| l != r)
            .chain(
                right
                    .iter()
                    .filter(|(id, _)| !left.contains_key(id))
                    .map(|(&id, token)| (id, None, Some(token))),
            )
            .peekable();
        if differing.peek().is_none() {
            return Ok(());
        }
        let mut found = Self {
            first_id: u32::MAX,
            left: None,
            right: None,
            conflicting: 0,
            only_left: 0,
            only_right: 0,
            ids: 0,
        };
        for (id, l, r) in differing {
            match (l, r) {
                (Some(_), None) => found.only_left += 1,
                (None, _) => found.only_right += 1,
                _ => found.conflicting += 1,
            }
            if id <= found.first_id {
                (found.first_id, found.left, found.right) = (id, l.cloned(), r.cloned());
            }
        }
        found.ids = left.len() + found.only_right;
        Err(found)
    }

    /// Whether one side merely has further tokens, and no id means two things.
    pub fn is_extension(&self) -> bool {
        self.conflicting == 0 && (self.only_left == 0 || self.only_right == 0)
    }

    fn describe(&self) -> String {
        let name = |token: &Option<String>| match token {
            Some(token) => format!("{:?}", token.chars().take(60).collect::<String>()),
            None => "absent".to_owned(),
        };
        format!(
            "token {} is {} on one side and {} on the other; of {} ids {} name different tokens, \
             {} are only on the first side, {} only on the second",
            self.first_id,
            name(&self.left),
            name(&self.right),
            self.ids,
            self.conflicting,
            self.only_left,
            self.only_right
        )
    }
}
