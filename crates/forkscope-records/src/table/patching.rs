//! Columns of `patching.parquet`: one row per patch.

use arrow_array::ArrayRef;
use arrow_schema::Field;

use super::build::{f64s, opt_u32s, texts, u32s};
use super::{Columns, Record};
use crate::RecordsError;
use crate::types::{PatchArm, PatchDirection, PatchingRow};

impl Record for PatchingRow {
    const NAME: &'static str = "patching";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        Ok(vec![
            texts("direction", rows, |r| r.direction.as_str())?,
            texts("arm", rows, |r| r.arm.as_str())?,
            u32s("layer", rows, |r| r.layer),
            opt_u32s("head", rows, |r| r.head),
            texts("problem_id", rows, |r| &r.problem_id)?,
            u32s("sample", rows, |r| r.sample),
            u32s("t", rows, |r| r.t),
            u32s("donor_id", rows, |r| r.donor_id),
            u32s("receiver_id", rows, |r| r.receiver_id),
            f64s("difference_receiver", rows, |r| r.difference_receiver),
            f64s("difference_donor", rows, |r| r.difference_donor),
            f64s("difference_patched", rows, |r| r.difference_patched),
            f64s("logprob_receiver", rows, |r| r.logprob_receiver),
            f64s("logprob_donor", rows, |r| r.logprob_donor),
            f64s("logprob_patched", rows, |r| r.logprob_patched),
            u32s("argmax_patched_id", rows, |r| r.argmax_patched_id),
            f64s("moved_js_nats", rows, |r| r.moved_js_nats),
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let direction = c.words("direction", PatchDirection::parse)?;
        let arm = c.words("arm", PatchArm::parse)?;
        let (layer, head) = (c.u32s("layer")?, c.opt_u32s("head")?);
        let ids = c.identifiers("problem_id")?;
        let (sample, t) = (c.u32s("sample")?, c.u32s("t")?);
        let (donor_id, receiver_id) = (c.u32s("donor_id")?, c.u32s("receiver_id")?);
        let difference_receiver = c.f64s("difference_receiver")?;
        let difference_donor = c.f64s("difference_donor")?;
        let difference_patched = c.f64s("difference_patched")?;
        let logprob_receiver = c.f64s("logprob_receiver")?;
        let logprob_donor = c.f64s("logprob_donor")?;
        let logprob_patched = c.f64s("logprob_patched")?;
        let argmax_patched_id = c.u32s("argmax_patched_id")?;
        let moved_js_nats = c.f64s("moved_js_nats")?;
        let row = |(i, problem_id): (usize, String)| Self {
            direction: direction[i],
            arm: arm[i],
            layer: layer[i],
            head: head[i],
            problem_id,
            sample: sample[i],
            t: t[i],
            donor_id: donor_id[i],
            receiver_id: receiver_id[i],
            difference_receiver: difference_receiver[i],
            difference_donor: difference_donor[i],
            difference_patched: difference_patched[i],
            logprob_receiver: logprob_receiver[i],
            logprob_donor: logprob_donor[i],
            logprob_patched: logprob_patched[i],
            argmax_patched_id: argmax_patched_id[i],
            moved_js_nats: moved_js_nats[i],
        };
        Ok(ids.into_iter().enumerate().map(row).collect())
    }
}
