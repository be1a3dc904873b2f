//! What only real processes show: kill -9, and a disk that is full.

#![cfg(unix)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{bytes_of, diff_row, manifest, start};
use forkscope_records::types::DiffRow;
use forkscope_records::{Mode, RunDir, RunStatus, TableWriter, export_csv, read_run_json};

const ROWS: u32 = 1000;
const OUT: &str = "FORKSCOPE_TEST_OUT";

/// The part of a child: writes the run at `$OUT`, a row every 100 microseconds
/// or so. In the parent there is no `$OUT`.
#[test]
fn child() {
    let Ok(out) = std::env::var(OUT) else { return };
    let opened = RunDir::open(&out, manifest(), Mode::Resume).unwrap();
    let Some(run) = opened.to_write() else { return };
    let result = write(&run, Duration::from_micros(50));
    if let Err(e) = result {
        run.mark_incomplete().ok();
        println!("REFUSED {e}");
        return;
    }
    run.complete().unwrap();
}

fn write(run: &RunDir, pause: Duration) -> Result<(), forkscope_records::RecordsError> {
    let mut table: TableWriter<DiffRow> = run.table("tokens", 64)?;
    for i in table.rows_kept() as u32..ROWS {
        std::thread::sleep(pause);
        table.append(diff_row(i))?;
    }
    table.finish()?;
    run.write_atomic("findings.json", b"{}\n")
}

fn test_binary(out: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture"])
        .env(OUT, out);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

#[test]
fn killed_by_the_system_again_and_again_it_ends_in_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let run = start(&whole);
    write(&run, Duration::ZERO).unwrap();
    run.complete().unwrap();

    let path = dir.path().join("killed");
    for attempt in 0..6 {
        let mut child = test_binary(&path).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + 15 * attempt));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(test_binary(&path).status().unwrap().success());
    assert_eq!(bytes_of(&path), bytes_of(&whole));
}

#[test]
fn a_full_disk_is_named_and_leaves_the_run_incomplete() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    // Files may have 12 blocks; the signal is ignored, so that the write fails instead.
    let script = "trap '' XFSZ; ulimit -f 12; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(OUT, &path)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout
        .lines()
        .find_map(|l| l.split_once("REFUSED "))
        .map(|(_, m)| m);
    let message = line.unwrap_or_else(|| panic!("the write succeeded: {stdout}"));
    assert!(
        message.contains("cannot write") && message.contains(".spool"),
        "{message}"
    );
    assert!(
        message.contains("free space") && message.contains("--resume"),
        "{message}"
    );
    assert_eq!(read_run_json(&path).unwrap().status, RunStatus::Incomplete);
    assert!(!path.join("tokens.parquet").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(&dir.path().join("run"));
    write(&run, Duration::ZERO).unwrap();
    let full = Path::new("/dev/full");
    let out = std::fs::File::options().write(true).open(full).unwrap();
    let message = export_csv(&run.path().join("tokens.parquet"), out, full)
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("cannot write /dev/full: no space left"),
        "{message}"
    );
}
