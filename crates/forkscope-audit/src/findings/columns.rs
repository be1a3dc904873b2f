//! The columns that findings read, checked and without the rows left out.

use std::collections::HashMap;

use forkscope_records::types::{DiffRow, Rollout, Validity};

use crate::AuditError;

/// Columns over the rows in use, all of one length.
#[derive(Default)]
pub(super) struct Columns {
    /// Problems with a row in use.
    pub problems: usize,
    /// Problem of each row, 0.. in order of first appearance.
    pub cluster: Vec<u32>,
    pub entropy_base: Vec<f64>,
    pub entropy_tuned: Vec<f64>,
    pub kl_tuned_base: Vec<Option<f64>>,
    pub kl_base_tuned: Vec<Option<f64>>,
    pub js: Vec<f64>,
    pub tv: Vec<f64>,
    pub ce_base_tuned: Vec<Option<f64>>,
    pub delta_logprob: Vec<Option<f64>>,
    pub token: Vec<u32>,
    pub argmax_base: Vec<u32>,
    pub argmax_tuned: Vec<u32>,
    /// Rank under the base of the tuned argmax.
    pub base_rank: Vec<u32>,
    /// Index within the completion, from 0.
    pub index: Vec<u32>,
    /// floor(10 index / completion length), 0..=9.
    pub decile: Vec<u8>,
    pub ties_base: Ties,
    pub ties_tuned: Ties,
    /// Rows by validity, the rows in use included.
    pub validities: Validities,
}

/// Positions whose two most probable recorded tokens have the same ln p.
#[derive(Default, Clone, Copy)]
pub(super) struct Ties {
    pub tied: u64,
    /// Positions with at least two recorded tokens.
    pub of: u64,
}

/// Counts by validity.
#[derive(Default, Clone, Copy)]
pub(super) struct Validities([u64; 6]);

impl Validities {
    pub const ALL: [Validity; 6] = [
        Validity::Ok,
        Validity::Truncated,
        Validity::Empty,
        Validity::ContextExceeded,
        Validity::TokenizerMismatch,
        Validity::NonFinite,
    ];

    pub fn add(&mut self, validity: Validity) {
        for (slot, kind) in self.0.iter_mut().zip(Self::ALL) {
            *slot += u64::from(kind == validity);
        }
    }

    pub fn of(&self, validity: Validity) -> u64 {
        let counts = self.0.iter().zip(Self::ALL);
        counts
            .filter(|(_, kind)| *kind == validity)
            .map(|(n, _)| n)
            .sum()
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// How many do not enter any number.
    pub fn left_out(&self) -> u64 {
        self.total() - self.of(Validity::Ok) - self.of(Validity::Truncated)
    }
}

/// Whether a row or rollout of this validity enters the numbers.
pub(super) fn in_use(validity: Validity) -> bool {
    matches!(validity, Validity::Ok | Validity::Truncated)
}

impl Columns {
    pub fn new(rows: &[DiffRow], rollouts: &[Rollout]) -> Result<Self, AuditError> {
        let mut columns = Self::default();
        let mut names = Names::new(rollouts)?;
        for (number, row) in rows.iter().enumerate() {
            let rollout = names.find(number, row)?;
            let place = place(number, row, rollout)?;
            let validity = effective_validity(number, row)?;
            columns.validities.add(validity);
            if in_use(validity) {
                let cluster = names.cluster(&row.problem_id);
                columns.push(row, cluster, place);
            }
        }
        columns.problems = names.clusters.len();
        Ok(columns)
    }

    /// Rows in use.
    pub fn len(&self) -> usize {
        self.cluster.len()
    }

    /// Rows left out.
    pub fn invalid(&self) -> u64 {
        self.validities.left_out()
    }

    /// Whether the policies' argmaxes differ.
    pub fn changed(&self, i: usize) -> bool {
        self.argmax_base[i] != self.argmax_tuned[i]
    }

    fn push(&mut self, row: &DiffRow, cluster: u32, (index, decile): (u32, u8)) {
        self.cluster.push(cluster);
        self.entropy_base.push(row.entropy_base_nats);
        self.entropy_tuned.push(row.entropy_tuned_nats);
        self.kl_tuned_base.push(row.kl_tuned_base_nats);
        self.kl_base_tuned.push(row.kl_base_tuned_nats);
        self.js.push(row.js_nats);
        self.tv.push(row.tv);
        self.ce_base_tuned.push(row.ce_base_tuned_nats);
        self.delta_logprob.push(row.delta_logprob);
        self.token.push(row.token_id);
        self.argmax_base.push(row.argmax_base_id);
        self.argmax_tuned.push(row.argmax_tuned_id);
        self.base_rank.push(row.base_rank_of_tuned_argmax);
        self.index.push(index);
        self.decile.push(decile);
        self.ties_base.add(&row.topk_base.logprobs);
        self.ties_tuned.add(&row.topk_tuned.logprobs);
    }
}

impl Ties {
    fn add(&mut self, logprobs: &[f32]) {
        if let [first, second, ..] = logprobs {
            self.of += 1;
            self.tied += u64::from(first == second);
        }
    }
}

/// Rollouts by name, and which of them the rows have passed.
struct Names<'a> {
    rollouts: HashMap<(&'a str, u32), (usize, &'a Rollout)>,
    passed: Vec<bool>,
    /// The rollout of the row before, with that row's position.
    current: Option<(&'a Rollout, u32)>,
    clusters: HashMap<String, u32>,
    last_cluster: Option<(String, u32)>,
}

impl<'a> Names<'a> {
    fn new(rollouts: &'a [Rollout]) -> Result<Self, AuditError> {
        let mut by_name = HashMap::with_capacity(rollouts.len());
        for (index, rollout) in rollouts.iter().enumerate() {
            let name = (rollout.problem_id.as_str(), rollout.sample);
            if by_name.insert(name, (index, rollout)).is_some() {
                return Err(AuditError::DuplicateRollout {
                    problem_id: rollout.problem_id.clone(),
                    sample: rollout.sample,
                });
            }
        }
        Ok(Self {
            passed: vec![false; rollouts.len()],
            rollouts: by_name,
            current: None,
            clusters: HashMap::new(),
            last_cluster: None,
        })
    }

