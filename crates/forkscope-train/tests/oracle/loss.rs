//! An arbitrary loss as a shard: what a caller computes at each site.

use forkscope_train::TrainError;
use forkscope_train::engine::{Head, Pack, Shard, Site, Sums};

/// At a site: replaces the logits by the gradient, returns the loss.
pub type Turn = Box<dyn Fn(usize, &mut [f32]) -> f64 + Send + Sync>;

/// A pack, sites and what to do there.
pub struct AtSites {
    pub pack: Pack,
    pub sites: Vec<Site>,
    pub turn: Turn,
}

impl Shard for AtSites {
    fn pack(&self) -> &Pack {
        &self.pack
    }

    fn loss(&self, head: &mut Head<'_>) -> Result<Sums, TrainError> {
        let mut sums = Sums::default();
        let mut total = 0.0;
        head.pull(&self.sites, |i, logits| total += (self.turn)(i, logits));
        sums.add(Sums::LOSS, total);
        Ok(sums)
    }
}

/// A loss that looks at all logits of a site, not only at its token: a ln p of
/// the token and b/2 times the mean of w z^2, with a, b, w by hash.
#[derive(Debug, Clone, Copy)]
pub struct Mixed {
    /// Names the hashes.
    pub seed: u64,
}

impl Mixed {
    /// a, b of a site.
    pub fn at(&self, site: usize) -> (f64, f64) {
        let name = format!("mixed/{}", self.seed);
        (
            0.1 * super::hash::uniform(&name, 2 * site),
            0.1 * super::hash::uniform(&name, 2 * site + 1),
        )
    }

    /// w of a token.
    pub fn weight(&self, token: usize) -> f64 {
        super::hash::uniform("mixed/weight", token)
    }

    /// Turns a site's logits in place.
    pub fn turn(&self, site: usize, token: u32, logits: &mut [f32]) -> f64 {
        let (a, b) = self.at(site);
        let max = logits.iter().fold(f32::NEG_INFINITY, |m, z| m.max(*z));
        let sum: f64 = logits.iter().map(|z| f64::from(z - max).exp()).sum();
        let ln_z = f64::from(max) + sum.ln();
        let n = logits.len() as f64;
        let mut loss = a * (f64::from(logits[token as usize]) - ln_z);
        for (v, z) in logits.iter_mut().enumerate() {
            let x = f64::from(*z);
            let hit = if v == token as usize { 1.0 } else { 0.0 };
            loss += 0.5 * b * self.weight(v) * x * x / n;
            *z = (a * (hit - (x - ln_z).exp()) + b * self.weight(v) * x / n) as f32;
        }
        loss
    }
}
