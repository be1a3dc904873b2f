//! Runs that are started, killed, resumed, refused.

mod common;

use std::fs;
use std::path::Path;

use common::{bytes_of, diff_row, is_continue, manifest, rollout, start};
use forkscope_records::types::{DiffRow, Rollout};
use forkscope_records::{
    Mode, Opened, RecordsError, RunDir, RunStatus, TableWriter, read_run_json, read_table,
};

const ROWS: u32 = 103;
const GROUP: usize = 10;

/// The rest of a run, from wherever it stands, as a command would do it.
fn finish(mut run: RunDir) {
    let mut table: TableWriter<Rollout> = run.table("rollouts", 7).unwrap();
    let kept = table.rows_kept() as u32;
    table.append_all((kept..20).map(rollout)).unwrap();
    table.finish().unwrap();
    let mut table: TableWriter<DiffRow> = run.table("tokens", GROUP).unwrap();
    let kept = table.rows_kept() as u32;
    table.append_all((kept..ROWS).map(diff_row)).unwrap();
    assert_eq!(table.finish().unwrap(), u64::from(ROWS));
    run.write_atomic("findings.json", b"{}\n").unwrap();
    run.note("positions", ROWS);
    run.complete().unwrap();
}

fn uninterrupted(dir: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let path = dir.join("whole");
    finish(start(&path));
    bytes_of(&path)
}

#[test]
fn a_run_starts_completes_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/run");
    let opened = RunDir::open(&path, manifest(), Mode::Fresh).unwrap();
    assert!(matches!(opened, Opened::Start(_)));
    assert_eq!(read_run_json(&path).unwrap().status, RunStatus::Running);
    finish(opened.to_write().unwrap());
    let names: Vec<String> = bytes_of(&path).into_keys().collect();
    assert_eq!(
        names,
        [
            "findings.json",
            "rollouts.parquet",
            "run.json",
            "tokens.parquet"
        ]
    );
    let rows: Vec<DiffRow> = read_table(&path.join("tokens.parquet")).unwrap();
    let expected: Vec<DiffRow> = (0..ROWS).map(diff_row).collect();
    assert_eq!(rows, expected);

    let before = fs::read(path.join("run.json")).unwrap();
    let again = RunDir::open(&path, manifest(), Mode::Resume).unwrap();
    let Opened::AlreadyComplete(run) = again else {
        panic!("it was complete")
    };
    assert!(matches!(
        run.write_atomic("x", b""),
        Err(RecordsError::Misuse(_))
    ));
    drop(run);
    assert_eq!(before, fs::read(path.join("run.json")).unwrap());
    let fresh = RunDir::open(&path, manifest(), Mode::Fresh)
        .unwrap_err()
        .to_string();
    assert!(fresh.contains("--resume"), "{fresh}");
}

/// Dropping the writer with no word to anybody is what a kill leaves.
#[test]
fn killed_at_any_row_and_resumed_it_ends_in_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let whole = uninterrupted(dir.path());
    // Around every border of a row group, and at places between.
    for rows in (0..=ROWS).filter(|r| [0, 1, 9].contains(&(r % 10)) && (r / 10) % 3 != 1) {
        let path = dir.path().join(rows.to_string());
        let run = start(&path);
        let mut table: TableWriter<DiffRow> = run.table("tokens", GROUP).unwrap();
        table.append_all((0..rows).map(diff_row)).unwrap();
        drop(table);
        run.abandon();
        assert_eq!(read_run_json(&path).unwrap().status, RunStatus::Running);

        let opened = RunDir::open(&path, manifest(), Mode::Resume).unwrap();
        assert!(is_continue(&opened));
        let run = opened.to_write().unwrap();
        let table: TableWriter<DiffRow> = run.table("tokens", GROUP).unwrap();
        assert_eq!(
            table.rows_kept(),
            u64::from(rows) / GROUP as u64 * GROUP as u64
        );
        let kept = table.read_kept().unwrap();
        assert_eq!(
            kept,
            (0..kept.len() as u32).map(diff_row).collect::<Vec<_>>()
        );
        drop(table);
        finish(run);
        assert_eq!(bytes_of(&path), whole, "killed after {rows} rows");
        assert_eq!(read_run_json(&path).unwrap().timing.resumed, 1);
    }
}

#[test]
fn killed_between_its_files_it_goes_on_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let whole = uninterrupted(dir.path());
    let path = dir.path().join("run");
    let run = start(&path);
    let mut table: TableWriter<Rollout> = run.table("rollouts", 7).unwrap();
    table.append_all((0..20).map(rollout)).unwrap();
    table.finish().unwrap();
    run.abandon();
    let run = start(&path);
    let table: TableWriter<Rollout> = run.table("rollouts", 7).unwrap();
    assert!(table.is_whole());
    assert_eq!(table.rows_kept(), 20);
    assert_eq!(table.read_kept().unwrap().len(), 20);
    drop(table);
    finish(run);
    assert_eq!(bytes_of(&path), whole);
}

