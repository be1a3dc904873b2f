//! The token head: hidden states x head weight, a block of rows at a time, so
//! that no T x V matrix is ever held.
//!
//! logits = W h with W of V x d. With g = d loss / d logits at a site, the
//! gradients are d loss / d h = W' g and d loss / d W = g h'.

use forkscope_policy::Tensor;

use super::ops::product::{Matrix, multiply};
use super::pack::Site;

/// Memory for a block of logits, in values.
const BLOCK_VALUES: usize = 16_000_000;

/// Where the head's weight (vocabulary x width) lies.
#[derive(Debug, Clone, Copy)]
pub enum HeadWeight<'a> {
    /// In the checkpoint; it gets no gradient.
    Frozen(&'a Tensor),
    /// Among the parameters.
    Trained(&'a [f32]),
}

/// The final hidden states of a pack, seen through the head.
#[derive(Debug)]
pub struct Head<'a> {
    hidden: &'a [f32],
    /// Rows of the pack that `hidden` holds, ascending; all where there is none.
    chosen: Option<&'a [usize]>,
    width: usize,
    vocab: usize,
    weight: HeadWeight<'a>,
    d_hidden: Vec<f32>,
    d_weight: Option<&'a mut [f32]>,
    logits: Vec<f32>,
    rows: Vec<f32>,
    widened: Vec<f32>,
}

impl<'a> Head<'a> {
    /// A head over `hidden` (rows x width). `d_weight` (vocabulary x width)
    /// takes the weight's gradient, if it is trained.
    pub fn new(
        hidden: &'a [f32],
        width: usize,
        vocab: usize,
        weight: HeadWeight<'a>,
        d_weight: Option<&'a mut [f32]>,
    ) -> Self {
        Self {
            hidden,
            chosen: None,
            width,
            vocab,
            weight,
            d_hidden: Vec::new(),
            d_weight,
            logits: Vec::new(),
            rows: Vec::new(),
            widened: Vec::new(),
        }
    }

    /// The same where `hidden` holds only those rows of the pack, ascending.
    pub(super) fn of_rows(mut self, rows: Option<&'a [usize]>) -> Self {
        self.chosen = rows;
        self
    }

    /// Where a site's hidden state lies. A row that was not announced has none.
    fn place(&self, site: &Site) -> usize {
        match self.chosen {
            None => site.row,
            Some(rows) => rows
                .binary_search(&site.row)
                .unwrap_or(usize::MAX / self.width.max(1)),
        }
    }

    /// Number of logits of a site.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Hidden states, rows x width.
    pub fn hidden(&self) -> &[f32] {
        self.hidden
    }

    /// Sites whose logits are held at a time.
    fn block(&self) -> usize {
        (BLOCK_VALUES / self.vocab.max(1)).clamp(16, 256)
    }

    /// Shows every site's logits, in order: `see(index of the site, logits)`.
    pub fn scan(&mut self, sites: &[Site], mut see: impl FnMut(usize, &[f32])) {
        let block = self.block();
        for (b, part) in sites.chunks(block).enumerate() {
            self.compute(part);
            for (i, logits) in self.logits.chunks_exact(self.vocab).enumerate() {
                see(b * block + i, logits);
            }
        }
    }

    /// As [`Head::scan`], but `turn` replaces a site's logits by the gradient of
    /// the loss with respect to them, which is pulled back into the hidden
    /// states and the weight.
    pub fn pull(&mut self, sites: &[Site], mut turn: impl FnMut(usize, &mut [f32])) {
        let block = self.block();
        if self.d_hidden.is_empty() {
            self.d_hidden = vec![0.0; self.hidden.len()];
        }
        for (b, part) in sites.chunks(block).enumerate() {
            self.compute(part);
            for (i, logits) in self.logits.chunks_exact_mut(self.vocab).enumerate() {
                turn(b * block + i, logits);
            }
            self.pull_back(part);
        }
    }

    /// Logits of up to a block of sites.
    fn compute(&mut self, sites: &[Site]) {
        let (d, v) = (self.width, self.vocab);
        self.rows.clear();
        for site in sites {
            let at = self.place(site) * d;
            self.rows.extend_from_slice(&self.hidden[at..at + d]);
        }
        self.logits.resize(sites.len() * v, 0.0);
        let (rows, logits) = (&self.rows, &mut self.logits);
        each_part(self.weight, v, d, &mut self.widened, |w, from| {
            let n = w.len() / d;
            multiply(
                Matrix::rows(rows, d),
                Matrix::rows(w, d).transposed(),
                &mut logits[from..],
                v,
                sites.len(),
                n,
                false,
            );
        });
    }

    /// Gradients of a block whose logits were replaced by theirs.
    fn pull_back(&mut self, sites: &[Site]) {
        let (d, v, n) = (self.width, self.vocab, sites.len());
        if let Some(d_weight) = self.d_weight.as_deref_mut() {
            multiply(
                Matrix::rows(&self.logits, v).transposed(),
                Matrix::rows(&self.rows, d),
                d_weight,
                d,
                v,
                d,
                true,
            );
        }
        self.rows.fill(0.0);
        let (rows, logits) = (&mut self.rows, &self.logits);
        each_part(self.weight, v, d, &mut self.widened, |w, from| {
            multiply(
                Matrix::columns(logits, v, from, w.len() / d),
                Matrix::rows(w, d),
                rows,
                d,
                n,
                d,
                true,
            );
        });
        for (site, row) in sites.iter().zip(self.rows.chunks_exact(d)) {
            let at = match self.chosen {
                None => site.row * d,
                Some(rows) => rows.binary_search(&site.row).map_or(0, |i| i * d),
            };
            for (h, g) in self.d_hidden[at..at + d].iter_mut().zip(row) {
                *h += g;
            }
        }
    }

    /// d loss / d hidden, rows x width; zeros where no site was pulled.
    pub fn into_gradient(self) -> Vec<f32> {
        if self.d_hidden.is_empty() {
            vec![0.0; self.hidden.len()]
        } else {
            self.d_hidden
        }
    }
}

/// Hands the weight out as f32: whole where it is, else widened by parts.
/// `take(part, first row of the part)`.
fn each_part(
    weight: HeadWeight<'_>,
    vocab: usize,
    width: usize,
    widened: &mut Vec<f32>,
    mut take: impl FnMut(&[f32], usize),
) {
    const ROWS: usize = 2048;
    let whole = match weight {
        HeadWeight::Trained(values) => Some(values),
        HeadWeight::Frozen(tensor) => tensor.f32_in_place(0..vocab * width),
    };
    if let Some(values) = whole {
        return take(values, 0);
    }
    let HeadWeight::Frozen(tensor) = weight else {
        return;
    };
    for from in (0..vocab).step_by(ROWS) {
        let to = (from + ROWS).min(vocab);
        tensor.widen(from * width..to * width, widened);
        take(widened, from);
    }
}
