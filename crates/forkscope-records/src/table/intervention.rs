//! Columns of `interventions.parquet`: one row per completion of an arm.
//!
//! Rows are ordered by problem (in file order), temperature (in the order
//! asked for), sample, arm.

use arrow_array::ArrayRef;
use arrow_schema::Field;

use super::build::{f64s, opt_bools, texts, u32_lists, u32s};
use super::{Columns, Record};
use crate::RecordsError;
use crate::types::{Direction, FinishReason, Intervention, Validity};

impl Record for Intervention {
    const NAME: &'static str = "interventions";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        if let Some(long) = rows.iter().find(|r| u32::try_from(r.prompt_len).is_err()) {
            let reason = format!(
                "prompt_len {} of problem {} is too large",
                long.prompt_len, long.problem_id
            );
            return Err(RecordsError::encode(Self::NAME, reason));
        }
        Ok(vec![
            texts("arm", rows, |r| &r.arm)?,
            texts("direction", rows, |r| r.direction.as_str())?,
            texts("gate", rows, |r| &r.gate)?,
            texts("budget", rows, |r| &r.budget)?,
            f64s("temperature", rows, |r| r.temperature),
            texts("problem_id", rows, |r| &r.problem_id)?,
            u32s("sample", rows, |r| r.sample),
            u32_lists("token_ids", rows, |r| &r.token_ids)?,
            u32s("prompt_len", rows, |r| r.prompt_len as u32),
            u32_lists("touched", rows, |r| &r.touched)?,
            u32_lists("changed", rows, |r| &r.changed)?,
            f64s("touched_entropy_nats", rows, |r| r.touched_entropy_nats),
            texts("finish_reason", rows, |r| r.finish_reason.as_str())?,
            texts("text", rows, |r| &r.text)?,
            opt_bools("correct", rows, |r| r.correct),
            opt_bools("behaviour", rows, |r| r.behaviour),
            texts("validity", rows, |r| r.validity.as_str())?,
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let arm = c.texts("arm")?;
        let direction = c.words("direction", Direction::parse)?;
        let gate = c.texts("gate")?;
        let budget = c.texts("budget")?;
        let temperature = c.f64s("temperature")?;
        let ids = c.identifiers("problem_id")?;
        let sample = c.u32s("sample")?;
        let tokens = c.u32_lists("token_ids")?;
        let prompt_len = c.u32s("prompt_len")?;
        let touched = c.u32_lists("touched")?;
        let changed = c.u32_lists("changed")?;
        let mass = c.f64s("touched_entropy_nats")?;
        let finish = c.words("finish_reason", FinishReason::parse)?;
        let text = c.texts("text")?;
        let correct = c.opt_bools("correct")?;
        let behaviour = c.opt_bools("behaviour")?;
        let validity = c.words("validity", Validity::parse)?;
        let lists = ids
            .into_iter()
            .zip(tokens)
            .zip(touched.into_iter().zip(changed));
        let mut rows = Vec::with_capacity(c.rows());
        for (i, ((problem_id, token_ids), (touched, changed))) in lists.enumerate() {
            let row = Self {
                arm: arm[i].to_owned(),
                direction: direction[i],
                gate: gate[i].to_owned(),
                budget: budget[i].to_owned(),
                temperature: temperature[i],
                problem_id,
                sample: sample[i],
                token_ids,
                prompt_len: prompt_len[i] as usize,
                touched,
                changed,
                touched_entropy_nats: mass[i],
                finish_reason: finish[i],
                text: text[i].to_owned(),
                correct: correct[i],
                behaviour: behaviour[i],
                validity: validity[i],
            };
            check(&row).map_err(|(column, reason)| c.at(column, i, reason))?;
            rows.push(row);
        }
        Ok(rows)
    }
}

/// What must hold of every row, wherever it comes from.
fn check(r: &Intervention) -> Result<(), (&'static str, String)> {
    let len = r.token_ids.len();
    if r.prompt_len == 0 || r.prompt_len > len {
        let reason = format!(
            "{} is not in 1..={len}, the number of token ids",
            r.prompt_len
        );
        return Err(("prompt_len", reason));
    }
    let inside = |t: &u32| (r.prompt_len..len).contains(&(*t as usize));
    for (column, positions) in [("touched", &r.touched), ("changed", &r.changed)] {
        let ascending = positions.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || !positions.iter().all(inside) {
            let reason = format!(
                "the positions are not ascending ones of the completion, {}..{len}",
                r.prompt_len
            );
            return Err((column, reason));
        }
    }
    let known = |t: &u32| r.touched.binary_search(t).is_ok();
    match r.changed.iter().find(|t| !known(t)) {
        Some(t) => Err((
            "changed",
            format!("position {t} is not among those touched"),
        )),
        None => Ok(()),
    }
}
