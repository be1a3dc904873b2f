//! A run directory read back and reported.

mod common;

use forkscope_records::{Mode, RunDir, RunManifest, TokenPieces, write_findings};
use forkscope_report::{ReportData, ReportError, documents, render_html, write_documents};

/// Writes a run of that command with what the data holds.
fn written(command: &str, data: &ReportData) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let manifest = RunManifest::new(command).setting("base", "models/base");
    let run = RunDir::open(dir.path(), manifest, Mode::Fresh).unwrap();
    let run = run.to_write().unwrap();
    if !data.rows.is_empty() {
        let mut rows = run.table("tokens", 4096).unwrap();
        rows.append_all(data.rows.iter().cloned()).unwrap();
        rows.finish().unwrap();
        let mut rollouts = run.table("rollouts", 4096).unwrap();
        rollouts.append_all(data.rollouts.iter().cloned()).unwrap();
        rollouts.finish().unwrap();
    }
    if !data.findings.findings.is_empty() {
        write_findings(&run, &data.findings).unwrap();
    }
    let pieces: TokenPieces = data.pieces.clone().into_iter().collect();
    pieces.write(&run).unwrap();
    run.complete().unwrap();
    dir
}

#[test]
fn a_run_comes_back_as_it_was_written() {
    let data = common::run(3, 30);
    let dir = written("diff", &data);
    let back = ReportData::load(dir.path()).unwrap();
    assert_eq!(back.findings, data.findings);
    assert_eq!(back.rows, data.rows);
    assert_eq!(back.rollouts, data.rollouts);
    assert_eq!(back.pieces, data.pieces);
    assert_eq!(back.run["command"], "diff");

    let paths = write_documents(dir.path(), &documents(&back).unwrap()).unwrap();
    assert!(paths.contains(&dir.path().join("report.html")));
    assert!(dir.path().join("figures/coverage.svg").is_file());
    let again = ReportData::load(dir.path()).unwrap();
    assert_eq!(render_html(&back).unwrap(), render_html(&again).unwrap());
}

#[test]
fn runs_without_a_comparison_say_so() {
    let nothing = ReportData {
        rows: Vec::new(),
        rollouts: Vec::new(),
        findings: forkscope_records::types::Findings {
            findings: Vec::new(),
            ..common::run(1, 1).findings
        },
        ..common::run(1, 1)
    };
    for command in ["score", "diff"] {
        let dir = written(command, &nothing);
        let error = ReportData::load(dir.path()).unwrap_err();
        assert!(matches!(error, ReportError::Nothing { .. }), "{error}");
        assert!(error.to_string().contains("forkscope diff"));
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(
        ReportData::load(dir.path())
            .unwrap_err()
            .to_string()
            .contains("run.json")
    );
}

#[test]
fn broken_documents_are_named() {
    let dir = written("diff", &common::run(1, 20));
    for (file, text) in [
        (
            "findings.json",
            "{\"schema\": \"other/1\", \"findings\": []}",
        ),
        ("findings.json", "{"),
        ("token_pieces.json", "[1]"),
        ("tokens.parquet", "PAR1"),
    ] {
        let path = dir.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        let error = ReportData::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains(file), "{error}");
        std::fs::write(&path, whole).unwrap();
    }
    assert!(ReportData::load(dir.path()).is_ok());
}
