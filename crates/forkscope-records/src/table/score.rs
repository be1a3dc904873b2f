//! Columns of `score`: one policy at one position.

use arrow_array::ArrayRef;
use arrow_schema::Field;

use super::build::{f32_lists, f32s, f64s, texts, u32_lists, u32s};
use super::{Columns, Record};
use crate::RecordsError;
use crate::types::{ScoreRow, TopK, Validity};

impl Record for ScoreRow {
    const NAME: &'static str = "score tokens";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        Ok(vec![
            texts("problem_id", rows, |r| &r.problem_id)?,
            u32s("sample", rows, |r| r.sample),
            u32s("t", rows, |r| r.t),
            u32s("token_id", rows, |r| r.token_id),
            texts("validity", rows, |r| r.validity.as_str())?,
            f64s("entropy_nats", rows, |r| r.entropy_nats),
            f32s("logprob", rows, |r| r.logprob),
            u32s("rank", rows, |r| r.rank),
            u32s("argmax_id", rows, |r| r.argmax_id),
            u32_lists("topk_ids", rows, |r| &r.topk.ids)?,
            f32_lists("topk_logprobs", rows, |r| &r.topk.logprobs)?,
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let sample = c.u32s("sample")?;
        let t = c.u32s("t")?;
        let token_id = c.u32s("token_id")?;
        let validity = c.words("validity", Validity::parse)?;
        let entropy_nats = c.f64s("entropy_nats")?;
        let logprob = c.f32s("logprob")?;
        let rank = c.u32s("rank")?;
        let argmax_id = c.u32s("argmax_id")?;
        let topk = topk(c, "topk_ids", "topk_logprobs")?;
        let ids = c.identifiers("problem_id")?;
        let rows = ids
            .into_iter()
            .zip(topk)
            .enumerate()
            .map(|(i, (problem_id, topk))| ScoreRow {
                problem_id,
                sample: sample[i],
                t: t[i],
                token_id: token_id[i],
                validity: validity[i],
                entropy_nats: entropy_nats[i],
                logprob: logprob[i],
                rank: rank[i],
                argmax_id: argmax_id[i],
                topk,
            });
        Ok(rows.collect())
    }
}

/// Two list columns that belong together.
pub(super) fn topk(c: &Columns<'_>, ids: &str, logprobs: &str) -> Result<Vec<TopK>, RecordsError> {
    let pairs = c
        .u32_lists(ids)?
        .into_iter()
        .zip(c.f32_lists(logprobs)?)
        .enumerate();
    pairs
        .map(|(row, (list, lps))| {
            if list.len() == lps.len() {
                return Ok(TopK {
                    ids: list,
                    logprobs: lps,
                });
            }
            let reason = format!("{} values beside {} of {ids}", lps.len(), list.len());
            Err(c.at(logprobs, row, reason))
        })
        .collect()
}