/// The end of `finish`, step by step: all segments sealed but no file; the file
/// in place but the spool still there; the run complete but the spool there.
#[test]
fn killed_inside_the_last_steps_it_still_ends_in_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let whole = uninterrupted(dir.path());
    let path = dir.path().join("run");
    let spool = path.join(".spool/tokens.rows");
    let keep = dir.path().join("keep");
    let run = start(&path);
    let mut table: TableWriter<DiffRow> = run.table("tokens", GROUP).unwrap();
    table.append_all((0..ROWS).map(diff_row)).unwrap();
    // A directory where the file shall go makes the last rename fail.
    fs::create_dir_all(path.join("tokens.parquet/in-the-way")).unwrap();
    assert!(matches!(table.finish(), Err(RecordsError::Write { .. })));
    run.abandon();
    fs::remove_dir_all(path.join("tokens.parquet")).unwrap();
    fs::copy(&spool, &keep).unwrap();

    let run = start(&path);
    let table: TableWriter<DiffRow> = run.table("tokens", GROUP).unwrap();
    assert!(table.is_whole());
    assert_eq!(table.rows_kept(), u64::from(ROWS));
    table.finish().unwrap();
    run.abandon();
    fs::copy(&keep, &spool).unwrap();

    finish(start(&path));
    assert_eq!(bytes_of(&path), whole);

    fs::create_dir(path.join(".spool")).unwrap();
    fs::copy(&keep, &spool).unwrap();
    let opened = RunDir::open(&path, manifest(), Mode::Resume).unwrap();
    assert!(matches!(opened, Opened::AlreadyComplete(_)));
    assert_eq!(bytes_of(&path), whole);
}

/// Seven row groups are spooled; the fourth is damaged in some way.
#[test]
fn a_damaged_segment_and_all_behind_it_are_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let whole = uninterrupted(dir.path());
    type Damage = fn(&mut Vec<u8>, usize);
    let damages: [(&str, Damage); 7] = [
        ("cut inside", |b, at| b.truncate(at + 100)),
        ("cut inside its head", |b, at| b.truncate(at + 9)),
        ("cut before its digest ends", |b, at| b.truncate(at + 25)),
        ("one bit", |b, at| b[at + 60] ^= 1),
        ("a wrong row count", |b, at| b[at + 16] ^= 1),
        ("an absurd length", |b, at| b[at + 8..at + 16].fill(255)),
        ("zeros, as after a power failure", |b, at| b[at..].fill(0)),
    ];
    for (what, damage) in damages {
        let path = dir.path().join(what);
        let run = start(&path);
        let mut table: TableWriter<DiffRow> = run.table("tokens", GROUP).unwrap();
        table.append_all((0..75).map(diff_row)).unwrap();
        drop(table);
        run.abandon();
        let spool = path.join(".spool/tokens.rows");
        let mut bytes = fs::read(&spool).unwrap();
        let marks = bytes
            .windows(8)
            .enumerate()
            .filter(|(_, w)| w == b"FORKSEG1");
        let at = marks.map(|(at, _)| at).nth(3).unwrap();
        damage(&mut bytes, at);
        fs::write(&spool, bytes).unwrap();
        let run = start(&path);
        let table: TableWriter<DiffRow> = run.table("tokens", GROUP).unwrap();
        assert_eq!(table.rows_kept(), 30, "{what}");
        assert_eq!(table.read_kept().unwrap().len(), 30, "{what}");
        drop(table);
        finish(run);
        assert_eq!(bytes_of(&path), whole, "{what}");
    }
}

#[test]
fn other_settings_are_refused_by_name_and_free_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    start(&path).abandon();
    let refused = |m| {
        RunDir::open(&path, m, Mode::Resume)
            .unwrap_err()
            .to_string()
    };
    let cases = [
        (
            manifest().setting("gate", serde_json::json!({"kind": "entropy", "tau": 1.5})),
            "settings.gate.tau",
        ),
        (
            manifest().setting("record_topk", 20),
            "settings.record_topk",
        ),
        (
            manifest().setting("unheard_of", true),
            "settings.unheard_of",
        ),
        (manifest().seed("sampling", 43), "seeds.sampling"),
        (manifest().digest("base", "cd".repeat(32)), "digests.base"),
        (
            manifest().version("forkscope", "0.2.0"),
            "versions.forkscope",
        ),
    ];
    for (other, name) in cases {
        let message = refused(other);
        assert!(message.contains(&format!("{name} differs")), "{message}");
    }
    assert!(refused(forkscope_records::RunManifest::new("score")).contains("command differs"));
    let opened = RunDir::open(&path, manifest().free_setting("threads", 64), Mode::Resume).unwrap();
    assert!(is_continue(&opened));
}

