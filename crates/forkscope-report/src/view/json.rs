//! Numbers as the page gets them.

use serde_json::{Value, json};

/// A number to six significant digits, `null` where undefined, `"inf"` and
/// `"-inf"`.
pub fn short(v: f64) -> Value {
    if v.is_nan() {
        return Value::Null;
    }
    if v.is_infinite() {
        return json!(if v > 0.0 { "inf" } else { "-inf" });
    }
    let rounded = format!("{v:.5e}").parse::<f64>().unwrap_or(v);
    if rounded == 0.0 {
        return json!(0);
    }
    json!(rounded)
}

/// As [`short`], of a number that may not be there.
pub fn maybe(v: Option<f64>) -> Value {
    v.map_or(Value::Null, short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_digits_are_enough_to_read() {
        assert_eq!(short(f64::from(0.1f32)), json!(0.1));
        assert_eq!(short(-1234.56789), json!(-1234.57));
        assert_eq!(short(f64::NAN), Value::Null);
        assert_eq!(short(f64::NEG_INFINITY), json!("-inf"));
        assert_eq!(short(-0.0), json!(0));
        assert_eq!(maybe(None), Value::Null);
    }
}
