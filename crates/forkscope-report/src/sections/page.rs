//! Sections as HTML.

use super::{Section, Table};
use crate::figures::Figure;
use crate::text::html_foreign;

/// The sections; nothing where there are none.
pub fn page(sections: &[Section]) -> String {
    sections.iter().map(section).collect()
}

fn section(s: &Section) -> String {
    let paragraphs: String = s
        .paragraphs
        .iter()
        .map(|p| format!("<p>{}</p>\n", prose(p)))
        .collect();
    let tables: String = s.tables.iter().map(table).collect();
    let figures: String = s.figures.iter().map(figure).collect();
    let limits: String = s
        .limits
        .iter()
        .map(|l| format!("<li>{}</li>\n", prose(l)))
        .collect();
    let limits = match limits.is_empty() {
        true => limits,
        false => format!(
            "<div class=\"caveats\">\n<h3>What this does not show</h3>\n<ul>\n{limits}</ul>\n</div>\n"
        ),
    };
    let figures = match figures.is_empty() {
        true => figures,
        false => format!("<div class=\"figures\">\n{figures}</div>\n"),
    };
    format!(
        "<section id=\"{}\">\n<h2>{}</h2>\n<div class=\"sentences\">\n{paragraphs}</div>\n{tables}{figures}{limits}</section>\n",
        html_foreign(s.id),
        prose(&s.title)
    )
}

fn table(t: &Table) -> String {
    let class = |i: usize| match t.heads.get(i) {
        Some((_, true)) => " class=\"num\"",
        _ => "",
    };
    let heads: String = t
        .heads
        .iter()
        .enumerate()
        .map(|(i, (head, _))| format!("<th scope=\"col\"{}>{}</th>", class(i), prose(head)))
        .collect();
    let cell = |(i, text): (usize, &String)| format!("<td{}>{}</td>", class(i), prose(text));
    let rows: String = t
        .rows
        .iter()
        .map(|row| {
            let cells: String = row.iter().enumerate().map(cell).collect();
            format!("<tr>{cells}</tr>\n")
        })
        .collect();
    let note = match t.note.is_empty() {
        true => String::new(),
        false => format!("<p class=\"note\">{}</p>\n", prose(&t.note)),
    };
    format!(
        "<h3>{}</h3>\n<div class=\"wide\"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n{note}",
        prose(&t.title)
    )
}

fn figure(f: &Figure) -> String {
    format!(
        "<figure id=\"figure-{}\">\n{}<figcaption><strong>{}</strong>{}</figcaption>\n</figure>\n",
        html_foreign(&f.name),
        f.svg,
        html_foreign(&f.title),
        prose(&f.caption)
    )
}

/// Text that may quote foreign names: inert, and never cut.
fn prose(text: &str) -> String {
    text.split_inclusive(' ').map(html_foreign).collect()
}
