//! JUnit XML, as CI systems read it: one test case per rule.

use super::rule::Verdict;

/// The document.
pub fn document(verdicts: &[Verdict]) -> String {
    let failed = verdicts.iter().filter(|v| v.failed).count();
    let counts = format!(
        "tests=\"{}\" failures=\"{failed}\" errors=\"0\"",
        verdicts.len()
    );
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"forkscope\" {counts}>\n  <testsuite name=\"forkscope gate\" {counts} skipped=\"0\" time=\"0\">\n"
    );
    for verdict in verdicts {
        let name = escaped(&verdict.rule);
        let case = format!(
            "    <testcase classname=\"{}\" name=\"{name}\" time=\"0\"",
            escaped(&verdict.id)
        );
        let reason = escaped(&verdict.reason);
        out += &match verdict.failed {
            true => format!(
                "{case}>\n      <failure message=\"{reason}\" type=\"gate\">fails if {name}: {reason}</failure>\n    </testcase>\n"
            ),
            false => format!("{case}/>\n"),
        };
    }
    out + "  </testsuite>\n</testsuites>\n"
}

/// Text as XML holds it; what XML cannot hold becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c < ' ' || ('\u{7f}'..='\u{9f}').contains(&c) => out.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files_stay_text() {
        let verdict = |rule: &str, failed| Verdict {
            rule: rule.into(),
            id: "a.b".into(),
            number: "value",
            value: Some(1.0),
            bound: Some(0.5),
            unit: "share".into(),
            failed,
            reason: "a \"b\" <c>\u{1b}[2J\n".into(),
        };
        let xml = document(&[verdict("a.b > 0.5", true), verdict("a.b < 0.5", false)]);
        assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
        assert!(xml.contains("name=\"a.b &gt; 0.5\""), "{xml}");
        assert!(
            xml.contains("a &quot;b&quot; &lt;c&gt;\u{fffd}[2J "),
            "{xml}"
        );
        assert!(!xml.contains('\u{1b}'), "{xml}");
    }
}
