//! Columns of `awareness.parquet`, `awareness_neurons.parquet` and
//! `awareness_steering.parquet`.

use arrow_array::ArrayRef;
use arrow_schema::Field;

use super::build::{f64s, opt_bools, opt_f64s, texts, u32_lists, u32s};
use super::{Columns, Record};
use crate::RecordsError;
use crate::types::{AwarenessRow, NeuronRow, SteeringRow};

impl Record for AwarenessRow {
    const NAME: &'static str = "awareness";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        Ok(vec![
            texts("policy", rows, |r| &r.policy)?,
            texts("pooling", rows, |r| &r.pooling)?,
            texts("probe", rows, |r| &r.probe)?,
            texts("split", rows, |r| &r.split)?,
            texts("test_format", rows, |r| &r.test_format)?,
            texts("selection", rows, |r| &r.selection)?,
            u32s("layer", rows, |r| r.layer),
            opt_f64s("auroc", rows, |r| r.auroc),
            opt_f64s("low", rows, |r| r.low),
            opt_f64s("high", rows, |r| r.high),
            f64s("level", rows, |r| r.level),
            u32s("n", rows, |r| r.n),
            u32s("n_groups", rows, |r| r.n_groups),
            u32s("n_folds", rows, |r| r.n_folds),
            opt_f64s("p_value", rows, |r| r.p_value),
            opt_f64s("p_max", rows, |r| r.p_max),
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let text = |name| c.texts(name);
        let (policy, pooling, probe) = (text("policy")?, text("pooling")?, text("probe")?);
        let (split, format, selection) = (text("split")?, text("test_format")?, text("selection")?);
        let layer = c.u32s("layer")?;
        let (auroc, low, high) = (
            c.opt_f64s("auroc")?,
            c.opt_f64s("low")?,
            c.opt_f64s("high")?,
        );
        let level = c.f64s("level")?;
        let (n, n_groups, n_folds) = (c.u32s("n")?, c.u32s("n_groups")?, c.u32s("n_folds")?);
        let (p_value, p_max) = (c.opt_f64s("p_value")?, c.opt_f64s("p_max")?);
        let row = |i: usize| Self {
            policy: policy[i].to_owned(),
            pooling: pooling[i].to_owned(),
            probe: probe[i].to_owned(),
            split: split[i].to_owned(),
            test_format: format[i].to_owned(),
            selection: selection[i].to_owned(),
            layer: layer[i],
            auroc: auroc[i],
            low: low[i],
            high: high[i],
            level: level[i],
            n: n[i],
            n_groups: n_groups[i],
            n_folds: n_folds[i],
            p_value: p_value[i],
            p_max: p_max[i],
        };
        Ok((0..c.rows()).map(row).collect())
    }
}

impl Record for NeuronRow {
    const NAME: &'static str = "neurons";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        Ok(vec![
            texts("policy", rows, |r| &r.policy)?,
            texts("pooling", rows, |r| &r.pooling)?,
            u32s("layer", rows, |r| r.layer),
            u32s("index", rows, |r| r.index),
            f64s("mean_difference", rows, |r| r.mean_difference),
            f64s("auroc", rows, |r| r.auroc),
            f64s("p_value", rows, |r| r.p_value),
            f64s("q_value", rows, |r| r.q_value),
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let (policy, pooling) = (c.texts("policy")?, c.texts("pooling")?);
        let (layer, index) = (c.u32s("layer")?, c.u32s("index")?);
        let (difference, auroc) = (c.f64s("mean_difference")?, c.f64s("auroc")?);
        let (p, q) = (c.f64s("p_value")?, c.f64s("q_value")?);
        let row = |i: usize| Self {
            policy: policy[i].to_owned(),
            pooling: pooling[i].to_owned(),
            layer: layer[i],
            index: index[i],
            mean_difference: difference[i],
            auroc: auroc[i],
            p_value: p[i],
            q_value: q[i],
        };
        Ok((0..c.rows()).map(row).collect())
    }
}

impl Record for SteeringRow {
    const NAME: &'static str = "steering";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        Ok(vec![
            texts("direction", rows, |r| &r.direction)?,
            u32s("index", rows, |r| r.index),
            u32s("layer", rows, |r| r.layer),
            f64s("scale", rows, |r| r.scale),
            texts("problem_id", rows, |r| &r.problem_id)?,
            u32s("sample", rows, |r| r.sample),
            texts("context", rows, |r| &r.context)?,
            u32_lists("token_ids", rows, |r| &r.token_ids)?,
            texts("text", rows, |r| &r.text)?,
            opt_bools("behaviour", rows, |r| r.behaviour),
            opt_f64s("kl_nats", rows, |r| r.kl_nats),
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let (direction, context, text) =
            (c.texts("direction")?, c.texts("context")?, c.texts("text")?);
        let (index, layer, sample) = (c.u32s("index")?, c.u32s("layer")?, c.u32s("sample")?);
        let scale = c.f64s("scale")?;
        let (behaviour, kl) = (c.opt_bools("behaviour")?, c.opt_f64s("kl_nats")?);
        let (ids, tokens) = (c.identifiers("problem_id")?, c.u32_lists("token_ids")?);
        let rows = ids.into_iter().zip(tokens).enumerate();
        let row = |(i, (problem_id, token_ids)): (usize, (String, Vec<u32>))| Self {
            direction: direction[i].to_owned(),
            index: index[i],
            layer: layer[i],
            scale: scale[i],
            problem_id,
            sample: sample[i],
            context: context[i].to_owned(),
            token_ids,
            text: text[i].to_owned(),
            behaviour: behaviour[i],
            kl_nats: kl[i],
        };
        Ok(rows.map(row).collect())
    }
}