#[test]
fn row_groups_of_another_size_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = start(&path);
    let mut table: TableWriter<DiffRow> = run.table("tokens", GROUP).unwrap();
    table.append_all((0..25).map(diff_row)).unwrap();
    drop(table);
    let message = run.table::<DiffRow>("tokens", 11).unwrap_err().to_string();
    assert!(message.contains("row_group_rows"), "{message}");
}

#[test]
fn two_processes_do_not_write_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = start(&path);
    let second = RunDir::open(&path, manifest(), Mode::Resume);
    assert!(matches!(second, Err(RecordsError::Locked { .. })));
    // A table keeps the lock even when the run is gone.
    let table: TableWriter<DiffRow> = run.table("tokens", GROUP).unwrap();
    run.mark_incomplete().unwrap();
    assert!(matches!(
        RunDir::open(&path, manifest(), Mode::Resume),
        Err(RecordsError::Locked { .. })
    ));
    drop(table);
    assert!(is_continue(
        &RunDir::open(&path, manifest(), Mode::Resume).unwrap()
    ));
}

#[test]
fn what_lies_in_the_directory_decides() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "x").unwrap();
    let fresh = RunDir::open(&foreign, manifest(), Mode::Fresh);
    assert!(matches!(fresh, Err(RecordsError::NotEmpty { .. })));
    let resumed = RunDir::open(&foreign, manifest(), Mode::Resume);
    assert!(matches!(resumed, Err(RecordsError::NotARun { .. })));
    assert_eq!(bytes_of(&foreign).len(), 1);

    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let message = RunDir::open(&file, manifest(), Mode::Fresh)
        .unwrap_err()
        .to_string();
    assert!(message.contains("not a directory"), "{message}");

    // Killed before run.json was there: nothing has happened yet.
    let early = dir.path().join("early");
    fs::create_dir_all(early.join(".spool")).unwrap();
    fs::write(early.join(".spool/lock"), "").unwrap();
    assert!(matches!(
        RunDir::open(&early, manifest(), Mode::Fresh),
        Ok(Opened::Start(_))
    ));
}

#[test]
fn an_error_leaves_the_run_incomplete_and_an_unfinished_table_cannot_be_completed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    drop(start(&path));
    assert_eq!(read_run_json(&path).unwrap().status, RunStatus::Incomplete);
    let run = start(&path);
    let mut table: TableWriter<DiffRow> = run.table("tokens", GROUP).unwrap();
    table.append_all((0..25).map(diff_row)).unwrap();
    drop(table);
    assert!(matches!(run.complete(), Err(RecordsError::Misuse(_))));
    assert_eq!(read_run_json(&path).unwrap().status, RunStatus::Incomplete);
}

#[test]
fn names_that_leave_the_run_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(&dir.path().join("run"));
    for name in [
        "../x",
        "/x",
        "",
        "a/../../x",
        "run.json",
        ".spool/lock",
        ".",
    ] {
        assert!(
            matches!(run.write_atomic(name, b""), Err(RecordsError::Misuse(_))),
            "{name}"
        );
    }
    run.write_atomic("checkpoints/step-000024/a.json", b"{}")
        .unwrap();
    assert!(run.path().join("checkpoints/step-000024/a.json").is_file());
}

#[test]
fn a_damaged_run_json_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    start(&path).abandon();
    for (text, expected) in [
        ("", "run.json"),
        ("{\"schema\": 1}", "schema"),
        (
            "{\"schema\": \"forkscope/run/9\", \"command\": \"diff\", \"status\": \"complete\", \"timing\": {\"started\": \"\"}}",
            "another version",
        ),
        ("[1]", "run.json"),
    ] {
        fs::write(path.join("run.json"), text).unwrap();
        let message = RunDir::open(&path, manifest(), Mode::Resume)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(expected) && message.contains("run.json"),
            "{message}"
        );
    }
}

#[test]
fn a_table_without_rows_is_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(&dir.path().join("run"));
    let table: TableWriter<DiffRow> = run.table("tokens", GROUP).unwrap();
    assert_eq!(table.finish().unwrap(), 0);
    let path = run.path().join("tokens.parquet");
    assert_eq!(read_table::<DiffRow>(&path).unwrap(), []);
    let mut csv = Vec::new();
    forkscope_records::export_csv(&path, &mut csv, Path::new("out")).unwrap();
    assert!(csv.starts_with(b"problem_id,sample,t,token_id,validity,"));
}
