//! The distillation loss on one pack.

use forkscope_policy::Policy;

use crate::TrainError;
use crate::engine::{Head, Pack, Shard, Site, Sums};
use crate::objective::rows::{Bucketed, Divergence, kl_bucketed, kl_teacher_student};
use crate::objective::sft::TOKENS;

/// Sum of KL(teacher || student) over sites, nats, unweighted.
pub(super) const KL: &str = "kl_sum_nats";
/// Sites at which both have the same argmax.
pub(super) const AGREE: &str = "n_agree";
/// Sum of the teacher's entropies, nats.
pub(super) const TEACHER_ENTROPY: &str = "teacher_entropy_sum_nats";
/// Sum of the student's entropies, nats.
pub(super) const ENTROPY: &str = "entropy_sum_nats";

/// Rows of the teacher's logits that are held at a time.
const BLOCK: usize = 64;

/// What is known of the teacher at the sites of a shard, in their order.
#[derive(Debug, Clone)]
pub enum TeacherRows {
    /// Everything: its final hidden states (sites x width) and its head.
    Policy {
        /// The teacher.
        policy: Policy,
        /// Its final hidden states.
        hidden: Vec<f32>,
    },
    /// The most probable tokens and the mass of the rest.
    Listed(Vec<Bucketed>),
}

/// Weighted KL(teacher || student) of a pack's sites.
#[derive(Debug, Clone)]
pub struct DistillShard {
    pack: Pack,
    sites: Vec<Site>,
    weights: Vec<f64>,
    teacher: TeacherRows,
}

impl DistillShard {
    /// A loss of sum `weights[i]` KL_i; the weights have been divided already.
    pub fn new(
        pack: Pack,
        sites: Vec<Site>,
        weights: Vec<f64>,
        teacher: TeacherRows,
    ) -> Result<Self, TrainError> {
        let rows = match &teacher {
            TeacherRows::Policy { policy, hidden } => {
                hidden.len() / policy.config().hidden_size.max(1)
            }
            TeacherRows::Listed(rows) => rows.len(),
        };
        let fits = rows == sites.len() && weights.len() == sites.len();
        if !fits || sites.iter().any(|s| s.row >= pack.len()) {
            return Err(TrainError::Internal(
                "sites, weights, teacher and rows of a shard do not fit together".into(),
            ));
        }
        Ok(Self {
            pack,
            sites,
            weights,
            teacher,
        })
    }
}

impl Shard for DistillShard {
    fn pack(&self) -> &Pack {
        &self.pack
    }

    fn loss(&self, head: &mut Head<'_>) -> Result<Sums, TrainError> {
        let mut total = Total::default();
        let mut logits = Vec::new();
        head.pull(&self.sites, |i, student| {
            let w = self.weights[i];
            let found = match &self.teacher {
                TeacherRows::Listed(rows) => kl_bucketed(student, &rows[i], w),
                TeacherRows::Policy { policy, hidden } => {
                    let width = policy.config().hidden_size;
                    if i % BLOCK == 0 {
                        let to = (i + BLOCK).min(self.sites.len());
                        policy.logits(&hidden[i * width..to * width], &mut logits);
                    }
                    let vocab = policy.vocab_size();
                    let teacher = &logits[i % BLOCK * vocab..][..vocab];
                    kl_teacher_student(student, teacher, w)
                }
            };
            total.add(self.sites[i], w, found);
        });
        total.sums(self.sites.len())
    }
}

/// Sums over the sites of a shard.
#[derive(Default)]
struct Total {
    loss: f64,
    kl: f64,
    agree: u64,
    teacher_entropy: f64,
    entropy: f64,
    broken: Option<(Site, f64)>,
}

impl Total {
    fn add(&mut self, site: Site, w: f64, found: Divergence) {
        self.loss += w * found.kl;
        self.kl += found.kl;
        self.agree += u64::from(found.agree);
        self.teacher_entropy += found.teacher_entropy;
        self.entropy += found.student_entropy;
        if !found.kl.is_finite() {
            self.broken.get_or_insert((site, found.kl));
        }
    }

    fn sums(self, sites: usize) -> Result<Sums, TrainError> {
        if let Some((site, kl)) = self.broken {
            return Err(TrainError::NonFinite(format!(
                "KL(teacher || student) after row {} of a shard is {kl}",
                site.row
            )));
        }
        let mut sums = Sums::default();
        sums.add(Sums::LOSS, self.loss);
        sums.add(TOKENS, sites as f64);
        sums.add(KL, self.kl);
        sums.add(AGREE, self.agree as f64);
        sums.add(TEACHER_ENTROPY, self.teacher_entropy);
        sums.add(ENTROPY, self.entropy);
        Ok(sums)
    }
}
