//! The table of a grid: one line per arm, in the order of the grid.

use std::fs;
use std::path::Path;

use forkscope_records::types::Findings;
use forkscope_records::{read_findings, read_run_json};

use super::Ablation;
use super::grid::{Arm, Kind};
use crate::failure::Outcome;
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::shown;

/// Prints what is on the disk.
pub fn print(ablation: &Ablation<'_>) -> Outcome {
    let run = &ablation.a.run;
    let findings = read_findings(&run.out)?;
    let mut out = Output::open();
    if run.json {
        out.json(&findings)?;
        return out.finish();
    }
    let grid = &ablation.grid;
    let others: Vec<&Arm> = grid
        .compare_with
        .iter()
        .filter_map(|i| grid.arms.get(*i))
        .collect();
    let kinds: Vec<(&str, &str)> = [("pass_at_1", "sampled"), ("greedy", "greedy")]
        .into_iter()
        .filter(|(kind, _)| {
            let first = grid.arms.first().map(|a| format!("{kind}.{}", a.name));
            first.is_some_and(|id| findings.get(&id).is_some())
        })
        .collect();
    measures(ablation, &findings, &kinds).write(&mut out)?;
    out.line("")?;
    for other in others {
        differences(ablation, &findings, &kinds, other).write(&mut out)?;
        out.line("")?;
    }
    let eval = &grid.eval;
    out.labelled(
        "measured on",
        &format!(
            "{} {} problems; sampled: {} at T = {}",
            ablation.held_out.problems.len(),
            ablation.a.split_name.name(),
            eval.samples,
            eval.temperature
        ),
    )?;
    let seeds: Vec<String> = grid.seeds.iter().map(u64::to_string).collect();
    out.labelled("seeds", &seeds.join(", "))?;
    out.labelled("run", &sanitise(&run.out.display().to_string()))?;
    out.finish()
}

/// What every arm took and gave.
fn measures(ablation: &Ablation<'_>, findings: &Findings, kinds: &[(&str, &str)]) -> Columns {
    let right = |head: &str| (head.to_owned(), Align::Right);
    let mut heads = vec![
        ("arm".to_owned(), Align::Left),
        right("rollouts"),
        right("steps"),
        right("touched"),
    ];
    for (_, what) in kinds {
        heads.push(((*what).to_owned(), Align::Left));
        heads.push(right("sd of seeds"));
    }
    heads.push(right("seconds"));
    let mut columns = Columns::dynamic(heads);
    for arm in &ablation.grid.arms {
        let name = &arm.name;
        let cell = |id: String| findings.get(&id).map(shown).unwrap_or_default();
        let mut cells = vec![
            sanitise(name).into_owned(),
            cell(format!("rollouts.{name}")),
            cell(format!("optimizer_steps.{name}")),
            cell(format!("touched_share.{name}")),
        ];
        for (kind, _) in kinds {
            cells.push(cell(format!("{kind}.{name}")));
            cells.push(cell(format!("seed_deviation.{kind}.{name}")));
        }
        cells.push(seconds(ablation, arm));
        columns.push(cells);
    }
    columns
}

/// Every arm against one of them, paired over problems.
fn differences(
    ablation: &Ablation<'_>,
    findings: &Findings,
    kinds: &[(&str, &str)],
    other: &Arm,
) -> Columns {
    let mut heads = vec![(format!("minus {}", sanitise(&other.name)), Align::Left)];
    for (_, what) in kinds {
        heads.push(((*what).to_owned(), Align::Left));
        heads.push(("p".to_owned(), Align::Right));
    }
    let mut columns = Columns::dynamic(heads);
    let arms = ablation.grid.arms.iter();
    for arm in arms.filter(|arm| arm.name != other.name) {
        let mut cells = vec![sanitise(&arm.name).into_owned()];
        for (kind, _) in kinds {
            let pair = format!("{kind}.{}.minus.{}", arm.name, other.name);
            let difference = findings.get(&format!("difference.{pair}"));
            cells.push(difference.map(shown).unwrap_or_default());
            let p = findings
                .get(&format!("p_value.{pair}"))
                .and_then(|f| f.value);
            cells.push(p.map_or_else(String::new, |p| format!("{p:.4}")));
        }
        columns.push(cells);
    }
    columns
}

/// Mean over seeds of the seconds of sampling and learning; not of answering,
/// which is the measurement and no part of an arm.
fn seconds(ablation: &Ablation<'_>, arm: &Arm) -> String {
    if matches!(arm.kind, Kind::Base) {
        return String::new();
    }
    let seeds = &ablation.grid.seeds;
    let of = |seed: &u64| -> Option<f64> {
        let cell = ablation.cell_path(arm, *seed);
        let store = match &arm.kind {
            Kind::ReasonMaxxer(s) => {
                let path = ablation.store_path(&s.store, *seed).ok()?;
                read_run_json(&path).ok()?.timing.seconds
            }
            _ => 0.0,
        };
        Some(store + trainings(&cell)?)
    };
    let all: Option<Vec<f64>> = seeds.iter().map(of).collect();
    match all {
        Some(all) if !all.is_empty() => {
            format!("{:.0}", all.iter().sum::<f64>() / all.len() as f64)
        }
        _ => String::new(),
    }
}

/// Seconds of the training runs of a cell.
fn trainings(cell: &Path) -> Option<f64> {
    let mut total = 0.0;
    for entry in fs::read_dir(cell).ok()? {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_string_lossy().into_owned();
        if !name.starts_with("training") {
            continue;
        }
        // Of all attempts that said when they ended.
        total += read_run_json(&path).ok()?.timing.seconds;
    }
    Some(total)
}
