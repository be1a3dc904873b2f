//! JSON as it was written: order and repeated names kept, and the `NaN` and
//! `Infinity` that Python writes understood.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value. Objects are lists of pairs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(Box<str>),
    List(Vec<Json>),
    Object(Vec<(Box<str>, Json)>),
}

impl Json {
    /// The value under `key` in an object, the last if it is repeated.
    pub(super) fn get(&self, key: &str) -> Option<&Json> {
        self.object()?
            .iter()
            .rev()
            .find(|(k, _)| &**k == key)
            .map(|(_, v)| v)
    }

    pub(super) fn list(&self) -> Option<&[Json]> {
        if let Self::List(list) = self {
            Some(list)
        } else {
            None
        }
    }

    pub(super) fn object(&self) -> Option<&[(Box<str>, Json)]> {
        if let Self::Object(pairs) = self {
            Some(pairs)
        } else {
            None
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// A number; the strings that stand for what JSON cannot write count too.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => match &**text {
                "NaN" | "nan" => Some(f64::NAN),
                "Infinity" | "inf" => Some(f64::INFINITY),
                "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
                _ => None,
            },
            _ => None,
        }
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Parses one document.
pub(super) fn parse(text: &str) -> Result<Json, serde_json::Error> {
    serde_json::from_str(&quote_constants(text))
}

/// Whether the text starts with a whole JSON value of its own on its first line.
pub(super) fn first_line_is_whole(text: &str) -> bool {
    text.lines()
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| parse(line).is_ok())
}

/// Puts quotes around `NaN`, `Infinity` and `-Infinity` outside of strings.
fn quote_constants(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut quoted = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        let (before, from) = rest.split_at(at);
        quoted.push_str(before);
        let constant = ["NaN", "Infinity", "-Infinity"]
            .into_iter()
            .find(|c| from.starts_with(c));
        let taken = match constant {
            Some(constant) => {
                quoted.extend(["\"", constant, "\""]);
                constant.len()
            }
            None => {
                // A whole string, or one character of anything else (all ASCII).
                let len = if from.starts_with('"') {
                    string_len(from)
                } else {
                    1
                };
                quoted.push_str(from.get(..len).unwrap_or(from));
                len
            }
        };
        rest = from.get(taken..).unwrap_or("");
    }
    quoted.push_str(rest);
    Cow::Owned(quoted)
}

/// Bytes of the string literal that `text` starts with, quotes included.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (i, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    // Whole numbers are token ids, ranks and counts here: exact below 2^53.
    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Json>()? {
            pairs.push((key.into_boxed_str(), value));
        }
        Ok(Json::Object(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repeats_are_kept() {
        let json = parse(r#"{"b": 1, "a": [true, null], "b": "x"}"#).unwrap();
        let keys: Vec<&str> = json.object().unwrap().iter().map(|(k, _)| &**k).collect();
        assert_eq!(keys, ["b", "a", "b"]);
        assert_eq!(json.get("b").unwrap().text(), Some("x"));
    }

    #[test]
    fn constants_count_outside_of_strings_only() {
        let json =
            parse(r#"{"NaN \" Infinity": [NaN, -Infinity, Infinity, -1.5, "-Infinity NaN"]}"#)
                .unwrap();
        let (key, list) = &json.object().unwrap()[0];
        assert_eq!(&**key, "NaN \" Infinity");
        let numbers: Vec<Option<f64>> = list.list().unwrap().iter().map(Json::number).collect();
        assert!(numbers[0].unwrap().is_nan());
        assert_eq!(
            numbers[1..],
            [
                Some(f64::NEG_INFINITY),
                Some(f64::INFINITY),
                Some(-1.5),
                None
            ]
        );
    }

    #[test]
    fn what_is_broken_stays_broken() {
        for text in ["{\"a", "[NaN", "NaNN", "[1,]", "\"NaN\\", "{\"a\": Nan}"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
