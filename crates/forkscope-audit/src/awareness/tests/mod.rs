//! Tests of the probe's splits, statistics and verdict.

mod null_data;
mod planted;
mod splits;
mod verdicts;

use forkscope_metrics::rng::Key;
use forkscope_metrics::stats::BootstrapSettings;
use forkscope_records::types::{ContrastContext, ContrastItem, ProblemPrompt};

use super::{Bench, Design, Layer, Resamples};

/// Items of sources, `each` per source and format: evaluation sources first.
pub(super) fn items(sources: [usize; 2], formats: &[&str], each: usize) -> Vec<ContrastItem> {
    let mut out = Vec::new();
    for (context, n, name) in [
        (ContrastContext::Evaluation, sources[0], "e"),
        (ContrastContext::Deployment, sources[1], "d"),
    ] {
        for source in 0..n {
            for format in formats {
                for k in 0..each {
                    let id = format!("{name}{source}/{format}/{k}");
                    out.push(ContrastItem {
                        id: id.clone(),
                        prompt: ProblemPrompt::Text(format!("{name}{source} problem {k}")),
                        answer: None,
                        context,
                        format: (*format).into(),
                        source: format!("{name}{source}"),
                        cluster: id,
                        fit: None,
                    });
                }
            }
        }
    }
    out
}

/// Standard normals of a place.
pub(super) fn normal(key: &Key, at: u64) -> f64 {
    let mut draws = key.rng_at(at);
    let radius = (-2.0 * libm::log(1.0 - draws.uniform())).sqrt();
    radius * libm::cos(std::f64::consts::TAU * draws.uniform())
}

/// Activations: an own offset per source, noise per item, and what `signal`
/// says on the first dimension.
pub(super) fn activations(
    design: &Design,
    seed: u64,
    width: usize,
    signal: impl Fn(usize) -> f64,
) -> Layer {
    let sources = Key::new(seed, "", 0, "test-sources");
    let noise = Key::new(seed, "", 0, "test-noise");
    let mut values = Vec::new();
    for i in 0..design.len() {
        for d in 0..width {
            let place = |k: usize| (k * width + d) as u64;
            let own = normal(&sources, place(design.source[i] as usize));
            let mut x = own + 0.5 * normal(&noise, place(i));
            if d == 0 {
                x += signal(i);
            }
            values.push(x as f32);
        }
    }
    Layer { width, values }
}

pub(super) fn bench(design: &Design, seed: u64, permutations: u32) -> Bench<'_> {
    let settings = BootstrapSettings {
        seed,
        replicates: 200,
        level: 0.95,
    };
    Bench::new(
        design,
        Resamples::new(design, &settings),
        seed,
        permutations,
    )
}
