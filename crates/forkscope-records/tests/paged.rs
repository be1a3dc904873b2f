//! A table read where somebody looks holds what the whole table holds.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{diff_row, rollout, start};
use forkscope_records::types::{DiffRow, Rollout};
use forkscope_records::{PagedTable, Record, read_table};

fn write<R: Record>(dir: &Path, rows: impl IntoIterator<Item = R>) -> PathBuf {
    let run = start(dir);
    let mut table = run.table("tokens", 7).unwrap();
    table.append_all(rows).unwrap();
    table.finish().unwrap();
    let path = run.path().join("tokens.parquet");
    run.complete().unwrap();
    path
}

/// Names of all columns of a row type.
fn names<R: Record>() -> Vec<String> {
    let schema = R::schema().unwrap();
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

#[test]
fn every_range_holds_the_rows_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), (0..100).map(diff_row));
    let whole: Vec<DiffRow> = read_table(&path).unwrap();
    let table = PagedTable::open(&path).unwrap();
    assert_eq!((table.rows(), table.groups()), (100, 15));
    let names = names::<DiffRow>();
    let columns: Vec<&str> = names.iter().map(String::as_str).collect();
    for (from, to) in [
        (0, 100),
        (3, 5),
        (6, 8),
        (7, 14),
        (98, 200),
        (40, 40),
        (200, 300),
    ] {
        let mut rows = Vec::new();
        for group in table.groups_of(from..to) {
            table
                .read(group, &columns, from..to, |c| {
                    rows.extend(DiffRow::from_columns(c)?);
                    Ok(())
                })
                .unwrap();
        }
        let (from, to) = ((from as usize).min(100), (to as usize).min(100));
        let expected = &whole[from..to];
        assert_eq!(format!("{rows:?}"), format!("{expected:?}"));
    }
}

#[test]
fn bounds_lead_to_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), (0..400).map(diff_row));
    let table = PagedTable::open(&path).unwrap();
    let holds = |id: &str| {
        (0..table.groups())
            .filter(|&g| table.may_hold(g, id))
            .count()
    };
    // Forty rows of seven: at most seven groups.
    assert!((6..=7).contains(&holds("p/3")), "{}", holds("p/3"));
    assert_eq!(holds("q"), 0);
}

#[test]
fn lengths_of_lists_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), (0..50).map(rollout));
    let table = PagedTable::open(&path).unwrap();
    assert!(table.has("token_ids") && !table.has("js_nats"));
    let mut lengths = Vec::new();
    for group in 0..table.groups() {
        let read = table.read(group, &["token_ids"], 0..u64::MAX, |c| {
            lengths.extend(c.list_lengths("token_ids")?);
            assert!(c.list_lengths("sample").is_err());
            Ok(())
        });
        read.unwrap();
    }
    let rows: Vec<Rollout> = read_table(&path).unwrap();
    let expected: Vec<usize> = rows.iter().map(|r| r.token_ids.len()).collect();
    assert_eq!(lengths, expected);
}

#[test]
fn broken_files_are_refused_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), (0..100).map(diff_row));
    let whole = fs::read(&path).unwrap();
    let names = names::<DiffRow>();
    let columns: Vec<&str> = names.iter().map(String::as_str).collect();
    let scan = |path: &Path| -> Result<u64, forkscope_records::RecordsError> {
        let table = PagedTable::open(path)?;
        let mut rows = 0;
        for group in 0..table.groups() {
            table.read(group, &columns, 0..u64::MAX, |c| {
                rows += DiffRow::from_columns(c)?.len() as u64;
                Ok(())
            })?;
        }
        Ok(rows)
    };
    assert_eq!(scan(&path).unwrap(), 100);
    let broken = dir.path().join("broken.parquet");
    for cut in (0..whole.len()).step_by(499) {
        fs::write(&broken, &whole[..cut]).unwrap();
        assert!(scan(&broken).is_err(), "cut at {cut}");
    }
    for at in (0..whole.len()).step_by(307) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        fs::write(&broken, &bytes).unwrap();
        // Some bits carry nothing that is checked; none may panic.
        let _ = scan(&broken);
    }
}
