//! Columns of `rollouts.parquet`: one row per completion.
//!
//! `problem_id`, `sample`, `token_ids` and `prompt_len` must be there; a file
//! from elsewhere may lack the rest: `finish_reason` is then `unknown`,
//! `validity` is `ok` (`empty` without a completion token).

use arrow_array::ArrayRef;
use arrow_schema::Field;

use super::build::{opt_bools, opt_f32_lists, texts, u32_lists, u32s};
use super::{Columns, Record};
use crate::RecordsError;
use crate::types::{FinishReason, Rollout, Validity};

impl Record for Rollout {
    const NAME: &'static str = "rollouts";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        if let Some(long) = rows.iter().find(|r| u32::try_from(r.prompt_len).is_err()) {
            let reason = format!(
                "prompt_len {} of problem {} is too large",
                long.prompt_len, long.problem_id
            );
            return Err(RecordsError::encode(Self::NAME, reason));
        }
        Ok(vec![
            texts("problem_id", rows, |r| &r.problem_id)?,
            u32s("sample", rows, |r| r.sample),
            u32_lists("token_ids", rows, |r| &r.token_ids)?,
            u32s("prompt_len", rows, |r| r.prompt_len as u32),
            texts("finish_reason", rows, |r| r.finish_reason.as_str())?,
            texts("text", rows, |r| &r.text)?,
            opt_bools("correct", rows, |r| r.correct),
            texts("validity", rows, |r| r.validity.as_str())?,
            opt_f32_lists("logprobs", rows, |r| r.logprobs.as_deref())?,
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let n = c.rows();
        let ids = c.identifiers("problem_id")?;
        let tokens = c.u32_lists("token_ids")?;
        let prompt_len = c.u32s("prompt_len")?;
        let sample = c.u32s("sample")?;
        let finish = optional(c, "finish_reason", n, FinishReason::Unknown, |c, name| {
            c.words(name, FinishReason::parse)
        })?;
        let text = optional(c, "text", n, None, |c, name| c.opt_texts(name))?;
        let correct = optional(c, "correct", n, None, |c, name| c.opt_bools(name))?;
        let validity = optional(c, "validity", n, Validity::Ok, |c, name| {
            c.words(name, Validity::parse)
        })?;
        let logprobs = optional(c, "logprobs", n, None, |c, name| c.opt_f32_lists(name))?;
        let mut rows = Vec::with_capacity(n);
        for (i, ((problem_id, token_ids), logprobs)) in
            ids.into_iter().zip(tokens).zip(logprobs).enumerate()
        {
            let rollout = Rollout {
                problem_id,
                sample: sample[i],
                token_ids,
                prompt_len: prompt_len[i] as usize,
                finish_reason: finish[i],
                text: text[i].unwrap_or_default().to_owned(),
                correct: correct[i],
                validity: validity[i],
                logprobs,
            };
            rows.push(checked(rollout).map_err(|(column, reason)| c.at(column, i, reason))?);
        }
        Ok(rows)
    }
}

/// What must hold of every rollout, wherever it comes from; an empty
/// completion and numbers that are not finite are marked.
pub(crate) fn checked(mut r: Rollout) -> Result<Rollout, (&'static str, String)> {
    let len = r.token_ids.len();
    if r.prompt_len == 0 || r.prompt_len > len {
        let reason = format!(
            "{} is not in 1..={len}, the number of token ids",
            r.prompt_len
        );
        return Err(("prompt_len", reason));
    }
    let completion = len - r.prompt_len;
    if let Some(lps) = &r.logprobs {
        if lps.len() != completion {
            let reason = format!("{} values for {completion} completion tokens", lps.len());
            return Err(("logprobs", reason));
        }
        // ln p is finite, or -inf for a token the sampler cannot have drawn.
        if r.validity == Validity::Ok && lps.iter().any(|lp| !lp.is_finite()) {
            r.validity = Validity::NonFinite;
        }
    }
    if completion == 0 && r.validity == Validity::Ok {
        r.validity = Validity::Empty;
    }
    Ok(r)
}

fn optional<'a, T: Clone>(
    c: &Columns<'a>,
    name: &str,
    n: usize,
    default: T,
    read: impl Fn(&Columns<'a>, &str) -> Result<Vec<T>, RecordsError>,
) -> Result<Vec<T>, RecordsError> {
    if c.has(name) {
        read(c, name)
    } else {
        Ok(vec![default; n])
    }
}
