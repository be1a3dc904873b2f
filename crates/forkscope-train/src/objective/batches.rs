//! Which examples make up which optimiser step.
//!
//! Batch `step` is a function of the settings, the number of examples and the
//! step alone, so a data cursor is a step number.

use forkscope_metrics::rng::Key;

use crate::TrainError;

/// Most examples that are put in an order; beyond, they are a stream.
const MOST: u64 = 100_000_000;

/// Most examples of a window.
const MOST_AT_ONCE: usize = 1_000_000;

/// In which order an epoch walks through the examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Shuffled anew every epoch. An endless stream is taken as it comes.
    Shuffled,
    /// As they stand.
    InOrder,
    /// Shuffled; then, within windows of so many batches, batches are made of
    /// examples of like length and their order is shuffled. Steps differ in
    /// their number of tokens, so a loss divided by the tokens of its step gives
    /// tokens of short examples more weight: divide by a constant.
    LengthGrouped {
        /// Batches per window.
        window: usize,
    },
}

/// How examples become batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchSettings {
    /// Examples per optimiser step.
    pub batch: usize,
    /// Order of the examples.
    pub order: Order,
    /// Whether an epoch's last batch is used though it is smaller.
    pub keep_last: bool,
    /// Seed of the order.
    pub seed: u64,
    /// Rows after which a shard is closed.
    pub shard_rows: usize,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            batch: 16,
            order: Order::Shuffled,
            keep_last: true,
            seed: 0,
            shard_rows: 512,
        }
    }
}

/// The batches of a collection.
#[derive(Debug)]
pub struct Batches {
    n: Option<u64>,
    settings: BatchSettings,
    /// The order of the epoch that was asked for last.
    epoch: Option<(u64, Vec<u64>)>,
    /// The window that was asked for last: epoch, number, its batches.
    window: Option<(u64, u64, Vec<Vec<u64>>)>,
}

impl Batches {
    /// Batches of `n` examples, or of an endless stream.
    pub fn new(n: Option<u64>, settings: BatchSettings) -> Result<Self, TrainError> {
        let refuse = |what: String| Err(TrainError::Setting(what));
        if settings.batch == 0 || settings.shard_rows == 0 {
            return refuse("a batch needs at least one example, a shard at least one row".into());
        }
        let window = match settings.order {
            Order::LengthGrouped { window } => window,
            Order::Shuffled | Order::InOrder => 1,
        };
        if window == 0 || window.saturating_mul(settings.batch) > MOST_AT_ONCE {
            return refuse(format!(
                "batches of {} in windows of {window} cannot be made; a window holds 1 batch at least and {MOST_AT_ONCE} examples at most",
                settings.batch
            ));
        }
        match n {
            Some(0) => return refuse("there is no example to learn from; check the data".into()),
            Some(n) if n < settings.batch as u64 && !settings.keep_last => {
                return refuse(format!(
                    "{n} examples are fewer than a batch of {}; give a smaller batch or keep the last one",
                    settings.batch
                ));
            }
            Some(n) if n > MOST => {
                return refuse(format!(
                    "{n} examples are more than {MOST}; give them as a stream"
                ));
            }
            _ => {}
        }
        Ok(Self {
            n,
            settings,
            epoch: None,
            window: None,
        })
    }

    /// Optimiser steps per epoch; `None` for a stream.
    pub fn steps_per_epoch(&self) -> Option<u64> {
        let batch = self.settings.batch as u64;
        self.n.map(|n| {
            if self.settings.keep_last {
                n.div_ceil(batch)
            } else {
                n / batch
            }
        })
    }

    /// Epochs after `steps` steps; for a stream 0.
    pub fn epochs(&self, steps: u64) -> f64 {
        self.steps_per_epoch()
            .map_or(0.0, |per| steps as f64 / per.max(1) as f64)
    }

    /// Indices of the examples of a step. `length` of an example is asked for
    /// where batches are grouped by length.
    pub fn at(
        &mut self,
        step: u64,
        length: &mut dyn FnMut(u64) -> Result<usize, TrainError>,
    ) -> Result<Vec<u64>, TrainError> {
        let (epoch, within) = match self.steps_per_epoch() {
            Some(per) => (step / per.max(1), step % per.max(1)),
            None => (0, step),
        };
        let Order::LengthGrouped { window } = self.settings.order else {
            return Ok(self.span(epoch, within, 1));
        };
        let window = window as u64;
        let (number, place) = (within / window, (within % window) as usize);
        if !matches!(&self.window, Some((e, w, _)) if (*e, *w) == (epoch, number)) {
            let batches = self.grouped(epoch, number, window, length)?;
            self.window = Some((epoch, number, batches));
        }
        let batches = self.window.as_ref().and_then(|(_, _, b)| b.get(place));
        Ok(batches.cloned().unwrap_or_default())
    }

