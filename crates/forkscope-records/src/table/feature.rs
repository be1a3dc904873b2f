//! Columns of `awareness_features.parquet`.

use arrow_array::ArrayRef;
use arrow_schema::Field;

use super::build::{f64s, texts, u32s};
use super::{Columns, Record};
use crate::RecordsError;
use crate::types::FeatureRow;

impl Record for FeatureRow {
    const NAME: &'static str = "features";

    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError> {
        Ok(vec![
            texts("policy", rows, |r| &r.policy)?,
            texts("pooling", rows, |r| &r.pooling)?,
            u32s("layer", rows, |r| r.layer),
            u32s("index", rows, |r| r.index),
            texts("name", rows, |r| &r.name)?,
            f64s("fires_evaluation", rows, |r| r.fires_evaluation),
            f64s("fires_deployment", rows, |r| r.fires_deployment),
            f64s("mean_difference", rows, |r| r.mean_difference),
            f64s("auroc", rows, |r| r.auroc),
            f64s("p_value", rows, |r| r.p_value),
            f64s("q_value", rows, |r| r.q_value),
        ])
    }

    fn from_columns(c: &Columns<'_>) -> Result<Vec<Self>, RecordsError> {
        let (policy, pooling, name) = (c.texts("policy")?, c.texts("pooling")?, c.texts("name")?);
        let (layer, index) = (c.u32s("layer")?, c.u32s("index")?);
        let fires_evaluation = c.f64s("fires_evaluation")?;
        let fires_deployment = c.f64s("fires_deployment")?;
        let (difference, auroc) = (c.f64s("mean_difference")?, c.f64s("auroc")?);
        let (p, q) = (c.f64s("p_value")?, c.f64s("q_value")?);
        let row = |i: usize| Self {
            policy: policy[i].to_owned(),
            pooling: pooling[i].to_owned(),
            layer: layer[i],
            index: index[i],
            name: name[i].to_owned(),
            fires_evaluation: fires_evaluation[i],
            fires_deployment: fires_deployment[i],
            mean_difference: difference[i],
            auroc: auroc[i],
            p_value: p[i],
            q_value: q[i],
        };
        Ok((0..c.rows()).map(row).collect())
    }
}
