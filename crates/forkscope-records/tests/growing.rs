//! Folders that appear whole, and files that grow and are cut back.

mod common;

use common::start;
use forkscope_records::digest::sha256_file;
use forkscope_records::run::{AppendLog, Folder};
use forkscope_records::{RecordsError, RunDir};

fn write(folder: &mut Folder, name: &str, text: &str) {
    let digest = folder
        .file(name, |to| to.write_all(text.as_bytes()))
        .unwrap();
    assert_eq!(digest.bytes, text.len() as u64);
}

fn read(run: &RunDir, name: &str) -> String {
    std::fs::read_to_string(run.path().join(name)).unwrap()
}

#[test]
fn a_folder_appears_when_it_is_finished_and_replaces_its_predecessor() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(&dir.path().join("run"));
    for text in ["first", "second"] {
        let mut folder = run.folder("checkpoints/step-000024").unwrap();
        let digest = folder
            .file("state.json", |to| to.write_all(text.as_bytes()))
            .unwrap();
        write(&mut folder, "deep/er", text);
        folder.finish().unwrap();
        let name = "checkpoints/step-000024/state.json";
        assert_eq!(read(&run, name), text);
        assert_eq!(sha256_file(&run.path().join(name)).unwrap(), digest.sha256);
    }
    run.remove("checkpoints/step-000024").unwrap();
    run.remove("checkpoints/step-000024").unwrap();
    assert!(!run.path().join("checkpoints/step-000024").exists());
    let path = run.path().to_owned();
    run.complete().unwrap();
    assert!(!path.join(".spool").exists());
}

#[test]
fn a_folder_that_fails_leaves_the_old_one_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(&dir.path().join("run"));
    let mut folder = run.folder("best").unwrap();
    write(&mut folder, "a", "old");
    folder.finish().unwrap();
    let mut folder = run.folder("best").unwrap();
    write(&mut folder, "a", "new");
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let message = folder.file("b", |_| Err(full)).unwrap_err().to_string();
    assert!(message.contains("best/b: no space left"), "{message}");
    drop(folder);
    assert_eq!(read(&run, "best/a"), "old");
    let left = std::fs::read_dir(run.path().join(".spool")).unwrap();
    let left: Vec<_> = left.map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[test]
fn a_name_outside_the_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(&dir.path().join("run"));
    assert!(run.folder("../x").is_err());
    assert!(run.append_log("../x").is_err());
    assert!(run.remove("run.json").is_err());
    let mut folder = run.folder("final").unwrap();
    assert!(folder.file("../../x", |_| Ok(())).is_err());
}

#[test]
fn a_log_grows_is_cut_back_and_refuses_to_have_been_longer() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(&dir.path().join("run"));
    let mut log = run.append_log("metrics.jsonl").unwrap();
    log.append(b"one\n").unwrap();
    let known = log.bytes();
    log.append(b"tw").unwrap();
    drop(log);
    let mut log: AppendLog = run.append_log("metrics.jsonl").unwrap();
    assert_eq!(log.bytes(), 6);
    log.cut(known).unwrap();
    log.append(b"two\n").unwrap();
    log.sync().unwrap();
    assert_eq!(read(&run, "metrics.jsonl"), "one\ntwo\n");
    let e = log.cut(9).unwrap_err();
    assert!(matches!(e, RecordsError::Entry { .. }));
    assert!(e.to_string().contains("8 bytes where 9"), "{e}");
}
