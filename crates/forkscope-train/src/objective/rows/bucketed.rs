//! Forward KL of a teacher of whom only the top k log-probs are known, the
//! rest being one bucket.
//!
//! With T = 1 - sum of the k teacher probabilities and S the student's mass
//! outside the k: sum_k t ln(t/s) + T ln(T/S). By the log-sum inequality this
//! is a **lower bound** of KL(t||s), with equality if and only if the student
//! spreads its tail as the teacher does. Its gradient with respect to the
//! student's logits is s - t at the k tokens and s (1 - T/S) elsewhere.

use forkscope_policy::ops::exp::exp;
use forkscope_policy::vectorised;

use super::kl::Divergence;
use super::normaliser;
use crate::TrainError;

/// The teacher's most probable tokens and the mass of all others.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucketed {
    ids: Vec<u32>,
    log_probs: Vec<f32>,
    tail: f64,
}

impl Bucketed {
    /// Distinct ids within the vocabulary, most probable first, with ln p of
    /// each. The tail is 1 - sum p: what is negative by no more than the
    /// rounding of f32 log-probs is 0, as is the tail of a list of the whole
    /// vocabulary.
    pub fn new(ids: Vec<u32>, log_probs: Vec<f32>, vocab: usize) -> Result<Self, TrainError> {
        let refuse = |what: String| Err(TrainError::Setting(what));
        if ids.is_empty() || ids.len() != log_probs.len() {
            return refuse(format!(
                "{} token ids beside {} log-probs; a cached teacher needs at least one of each, and as many",
                ids.len(),
                log_probs.len()
            ));
        }
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair.first() == pair.last()) {
            return refuse(
                "a token id stands twice in the teacher's top k; record it again".into(),
            );
        }
        if let Some(id) = sorted.last().filter(|id| **id as usize >= vocab) {
            return refuse(format!(
                "token id {id} of the teacher's top k is outside the vocabulary of {vocab}; \
                 the teacher must have the student's tokenizer"
            ));
        }
        if let Some(bad) = log_probs.iter().find(|lp| !lp.is_finite() || **lp > 0.0) {
            return refuse(format!(
                "{bad} is no log-prob of a token that a teacher lists; record it again"
            ));
        }
        // Rounding a log-prob to f32 moves p by p |ln p| 2^-24.
        let (mut mass, mut rounding) = (0.0, 1e-12);
        for lp in log_probs.iter().map(|lp| f64::from(*lp)) {
            let p = libm::exp(lp);
            mass += p;
            rounding += p * (1e-6 + lp.abs() * 1.2e-7);
        }
        let tail = 1.0 - mass;
        if tail < -rounding {
            return refuse(format!(
                "the teacher's top k has a mass of {mass}, more than 1; record it again with raw logits at T = 1"
            ));
        }
        let whole = ids.len() == vocab || tail < 0.0;
        Ok(Self {
            ids,
            log_probs,
            tail: if whole { 0.0 } else { tail },
        })
    }

    /// The `k` (at least 1) most probable tokens of a row of logits, of a tie
    /// the lowest ids, and the rest's mass summed over the rest. `None` if the
    /// row is not finite.
    pub fn of_row(logits: &[f32], k: usize) -> Option<Self> {
        let whole = normaliser(logits);
        if !whole.ln_sum.is_finite() {
            return None;
        }
        let mut ids: Vec<u32> = (0..logits.len() as u32)
            .filter(|id| logits.get(*id as usize) > Some(&f32::NEG_INFINITY))
            .collect();
        let z = |id: &u32| logits.get(*id as usize).copied().unwrap_or(f32::NAN);
        let order = |a: &u32, b: &u32| z(b).total_cmp(&z(a)).then(a.cmp(b));
        let k = k.max(1);
        if k < ids.len() {
            ids.select_nth_unstable_by(k - 1, order);
            ids.truncate(k);
        }
        ids.sort_unstable_by(order);
        let log_probs = ids.iter().map(|id| whole.log_prob(logits, *id) as f32);
        let log_probs = log_probs.collect();
        let mut rest = logits.to_vec();
        for id in &ids {
            if let Some(z) = rest.get_mut(*id as usize) {
                *z = f32::NEG_INFINITY;
            }
        }
        let rest = normaliser(&rest);
        let tail = if rest.max == f32::NEG_INFINITY {
            0.0
        } else {
            libm::exp(rest.ln_z() - whole.ln_z())
        };
        Some(Self {
            ids,
            log_probs,
            tail,
        })
    }

    /// The listed ids, most probable first.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// ln p of each listed token.
    pub fn log_probs(&self) -> &[f32] {
        &self.log_probs
    }

    /// Mass of all tokens that are not listed.
    pub fn tail(&self) -> f64 {
        self.tail
    }
}

