//! How much work a comparison may take.

use std::cell::Cell;

/// Steps of one comparison: a node evaluated at a point, a product of two
/// machine words, a pair of members compared. About ten milliseconds.
const STEPS: u32 = 300_000;

/// What is left of the work one comparison may take.
#[derive(Debug)]
pub(crate) struct Fuel(Cell<u32>);

impl Fuel {
    pub(crate) fn new() -> Self {
        Self(Cell::new(STEPS))
    }

    /// Takes some steps; `None` once there are too few.
    pub(crate) fn take(&self, steps: u32) -> Option<()> {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.unwrap_or(0));
        left.map(|_| ())
    }

    /// Nothing is left: what was found does not count.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get() == 0
    }
}
