//! Canonical JSON: one text for one value.
//!
//! RFC 8785: no white space, object keys in ascending order of their UTF-16 code
//! units, text with the shortest escapes, numbers as ECMAScript prints doubles
//! (`1`, `0.1`, `1e-7`, `1e+21`, -0 as `0`). One addition: an integer that stands in
//! the source without fraction and exponent is printed in decimals exactly as far as
//! 64 bits reach (RFC 8785 would round seeds above 2^53 to a double).

use serde_json::Value;

/// The canonical text of a value.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
            (Some(n), ..) => out.push_str(&n.to_string()),
            (_, Some(n), _) => out.push_str(&n.to_string()),
            (.., x) => out.push_str(&double(x.unwrap_or(f64::NAN))),
        },
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push('{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                string(key, out);
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
    }
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// As ECMAScript's `Number::toString`. JSON has no other doubles than finite ones.
fn double(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return if x == 0.0 { "0" } else { "null" }.to_owned();
    }
    let scientific = format!("{:e}", x.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = even(mantissa.replace('.', ""), x.abs());
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let count = digits.len() as i32;
    let sign = if x < 0.0 { "-" } else { "" };
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    let body = if count <= point && point <= 21 {
        format!("{digits}{}", zeros(point - count))
    } else if 0 < point && point <= 21 {
        let (whole, part) = digits.split_at(point as usize);
        format!("{whole}.{part}")
    } else if -6 < point && point <= 0 {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{first}{dot}{rest}e{:+}", point - 1)
    };
    format!("{sign}{body}")
}

/// Rust prints the shortest digits that read back, as ECMAScript does; where two
/// such lie equally near, ECMAScript takes the even one.
fn even(digits: String, x: f64) -> String {
    let odd = digits.ends_with(['1', '3', '5', '7', '9']);
    let exact = |more: usize| format!("{x:.*e}", digits.len() + more).replace('.', "");
    let is_half = |exact: &str| {
        let rest = exact
            .split_once('e')
            .and_then(|(all, _)| all.get(digits.len()..));
        rest.is_some_and(|rest| {
            rest.starts_with('5') && rest.bytes().skip(1).all(|digit| digit == b'0')
        })
    };
    // No double has more digits than 767.
    if !odd || !is_half(&exact(8)) || !is_half(&exact(770)) {
        return digits;
    }
    // Half-way and odd: the neighbour that was rounded away from.
    match digits.parse::<u64>() {
        Ok(n) => n.saturating_sub(1).to_string(),
        Err(_) => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Appendix B of RFC 8785.
    #[test]
    fn doubles_print_as_the_rfc_lists_them() {
        for (bits, text) in [
            (0x0000_0000_0000_0000u64, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let x = f64::from_bits(bits);
            assert_eq!(double(x), text, "{bits:016x}");
        }
    }

    #[test]
    fn keys_are_ordered_by_utf_16_and_text_has_the_shortest_escapes() {
        // The example of RFC 8785, section 3.2.3.
        let value = json!({"\u{20ac}": "Euro Sign", "\r": "Carriage Return",
            "\u{fb33}": "Hebrew Letter Dalet With Dagesh", "1": "One",
            "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control",
            "\u{f6}": "Latin Small Letter O With Diaeresis"});
        assert_eq!(
            canonical(&value),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\
             \"\u{1f600}\":\"Emoji: Grinning Face\",\
             \"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        );
        assert_eq!(
            canonical(&json!([
                "\u{1}\u{1f}\"\\\u{7f}",
                56.0,
                1e30,
                4.50,
                2e-3,
                null,
                true
            ])),
            "[\"\\u0001\\u001f\\\"\\\\\u{7f}\",56,1e+30,4.5,0.002,null,true]"
        );
    }

    #[test]
    fn seeds_of_64_bits_stay_whole() {
        assert_eq!(canonical(&json!(u64::MAX)), "18446744073709551615");
        assert_eq!(canonical(&json!(i64::MIN)), "-9223372036854775808");
    }

    proptest::proptest! {
        #[test]
        fn a_canonical_text_is_its_own_canonical_text(bits: u64, text: String, n: i64) {
            let x = f64::from_bits(bits);
            let value = json!({"x": if x.is_finite() { x } else { 0.5 }, text: n});
            let once = canonical(&value);
            let read: Value = serde_json::from_str(&once)
                .map_err(|e| proptest::test_runner::TestCaseError::fail(e.to_string()))?;
            proptest::prop_assert_eq!(canonical(&read), once);
        }
    }
}
