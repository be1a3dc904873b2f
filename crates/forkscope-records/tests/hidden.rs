//! Kept hidden states: what is written is read, a killed run ends in the same
//! bytes, and a file that was tampered with is refused.

use std::fs::{self, OpenOptions};
use std::path::Path;

use forkscope_records::digest::sha256_bytes;
use forkscope_records::{HiddenRollout, HiddenStore, HiddenWriter, Mode, RunDir, RunManifest};
use serde_json::{Value, json};
use tempfile::TempDir;

const WIDTH: usize = 3;

/// Prompts of 3, 3, 1 and 3 tokens, the first two equal.
struct Rollout {
    id: &'static str,
    sample: u32,
    ids: Vec<u32>,
    prompt_len: usize,
}

fn rollouts() -> Vec<Rollout> {
    let r = |id, sample, ids: &[u32], prompt_len| Rollout {
        id,
        sample,
        ids: ids.to_vec(),
        prompt_len,
    };
    vec![
        r("a", 0, &[1, 2, 3, 4, 5], 3),
        r("a", 1, &[1, 2, 3, 9], 3),
        r("b", 0, &[7, 8, 9], 1),
        r("c", 0, &[1, 2, 3, 4], 3),
    ]
}

/// Rows that no other rollout or position has.
fn rows(r: &Rollout, from: usize, to: usize) -> Vec<f32> {
    let seed = |t: usize, c: usize| {
        let prefix: u32 = r.ids[..=t].iter().fold(17, |h, id| h * 31 + id);
        (prefix as f32 + c as f32) / 1024.0
    };
    (from..to)
        .flat_map(|t| (0..WIDTH).map(move |c| seed(t, c)))
        .collect()
}

fn prompt_rows(r: &Rollout) -> Vec<f32> {
    rows(r, 0, r.prompt_len - 1)
}

fn completion_rows(r: &Rollout) -> Vec<f32> {
    rows(r, r.prompt_len - 1, r.ids.len() - 1)
}

fn open(dir: &Path, mode: Mode) -> RunDir {
    RunDir::open(dir, RunManifest::new("score"), mode)
        .unwrap()
        .to_write()
        .unwrap()
}

fn append(writer: &mut HiddenWriter, r: &Rollout) {
    let prompt = prompt_rows(r);
    let needed = writer.needs_prompt(&r.ids[..r.prompt_len]);
    writer
        .append(&HiddenRollout {
            problem_id: r.id,
            sample: r.sample,
            token_ids: &r.ids,
            prompt_len: r.prompt_len,
            prompt_rows: needed.then_some(&prompt[..]),
            completion_rows: &completion_rows(r),
        })
        .unwrap();
}

fn finish(run: RunDir, mut writer: HiddenWriter) {
    for r in rollouts().iter().skip(writer.rollouts_kept()) {
        append(&mut writer, r);
    }
    writer.finish().unwrap();
    run.complete().unwrap();
}

fn whole() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let run = open(dir.path(), Mode::Fresh);
    let writer = HiddenWriter::open(&run, "m", WIDTH).unwrap();
    finish(run, writer);
    dir
}

fn files(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    (read("hidden.f32"), read("hidden.json"))
}

#[test]
fn what_is_written_is_read() {
    let dir = whole();
    assert!(HiddenStore::is_in(dir.path()));
    let store = HiddenStore::open(dir.path()).unwrap();
    assert_eq!((store.width(), store.model(), store.len()), (WIDTH, "m", 4));
    for r in rollouts() {
        let (prompt, completion) = store.rollout(r.id, r.sample, &r.ids).unwrap().unwrap();
        assert_eq!(prompt, prompt_rows(&r));
        assert_eq!(completion, completion_rows(&r));
        store.release();
    }
    assert!(store.rollout("a", 2, &[1, 2, 3]).unwrap().is_none());
    // 2 + 2 + 1 rows of a, 2 of b, 2 + 1 of c: the prompt of a is there once.
    assert_eq!(files(dir.path()).0.len(), 10 * WIDTH * 4);
}

