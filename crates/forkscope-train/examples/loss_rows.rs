//! Time of the loss rows: nanoseconds per logit, one thread.
//!
//! `cargo run --release -p forkscope-train --example loss_rows`

use std::hint::black_box;
use std::time::Instant;

use forkscope_train::objective::rows::{
    Bucketed, cross_entropy_gradient, kl_bucketed, kl_teacher_student, normaliser,
};

fn main() {
    println!("{:>8} {:>22} {:>14}", "vocab", "row", "ns per logit");
    for vocab in [128usize, 4096, 151_936] {
        let row = |step: usize| -> Vec<f32> {
            (0..vocab)
                .map(|i| ((i * step) % 1009) as f32 * 0.02 - 10.0)
                .collect()
        };
        let (student, teacher) = (row(37), row(41));
        let Some(cached) = Bucketed::of_row(&teacher, 64) else {
            return;
        };
        let mut work = student.clone();
        let mut time = |name: &str, f: &mut dyn FnMut(&mut [f32])| {
            let rounds = (40_000_000 / vocab).max(20);
            let begin = Instant::now();
            for _ in 0..rounds {
                work.copy_from_slice(&student);
                f(black_box(&mut work));
            }
            let ns = begin.elapsed().as_nanos() as f64 / (rounds * vocab) as f64;
            println!("{vocab:>8} {name:>22} {ns:>14.3}");
        };
        time("copy alone", &mut |_| {});
        time("normaliser, entropy", &mut |z| {
            black_box(normaliser(z));
        });
        time("cross-entropy gradient", &mut |z| {
            black_box(cross_entropy_gradient(z, 5, 0.01));
        });
        time("kl gradient", &mut |z| {
            black_box(kl_teacher_student(z, &teacher, 0.01));
        });
        time("kl gradient, top 64", &mut |z| {
            black_box(kl_bucketed(z, &cached, 0.01));
        });
    }
}
