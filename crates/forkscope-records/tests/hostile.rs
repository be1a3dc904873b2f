//! Parquet files that lie: every byte flipped, every length cut, footers and
//! page headers that claim the impossible. Each is an error or harmless, never
//! a panic, and never more memory than the file's size can excuse.

mod common;

use std::path::Path;

use bytes::Bytes;
use common::{rollout, start};
use forkscope_records::TableReader;
use forkscope_records::types::Rollout;

fn read(bytes: Vec<u8>) -> Result<usize, String> {
    let reader = TableReader::<Rollout>::from_bytes(Bytes::from(bytes), Path::new("x.parquet"))
        .map_err(|e| e.to_string())?;
    let mut rows = 0;
    for batch in reader {
        rows += batch.map_err(|e| e.to_string())?.len();
    }
    Ok(rows)
}

fn table() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let run = start(&dir.path().join("run"));
    let mut table = run.table("rollouts", 16).unwrap();
    table.append_all((0..30).map(rollout)).unwrap();
    table.finish().unwrap();
    std::fs::read(run.path().join("rollouts.parquet")).unwrap()
}

#[test]
fn a_table_cut_anywhere_is_refused() {
    let whole = table();
    assert_eq!(read(whole.clone()), Ok(30));
    for len in 0..whole.len() {
        let message = read(whole[..len].to_vec()).unwrap_err();
        assert!(message.contains("x.parquet"), "{message}");
    }
}

#[test]
fn a_table_with_any_byte_changed_is_read_or_refused() {
    let whole = table();
    let mut refused = 0;
    for at in 0..whole.len() {
        for change in [1u8, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            match read(bytes) {
                Ok(rows) => assert!(rows <= 30),
                Err(message) => {
                    assert!(message.contains("x.parquet"), "{message}");
                    refused += 1;
                }
            }
        }
    }
    assert!(
        refused > whole.len(),
        "{refused} of {} changes were noticed",
        3 * whole.len()
    );
}

/// Thrift compact: a zigzag 32-bit integer field.
fn i32_field(out: &mut Vec<u8>, delta: u8, value: i64) {
    out.push(delta << 4 | 5);
    varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn name(out: &mut Vec<u8>, delta: u8, text: &str) {
    out.push(delta << 4 | 8);
    varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A footer whose schema is a chain of `depth` groups.
fn nested_schema(depth: usize) -> Vec<u8> {
    let mut footer = Vec::new();
    i32_field(&mut footer, 1, 1);
    footer.push(1 << 4 | 9);
    footer.push(0xfc);
    varint(&mut footer, depth as u64 + 1);
    for level in 0..=depth {
        if level == depth {
            i32_field(&mut footer, 1, 1);
        }
        if level > 0 {
            i32_field(&mut footer, if level == depth { 2 } else { 3 }, 0);
        }
        name(&mut footer, if level == 0 { 4 } else { 1 }, "g");
        if level < depth {
            i32_field(&mut footer, 1, 1);
        }
        footer.push(0);
    }
    footer.push(1 << 4 | 6);
    footer.push(0);
    footer.push(1 << 4 | 9);
    footer.push(0x0c);
    footer.push(0);
    let mut file = b"PAR1".to_vec();
    let len = footer.len() as u32;
    file.extend(footer);
    file.extend(len.to_le_bytes());
    file.extend(b"PAR1");
    file
}

#[test]
fn a_schema_nested_without_end_does_not_exhaust_the_stack() {
    for depth in [3, 30, 300, 3_000, 30_000, 300_000] {
        let message = read(nested_schema(depth)).unwrap_err();
        assert!(message.contains("x.parquet"), "{message}");
    }
}
