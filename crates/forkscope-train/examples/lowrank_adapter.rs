//! The difference of two checkpoints as a PEFT LoRA adapter.
//!
//! `cargo run -p forkscope-train --example lowrank_adapter -- --base DIR --tuned DIR --out DIR`
//! with `--max-rank N` (64), `--tolerance X` (1e-6) and `--per-module`.

use std::path::PathBuf;
use std::process::ExitCode;

use forkscope_train::{ADAPTER_CONFIG, Cut, RankPlan, low_rank_adapter};

struct Arguments {
    base: PathBuf,
    tuned: PathBuf,
    out: PathBuf,
    cut: Cut,
    plan: RankPlan,
}

fn arguments() -> Result<Arguments, String> {
    let (mut base, mut tuned, mut out) = (None, None, None);
    let (mut cut, mut plan) = (Cut::default(), RankPlan::Common);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--per-module" {
            plan = RankPlan::PerModule;
            continue;
        }
        let value = words
            .next()
            .ok_or_else(|| format!("{word} needs a value"))?;
        let number = || format!("{word} {value} is not a number it can take");
        match word.as_str() {
            "--base" => base = Some(PathBuf::from(value)),
            "--tuned" => tuned = Some(PathBuf::from(value)),
            "--out" => out = Some(PathBuf::from(value)),
            "--max-rank" => cut.max_rank = value.parse().map_err(|_| number())?,
            "--tolerance" => cut.tolerance = value.parse().map_err(|_| number())?,
            _ => return Err(format!("{word} is not known")),
        }
    }
    Ok(Arguments {
        base: base.ok_or("--base DIR is missing")?,
        tuned: tuned.ok_or("--tuned DIR is missing")?,
        out: out.ok_or("--out DIR is missing")?,
        cut,
        plan,
    })
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    if arguments.out.join(ADAPTER_CONFIG).exists() {
        eprintln!(
            "{} holds an adapter already; give another --out",
            arguments.out.display()
        );
        return ExitCode::from(3);
    }
    let made = low_rank_adapter(
        &arguments.base,
        &arguments.tuned,
        arguments.cut,
        arguments.plan,
    )
    .and_then(|adapter| adapter.save(&arguments.out).map(|()| adapter));
    match made {
        Ok(adapter) => {
            for module in &adapter.modules {
                let f = &module.factors;
                println!(
                    "{:44} rank {:3}  residual {:.2e}  max error {:.2e}",
                    module.name, f.rank, f.residual, f.max_error
                );
            }
            println!(
                "{} projections, {} unchanged, rank {}, largest residual {:.2e}, largest error of a weight {:.2e}",
                adapter.modules.len(),
                adapter.unchanged.len(),
                adapter.rank(),
                adapter.residual(),
                adapter.max_error()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}
