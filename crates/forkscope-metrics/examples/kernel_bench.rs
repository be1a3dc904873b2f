//! Speed of the pair kernel on seeded random logits (tuned = base + small
//! noise), beside the read bandwidth of the same memory in the same run.
//!
//! `kernel_bench --rows N --vocab V --threads T [--topk K] [--repeat R] [--json]`
//!
//! Prints, from the best of R repeats, row pairs per second, GB/s of logits
//! (each logit counted once, whatever the passes) and the bandwidth of summing
//! the same matrices; and the mean CPU time of all threads, which is what to
//! compare on a busy machine.

use forkscope_metrics::{pair_rows, rng::Key, score_rows};
use rayon::prelude::*;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

struct Options {
    rows: usize,
    vocab: usize,
    threads: usize,
    topk: usize,
    repeat: usize,
    json: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        rows: 64,
        vocab: 151_936,
        threads: 2,
        topk: 5,
        repeat: 5,
        json: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let field = match flag.as_str() {
            "--rows" => &mut options.rows,
            "--vocab" => &mut options.vocab,
            "--threads" => &mut options.threads,
            "--topk" => &mut options.topk,
            "--repeat" => &mut options.repeat,
            "--json" => {
                options.json = true;
                continue;
            }
            other => return Err(format!("{other} is not a flag of this bench")),
        };
        let value = arguments.next().ok_or(format!("{flag} needs a number"))?;
        *field = value
            .parse()
            .map_err(|_| format!("{flag}: {value} is not a number"))?;
    }
    Ok(options)
}

/// Logits that look like a model's: normal, standard deviation 3, one token in
/// a thousand raised by 8; the tuned ones differ by noise of 0.1.
fn logits(rows: usize, vocab: usize) -> (Vec<f32>, Vec<f32>) {
    let key = Key::new(2605, "kernel_bench", 0, "logits");
    let pairs = (0..rows).into_par_iter().map(|row| {
        let mut draws = key.rng_at(row as u64);
        let mut normal = || {
            let radius = (-2.0 * (1.0 - draws.uniform()).ln()).sqrt();
            radius * (std::f64::consts::TAU * draws.uniform()).cos()
        };
        let mut base = Vec::with_capacity(vocab);
        let mut tuned = Vec::with_capacity(vocab);
        for id in 0..vocab {
            let raised = if id % 1000 == row % 1000 { 8.0 } else { 0.0 };
            let z = 3.0 * normal() + raised;
            base.push(z as f32);
            tuned.push((z + 0.1 * normal()) as f32);
        }
        (base, tuned)
    });
    let (base, tuned): (Vec<_>, Vec<_>) = pairs.unzip();
    (base.concat(), tuned.concat())
}

/// Cost of a run, seconds.
#[derive(Clone, Copy)]
struct Cost {
    /// Best wall time.
    wall: f64,
    /// Mean CPU time of all threads together (the system counts in ticks, so a
    /// single run says little); NaN where the system does not tell.
    cpu: f64,
}

fn measure<T>(repeat: usize, mut run: impl FnMut() -> T) -> Cost {
    let repeat = repeat.max(1);
    let mut wall = f64::INFINITY;
    let cpu = cpu_seconds();
    for _ in 0..repeat {
        let start = Instant::now();
        black_box(run());
        wall = wall.min(start.elapsed().as_secs_f64());
    }
    Cost {
        wall,
        cpu: (cpu_seconds() - cpu) / repeat as f64,
    }
}

/// CPU time of the process so far: what its threads ran, by Linux's scheduler.
fn cpu_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return f64::NAN;
    };
    let nanoseconds: f64 = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .sum();
    nanoseconds / 1e9
}

/// Reads every cache line and adds the words, vectorised.
fn read_all(values: &[f32]) -> u64 {
    values
        .par_chunks(1 << 16)
        .map(|part| {
            let mut lanes = [0u32; 64];
            for group in part.as_chunks::<64>().0 {
                for (lane, value) in lanes.iter_mut().zip(group) {
                    *lane = lane.wrapping_add(value.to_bits());
                }
            }
            lanes.iter().map(|&lane| u64::from(lane)).sum::<u64>()
        })
        .sum()
}

/// A field of a JSON object; null where there is no number.
fn field(name: &str, value: f64) -> String {
    if value.is_finite() {
        format!("\"{name}\": {value}")
    } else {
        format!("\"{name}\": null")
    }
}

fn run() -> Result<(), String> {
    let Options {
        rows,
        vocab,
        threads,
        topk,
        repeat,
        json,
    } = options()?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| error.to_string())?;
    pool.install(|| {
        let (base, tuned) = logits(rows, vocab);
        let targets: Vec<u32> = (0..rows).map(|row| (row * 7919 % vocab) as u32).collect();
        let bytes = (2 * rows * vocab * size_of::<f32>()) as f64;
        let read = measure(repeat, || read_all(&base).wrapping_add(read_all(&tuned)));
        pair_rows(&base, vocab, &tuned, vocab, &targets, topk).map_err(|e| e.to_string())?;
        let pair = measure(repeat, || {
            pair_rows(&base, vocab, &tuned, vocab, &targets, topk)
        });
        let score = measure(repeat, || score_rows(&base, vocab, &targets, topk));
        let path = forkscope_metrics::instruction_set();
        let rows_f64 = rows as f64;
        let numbers = [
            ("pair_seconds", pair.wall),
            ("pair_cpu_seconds", pair.cpu),
            ("pair_rows_per_s", rows_f64 / pair.wall),
            ("pair_cpu_us_per_row", pair.cpu * 1e6 / rows_f64),
            ("pair_gb_per_s", bytes / pair.wall / 1e9),
            ("score_rows_per_s", rows_f64 / score.wall),
            ("score_cpu_us_per_row", score.cpu * 1e6 / rows_f64),
            ("score_gb_per_s", bytes / 2.0 / score.wall / 1e9),
            ("read_gb_per_s", bytes / read.wall / 1e9),
            ("pair_share_of_read_bandwidth", read.wall / pair.wall),
        ];
        if json {
            let fields: Vec<String> = numbers
                .iter()
                .map(|(name, value)| field(name, *value))
                .collect();
            println!(
                "{{\"rows\": {rows}, \"vocab\": {vocab}, \"threads\": {threads}, \"topk\": {topk}, \
                 \"instruction_set\": \"{path}\", {}}}",
                fields.join(", ")
            );
        } else {
            println!("rows {rows}  vocab {vocab}  threads {threads}  top-k {topk}  {path}");
            for (name, value) in numbers {
                println!("{name:<30} {value:>14.4}");
            }
        }
        Ok(())
    })
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}
