//! Times every gate over a set of rollouts as large as a published recipe's.
//!
//! `cargo run --release -p forkscope-audit --example time_gates`

use std::time::Instant;

use forkscope_audit::gates::{Gate, GateInput, GateReport, decide};
use forkscope_metrics::rng::Key;

const ROLLOUTS: u32 = 1_000;
const POSITIONS: u64 = 2_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let entropies: Vec<Vec<f64>> = (0..ROLLOUTS)
        .map(|sample| {
            let mut draws = Key::new(1, "time", sample, "example").rng_at(0);
            // Most positions nearly certain, a few percent above 1.4 nats.
            (0..POSITIONS)
                .map(|_| 2.5 * draws.uniform().powi(8))
                .collect()
        })
        .collect();
    let inputs: Vec<GateInput<'_>> = (0..)
        .zip(&entropies)
        .map(|(sample, h)| GateInput::new("time", sample, h))
        .collect();
    println!(
        "{} positions in {ROLLOUTS} rollouts",
        u64::from(ROLLOUTS) * POSITIONS
    );
    for text in [
        "entropy:1.4",
        "quantile:0.05",
        "share:0.05",
        "dual:1:2",
        "random@entropy:1.4",
        "matched-position@entropy:1.4",
        "matched-random@entropy:1.4",
        "matched-mass@entropy:1.4",
        "random-high@entropy:1.4",
        "stride@entropy:1.4",
    ] {
        let gate: Gate = text.parse()?;
        let start = Instant::now();
        let chosen = decide(&gate, &inputs, 42)?;
        let decided = start.elapsed();
        let report = GateReport::of_gate(&gate, &inputs, &chosen, 42)?;
        println!(
            "{text:32} {:7.1} ms, with report {:7.1} ms, share {:.4}, mass ratio {}",
            decided.as_secs_f64() * 1e3,
            start.elapsed().as_secs_f64() * 1e3,
            report.share.unwrap_or(f64::NAN),
            report
                .control
                .and_then(|c| c.mass_ratio)
                .map_or("-".to_owned(), |x| format!("{x:.3}")),
        );
    }
    Ok(())
}