/// student <- w d/dz of the bucketed KL. S is summed over the tail's own
/// logits, never 1 - the listed ones, so that small tails keep their digits.
pub fn kl_bucketed(student: &mut [f32], teacher: &Bucketed, w: f64) -> Divergence {
    let whole = normaliser(student);
    let agree = teacher.ids.first() == Some(&whole.argmax(student));
    let log_s: Vec<f64> = teacher
        .ids
        .iter()
        .map(|id| whole.log_prob(student, *id))
        .collect();
    for id in &teacher.ids {
        if let Some(z) = student.get_mut(*id as usize) {
            *z = f32::NEG_INFINITY;
        }
    }
    let tail = normaliser(student);
    // A student without a tail token has no mass there; NaN stays NaN.
    let log_tail = if tail.max == f32::NEG_INFINITY && whole.ln_sum.is_finite() {
        f64::NEG_INFINITY
    } else {
        tail.ln_z() - whole.ln_z()
    };
    let (mut kl, from_tail) = bucket(teacher.tail, libm::log(teacher.tail), log_tail);
    let mut entropy = if teacher.tail > 0.0 {
        -teacher.tail * libm::log(teacher.tail)
    } else {
        0.0
    };
    // Each tail token has its share s/S of the bucket's S - T.
    scaled_exp(
        student,
        tail.max,
        (w * from_tail * libm::exp(-tail.ln_sum)) as f32,
    );
    for ((id, log_t), log_s) in teacher.ids.iter().zip(&teacher.log_probs).zip(&log_s) {
        let log_t = f64::from(*log_t);
        let t = libm::exp(log_t);
        let (term, difference) = bucket(t, log_t, *log_s);
        kl += term;
        entropy -= t * log_t;
        if let Some(z) = student.get_mut(*id as usize) {
            *z = (w * difference) as f32;
        }
    }
    Divergence {
        kl,
        teacher_entropy: entropy,
        student_entropy: whole.entropy,
        agree,
    }
}

/// t g(ln t - ln s) >= 0, and s - t.
fn bucket(t: f64, log_t: f64, log_s: f64) -> (f64, f64) {
    let s = libm::exp(log_s);
    if t == 0.0 {
        return (s, s);
    }
    let y = log_s - log_t;
    let difference = if y.abs() < 1.0 {
        t * libm::expm1(y)
    } else {
        s - t
    };
    let term = if y.abs() < 1e-2 {
        let square = y * y;
        t * square * (0.5 + y / 6.0 + square * (1.0 / 24.0 + y / 120.0 + square / 720.0))
    } else {
        difference - t * y
    };
    (term, difference)
}

vectorised! {
    /// z <- e^(z - max) scale, 0 where everything is masked.
    fn scaled_exp(z: &mut [f32], max: f32, scale: f32) {
        let max = if max == f32::NEG_INFINITY { 0.0 } else { max };
        for z in z.iter_mut() {
            let e = exp(*z - max);
            *z = if e == 0.0 { 0.0 } else { e * scale };
        }
    }
}
