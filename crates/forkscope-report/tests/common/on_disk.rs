//! A synthetic run on the disk, with every table that the viewer reads.
#![allow(dead_code)]

use std::path::Path;

use forkscope_records::types::{
    AwarenessRow, Direction, FinishReason, Intervention, Reversion, ReversionControl,
    ReversionDirection, ReversionMethod, ReversionStatus, Validity,
};
use forkscope_records::{Mode, RunDir, RunManifest, TokenPieces, write_findings};
use forkscope_report::ReportData;

use crate::common::HOSTILE;

/// Writes the run with its tables, in row groups of `group` rows.
pub fn write(dir: &Path, data: &ReportData, group: usize) {
    let manifest = RunManifest::new("diff").setting("note", HOSTILE[0]);
    let run = RunDir::open(dir, manifest, Mode::Fresh).unwrap();
    let run = run.to_write().unwrap();
    let mut table = run.table("rollouts", group).unwrap();
    table.append_all(data.rollouts.iter().cloned()).unwrap();
    table.finish().unwrap();
    let mut table = run.table("tokens", group).unwrap();
    table.append_all(data.rows.iter().cloned()).unwrap();
    table.finish().unwrap();
    let mut table = run.table("interventions", group).unwrap();
    table.append_all(interventions()).unwrap();
    table.finish().unwrap();
    let mut table = run.table("reversions", group).unwrap();
    table.append_all(reversions()).unwrap();
    table.finish().unwrap();
    let mut table = run.table("awareness", group).unwrap();
    table.append_all(awareness()).unwrap();
    table.finish().unwrap();
    let pieces: TokenPieces = data.pieces.iter().map(|(k, v)| (*k, v.clone())).collect();
    pieces.write(&run).unwrap();
    write_findings(&run, &data.findings).unwrap();
    run.complete().unwrap();
}

/// Untouched, guided and random arms; the guided one parts at the eighth token.
pub fn interventions() -> Vec<Intervention> {
    let mut rows = Vec::new();
    for problem in 0..6u32 {
        for (arm, gate, budget) in [
            ("none", "none", ""),
            ("js", "js>0.1", "5%"),
            ("random", "matched", "5%"),
        ] {
            let prompt: Vec<u32> = (0..9).collect();
            let mut ids: Vec<u32> = prompt
                .iter()
                .copied()
                .chain((0..40).map(|i| i % 24))
                .collect();
            // One piece of hostile text in every path.
            ids[12] = 100 + problem;
            let touched = if arm == "none" {
                vec![]
            } else {
                vec![16, 17, 30]
            };
            let changed = if arm == "js" { vec![17] } else { vec![] };
            if arm == "js" {
                ids[17] = 21;
                ids.truncate(45);
            }
            rows.push(Intervention {
                arm: arm.into(),
                direction: Direction::Forward,
                gate: gate.into(),
                budget: budget.into(),
                temperature: 1.0,
                problem_id: format!("p{problem}"),
                sample: 0,
                token_ids: ids,
                prompt_len: 9,
                touched_entropy_nats: 0.5 * touched.len() as f64,
                touched,
                changed,
                finish_reason: FinishReason::Eos,
                text: HOSTILE[1].into(),
                correct: Some(arm == "js" || problem % 3 == 0),
                behaviour: None,
                validity: Validity::Ok,
            });
        }
    }
    rows
}

/// Two methods with a control each, in both directions.
pub fn reversions() -> Vec<Reversion> {
    let mut rows = Vec::new();
    for (direction, d) in [
        (ReversionDirection::Undo, 0u32),
        (ReversionDirection::Induce, 1),
    ] {
        for (method, unit, cap) in [
            (ReversionMethod::Tokens, "tokens", 16.0),
            (ReversionMethod::Alpha, "alpha", 2.0),
        ] {
            for (control, c) in [
                (ReversionControl::None, 0u32),
                (ReversionControl::RandomPositions, 1),
            ] {
                for problem in 0..20u32 {
                    let price = f64::from((problem * 7 + d * 3) % 11 + 1 + c * 6) * cap / 16.0;
                    let reached = price < cap;
                    rows.push(Reversion {
                        direction,
                        method,
                        control,
                        problem_id: format!("p{problem}"),
                        sample: 0,
                        status: match reached {
                            true => ReversionStatus::Reached,
                            false => ReversionStatus::NotReached,
                        },
                        price: reached.then_some(price),
                        cap,
                        unit: unit.into(),
                        kl_nats: reached.then_some(price * 1.7),
                        tries: 5,
                        positions: vec![11, 14],
                        donor_ids: vec![100, 3],
                        margins_nats: vec![2.5, 0.25],
                        js_nats: vec![0.4, 0.1],
                        levels: vec![1.0, 2.0],
                        turned: vec![0, u32::from(reached)],
                        token_ids: (0..30)
                            .map(|i| if i == 13 { 101 } else { i % 24 })
                            .collect(),
                        prompt_len: 9,
                        finish_reason: FinishReason::Eos,
                        text: String::new(),
                        behaviour: Some(!reached),
                        validity: Validity::Ok,
                    });
                }
            }
        }
    }
    rows
}

/// Base and model by layer, a bag of words, and the layer that was chosen.
pub fn awareness() -> Vec<AwarenessRow> {
    let row = |policy: &str, probe: &str, selection: &str, layer: u32, auroc: f64| AwarenessRow {
        policy: policy.into(),
        pooling: "last".into(),
        probe: probe.into(),
        split: "source".into(),
        test_format: String::new(),
        selection: selection.into(),
        layer,
        auroc: Some(auroc),
        low: Some(auroc - 0.08),
        high: Some((auroc + 0.06).min(1.0)),
        level: 0.95,
        n: 240,
        n_groups: 12,
        n_folds: 4,
        p_value: Some(0.002),
        p_max: Some(0.004),
    };
    let mut rows = Vec::new();
    for layer in 0..7u32 {
        let rise = f64::from(layer) / 7.0;
        rows.push(row(
            "base",
            "logistic",
            "each_layer",
            layer,
            0.5 + 0.1 * rise,
        ));
        rows.push(row(
            "model",
            "logistic",
            "each_layer",
            layer,
            0.5 + 0.45 * rise,
        ));
    }
    rows.push(row("model", "logistic", "chosen", 5, 0.83));
    rows.push(row("text", "bag_of_words", "none", 0, 0.58));
    rows
}