    /// Indices of `batches` batches from batch `within` of an epoch on.
    fn span(&mut self, epoch: u64, within: u64, batches: u64) -> Vec<u64> {
        let batch = self.settings.batch as u64;
        let from = within.saturating_mul(batch);
        let to = from.saturating_add(batch.saturating_mul(batches));
        let Some(n) = self.n else {
            return (from..to).collect();
        };
        let used = self
            .steps_per_epoch()
            .map_or(n, |per| n.min(per.saturating_mul(batch)));
        let (from, to) = (from.min(used), to.min(used));
        if self.settings.order == Order::InOrder {
            return (from..to).collect();
        }
        let seed = self.settings.seed;
        if self.epoch.as_ref().is_none_or(|(e, _)| *e != epoch) {
            let mut order: Vec<u64> = (0..n).collect();
            Key::new(seed, "examples", 0, "epoch order")
                .rng_at(epoch)
                .shuffle(&mut order);
            self.epoch = Some((epoch, order));
        }
        let order = self.epoch.as_ref().map_or(&[][..], |(_, order)| order);
        order
            .get(from as usize..to as usize)
            .unwrap_or(&[])
            .to_vec()
    }

    /// The batches of a window: by length, then in random order.
    fn grouped(
        &mut self,
        epoch: u64,
        number: u64,
        window: u64,
        length: &mut dyn FnMut(u64) -> Result<usize, TrainError>,
    ) -> Result<Vec<Vec<u64>>, TrainError> {
        let indices = self.span(epoch, number.saturating_mul(window), window);
        let mut sized = indices
            .into_iter()
            .map(|i| Ok((length(i)?, i)))
            .collect::<Result<Vec<_>, TrainError>>()?;
        sized.sort_by_key(|(length, _)| *length);
        let mut batches: Vec<Vec<u64>> = sized
            .chunks(self.settings.batch)
            .map(|c| c.iter().map(|(_, i)| *i).collect())
            .collect();
        Key::new(
            self.settings.seed,
            &format!("epoch {epoch}"),
            0,
            "window order",
        )
        .rng_at(number)
        .shuffle(&mut batches);
        Ok(batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(n: Option<u64>, order: Order, keep_last: bool) -> Batches {
        let settings = BatchSettings {
            batch: 4,
            order,
            keep_last,
            seed: 7,
            shard_rows: 64,
        };
        Batches::new(n, settings).unwrap()
    }

    fn at(b: &mut Batches, step: u64) -> Vec<u64> {
        b.at(step, &mut |i| Ok((i * 13 % 31) as usize)).unwrap()
    }

    #[test]
    fn an_epoch_is_every_example_once_in_another_order() {
        for order in [
            Order::Shuffled,
            Order::InOrder,
            Order::LengthGrouped { window: 3 },
        ] {
            let mut b = batches(Some(30), order, true);
            assert_eq!(b.steps_per_epoch(), Some(8));
            let epoch = |b: &mut Batches, e: u64| -> Vec<u64> {
                (0..8).flat_map(|s| at(b, e * 8 + s)).collect()
            };
            let (first, second) = (epoch(&mut b, 0), epoch(&mut b, 1));
            assert_eq!(first == second, order == Order::InOrder, "{order:?}");
            for mut seen in [first, second] {
                seen.sort_unstable();
                assert_eq!(seen, (0..30).collect::<Vec<_>>(), "{order:?}");
            }
            let mut short = batches(Some(30), order, false);
            let seen: Vec<u64> = (0..7).flat_map(|s| at(&mut short, s)).collect();
            assert_eq!((short.steps_per_epoch(), seen.len()), (Some(7), 28));
        }
    }

    #[test]
    fn a_step_depends_on_its_number_alone() {
        for order in [Order::Shuffled, Order::LengthGrouped { window: 3 }] {
            for n in [Some(30), None] {
                let mut forward = batches(n, order, true);
                let all: Vec<_> = (0..40).map(|s| at(&mut forward, s)).collect();
                for s in (0..40).rev() {
                    let mut alone = batches(n, order, true);
                    assert_eq!(at(&mut alone, s), all[s as usize], "{order:?} step {s}");
                }
            }
        }
    }

    #[test]
    fn grouped_batches_are_of_like_length() {
        let spread = |order| {
            let mut b = batches(Some(240), order, true);
            let spread = |step| {
                let lengths: Vec<u64> = at(&mut b, step).iter().map(|i| i * 13 % 31).collect();
                lengths.iter().max().unwrap() - lengths.iter().min().unwrap()
            };
            (0..60).map(spread).sum::<u64>()
        };
        assert!(3 * spread(Order::LengthGrouped { window: 10 }) < spread(Order::Shuffled));
    }

    #[test]
    fn refusals() {
        let new = |n, batch, order| {
            let settings = BatchSettings {
                batch,
                order,
                keep_last: false,
                ..BatchSettings::default()
            };
            Batches::new(n, settings).is_err()
        };
        assert!(new(Some(0), 1, Order::Shuffled));
        assert!(new(Some(3), 4, Order::Shuffled));
        assert!(new(Some(3), 0, Order::Shuffled));
        assert!(new(Some(u64::MAX), 4, Order::Shuffled));
        assert!(new(Some(8), 4, Order::LengthGrouped { window: 0 }));
        assert!(new(None, 4, Order::LengthGrouped { window: usize::MAX }));
    }
}