#[test]
fn a_run_without_rollouts_has_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let run = open(dir.path(), Mode::Fresh);
    HiddenWriter::open(&run, "m", WIDTH)
        .unwrap()
        .finish()
        .unwrap();
    run.complete().unwrap();
    assert!(HiddenStore::open(dir.path()).unwrap().is_empty());
}

/// Two rollouts on the disk, a third that is not synced.
fn killed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let run = open(dir.path(), Mode::Fresh);
    let mut writer = HiddenWriter::open(&run, "m", WIDTH).unwrap();
    for (i, r) in rollouts().iter().enumerate().take(3) {
        append(&mut writer, r);
        if i == 1 {
            writer.sync().unwrap();
        }
    }
    drop(writer);
    run.abandon();
    dir
}

fn cut(path: &Path, len: u64) {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(len)
        .unwrap();
}

#[test]
fn a_run_cut_at_any_byte_ends_in_the_same_bytes() {
    let wanted = files(whole().path());
    // Lines of the journal are long, and every byte of one is like another.
    for (name, step) in [("hidden.f32.rows", 1), ("hidden.f32.journal", 11)] {
        let len = fs::metadata(killed().path().join(".spool").join(name))
            .unwrap()
            .len();
        for end in (0..=len).rev().step_by(step) {
            let dir = killed();
            cut(&dir.path().join(".spool").join(name), end);
            let run = open(dir.path(), Mode::Resume);
            let writer = HiddenWriter::open(&run, "m", WIDTH).unwrap();
            assert!(writer.rollouts_kept() <= 2);
            assert!(end < len || writer.rollouts_kept() == 2);
            finish(run, writer);
            assert!(files(dir.path()) == wanted, "{name} cut to {end} bytes");
        }
    }
}

#[test]
fn rows_that_changed_while_the_run_lay_are_computed_again() {
    let wanted = files(whole().path());
    let dir = killed();
    let path = dir.path().join(".spool/hidden.f32.rows");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4] ^= 1;
    fs::write(&path, bytes).unwrap();
    let run = open(dir.path(), Mode::Resume);
    let writer = HiddenWriter::open(&run, "m", WIDTH).unwrap();
    assert_eq!(writer.rollouts_kept(), 0);
    finish(run, writer);
    assert!(files(dir.path()) == wanted);
}

#[test]
fn a_run_killed_between_the_two_files_goes_on() {
    let wanted = files(whole().path());
    let dir = tempfile::tempdir().unwrap();
    let run = open(dir.path(), Mode::Fresh);
    let mut writer = HiddenWriter::open(&run, "m", WIDTH).unwrap();
    rollouts().iter().for_each(|r| append(&mut writer, r));
    writer.sync().unwrap();
    drop(writer);
    run.abandon();
    let spooled = dir.path().join(".spool/hidden.f32.rows");
    fs::rename(spooled, dir.path().join("hidden.f32")).unwrap();
    let run = open(dir.path(), Mode::Resume);
    let writer = HiddenWriter::open(&run, "m", WIDTH).unwrap();
    assert_eq!((writer.rollouts_kept(), writer.is_whole()), (4, false));
    finish(run, writer);
    assert!(files(dir.path()) == wanted);
    // And a run whose files are whole, but which was not closed.
    let json = fs::read_to_string(dir.path().join("run.json")).unwrap();
    fs::write(
        dir.path().join("run.json"),
        json.replace("\"complete\"", "\"running\""),
    )
    .unwrap();
    let run = open(dir.path(), Mode::Resume);
    let writer = HiddenWriter::open(&run, "m", WIDTH).unwrap();
    assert!(writer.is_whole());
    finish(run, writer);
    assert!(files(dir.path()) == wanted);
}

#[test]
fn a_run_is_not_complete_without_its_hidden_states() {
    let dir = killed();
    let run = open(dir.path(), Mode::Resume);
    assert!(run.complete().is_err());
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = open(dir.path(), Mode::Fresh);
    let mut writer = HiddenWriter::open(&run, "m", WIDTH).unwrap();
    let ids = [1, 2, 3];
    let given = |prompt_len, prompt_rows, completion_rows| HiddenRollout {
        problem_id: "p",
        sample: 0,
        token_ids: &ids,
        prompt_len,
        prompt_rows,
        completion_rows,
    };
    let row = [0.0; WIDTH];
    assert!(writer.append(&given(2, None, &row)).is_err());
    assert!(writer.append(&given(0, Some(&row), &row)).is_err());
    assert!(writer.append(&given(4, Some(&row), &row)).is_err());
    assert!(writer.append(&given(2, Some(&row), &row[1..])).is_err());
    assert!(writer.append(&given(2, Some(&[]), &row)).is_err());
    assert!(writer.append(&given(2, Some(&row), &row)).is_ok());
}

