//! Tables: what is written is read, by this crate and by others.

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float32Array, Float64Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
};
use common::{diff_row, rollout, score_row, start};
use forkscope_records::types::{
    DiffRow, FinishReason, Rollout, ScoreRow, ShiftClass, TopK, Validity,
};
use forkscope_records::{Record, TableReader, export_csv, read_rollouts, read_table};
use parquet::arrow::ArrowWriter;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::collection::vec;
use proptest::prelude::*;

/// Writes rows through a run, in small row groups.
fn write<R: Record>(dir: &Path, rows: impl IntoIterator<Item = R>) -> PathBuf {
    let run = start(dir);
    let mut table = run.table("tokens", 7).unwrap();
    table.append_all(rows).unwrap();
    table.finish().unwrap();
    let path = run.path().join("tokens.parquet");
    run.complete().unwrap();
    path
}

/// NaN does not equal itself; its text does.
fn same<R: std::fmt::Debug>(a: &[R], b: &[R]) {
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

fn any_f64() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits)
}

fn any_f32() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits)
}

fn any_topk() -> impl Strategy<Value = TopK> {
    vec((any::<u32>(), any_f32()), 0..7)
        .prop_map(|pairs| pairs.into_iter().unzip())
        .prop_map(|(ids, logprobs)| TopK { ids, logprobs })
}

fn any_validity() -> impl Strategy<Value = Validity> {
    prop::sample::select(vec![
        Validity::Ok,
        Validity::Truncated,
        Validity::Empty,
        Validity::ContextExceeded,
        Validity::TokenizerMismatch,
        Validity::NonFinite,
    ])
}

prop_compose! {
    fn any_diff()(
        seed in any::<u32>(),
        id in "\\PC{0,12}",
        validity in any_validity(),
        numbers in prop::array::uniform8(any_f64()),
        masks in any::<[bool; 4]>(),
        lps in any::<[u32; 2]>(),
        class in prop::sample::select(vec![ShiftClass::Unshifted, ShiftClass::Reranked, ShiftClass::Shifted]),
        base in any_topk(),
        tuned in any_topk(),
    ) -> DiffRow {
        let [a, b, c, d, e, f, g, h] = numbers;
        DiffRow {
            problem_id: id,
            validity,
            entropy_base_nats: a,
            entropy_tuned_nats: b,
            kl_tuned_base_nats: masks[0].then_some(c),
            kl_base_tuned_nats: masks[1].then_some(d),
            js_nats: e,
            tv: f,
            ce_base_tuned_nats: masks[2].then_some(g),
            delta_logprob: masks[3].then_some(h),
            logprob_base: f32::from_bits(lps[0]),
            logprob_tuned: f32::from_bits(lps[1]),
            class,
            topk_base: base,
            topk_tuned: tuned,
            ..diff_row(seed)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_diff_rows_come_back_bit_for_bit(rows in vec(any_diff(), 0..30)) {
        let dir = tempfile::tempdir().unwrap();
        let path = write(&dir.path().join("run"), rows.clone());
        let back: Vec<DiffRow> = read_table(&path).unwrap();
        same(&back, &rows);
        let bits = |rows: &[DiffRow]| rows.iter().map(|r| r.js_nats.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&back), bits(&rows));
    }

    #[test]
    fn any_rollouts_come_back(rows in vec((any::<u32>(), "\\PC{0,40}", vec(any::<u32>(), 1..40)), 0..20)) {
        let rows: Vec<Rollout> = rows.into_iter().map(|(i, text, ids)| {
            let prompt_len = 1 + i as usize % ids.len();
            let completion = ids.len() - prompt_len;
            Rollout {
                prompt_len,
                text,
                validity: if completion == 0 { Validity::Empty } else { Validity::Ok },
                logprobs: i.is_multiple_of(2).then(|| vec![-0.5; completion]),
                token_ids: ids,
                ..rollout(i)
            }
        }).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = write(&dir.path().join("run"), rows.clone());
        prop_assert_eq!(read_table::<Rollout>(&path).unwrap(), rows);
    }
}

#[test]
fn score_rows_come_back_and_stream_in_batches() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<ScoreRow> = (0..10_000).map(score_row).collect();
    let run = start(&dir.path().join("run"));
    let mut table = run.table("tokens", 4096).unwrap();
    table.append_all(rows.clone()).unwrap();
    table.finish().unwrap();
    let reader = TableReader::<ScoreRow>::open(&run.path().join("tokens.parquet")).unwrap();
    assert_eq!(reader.len(), 10_000);
    let batches: Vec<Vec<ScoreRow>> = reader.map(Result::unwrap).collect();
    assert!(batches.len() >= 3 && batches.iter().all(|b| b.len() <= 4096));
    assert_eq!(batches.concat(), rows);
}

