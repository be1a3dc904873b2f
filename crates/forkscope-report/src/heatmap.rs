//! The rows of a run packed for the page.
//!
//! Columns travel as little-endian typed arrays in base64 inside one JSON data
//! block: about 110 bytes per position with five listed tokens per policy.
//! Token texts are listed once, made visible, and rows refer to them by index;
//! index 0 means "no token". Undefined numbers are NaN.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forkscope_records::types::{DiffRow, Rollout, ShiftClass, TopK};
use serde::Serialize;

use crate::data::ReportData;
use crate::error::ReportError;
use crate::text;

/// Listed tokens per policy and position that a page carries.
const SHOWN_TOPK: usize = 5;

/// The data block of the page.
#[derive(Debug, Serialize)]
pub struct Payload {
    /// Number of rows carried.
    pub rows: usize,
    /// Number of rows of the run.
    pub rows_total: usize,
    /// Listed tokens per policy and row.
    k: usize,
    /// Visible text of each token in use; index 0 is "no token".
    vocab: Vec<String>,
    /// Indices into `vocab` of tokens that contain a newline.
    breaks: Vec<u32>,
    ids: Column,
    columns: BTreeMap<&'static str, Column>,
    /// Rollouts carried, in the order of the run.
    pub rollouts: Vec<Entry>,
    /// Number of rollouts of the run.
    pub rollouts_total: usize,
    prompts: Vec<Column>,
}

/// One rollout of the heat-map.
#[derive(Debug, Serialize)]
pub struct Entry {
    problem: String,
    sample: u32,
    start: usize,
    len: usize,
    prompt: Option<usize>,
    correct: Option<bool>,
    finish: Option<String>,
    validity: Option<String>,
}

/// A typed array.
#[derive(Debug, Serialize)]
struct Column {
    #[serde(rename = "type")]
    kind: &'static str,
    data: String,
}

impl Column {
    /// Integers in the narrowest type that holds them all.
    fn ints(values: &[u32]) -> Self {
        let (kind, bytes): (_, Vec<u8>) = match values.iter().max().copied().unwrap_or(0) {
            0..=0xff => ("u8", values.iter().map(|v| v.to_le_bytes()[0]).collect()),
            0x100..=0xffff => (
                "u16",
                values
                    .iter()
                    .flat_map(|v| [v.to_le_bytes()[0], v.to_le_bytes()[1]])
                    .collect(),
            ),
            _ => ("u32", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        Self {
            kind,
            data: STANDARD.encode(bytes),
        }
    }

    fn floats(values: impl Iterator<Item = f32>) -> Self {
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        Self {
            kind: "f32",
            data: STANDARD.encode(bytes),
        }
    }
}

/// Token ids in use, numbered from 1 in order of appearance.
#[derive(Default)]
struct Dictionary {
    index: HashMap<u32, u32>,
    ids: Vec<u32>,
}

impl Dictionary {
    fn of(&mut self, id: u32) -> u32 {
        let ids = &mut self.ids;
        *self.index.entry(id).or_insert_with(|| {
            ids.push(id);
            u32::try_from(ids.len()).unwrap_or(u32::MAX)
        })
    }
}

/// Packs at most `max_rows` rows: whole rollouts in the order of the run, so
/// that what is shown is shown whole. The first rollout is always carried.
pub fn pack(data: &ReportData, max_rows: usize) -> Result<Payload, ReportError> {
    let groups = groups(&data.rows);
    let mut end = 0;
    let mut taken = 0;
    for group in &groups {
        if taken > 0 && group.end > max_rows {
            break;
        }
        end = group.end;
        taken += 1;
    }
    if u32::try_from(end).is_err() {
        return Err(ReportError::TooLarge { rows: end });
    }
    let rows = data.rows.get(..end).unwrap_or(&[]);
    let mut tokens = Dictionary::default();
    let (k, columns) = columns(rows, &mut tokens);
    let mut prompts = Prompts::default();
    let by_key: HashMap<(&str, u32), &Rollout> = data
        .rollouts
        .iter()
        .map(|r| ((r.problem_id.as_str(), r.sample), r))
        .collect();
    let rollouts = groups
        .iter()
        .take(taken)
        .map(|g| {
            entry(
                g,
                by_key.get(&(g.problem_id, g.sample)).copied(),
                &mut prompts,
                &mut tokens,
            )
        })
        .collect();
    let (vocab, breaks) = vocabulary(&tokens.ids, &data.pieces);
    Ok(Payload {
        rows: end,
        rows_total: data.rows.len(),
        k,
        vocab,
        breaks,
        ids: Column::ints(&tokens.ids),
        columns,
        rollouts,
        rollouts_total: groups.len(),
        prompts: prompts.columns,
    })
}

struct Group<'a> {
    problem_id: &'a str,
    sample: u32,
    start: usize,
    end: usize,
}

/// Runs of rows of the same rollout.
fn groups(rows: &[DiffRow]) -> Vec<Group<'_>> {
    let mut out: Vec<Group<'_>> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        match out.last_mut() {
            Some(g) if g.problem_id == row.problem_id && g.sample == row.sample => g.end = i + 1,
            _ => out.push(Group {
                problem_id: &row.problem_id,
                sample: row.sample,
                start: i,
                end: i + 1,
            }),
        }
    }
    out
}