#[test]
fn a_changed_byte_is_found() {
    let dir = whole();
    let (bytes, _) = files(dir.path());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        fs::write(dir.path().join("hidden.f32"), changed).unwrap();
        let store = HiddenStore::open(dir.path()).unwrap();
        let refused = rollouts()
            .iter()
            .filter(|r| store.rollout(r.id, r.sample, &r.ids).is_err())
            .count();
        // A prompt row of problem a belongs to both of its rollouts.
        let wanted = if at < 2 * WIDTH * 4 { 2 } else { 1 };
        assert_eq!(refused, wanted, "byte {at}");
    }
}

#[test]
fn other_ids_are_refused() {
    let dir = whole();
    let store = HiddenStore::open(dir.path()).unwrap();
    for ids in [
        &[1, 2, 3, 4, 6][..],
        &[1, 2, 3, 4],
        &[1, 2, 3, 4, 5, 6],
        &[],
    ] {
        let said = store.rollout("a", 0, ids).unwrap_err().to_string();
        assert!(said.contains("other token ids"), "{said}");
    }
}

#[test]
fn values_that_are_not_finite_are_refused() {
    for bad in [f32::NAN, f32::INFINITY] {
        let dir = whole();
        let (mut bytes, index) = files(dir.path());
        bytes[..4].copy_from_slice(&bad.to_le_bytes());
        let mut index: Value = serde_json::from_slice(&index).unwrap();
        index["rollouts"][0]["prompt"]["sha256"] = json!(sha256_bytes(&bytes[..2 * WIDTH * 4]));
        fs::write(dir.path().join("hidden.f32"), bytes).unwrap();
        fs::write(dir.path().join("hidden.json"), index.to_string()).unwrap();
        let store = HiddenStore::open(dir.path()).unwrap();
        let said = store.rollout("a", 0, &[1, 2, 3, 4, 5]).unwrap_err();
        assert!(said.to_string().contains("not finite"), "{said}");
    }
}

#[test]
fn an_index_that_does_not_fit_the_file_is_refused() {
    let change: [(&str, Value); 10] = [
        ("/schema", json!("forkscope/hidden/2")),
        ("/width", json!(0)),
        ("/width", json!(u64::MAX)),
        ("/rows", json!(u64::MAX)),
        ("/rows", json!(9)),
        ("/rollouts/0/rows", json!(u64::MAX)),
        ("/rollouts/0/prompt_rows", json!(u64::MAX)),
        ("/rollouts/1/prompt_rows", json!(1)),
        ("/rollouts/3/rows", json!(0)),
        ("/rollouts/1/sample", json!(0)),
    ];
    for (at, value) in change {
        let dir = whole();
        let mut index: Value = serde_json::from_slice(&files(dir.path()).1).unwrap();
        *index.pointer_mut(at).unwrap() = value.clone();
        fs::write(dir.path().join("hidden.json"), index.to_string()).unwrap();
        assert!(HiddenStore::open(dir.path()).is_err(), "{at} {value}");
    }
    let dir = whole();
    let mut index: Value = serde_json::from_slice(&files(dir.path()).1).unwrap();
    index["rollouts"][0]
        .as_object_mut()
        .unwrap()
        .remove("prompt");
    fs::write(dir.path().join("hidden.json"), index.to_string()).unwrap();
    assert!(HiddenStore::open(dir.path()).is_err());
    let dir = whole();
    let len = files(dir.path()).0.len() as u64;
    cut(&dir.path().join("hidden.f32"), len - 1);
    assert!(HiddenStore::open(dir.path()).is_err());
    fs::remove_file(dir.path().join("hidden.f32")).unwrap();
    assert!(HiddenStore::open(dir.path()).is_err());
}
