//! How long 53,000 diff rows take from memory to a finished table.
//!
//! ```text
//! cargo run --release -p forkscope-records --example write_speed
//! ```

use std::time::{Duration, Instant};

use forkscope_records::types::{DiffRow, ShiftClass, TopK, Validity};
use forkscope_records::{Mode, RunDir, RunManifest, read_table};

const ROWS: u32 = 53_000;
const REPEATS: usize = 7;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, Into::into);
    let dir = dir.join(format!("forkscope-write-speed-{}", std::process::id()));
    let rows: Vec<DiffRow> = (0..ROWS).map(row).collect();
    let (mut spooled, mut finished, mut read) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for repeat in 0..REPEATS {
        let out = dir.join(repeat.to_string());
        let run = RunDir::open(&out, RunManifest::new("diff"), Mode::Fresh)?
            .to_write()
            .ok_or("no run")?;
        let copy = rows.clone();
        let begin = Instant::now();
        let mut table = run.table("tokens", 4096)?;
        table.append_all(copy)?;
        spooled.push(begin.elapsed());
        table.finish()?;
        finished.push(begin.elapsed());
        run.complete()?;
        let path = out.join("tokens.parquet");
        bytes = std::fs::metadata(&path)?.len();
        let begin = Instant::now();
        assert_eq!(read_table::<DiffRow>(&path)?.len(), rows.len());
        read.push(begin.elapsed());
    }
    std::fs::remove_dir_all(&dir)?;
    println!(
        "{ROWS} rows, {bytes} bytes, {:.1} bytes per row",
        bytes as f64 / f64::from(ROWS)
    );
    println!(
        "encoded and spooled  {:>6.1} ms (median of {REPEATS})",
        median(&mut spooled)
    );
    println!("... and assembled    {:>6.1} ms", median(&mut finished));
    println!("read back            {:>6.1} ms", median(&mut read));
    Ok(())
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// A row whose floats are as incompressible as real ones and whose ids repeat
/// as they do in a small vocabulary.
fn row(i: u32) -> DiffRow {
    let noise = |salt: u32| {
        // The finaliser of SplitMix64, for bits that do not compress.
        let mut z = (u64::from(i) << 32 | u64::from(salt)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / 9_007_199_254_740_992.0
    };
    let id = |salt: u32| (noise(salt) * noise(salt + 1) * 188.0) as u32;
    let topk = |salt: u32| TopK {
        ids: (0..5).map(|k| id(salt + k)).collect(),
        logprobs: (0..5)
            .map(|k| -(noise(salt + k) as f32) * k as f32)
            .collect(),
    };
    DiffRow {
        problem_id: format!("test/{}", i / 66 / 20),
        sample: i / 66 % 20,
        t: 40 + i % 66,
        token_id: id(1),
        validity: Validity::Ok,
        entropy_base_nats: noise(2),
        entropy_tuned_nats: noise(3),
        kl_tuned_base_nats: Some(noise(4)),
        kl_base_tuned_nats: Some(noise(5)),
        js_nats: noise(6),
        tv: noise(7),
        ce_base_tuned_nats: Some(noise(8)),
        delta_logprob: Some(noise(9)),
        logprob_base: -noise(10) as f32,
        logprob_tuned: -noise(11) as f32,
        rank_base: 1 + id(12) / 40,
        rank_tuned: 1 + id(13) / 40,
        argmax_base_id: id(14),
        argmax_tuned_id: id(15),
        mass_outside_base: 0.0,
        mass_outside_tuned: 0.0,
        base_rank_of_tuned_argmax: 1,
        class: ShiftClass::Unshifted,
        topk_base: topk(16),
        topk_tuned: topk(40),
    }
}