#[derive(Default)]
struct Prompts {
    seen: HashMap<Vec<u32>, usize>,
    columns: Vec<Column>,
}

impl Prompts {
    /// Rollouts of one problem share one copy of its prompt.
    fn of(&mut self, ids: Vec<u32>) -> usize {
        let columns = &mut self.columns;
        *self.seen.entry(ids).or_insert_with_key(|ids| {
            columns.push(Column::ints(ids));
            columns.len() - 1
        })
    }
}

fn entry(
    g: &Group<'_>,
    rollout: Option<&Rollout>,
    prompts: &mut Prompts,
    tokens: &mut Dictionary,
) -> Entry {
    let prompt = rollout.map(|r| {
        let ids = r.token_ids.get(..r.prompt_len).unwrap_or(&r.token_ids);
        prompts.of(ids.iter().map(|id| tokens.of(*id)).collect())
    });
    Entry {
        problem: text::visible(g.problem_id),
        sample: g.sample,
        start: g.start,
        len: g.end - g.start,
        prompt,
        correct: rollout.and_then(|r| r.correct),
        finish: rollout.and_then(|r| label(&r.finish_reason)),
        validity: rollout.and_then(|r| label(&r.validity)),
    }
}

/// The name under which an enum is recorded.
fn label(value: &impl Serialize) -> Option<String> {
    serde_json::to_value(value)
        .ok()?
        .as_str()
        .map(str::to_owned)
}

fn vocabulary(ids: &[u32], pieces: &BTreeMap<u32, String>) -> (Vec<String>, Vec<u32>) {
    let mut vocab = vec![String::new()];
    let mut breaks = Vec::new();
    for (i, id) in (1..).zip(ids) {
        match pieces.get(id) {
            Some(piece) if !piece.is_empty() => {
                if piece.contains('\n') {
                    breaks.push(i);
                }
                vocab.push(text::visible(piece));
            }
            _ => vocab.push(format!("⟨{id}⟩")),
        }
    }
    (vocab, breaks)
}

fn columns(rows: &[DiffRow], tokens: &mut Dictionary) -> (usize, BTreeMap<&'static str, Column>) {
    let longest = rows
        .iter()
        .map(|r| r.topk_base.ids.len().max(r.topk_tuned.ids.len()))
        .max();
    // At least one, so that the argmax has a place.
    let k = longest.unwrap_or(0).clamp(1, SHOWN_TOPK);
    let ints = |f: &dyn Fn(&DiffRow) -> u32| Column::ints(&rows.iter().map(f).collect::<Vec<_>>());
    let floats = |f: &dyn Fn(&DiffRow) -> Option<f64>| {
        Column::floats(rows.iter().map(|r| f(r).map_or(f32::NAN, |v| v as f32)))
    };
    let mut out = BTreeMap::from([
        ("t", ints(&|r| r.t)),
        ("class", ints(&|r| class_code(r.class))),
        ("validity", ints(&|r| r.validity as u32)),
        ("rank_base", ints(&|r| r.rank_base)),
        ("rank_tuned", ints(&|r| r.rank_tuned)),
        ("argmax_rank", ints(&|r| r.base_rank_of_tuned_argmax)),
        ("h_base", floats(&|r| Some(r.entropy_base_nats))),
        ("h_tuned", floats(&|r| Some(r.entropy_tuned_nats))),
        ("kl", floats(&|r| r.kl_tuned_base_nats)),
        ("kl_rev", floats(&|r| r.kl_base_tuned_nats)),
        ("js", floats(&|r| Some(r.js_nats))),
        ("tv", floats(&|r| Some(r.tv))),
        ("delta", floats(&|r| r.delta_logprob)),
        ("lp_base", floats(&|r| Some(r.logprob_base.into()))),
        ("lp_tuned", floats(&|r| Some(r.logprob_tuned.into()))),
    ]);
    let token: Vec<u32> = rows.iter().map(|r| tokens.of(r.token_id)).collect();
    out.insert("token", Column::ints(&token));
    let (ids, lps) = topk(
        rows.iter().map(|r| (&r.topk_base, r.argmax_base_id)),
        k,
        tokens,
    );
    out.extend([("base_ids", ids), ("base_lps", lps)]);
    let (ids, lps) = topk(
        rows.iter().map(|r| (&r.topk_tuned, r.argmax_tuned_id)),
        k,
        tokens,
    );
    out.extend([("tuned_ids", ids), ("tuned_lps", lps)]);
    (k, out)
}

