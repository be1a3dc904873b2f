//! Columns of `reversions.parquet`: one row per method and answer.

use arrow_array::ArrayRef;
use arrow_schema::Field;

use super::build::{f32_lists, f64s, opt_bools, opt_f64s, texts, u32_lists, u32s};
use super::{Columns, Record};
use crate::RecordsError;
use crate::types::{
    FinishReason, Reversion, ReversionControl, ReversionDirection, ReversionMethod,
    ReversionStatus, Validity,
};

impl Record for Reversion {
    const NAME: &'static str = "reversions";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        if let Some(long) = rows.iter().find(|r| u32::try_from(r.prompt_len).is_err()) {
            let reason = format!(
                "prompt_len {} of problem {} is too large",
                long.prompt_len, long.problem_id
            );
            return Err(RecordsError::encode(Self::NAME, reason));
        }
        Ok(vec![
            texts("direction", rows, |r| r.direction.as_str())?,
            texts("method", rows, |r| r.method.as_str())?,
            texts("control", rows, |r| r.control.as_str())?,
            texts("problem_id", rows, |r| &r.problem_id)?,
            u32s("sample", rows, |r| r.sample),
            texts("status", rows, |r| r.status.as_str())?,
            opt_f64s("price", rows, |r| r.price),
            f64s("cap", rows, |r| r.cap),
            texts("unit", rows, |r| &r.unit)?,
            opt_f64s("kl_nats", rows, |r| r.kl_nats),
            u32s("tries", rows, |r| r.tries),
            u32_lists("positions", rows, |r| &r.positions)?,
            u32_lists("donor_ids", rows, |r| &r.donor_ids)?,
            f32_lists("margins_nats", rows, |r| &r.margins_nats)?,
            f32_lists("js_nats", rows, |r| &r.js_nats)?,
            f32_lists("levels", rows, |r| &r.levels)?,
            u32_lists("turned", rows, |r| &r.turned)?,
            u32_lists("token_ids", rows, |r| &r.token_ids)?,
            u32s("prompt_len", rows, |r| r.prompt_len as u32),
            texts("finish_reason", rows, |r| r.finish_reason.as_str())?,
            texts("text", rows, |r| &r.text)?,
            opt_bools("behaviour", rows, |r| r.behaviour),
            texts("validity", rows, |r| r.validity.as_str())?,
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let direction = c.words("direction", ReversionDirection::parse)?;
        let method = c.words("method", ReversionMethod::parse)?;
        let control = c.words("control", ReversionControl::parse)?;
        let problem_id = c.identifiers("problem_id")?;
        let sample = c.u32s("sample")?;
        let status = c.words("status", ReversionStatus::parse)?;
        let price = c.opt_f64s("price")?;
        let cap = c.f64s("cap")?;
        let unit = c.texts("unit")?;
        let kl_nats = c.opt_f64s("kl_nats")?;
        let tries = c.u32s("tries")?;
        let mut positions = c.u32_lists("positions")?;
        let mut donor_ids = c.u32_lists("donor_ids")?;
        let mut margins_nats = c.f32_lists("margins_nats")?;
        let mut js_nats = c.f32_lists("js_nats")?;
        let mut levels = c.f32_lists("levels")?;
        let mut turned = c.u32_lists("turned")?;
        let mut token_ids = c.u32_lists("token_ids")?;
        let prompt_len = c.u32s("prompt_len")?;
        let finish_reason = c.words("finish_reason", FinishReason::parse)?;
        let text = c.texts("text")?;
        let behaviour = c.opt_bools("behaviour")?;
        let validity = c.words("validity", Validity::parse)?;
        let mut rows = Vec::with_capacity(c.rows());
        for (i, problem_id) in problem_id.into_iter().enumerate() {
            let row = Self {
                direction: direction[i],
                method: method[i],
                control: control[i],
                problem_id,
                sample: sample[i],
                status: status[i],
                price: price[i],
                cap: cap[i],
                unit: unit[i].to_owned(),
                kl_nats: kl_nats[i],
                tries: tries[i],
                positions: std::mem::take(&mut positions[i]),
                donor_ids: std::mem::take(&mut donor_ids[i]),
                margins_nats: std::mem::take(&mut margins_nats[i]),
                js_nats: std::mem::take(&mut js_nats[i]),
                levels: std::mem::take(&mut levels[i]),
                turned: std::mem::take(&mut turned[i]),
                token_ids: std::mem::take(&mut token_ids[i]),
                prompt_len: prompt_len[i] as usize,
                finish_reason: finish_reason[i],
                text: text[i].to_owned(),
                behaviour: behaviour[i],
                validity: validity[i],
            };
            rows.push(checked(row).map_err(|(column, reason)| c.at(column, i, reason))?);
        }
        Ok(rows)
    }
}

/// What must hold of every row, whoever wrote it.
fn checked(r: Reversion) -> Result<Reversion, (&'static str, String)> {
    let len = r.token_ids.len();
    if r.prompt_len == 0 || r.prompt_len > len {
        let reason = format!(
            "{} is not in 1..={len}, the number of token ids",
            r.prompt_len
        );
        return Err(("prompt_len", reason));
    }
    let n = r.positions.len();
    let beside = [
        ("donor_ids", r.donor_ids.len(), n),
        ("margins_nats", r.margins_nats.len(), n),
        ("js_nats", r.js_nats.len(), n),
        ("turned", r.turned.len(), r.levels.len()),
    ];
    for (column, found, expected) in beside {
        if found != expected {
            return Err((column, format!("{found} values where {expected} belong")));
        }
    }
    if r.price.is_some() != (r.status == ReversionStatus::Reached) {
        return Err(("price", "is there only where the status is reached".into()));
    }
    match r.turned.iter().find(|v| **v > 2) {
        Some(v) => Err(("turned", format!("{v} is neither 0, 1 nor 2"))),
        None => Ok(r),
    }
}
