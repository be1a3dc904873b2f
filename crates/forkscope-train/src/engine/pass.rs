//! Forward and backward passes over packs, shards in parallel.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use forkscope_policy::ops::norm::rms_norm;

use super::block::{Kept, Scratch};
use super::head::Head;
use super::linear::Mode;
use super::network::{Network, PassOptions, Table, Which};
use super::ops::norm::rms_norm_backward;
use super::pack::{Pack, Site};
use super::parameters::Gradients;
use super::shard::{Shard, Sums};
use crate::TrainError;

/// Buffers of one pass, kept between passes: fresh memory costs page faults.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    x: Vec<f32>,
    hidden: Vec<f32>,
    kept: Vec<Kept>,
    scratch: Scratch,
}

/// What a pass goes over, and how.
struct Course<'a> {
    mode: Mode<'a>,
    pack: &'a Pack,
    /// Keep each block's input alone.
    light: bool,
    /// Rows of the pack that the last block must put out, ascending.
    wanted: Option<&'a [usize]>,
}

/// Rows that a shard's loss looks at, ascending, where it says so and they are
/// few enough that leaving out the others pays.
fn chosen_rows(shard: &dyn Shard) -> Option<Vec<usize>> {
    let mut rows: Vec<usize> = shard.sites()?.iter().map(|site| site.row).collect();
    rows.sort_unstable();
    rows.dedup();
    (!rows.is_empty() && rows.len() * 4 < shard.pack().len() * 3).then_some(rows)
}

/// Shards that are done but not yet added, and the sum so far.
struct Total {
    next: usize,
    waiting: BTreeMap<usize, (Gradients, Sums)>,
    gradients: Gradients,
    sums: Sums,
    spare: Vec<Gradients>,
    failed: Option<(usize, TrainError)>,
}