#[test]
fn the_file_is_plain_parquet_with_the_fixed_columns() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir.path().join("run"), (0..20).map(diff_row));
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let metadata = reader.metadata();
    assert_eq!(metadata.file_metadata().created_by(), Some("forkscope/1"));
    assert!(metadata.file_metadata().key_value_metadata().is_none());
    let groups: Vec<i64> = metadata.row_groups().iter().map(|g| g.num_rows()).collect();
    assert_eq!(groups, [7, 7, 6]);
    let root = metadata
        .file_metadata()
        .schema_descr()
        .root_schema()
        .get_fields()
        .to_vec();
    let names: Vec<&str> = root.iter().map(|f| f.name()).collect();
    let expected = "problem_id sample t token_id validity entropy_base_nats entropy_tuned_nats \
        kl_tuned_base_nats kl_base_tuned_nats js_nats tv ce_base_tuned_nats delta_logprob \
        logprob_base logprob_tuned rank_base rank_tuned argmax_base_id argmax_tuned_id \
        base_rank_of_tuned_argmax class mass_outside_base mass_outside_tuned topk_base_ids topk_base_logprobs topk_tuned_ids \
        topk_tuned_logprobs";
    assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
}

/// A rollout table as pandas writes it: int64 ids, large strings, optional
/// columns left out, others added.
#[test]
fn rollouts_of_other_writers_are_read() {
    use arrow_array::builder::{Int64Builder, ListBuilder};
    let dir = tempfile::tempdir().unwrap();
    let mut tokens = ListBuilder::new(Int64Builder::new());
    tokens.append_value([Some(5), Some(6), Some(7)]);
    tokens.append_value([Some(5)]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("problem_id", Arc::new(Int64Array::from(vec![7, 8]))),
        ("sample", Arc::new(Int64Array::from(vec![0, 3]))),
        ("token_ids", Arc::new(tokens.finish())),
        ("prompt_len", Arc::new(Int64Array::from(vec![1, 1]))),
        (
            "text",
            Arc::new(LargeStringArray::from(vec![Some("a"), None])),
        ),
        ("theirs", Arc::new(Float64Array::from(vec![1.0, 2.0]))),
    ];
    let path = foreign(dir.path(), columns);
    let rows = read_rollouts(&path).unwrap();
    assert_eq!(rows[0].problem_id, "7");
    assert_eq!(rows[0].completion(), [6, 7]);
    assert_eq!(
        (rows[0].validity, rows[0].finish_reason),
        (Validity::Ok, FinishReason::Unknown)
    );
    assert_eq!(
        (rows[1].validity, rows[1].sample, rows[1].text.as_str()),
        (Validity::Empty, 3, "")
    );
}

