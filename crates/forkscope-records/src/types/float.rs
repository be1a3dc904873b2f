//! How a number that may be undefined or infinite stands in JSON: a number,
//! `null` where undefined (NaN too), `"inf"` and `"-inf"`.
//!
//! Use it as `#[serde(with = "forkscope_records::types::float")]` on an
//! `Option<f64>`.

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// Writes the number.
pub fn serialize<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    match *value {
        Some(v) if v.is_finite() => to.serialize_f64(v),
        Some(f64::INFINITY) => to.serialize_str("inf"),
        Some(f64::NEG_INFINITY) => to.serialize_str("-inf"),
        _ => to.serialize_none(),
    }
}

/// Reads the number.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    from.deserialize_any(Number)
}

struct Number;

impl<'de> Visitor<'de> for Number {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number, null, \"inf\" or \"-inf\"")
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Self::Value, E> {
        Ok(Some(v))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Self::Value, E> {
        Ok(Some(v as f64))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Self::Value, E> {
        Ok(Some(v as f64))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
        match v {
            "inf" => Ok(Some(f64::INFINITY)),
            "-inf" => Ok(Some(f64::NEG_INFINITY)),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(v), &self)),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
