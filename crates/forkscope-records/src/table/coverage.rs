//! Columns of `plan.parquet`, `noise.parquet` and `beyond_noise.parquet`.

use arrow_array::ArrayRef;
use arrow_schema::Field;

use super::build::{f64s, opt_bools, texts, u32s};
use super::{Columns, Record};
use crate::RecordsError;
use crate::types::{BeyondNoiseRow, NoiseRow, PlanRow, Stratum, Validity};

impl Record for PlanRow {
    const NAME: &'static str = "audit plan";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        Ok(vec![
            texts("problem_id", rows, |r| &r.problem_id)?,
            u32s("sample", rows, |r| r.sample),
            u32s("t", rows, |r| r.t),
            f64s("budget", rows, |r| r.budget),
            texts("stratum", rows, |r| r.stratum.as_str())?,
            f64s("inclusion_probability", rows, |r| r.inclusion_probability),
            f64s("entropy_base_nats", rows, |r| r.entropy_base_nats),
            f64s("score", rows, |r| r.score),
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let (sample, t) = (c.u32s("sample")?, c.u32s("t")?);
        let stratum = c.words("stratum", Stratum::parse)?;
        let (budget, inclusion) = (c.f64s("budget")?, c.f64s("inclusion_probability")?);
        let (entropy, score) = (c.f64s("entropy_base_nats")?, c.f64s("score")?);
        let ids = c.identifiers("problem_id")?;
        let row = |(i, problem_id): (usize, String)| Self {
            problem_id,
            sample: sample[i],
            t: t[i],
            budget: budget[i],
            stratum: stratum[i],
            inclusion_probability: inclusion[i],
            entropy_base_nats: entropy[i],
            score: score[i],
        };
        Ok(ids.into_iter().enumerate().map(row).collect())
    }
}

impl Record for NoiseRow {
    const NAME: &'static str = "noise tokens";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        Ok(vec![
            texts("problem_id", rows, |r| &r.problem_id)?,
            u32s("sample", rows, |r| r.sample),
            u32s("t", rows, |r| r.t),
            u32s("token_id", rows, |r| r.token_id),
            texts("validity", rows, |r| r.validity.as_str())?,
            f64s("entropy_base_nats", rows, |r| r.entropy_base_nats),
            f64s("js_weights_nats", rows, |r| r.js_weights_nats),
            f64s("js_activations_nats", rows, |r| r.js_activations_nats),
            u32s("argmax_base_id", rows, |r| r.argmax_base_id),
            u32s("argmax_weights_id", rows, |r| r.argmax_weights_id),
            u32s("argmax_activations_id", rows, |r| r.argmax_activations_id),
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let (sample, t, token_id) = (c.u32s("sample")?, c.u32s("t")?, c.u32s("token_id")?);
        let validity = c.words("validity", Validity::parse)?;
        let entropy = c.f64s("entropy_base_nats")?;
        let (weights, activations) = (c.f64s("js_weights_nats")?, c.f64s("js_activations_nats")?);
        let base = c.u32s("argmax_base_id")?;
        let (by_weights, by_activations) = (
            c.u32s("argmax_weights_id")?,
            c.u32s("argmax_activations_id")?,
        );
        let ids = c.identifiers("problem_id")?;
        let row = |(i, problem_id): (usize, String)| Self {
            problem_id,
            sample: sample[i],
            t: t[i],
            token_id: token_id[i],
            validity: validity[i],
            entropy_base_nats: entropy[i],
            js_weights_nats: weights[i],
            js_activations_nats: activations[i],
            argmax_base_id: base[i],
            argmax_weights_id: by_weights[i],
            argmax_activations_id: by_activations[i],
        };
        Ok(ids.into_iter().enumerate().map(row).collect())
    }
}

impl Record for BeyondNoiseRow {
    const NAME: &'static str = "tokens beyond noise";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        Ok(vec![
            texts("problem_id", rows, |r| &r.problem_id)?,
            u32s("sample", rows, |r| r.sample),
            u32s("t", rows, |r| r.t),
            u32s("token_id", rows, |r| r.token_id),
            texts("validity", rows, |r| r.validity.as_str())?,
            u32s("entropy_decile", rows, |r| r.entropy_decile),
            f64s("js_nats", rows, |r| r.js_nats),
            f64s("p_value", rows, |r| r.p_value),
            f64s("p_adjusted", rows, |r| r.p_adjusted),
            opt_bools("changed", rows, |r| Some(r.changed)),
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let (sample, t, token_id) = (c.u32s("sample")?, c.u32s("t")?, c.u32s("token_id")?);
        let validity = c.words("validity", Validity::parse)?;
        let decile = c.u32s("entropy_decile")?;
        let (js, p) = (c.f64s("js_nats")?, c.f64s("p_value")?);
        let adjusted = c.f64s("p_adjusted")?;
        let changed = c.opt_bools("changed")?;
        let ids = c.identifiers("problem_id")?;
        let row = |(i, problem_id): (usize, String)| {
            Ok(Self {
                problem_id,
                sample: sample[i],
                t: t[i],
                token_id: token_id[i],
                validity: validity[i],
                entropy_decile: decile[i],
                js_nats: js[i],
                p_value: p[i],
                p_adjusted: adjusted[i],
                changed: changed[i].ok_or_else(|| c.at("changed", i, "is null"))?,
            })
        };
        ids.into_iter().enumerate().map(row).collect()
    }
}