fn foreign(dir: &Path, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
    let path = dir.join("foreign.parquet");
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

#[test]
fn wrong_columns_are_named_with_file_and_row() {
    use arrow_array::builder::{ListBuilder, UInt32Builder};
    let dir = tempfile::tempdir().unwrap();
    let ids = || -> ArrayRef { Arc::new(StringArray::from(vec!["a", "b"])) };
    let ints = |a: i64, b: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![a, b])) };
    let tokens = || -> ArrayRef {
        let mut list = ListBuilder::new(UInt32Builder::new());
        list.append_value([Some(1), Some(2)]);
        list.append_value([Some(1), Some(2)]);
        Arc::new(list.finish())
    };
    let with_null: ArrayRef = {
        let mut list = ListBuilder::new(UInt32Builder::new());
        list.append_value([Some(1), None]);
        list.append_value([Some(1)]);
        Arc::new(list.finish())
    };
    let table = |id: ArrayRef, sample: ArrayRef, tokens: ArrayRef, prompt: ArrayRef| {
        vec![
            ("problem_id", id),
            ("sample", sample),
            ("token_ids", tokens),
            ("prompt_len", prompt),
        ]
    };
    let floats: ArrayRef = Arc::new(Float32Array::from(vec![0.0, 1.0]));
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), None]));
    let cases = [
        (vec![("problem_id", ids())], "column token_ids: is missing"),
        (
            table(ids(), ints(0, -1), tokens(), ints(1, 1)),
            "column sample: row 1: -1 is not in",
        ),
        (
            table(ids(), ints(0, 1 << 32), tokens(), ints(1, 1)),
            "column sample: row 1: 4294967296",
        ),
        (
            table(ids(), nulls, tokens(), ints(1, 1)),
            "column sample: row 1: is null",
        ),
        (
            table(ids(), floats, tokens(), ints(1, 1)),
            "column sample: holds Float32, not integers",
        ),
        (
            table(ids(), ints(0, 0), ints(1, 1), ints(1, 1)),
            "column token_ids: holds Int64, not lists",
        ),
        (
            table(ids(), ints(0, 0), with_null, ints(1, 1)),
            "column token_ids: a list has a null",
        ),
        (
            table(ids(), ints(0, 0), tokens(), ints(1, 3)),
            "column prompt_len: row 1: 3 is not in 1..=2",
        ),
        (
            table(ids(), ints(0, 0), tokens(), ints(0, 1)),
            "column prompt_len: row 0: 0 is not in 1..=2",
        ),
    ];
    for (columns, expected) in cases {
        let path = foreign(dir.path(), columns);
        let message = read_rollouts(&path).unwrap_err().to_string();
        assert!(
            message.contains("foreign.parquet") && message.contains(expected),
            "{message}"
        );
    }
    let twice: ArrayRef = Arc::new(StringArray::from(vec!["a", "a"]));
    let path = foreign(dir.path(), table(twice, ints(0, 0), tokens(), ints(1, 1)));
    let message = read_rollouts(&path).unwrap_err().to_string();
    assert!(
        message.contains("sample 0 of problem \"a\" is there twice"),
        "{message}"
    );
}

#[test]
fn csv_has_every_row_and_no_formulas() {
    let dir = tempfile::tempdir().unwrap();
    let texts = [
        "=1+1",
        "+1",
        "-1",
        "@x",
        "\tx",
        "a,b",
        "say \"hi\"",
        "two\nlines",
        "plain",
    ];
    let rows = texts.iter().zip(0..).map(|(text, i)| Rollout {
        text: (*text).into(),
        problem_id: format!("{text}{i}"),
        ..rollout(i)
    });
    let path = write(&dir.path().join("run"), rows);
    let mut out = Vec::new();
    assert_eq!(
        export_csv(&path, &mut out, Path::new("out.csv")).unwrap(),
        9
    );
    let mut reader = csv::Reader::from_reader(out.as_slice());
    let header: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(
        header.join(","),
        "problem_id,sample,token_ids,prompt_len,finish_reason,text,correct,validity,logprobs"
    );
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    for (record, text) in records.iter().zip(texts) {
        let guarded = text.starts_with(['=', '+', '-', '@', '\t']);
        let expected = if guarded {
            format!("'{text}")
        } else {
            text.to_owned()
        };
        assert_eq!(&record[5], expected);
    }
    assert_eq!(&records[1][2], "[0,1,2,3,4]");
    assert_eq!(&records[1][6], "true");
    assert_eq!(&records[0][6], "");
    assert_eq!(&records[3][8], "[-0.0,-1.0,-2.0]");
}

#[test]
fn csv_numbers_read_back_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<DiffRow> = (0..50).map(diff_row).collect();
    let path = write(&dir.path().join("run"), rows.clone());
    let mut out = Vec::new();
    export_csv(&path, &mut out, Path::new("out.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(out.as_slice());
    for (record, row) in reader.records().zip(&rows) {
        let record = record.unwrap();
        assert_eq!(
            record[5].parse::<f64>().unwrap().to_bits(),
            row.entropy_base_nats.to_bits()
        );
        let kl = (!record[7].is_empty()).then(|| record[7].parse::<f64>().unwrap());
        assert_eq!(kl, row.kl_tuned_base_nats);
        assert_eq!(record[14].parse::<f32>().unwrap(), row.logprob_tuned);
    }
}

#[test]
fn what_is_no_table_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    for bytes in [
        &b""[..],
        b"PAR1",
        b"PAR1PAR1",
        b"hello",
        b"PAR1\xff\xff\xff\xffPAR1",
        &[0; 64],
    ] {
        fs::write(&path, bytes).unwrap();
        let message = read_table::<DiffRow>(&path).unwrap_err().to_string();
        assert!(
            message.contains("x.parquet is not a readable Parquet table"),
            "{message}"
        );
    }
    let message = read_table::<DiffRow>(&dir.path().join("absent"))
        .unwrap_err()
        .to_string();
    assert!(
        message.ends_with("absent: no such file or directory; check the path and its permissions"),
        "{message}"
    );
}
