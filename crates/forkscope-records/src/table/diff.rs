//! Columns of `diff`: two policies at one position.

use arrow_array::ArrayRef;
use arrow_schema::Field;

use super::build::{f32_lists, f32s, f64s, opt_f64s, texts, u32_lists, u32s};
use super::score::topk;
use super::{Columns, Record};
use crate::RecordsError;
use crate::types::{DiffRow, ShiftClass, Validity};

impl Record for DiffRow {
    const NAME: &'static str = "diff tokens";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        Ok(vec![
            texts("problem_id", rows, |r| &r.problem_id)?,
            u32s("sample", rows, |r| r.sample),
            u32s("t", rows, |r| r.t),
            u32s("token_id", rows, |r| r.token_id),
            texts("validity", rows, |r| r.validity.as_str())?,
            f64s("entropy_base_nats", rows, |r| r.entropy_base_nats),
            f64s("entropy_tuned_nats", rows, |r| r.entropy_tuned_nats),
            opt_f64s("kl_tuned_base_nats", rows, |r| r.kl_tuned_base_nats),
            opt_f64s("kl_base_tuned_nats", rows, |r| r.kl_base_tuned_nats),
            f64s("js_nats", rows, |r| r.js_nats),
            f64s("tv", rows, |r| r.tv),
            opt_f64s("ce_base_tuned_nats", rows, |r| r.ce_base_tuned_nats),
            opt_f64s("delta_logprob", rows, |r| r.delta_logprob),
            f32s("logprob_base", rows, |r| r.logprob_base),
            f32s("logprob_tuned", rows, |r| r.logprob_tuned),
            u32s("rank_base", rows, |r| r.rank_base),
            u32s("rank_tuned", rows, |r| r.rank_tuned),
            u32s("argmax_base_id", rows, |r| r.argmax_base_id),
            u32s("argmax_tuned_id", rows, |r| r.argmax_tuned_id),
            u32s("base_rank_of_tuned_argmax", rows, |r| {
                r.base_rank_of_tuned_argmax
            }),
            texts("class", rows, |r| r.class.as_str())?,
            f64s("mass_outside_base", rows, |r| r.mass_outside_base),
            f64s("mass_outside_tuned", rows, |r| r.mass_outside_tuned),
            u32_lists("topk_base_ids", rows, |r| &r.topk_base.ids)?,
            f32_lists("topk_base_logprobs", rows, |r| &r.topk_base.logprobs)?,
            u32_lists("topk_tuned_ids", rows, |r| &r.topk_tuned.ids)?,
            f32_lists("topk_tuned_logprobs", rows, |r| &r.topk_tuned.logprobs)?,
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let ids = c.identifiers("problem_id")?;
        let sample = c.u32s("sample")?;
        let t = c.u32s("t")?;
        let token_id = c.u32s("token_id")?;
        let validity = c.words("validity", Validity::parse)?;
        let entropy_base_nats = c.f64s("entropy_base_nats")?;
        let entropy_tuned_nats = c.f64s("entropy_tuned_nats")?;
        let kl_tuned_base_nats = c.opt_f64s("kl_tuned_base_nats")?;
        let kl_base_tuned_nats = c.opt_f64s("kl_base_tuned_nats")?;
        let js_nats = c.f64s("js_nats")?;
        let tv = c.f64s("tv")?;
        let ce_base_tuned_nats = c.opt_f64s("ce_base_tuned_nats")?;
        let delta_logprob = c.opt_f64s("delta_logprob")?;
        let logprob_base = c.f32s("logprob_base")?;
        let logprob_tuned = c.f32s("logprob_tuned")?;
        let rank_base = c.u32s("rank_base")?;
        let rank_tuned = c.u32s("rank_tuned")?;
        let argmax_base_id = c.u32s("argmax_base_id")?;
        let argmax_tuned_id = c.u32s("argmax_tuned_id")?;
        let base_rank_of_tuned_argmax = c.u32s("base_rank_of_tuned_argmax")?;
        let class = c.words("class", ShiftClass::parse)?;
        let mass_outside_base = c.f64s("mass_outside_base")?;
        let mass_outside_tuned = c.f64s("mass_outside_tuned")?;
        let topk_base = topk(c, "topk_base_ids", "topk_base_logprobs")?;
        let topk_tuned = topk(c, "topk_tuned_ids", "topk_tuned_logprobs")?;
        let lists = topk_base.into_iter().zip(topk_tuned);
        let rows = ids.into_iter().zip(lists).enumerate();
        Ok(rows
            .map(|(i, (problem_id, (topk_base, topk_tuned)))| DiffRow {
                problem_id,
                sample: sample[i],
                t: t[i],
                token_id: token_id[i],
                validity: validity[i],
                entropy_base_nats: entropy_base_nats[i],
                entropy_tuned_nats: entropy_tuned_nats[i],
                kl_tuned_base_nats: kl_tuned_base_nats[i],
                kl_base_tuned_nats: kl_base_tuned_nats[i],
                js_nats: js_nats[i],
                tv: tv[i],
                ce_base_tuned_nats: ce_base_tuned_nats[i],
                delta_logprob: delta_logprob[i],
                logprob_base: logprob_base[i],
                logprob_tuned: logprob_tuned[i],
                rank_base: rank_base[i],
                rank_tuned: rank_tuned[i],
                argmax_base_id: argmax_base_id[i],
                argmax_tuned_id: argmax_tuned_id[i],
                base_rank_of_tuned_argmax: base_rank_of_tuned_argmax[i],
                class: class[i],
                mass_outside_base: mass_outside_base[i],
                mass_outside_tuned: mass_outside_tuned[i],
                topk_base,
                topk_tuned,
            })
            .collect())
    }
}
