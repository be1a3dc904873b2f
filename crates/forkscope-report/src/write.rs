//! The documents of a report, and writing them into a run.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::ReportData;
use crate::error::ReportError;
use crate::{figures, html, markdown};

/// One document of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Path below the run directory, with `/`.
    pub name: String,
    /// Content.
    pub text: String,
}

/// Renders everything: `report.html`, `findings.md`, `figures/NAME.svg`.
pub fn documents(data: &ReportData) -> Result<Vec<Document>, ReportError> {
    let mut out = vec![
        Document {
            name: "report.html".into(),
            text: html::render_html(data)?,
        },
        Document {
            name: "findings.md".into(),
            text: markdown::render_markdown(data)?,
        },
    ];
    out.extend(
        figures::figures(&data.findings)
            .into_iter()
            .map(|f| Document {
                name: format!("figures/{}.svg", f.name),
                text: f.svg,
            }),
    );
    Ok(out)
}

/// Writes documents below a folder, each whole or not at all; returns their
/// paths.
pub fn write_documents(dir: &Path, documents: &[Document]) -> Result<Vec<PathBuf>, ReportError> {
    documents
        .iter()
        .map(|document| {
            let path = dir.join(&document.name);
            write_whole(&path, document.text.as_bytes()).map_err(|source| ReportError::Write {
                path: path.clone(),
                source,
            })?;
            Ok(path)
        })
        .collect()
}

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // A half-written file helps nobody; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}
