//! The ledger as a table.

use forkscope_report::number::count;

use super::record::{Costs, Spent};
use crate::failure::Outcome;
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;

/// Writes one line per stage, and their sum.
pub fn write(costs: &Costs, out: &mut Output) -> Outcome {
    let mut columns = Columns::new([
        ("stage", Align::Left),
        ("attempts", Align::Right),
        ("prompt tokens", Align::Right),
        ("completion", Align::Right),
        ("trained", Align::Right),
        ("FLOPs", Align::Right),
        ("seconds", Align::Right),
        ("peak memory", Align::Right),
        ("dollars", Align::Right),
    ]);
    let stages = costs.stages();
    for spent in stages.iter().chain([&costs.total()]) {
        columns.row(cells(spent, costs.price_per_hour_usd));
    }
    columns.write(out)?;
    if stages.iter().any(|s| !s.own_peak) {
        out.line("* of the process so far: this system does not let a stage begin its own")?;
    }
    Ok(())
}

fn cells(spent: &Spent, price: Option<f64>) -> [String; 9] {
    let work = &spent.work;
    let mark = if spent.own_peak { "" } else { "*" };
    [
        sanitise(&spent.stage).into_owned(),
        count(spent.attempts as u64),
        count(work.prompt_tokens),
        count(work.completion_tokens),
        count(work.trained_tokens),
        format!("{:.2e}", work.flops),
        format!("{:.1}", spent.seconds),
        spent.peak_memory_bytes.map_or_else(String::new, |b| {
            format!("{} MiB{mark}", count(b.div_ceil(1 << 20)))
        }),
        price.map_or_else(String::new, |p| {
            format!("{:.4}", p * spent.seconds / 3600.0)
        }),
    ]
}
