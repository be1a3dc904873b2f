//! The reference answer in the field that holds it.
//!
//! GSM8K ends its worked solutions with `#### 42`; MATH boxes the answer of a
//! solution as `\boxed{42}`. Everything else is the answer as it stands: what
//! is equivalent to it is not decided here.

use serde_json::Value;

/// The reference answer of a field: after the last `####`; for a worked
/// solution, the content of its last `\boxed{}` (or `\fbox{}`) with balanced
/// braces; else the text itself. `None` if nothing is left of it.
pub fn reference_answer(text: &str, is_solution: bool) -> Option<String> {
    let marked = text.rsplit_once("####").map(|(_, answer)| answer);
    let boxed = if is_solution { last_boxed(text) } else { None };
    let answer = marked.or(boxed).unwrap_or(text).trim();
    (!answer.is_empty()).then(|| answer.to_owned())
}

/// The text of an answer field: text, a number, a truth value, or a list of
/// those (one element stands for itself, more are joined by `, `). `Ok(None)`
/// for null and empty lists; `Err` says what else it is.
pub(super) fn answer_text(value: &Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(s) => Ok(Some(s.clone())),
        Value::Bool(b) => Ok(Some(b.to_string())),
        Value::Number(_) => Ok(number_text(value)),
        Value::Array(items) => {
            let texts: Result<Vec<_>, _> = items.iter().map(answer_text).collect();
            let texts: Vec<String> = texts?.into_iter().flatten().collect();
            Ok((!texts.is_empty()).then(|| texts.join(", ")))
        }
        Value::Object(_) => Err("is an object, not text, a number or a list of those"),
    }
}

/// A number as people write it: `27.0` is `27`.
pub(super) fn number_text(value: &Value) -> Option<String> {
    let number = value.as_number()?;
    if number.is_f64() {
        let v = number.as_f64()?;
        // Beyond 2^53 a float is no longer a count; keep its digits.
        if v.fract() == 0.0 && v.abs() < 9_007_199_254_740_992.0 {
            return Some(format!("{}", v as i64));
        }
    }
    Some(number.to_string())
}

fn last_boxed(text: &str) -> Option<&str> {
    let start = ["\\boxed", "\\fbox"]
        .iter()
        .filter_map(|m| Some(text.rfind(m)? + m.len()))
        .max()?;
    let rest = text.get(start..)?.trim_start();
    let inner = rest.strip_prefix('{')?;
    let mut depth = 1usize;
    let mut escaped = false;
    for (i, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return inner.get(..i);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_marker_of_gsm8k_wins_and_the_last_counts() {
        assert_eq!(
            reference_answer("a #### 1\n#### 1,234 ", false).unwrap(),
            "1,234"
        );
        assert_eq!(reference_answer("42", false).unwrap(), "42");
        assert_eq!(reference_answer("work ####  ", false), None);
    }

    #[test]
    fn a_box_is_opened_in_solutions_only() {
        let text = r"so \boxed{1} and then $\boxed{\frac{1}{\{2\}}}$.";
        assert_eq!(reference_answer(text, true).unwrap(), r"\frac{1}{\{2\}}");
        assert_eq!(reference_answer(text, false).unwrap(), text);
        assert_eq!(
            reference_answer(r"see \boxed{open", true).unwrap(),
            r"see \boxed{open"
        );
        assert_eq!(reference_answer(r"\fbox {7}", true).unwrap(), "7");
        assert_eq!(reference_answer(r"\boxed{}", true), None);
    }

    #[test]
    fn numbers_and_lists_become_text() {
        let text = |v| answer_text(&v).unwrap();
        assert_eq!(text(json!(27.0)).unwrap(), "27");
        assert_eq!(text(json!(0.5)).unwrap(), "0.5");
        assert_eq!(text(json!(-3)).unwrap(), "-3");
        assert_eq!(text(json!(["2"])).unwrap(), "2");
        assert_eq!(text(json!(["2", 3])).unwrap(), "2, 3");
        assert_eq!(text(json!([])), None);
        assert_eq!(text(json!(null)), None);
        assert!(answer_text(&json!({"a": 1})).is_err());
    }
}
