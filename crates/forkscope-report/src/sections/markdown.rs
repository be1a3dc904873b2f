//! Sections as Markdown.

use std::fmt::Write as _;

use super::{Section, Table};
use crate::text::markdown_prose;

/// The sections; nothing where there are none.
pub fn markdown(sections: &[Section]) -> String {
    let mut out = String::new();
    for s in sections {
        let _ = write!(out, "\n## {}\n", markdown_prose(&s.title));
        for paragraph in &s.paragraphs {
            let _ = write!(out, "\n{}\n", markdown_prose(paragraph));
        }
        s.tables.iter().for_each(|t| table(&mut out, t));
        if !s.limits.is_empty() {
            out += "\nWhat this does not show:\n\n";
        }
        for limit in &s.limits {
            let _ = writeln!(out, "- {}", markdown_prose(limit));
        }
    }
    out
}

fn table(out: &mut String, t: &Table) {
    let _ = write!(out, "\n### {}\n\n", markdown_prose(&t.title));
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    *out += &line(t.heads.iter().map(|(h, _)| markdown_prose(h)).collect());
    let rules = t.heads.iter().map(|(_, number)| match number {
        true => "--:".to_owned(),
        false => "---".to_owned(),
    });
    *out += &line(rules.collect());
    for row in &t.rows {
        *out += &line(row.iter().map(|c| markdown_prose(c)).collect());
    }
    if !t.note.is_empty() {
        let _ = write!(out, "\n{}\n", markdown_prose(&t.note));
    }
}