impl Network {
    /// Loss and gradients of a step: the shards run in parallel on the current
    /// rayon pool, their gradients are summed in order, so that the number of
    /// threads does not change a bit.
    pub fn gradients(
        &self,
        shards: &[Box<dyn Shard + Send>],
        options: &PassOptions,
    ) -> Result<(Gradients, Sums), TrainError> {
        let total = Mutex::new(Total {
            next: 0,
            waiting: BTreeMap::new(),
            gradients: Gradients::zeros(&self.parameters),
            sums: Sums::default(),
            spare: Vec::new(),
            failed: None,
        });
        let (taken, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            loop {
                let index = taken.fetch_add(1, Ordering::Relaxed);
                let Some(shard) = shards.get(index) else {
                    return;
                };
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let spare = lock(&total).spare.pop();
                let mut gradients = match spare {
                    Some(mut g) => {
                        g.clear();
                        g
                    }
                    None => Gradients::zeros(&self.parameters),
                };
                let result = self.shard(index, shard.as_ref(), options, &mut gradients);
                let mut total = lock(&total);
                match result {
                    Ok(sums) => total.add(index, gradients, sums),
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        if total.failed.as_ref().is_none_or(|(i, _)| index < *i) {
                            total.failed = Some((index, error));
                        }
                    }
                }
            }
        };
        rayon::scope(|scope| {
            for _ in 0..rayon::current_num_threads().min(shards.len()) {
                scope.spawn(|_| work());
            }
        });
        let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        match total.failed {
            Some((_, error)) => Err(error),
            None => Ok((total.gradients, total.sums)),
        }
    }

    /// One shard, forward and backward.
    fn shard(
        &self,
        index: usize,
        shard: &dyn Shard,
        options: &PassOptions,
        gradients: &mut Gradients,
    ) -> Result<Sums, TrainError> {
        let pack = shard.pack();
        let mode = Mode {
            parameters: &self.parameters,
            adapter: true,
            dropout: options
                .dropout
                .map(|(seed, step)| (seed, step, index as u64)),
        };
        let chosen = chosen_rows(shard);
        let course = Course {
            mode,
            pack,
            light: options.checkpointing,
            wanted: chosen.as_deref(),
        };
        let mut space = self.workspace();
        self.forward(&course, &mut space)?;
        let (width, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let d_head = self
            .head
            .trained()
            .map(|i| gradients.tensors[i].as_mut_slice());
        let mut head = Head::new(&space.hidden, width, vocab, self.head_weight(), d_head)
            .of_rows(course.wanted);
        let sums = shard.loss(&mut head)?;
        let d_hidden = head.into_gradient();
        self.backward(&course, &d_hidden, gradients, &mut space)?;
        self.give_back(space);
        Ok(sums)
    }

    /// Final hidden states, rows x hidden size.
    pub fn hidden(&self, pack: &Pack, which: Which) -> Result<Vec<f32>, TrainError> {
        let mode = Mode {
            parameters: &self.parameters,
            adapter: which == Which::Current,
            dropout: None,
        };
        let course = Course {
            mode,
            pack,
            light: true,
            wanted: None,
        };
        let mut space = self.workspace();
        self.forward(&course, &mut space)?;
        let hidden = space.hidden.clone();
        self.give_back(space);
        Ok(hidden)
    }

    /// ln p of the tokens at `sites`.
    pub fn log_probs(
        &self,
        pack: &Pack,
        sites: &[Site],
        which: Which,
    ) -> Result<Vec<f64>, TrainError> {
        let hidden = self.hidden(pack, which)?;
        let (width, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let mut head = Head::new(&hidden, width, vocab, self.head_weight(), None);
        let mut out = Vec::with_capacity(sites.len());
        let mut failed = None;
        head.scan(sites, |i, logits| {
            match forkscope_metrics::normaliser(logits) {
                Ok(normaliser) => {
                    let token = sites[i].token as usize;
                    out.push(normaliser.logprob(logits.get(token).copied().unwrap_or(f32::NAN)));
                }
                Err(error) => failed = failed.take().or(Some(error)),
            }
        });
        match failed {
            Some(error) => Err(TrainError::NonFinite(error.to_string())),
            None => Ok(out),
        }
    }

    /// Fills the workspace's hidden states (of the wanted rows) and, unless
    /// `light`, what the backward pass needs of every block; with `light` each
    /// block's input only.
    fn forward(&self, course: &Course<'_>, space: &mut Workspace) -> Result<(), TrainError> {
        let (mode, pack) = (course.mode, course.pack);
        let rope = self.rope(pack.longest())?;
        let Workspace {
            x,
            hidden,
            kept,
            scratch,
            ..
        } = space;
        self.embed(pack, x)?;
        kept.resize_with(self.blocks.len() + 1, Kept::default);
        let shared = self.blocks.len();
        for (layer, block) in self.blocks.iter().enumerate() {
            let wanted = course.wanted.filter(|_| layer + 1 == shared);
            let at = if course.light { shared } else { layer };
            block.forward(mode, pack, &rope, x, wanted, &mut kept[at], scratch);
            block.release();
            if course.light {
                let input = kept[at].x.clone();
                kept[layer].x = input;
            }
        }
        hidden.resize(x.len(), 0.0);
        let norm = self.final_norm.get(mode.parameters);
        rms_norm(x, norm, self.config.norm_eps, hidden);
        let width = self.config.hidden_size;
        match hidden.iter().position(|h| !h.is_finite()) {
            None => Ok(()),
            Some(at) => Err(TrainError::NonFinite(format!(
                "the hidden state of row {} of a batch is not finite",
                course.wanted.map_or(at / width, |rows| rows[at / width])
            ))),
        }
    }

    fn backward(
        &self,
        course: &Course<'_>,
        d_hidden: &[f32],
        gradients: &mut Gradients,
        space: &mut Workspace,
    ) -> Result<(), TrainError> {
        let (mode, pack) = (course.mode, course.pack);
        let rope = self.rope(pack.longest())?;
        let Workspace {
            x,
            hidden,
            kept,
            scratch,
            ..
        } = space;
        let dx = hidden;
        dx.fill(0.0);
        let norm = self.final_norm.get(mode.parameters);
        let dw = self.final_norm.gradient(gradients);
        rms_norm_backward(x, norm, self.config.norm_eps, d_hidden, dx, dw);
        let shared = self.blocks.len();
        for (layer, block) in self.blocks.iter().enumerate().rev() {
            let wanted = course.wanted.filter(|_| layer + 1 == shared);
            let mut at = layer;
            if course.light {
                at = shared;
                x.clone_from(&kept[layer].x);
                block.forward(mode, pack, &rope, x, wanted, &mut kept[at], scratch);
            }
            let kept = &kept[at];
            block.backward(mode, pack, &rope, dx, wanted, kept, gradients, scratch);
            block.release();
        }
        if let Table::Trained(index) = self.embedding {
            let d = self.config.hidden_size;
            let table = &mut gradients.tensors[index];
            for (token, row) in pack.tokens.iter().zip(dx.chunks_exact(d)) {
                for (e, g) in table[*token as usize * d..][..d].iter_mut().zip(row) {
                    *e += g;
                }
            }
        }
        Ok(())
    }

    fn embed(&self, pack: &Pack, x: &mut Vec<f32>) -> Result<(), TrainError> {
        let d = self.config.hidden_size;
        x.clear();
        for &token in &pack.tokens {
            let token = token as usize;
            if token >= self.config.vocab_size {
                return Err(TrainError::Setting(format!(
                    "token id {token} is outside the model's vocabulary of {}",
                    self.config.vocab_size
                )));
            }
            match &self.embedding {
                Table::Frozen(tensor) => {
                    x.extend_from_slice(&tensor.f32(token * d..(token + 1) * d))
                }
                Table::Trained(index) => {
                    x.extend_from_slice(&self.parameters[*index].values[token * d..][..d]);
                }
            }
        }
        Ok(())
    }

    fn workspace(&self) -> Workspace {
        lock(&self.workspaces).pop().unwrap_or_default()
    }

    fn give_back(&self, space: Workspace) {
        lock(&self.workspaces).push(space);
    }
}

impl Total {
    fn add(&mut self, index: usize, gradients: Gradients, sums: Sums) {
        self.waiting.insert(index, (gradients, sums));
        while let Some((gradients, sums)) = self.waiting.remove(&self.next) {
            self.gradients.add(&gradients);
            self.sums.merge(&sums);
            self.spare.push(gradients);
            self.next += 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