/// k slots per row; a row without listed tokens still names its argmax.
fn topk<'a>(
    rows: impl Iterator<Item = (&'a TopK, u32)>,
    k: usize,
    tokens: &mut Dictionary,
) -> (Column, Column) {
    let mut ids = Vec::new();
    let mut lps = Vec::new();
    for (top, argmax) in rows {
        for slot in 0..k {
            let id = top.ids.get(slot).copied().or((slot == 0).then_some(argmax));
            ids.push(id.map_or(0, |id| tokens.of(id)));
            lps.push(top.logprobs.get(slot).copied().unwrap_or(f32::NAN));
        }
    }
    (Column::ints(&ids), Column::floats(lps.into_iter()))
}

fn class_code(class: ShiftClass) -> u32 {
    match class {
        ShiftClass::Unshifted => 0,
        ShiftClass::Reranked => 1,
        ShiftClass::Shifted => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forkscope_records::types::Validity;

    fn decoded(column: &Column) -> Vec<u8> {
        STANDARD.decode(&column.data).unwrap()
    }

    #[test]
    fn integers_take_the_narrowest_type() {
        for (values, kind, bytes) in [
            (&[][..], "u8", vec![]),
            (&[0, 255], "u8", vec![0, 255]),
            (&[1, 256], "u16", vec![1, 0, 0, 1]),
            (&[65_536], "u32", vec![0, 0, 1, 0]),
        ] {
            let column = Column::ints(values);
            assert_eq!((column.kind, decoded(&column)), (kind, bytes));
        }
    }

    #[test]
    fn a_token_list_names_the_argmax_and_pads_with_nothing() {
        let mut tokens = Dictionary::default();
        let full = TopK {
            ids: vec![9, 8],
            logprobs: vec![-0.5, -1.0],
        };
        let none = TopK::default();
        let (ids, lps) = topk([(&full, 9), (&none, 7)].into_iter(), 2, &mut tokens);
        assert_eq!(decoded(&ids), [1, 2, 3, 0]);
        assert_eq!(tokens.ids, [9, 8, 7]);
        let last = decoded(&lps).split_off(12);
        assert!(f32::from_le_bytes(last.try_into().unwrap()).is_nan());
    }

    #[test]
    fn prompts_are_kept_once() {
        let mut prompts = Prompts::default();
        assert_eq!(
            [
                prompts.of(vec![1]),
                prompts.of(vec![2]),
                prompts.of(vec![1])
            ],
            [0, 1, 0]
        );
        assert_eq!(prompts.columns.len(), 2);
    }

    #[test]
    fn unknown_tokens_show_their_id() {
        let pieces = BTreeMap::from([(5, "a\n".to_owned())]);
        let (vocab, breaks) = vocabulary(&[5, 6], &pieces);
        assert_eq!(
            (vocab, breaks),
            (vec![String::new(), "a⏎".into(), "⟨6⟩".into()], vec![1])
        );
    }

    /// The page's script names validities by their place in this order.
    #[test]
    fn validities_keep_their_order() {
        let script = include_str!("assets/data.js");
        let order = [
            Validity::Ok,
            Validity::Truncated,
            Validity::Empty,
            Validity::ContextExceeded,
            Validity::TokenizerMismatch,
            Validity::NonFinite,
        ];
        for (place, validity) in (0..).zip(order) {
            assert_eq!(validity as u32, place);
        }
        let names = "[\"ok\", \"truncated\", \"empty\", \"context exceeded\", \"tokenizer mismatch\", \"non-finite\"]";
        assert!(script.contains(names));
    }
}
