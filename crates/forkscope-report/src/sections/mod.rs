//! One section per part of the audit. A section is made from findings alone
//! and says what its numbers do not show; how it looks is decided here, once
//! for the page and once for Markdown.
//!
//! A new section is a file with `pub fn section(&Findings) -> Option<Section>`,
//! `None` where none of its findings is there, and a line in `MAKERS`.

mod harden;
mod intervene;
mod markdown;
mod noise;
mod overview;
mod page;
mod patching;
mod plan;
mod probe;
mod revert;

use forkscope_records::types::Findings;

use crate::figures::Figure;

pub use markdown::markdown;
pub use page::page;

/// A section of the report. Texts are plain: renderers escape them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Anchor on the page: lower-case letters and dashes.
    pub id: &'static str,
    /// Heading.
    pub title: String,
    /// What was found, in sentences.
    pub paragraphs: Vec<String>,
    /// Tables, in order.
    pub tables: Vec<Table>,
    /// Figures, in order.
    pub figures: Vec<Figure>,
    /// What this does not show.
    pub limits: Vec<String>,
}

/// A table of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Caption.
    pub title: String,
    /// Heads of the columns and whether they hold numbers.
    pub heads: Vec<(String, bool)>,
    /// Cells, as many as heads.
    pub rows: Vec<Vec<String>>,
    /// What stands below it; may be empty.
    pub note: String,
}

/// Makes a section where its findings are there.
type Maker = fn(&Findings) -> Option<Section>;

/// In the order of the report.
const MAKERS: &[Maker] = &[
    overview::section,
    intervene::section,
    revert::section,
    harden::section,
    probe::section,
    patching::section,
    noise::section,
    plan::section,
];

/// The sections that these findings support.
pub fn sections(findings: &Findings) -> Vec<Section> {
    MAKERS.iter().filter_map(|make| make(findings)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostile() -> Section {
        let bad = "<b>|\u{202e}\u{1b}[2J";
        Section {
            id: "part",
            title: bad.into(),
            paragraphs: vec![bad.into()],
            tables: vec![Table {
                title: bad.into(),
                heads: vec![(bad.into(), false), ("n".into(), true)],
                rows: vec![vec![bad.into(), "1".into()]],
                note: bad.into(),
            }],
            figures: Vec::new(),
            limits: vec![bad.into()],
        }
    }

    #[test]
    fn foreign_text_is_inert_in_both() {
        let section = [hostile()];
        for text in [page(&section), markdown(&section)] {
            assert!(
                !text.contains('\u{1b}') && !text.contains('\u{202e}'),
                "{text}"
            );
            assert!(!text.contains("<b>"), "{text}");
        }
        assert_eq!(page(&[]), "");
        assert_eq!(markdown(&[]), "");
    }
}