    /// The rollout of a row; an error if the rows are out of order.
    fn find(&mut self, number: usize, row: &DiffRow) -> Result<&'a Rollout, AuditError> {
        let out_of_order = || AuditError::RowOrder {
            row: number,
            problem_id: row.problem_id.clone(),
            sample: row.sample,
            t: row.t,
        };
        if let Some((rollout, t)) = self.current
            && rollout.sample == row.sample
            && rollout.problem_id == row.problem_id
        {
            if row.t <= t {
                return Err(out_of_order());
            }
            self.current = Some((rollout, row.t));
            return Ok(rollout);
        }
        let name = (row.problem_id.as_str(), row.sample);
        let Some(&(index, rollout)) = self.rollouts.get(&name) else {
            return Err(AuditError::UnknownRollout {
                row: number,
                problem_id: row.problem_id.clone(),
                sample: row.sample,
            });
        };
        if self.passed.get(index).copied().unwrap_or(true) {
            return Err(out_of_order());
        }
        if let Some(slot) = self.passed.get_mut(index) {
            *slot = true;
        }
        self.current = Some((rollout, row.t));
        Ok(rollout)
    }

    /// Number of the problem among those with a row in use.
    fn cluster(&mut self, problem_id: &str) -> u32 {
        if let Some((name, cluster)) = &self.last_cluster
            && name == problem_id
        {
            return *cluster;
        }
        let next = self.clusters.len() as u32;
        let cluster = *self.clusters.entry(problem_id.to_owned()).or_insert(next);
        self.last_cluster = Some((problem_id.to_owned(), cluster));
        cluster
    }
}

/// Index within the completion and decile of relative position.
fn place(number: usize, row: &DiffRow, rollout: &Rollout) -> Result<(u32, u8), AuditError> {
    let length = rollout.completion().len() as u64;
    let start = rollout.prompt_len as u64;
    match u64::from(row.t).checked_sub(start) {
        Some(index) if index < length => Ok((index as u32, (10 * index / length) as u8)),
        _ => Err(AuditError::OutsideCompletion {
            row: number,
            problem_id: row.problem_id.clone(),
            sample: row.sample,
            t: row.t,
            start: rollout.prompt_len,
            end: rollout.token_ids.len(),
        }),
    }
}

/// The row's validity; `non_finite` if a number that findings read is not.
fn effective_validity(number: usize, row: &DiffRow) -> Result<Validity, AuditError> {
    if !in_use(row.validity) {
        return Ok(row.validity);
    }
    // Zero stands in for an absent value: finite and not negative.
    let kept = |value: Option<f64>| value.unwrap_or(0.0);
    let not_negative = [
        ("entropy_base_nats", row.entropy_base_nats),
        ("entropy_tuned_nats", row.entropy_tuned_nats),
        ("kl_tuned_base_nats", kept(row.kl_tuned_base_nats)),
        ("kl_base_tuned_nats", kept(row.kl_base_tuned_nats)),
        ("js_nats", row.js_nats),
        ("tv", row.tv),
        ("ce_base_tuned_nats", kept(row.ce_base_tuned_nats)),
    ];
    let finite = not_negative.iter().all(|(_, value)| value.is_finite());
    if !finite || !kept(row.delta_logprob).is_finite() {
        return Ok(Validity::NonFinite);
    }
    let wrong = |field, value, range| AuditError::RowValue {
        row: number,
        problem_id: row.problem_id.clone(),
        sample: row.sample,
        t: row.t,
        field,
        value,
        range,
    };
    if let Some(&(field, value)) = not_negative.iter().find(|(_, value)| *value < 0.0) {
        return Err(wrong(field, value, "[0, inf)"));
    }
    if row.base_rank_of_tuned_argmax == 0 {
        return Err(wrong(
            "base_rank_of_tuned_argmax",
            0.0,
            "[1, vocabulary size]",
        ));
    }
    Ok(row.validity)
}
