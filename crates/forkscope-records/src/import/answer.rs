//! The reference answer in the field that holds it.
//!
//! GSM8K ends its worked solutions with `#### 42`; MATH boxes the answer of a
//! solution as `\boxed{42}`. Everything else is the answer as it stands: what
//! is equivalent to it is not decided here.

use serde_json::Value;

/// The reference answer of a field: after the last `####`; for a worked
/// solution, the content of its last `\boxed{}` (`\fbox{}`, `\framebox{}`) with
/// balanced braces; else the text itself. `None` if nothing is left of it.
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

/// The names of boxes, as a macro ends in them.
const BOXES: [&str; 3] = ["boxed", "fbox", "framebox"];

/// Content of the last box whose braces match and that is not empty: the last
/// to open, so that of a box in a box it is the inner. One pass with a stack.
/// Completions are read by the same rule in `forkscope-tasks`, and a test there
/// holds the two to each other.
fn last_boxed(text: &str) -> Option<&str> {
    let mut last: Option<(usize, usize)> = None;
    // For each brace that is open, where its content starts if it is a box.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => {
                let before = text.get(..at).unwrap_or("").trim_end();
                let boxed = BOXES.iter().any(|name| before.ends_with(name));
                open.push(boxed.then_some(at + 1));
            }
            b'}' => {
                let Some(Some(start)) = open.pop() else {
                    continue;
                };
                let filled = text.get(start..at).is_some_and(|c| !c.trim().is_empty());
                if filled && last.is_none_or(|(known, _)| known < start) {
                    last = Some((start, at));
                }
            }
            _ => {}
        }
    }
    match last {
        Some((start, end)) => text.get(start..end).map(str::trim),
        None => bare_box(text),
    }
}

/// `\boxed 42`: up to white space.
fn bare_box(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once("\\boxed")?;
    let word = after.split_whitespace().next()?;
    let word = word.split('$').next()?.trim_end_matches(['.', ',']);
    (!word.is_empty() && !word.starts_with(['{', '}', '('])).then_some(word)
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
        for (text, answer) in [
            (r"see \boxed{open", r"see \boxed{open"),
            (r"\boxed{7} and \boxed{open", "7"),
            (r"\fbox {7}", "7"),
            (r"so $\framebox{204}$ minutes", "204"),
            (r"\boxed{\boxed{3}}", "3"),
            (r"so $\boxed 5$.", "5"),
            (r"\boxed{2} or \boxed{}", "2"),
        ] {
            assert_eq!(reference_answer(text, true).unwrap(), answer, "{text}");
        }
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
