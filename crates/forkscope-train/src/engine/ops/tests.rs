//! Every operation's forward pass against its formula in f64, its backward pass
//! against central differences of that formula.

use super::attention::{self, Inputs, Outputs, Shape, attention, attention_backward};
use super::norm::rms_norm_backward;
use super::product::{Matrix, multiply};
use super::swiglu::{swiglu, swiglu_backward};
use crate::engine::Pack;

fn values(n: usize, step: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * step + 11) % 1009) as f32 / 504.5 - 1.0)
        .collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// d f / d x by central differences in f64.
fn differences(x: &[f32], f: &dyn Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = wide(x);
    (0..x.len())
        .map(|i| {
            let (at, h) = (x[i], 1e-5);
            x[i] = at + h;
            let high = f(&x);
            x[i] = at - h;
            let low = f(&x);
            x[i] = at;
            (high - low) / (2.0 * h)
        })
        .collect()
}

#[track_caller]
fn close(found: &[f32], exact: &[f64], what: &str) {
    let norm = exact.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!(norm > 0.0, "{what}: nothing to compare");
    for (i, (f, e)) in found.iter().zip(exact).enumerate() {
        let error = (f64::from(*f) - e).abs();
        assert!(
            error < 1e-5 * norm.max(1.0),
            "{what}, value {i}: {f} and {e}"
        );
    }
}

fn along(y: &[f64], dy: &[f32]) -> f64 {
    y.iter().zip(dy).map(|(y, g)| y * f64::from(*g)).sum()
}

#[test]
fn rms_norm_is_its_formulas_gradient() {
    for d in [3, 16, 37] {
        let (x, w, dy) = (values(2 * d, 37), values(d, 71), values(2 * d, 53));
        let forward = |x: &[f64], w: &[f64]| -> Vec<f64> {
            x.chunks(d)
                .flat_map(|row| {
                    let mean = row.iter().map(|x| x * x).sum::<f64>() / d as f64;
                    let r = 1.0 / (mean + 1e-5).sqrt();
                    row.iter()
                        .zip(w)
                        .map(move |(x, w)| x * r * w)
                        .collect::<Vec<_>>()
                })
                .collect()
        };
        let (mut dx, mut dw) = (vec![0.0; 2 * d], vec![0.0; d]);
        rms_norm_backward(&x, &w, 1e-5, &dy, &mut dx, &mut dw);
        close(
            &dx,
            &differences(&x, &|x| along(&forward(x, &wide(&w)), &dy)),
            "dx",
        );
        close(
            &dw,
            &differences(&w, &|w| along(&forward(&wide(&x), w), &dy)),
            "dw",
        );
        // Gradients are added to; an empty dw is left out.
        let before = dx.clone();
        rms_norm_backward(&x, &w, 1e-5, &dy, &mut dx, &mut []);
        for (twice, once) in dx.iter().zip(&before) {
            assert_eq!(*twice, once + once);
        }
    }
}

#[test]
fn swiglu_is_its_formulas_gradient() {
    let (g, u, dy) = (values(40, 37), values(40, 71), values(40, 53));
    let g: Vec<f32> = g.iter().map(|g| g * 8.0).collect();
    let forward = |g: &[f64], u: &[f64]| -> Vec<f64> {
        g.iter()
            .zip(u)
            .map(|(g, u)| g / (1.0 + (-g).exp()) * u)
            .collect()
    };
    let mut out = vec![0.0; 40];
    swiglu(&g, &u, &mut out);
    close(&out, &forward(&wide(&g), &wide(&u)), "product");
    let (mut du, mut dg) = (dy.clone(), vec![0.0; 40]);
    swiglu_backward(&g, &u, &mut du, &mut dg);
    close(
        &dg,
        &differences(&g, &|g| along(&forward(g, &wide(&u)), &dy)),
        "dgate",
    );
    close(
        &du,
        &differences(&u, &|u| along(&forward(&wide(&g), u), &dy)),
        "dup",
    );
}

/// Attention by its definition, in f64.
fn attend(shape: Shape, pack: &Pack, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
    let (d, qw, kw) = (
        shape.head_dim,
        shape.heads * shape.head_dim,
        shape.kv_heads * shape.head_dim,
    );
    let mut out = vec![0.0; q.len()];
    for stretch in &pack.stretches {
        for row in stretch.rows.clone() {
            for head in 0..shape.heads {
                let kv = head / (shape.heads / shape.kv_heads);
                let mut seen: Vec<usize> = stretch
                    .prefix
                    .clone()
                    .chain(stretch.rows.start..row + 1)
                    .collect();
                if let Some(window) = shape.window {
                    seen.drain(..seen.len().saturating_sub(window));
                }
                let score = |j: &usize| -> f64 {
                    let dot: f64 = (0..d)
                        .map(|i| q[row * qw + head * d + i] * k[j * kw + kv * d + i])
                        .sum();
                    dot / (d as f64).sqrt()
                };
                let weights: Vec<f64> = seen.iter().map(|j| score(j).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for (j, w) in seen.iter().zip(&weights) {
                    for i in 0..d {
                        out[row * qw + head * d + i] += w / sum * v[j * kw + kv * d + i];
                    }
                }
            }
        }
    }
    out
}

fn packs() -> Vec<Pack> {
    let mut short = Pack::default();
    short
        .add_group(&[1, 2, 3], &[&[4, 5, 6], &[7], &[8, 9]])
        .unwrap();
    short.add(&[1, 2, 3, 4, 5, 6], 1).unwrap();
    // Longer than a block of queries, and a prefix longer than a window.
    let ids: Vec<u32> = (0..70).collect();
    let mut long = Pack::default();
    long.add_group(&ids[..40], &[&ids[..31]]).unwrap();
    long.add(&ids, 1).unwrap();
    vec![short, long]
}

#[test]
fn attention_is_its_definitions_gradient() {
    for (window, heads, kv_heads) in [(None, 2, 1), (Some(5), 2, 2), (Some(67), 4, 2)] {
        let shape = Shape {
            heads,
            kv_heads,
            head_dim: 4,
            window,
        };
        for pack in packs() {
            let (n, qw, kw) = (pack.len(), heads * 4, kv_heads * 4);
            let (q, k, v) = (values(n * qw, 37), values(n * kw, 71), values(n * kw, 53));
            let d_out = values(n * qw, 97);
            let (mut out, mut lse) = (vec![0.0; n * qw], vec![0.0; n * heads]);
            let mut scratch = attention::Scratch::default();
            let inputs = Inputs {
                q: &q,
                k: &k,
                v: &v,
            };
            attention(shape, &pack, inputs, &mut out, &mut lse, &mut scratch);
            let (wq, wk, wv) = (wide(&q), wide(&k), wide(&v));
            close(&out, &attend(shape, &pack, &wq, &wk, &wv), "out");
            let (mut dq, mut dk, mut dv) =
                (vec![9.0; n * qw], vec![0.0; n * kw], vec![0.0; n * kw]);
            let outputs = Outputs {
                out: &out,
                lse: &lse,
                d_out: &d_out,
            };
            attention_backward(
                shape,
                &pack,
                inputs,
                outputs,
                (&mut dq, &mut dk, &mut dv),
                &mut scratch,
            );
            if n > 40 {
                // Differences of every value would take long; a direction will do.
                let towards = |x: &[f64], g: &[f32], f: &dyn Fn(&[f64]) -> f64| {
                    let step = |t: f64| {
                        f(&x.iter()
                            .zip(g)
                            .map(|(x, g)| x + t * f64::from(*g))
                            .collect::<Vec<_>>())
                    };
                    let h = 1e-4;
                    let found: f64 = g.iter().map(|g| f64::from(*g).powi(2)).sum();
                    let exact = (step(h) - step(-h)) / (2.0 * h);
                    assert!(
                        (found - exact).abs() < 1e-4 * exact.abs(),
                        "{found} and {exact}"
                    );
                };
                towards(&wq, &dq, &|q| {
                    along(&attend(shape, &pack, q, &wk, &wv), &d_out)
                });
                towards(&wk, &dk, &|k| {
                    along(&attend(shape, &pack, &wq, k, &wv), &d_out)
                });
                towards(&wv, &dv, &|v| {
                    along(&attend(shape, &pack, &wq, &wk, v), &d_out)
                });
                continue;
            }
            close(
                &dq,
                &differences(&q, &|q| along(&attend(shape, &pack, q, &wk, &wv), &d_out)),
                "dq",
            );
            close(
                &dk,
                &differences(&k, &|k| along(&attend(shape, &pack, &wq, k, &wv), &d_out)),
                "dk",
            );
            close(
                &dv,
                &differences(&v, &|v| along(&attend(shape, &pack, &wq, &wk, v), &d_out)),
                "dv",
            );
        }
    }
}

#[test]
fn products_of_every_orientation() {
    let (m, k, n) = (5, 7, 9);
    let (a, b) = (values(m * k, 37), values(k * n, 71));
    let exact = |i: usize, j: usize| -> f64 {
        (0..k)
            .map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j]))
            .sum()
    };
    let turn = |x: &[f32], rows: usize, columns: usize| -> Vec<f32> {
        (0..columns * rows)
            .map(|i| x[i % rows * columns + i / rows])
            .collect()
    };
    let (at, bt) = (turn(&a, m, k), turn(&b, k, n));
    for left in [Matrix::rows(&a, k), Matrix::rows(&at, m).transposed()] {
        for right in [Matrix::rows(&b, n), Matrix::rows(&bt, k).transposed()] {
            let mut out = vec![1.0; m * (n + 2)];
            multiply(left, right, &mut out, n + 2, m, n, true);
            for i in 0..m {
                for j in 0..n {
                    assert!((f64::from(out[i * (n + 2) + j]) - 1.0 - exact(i, j)).abs() < 1e-5);
                }
                assert_eq!(out[i * (n + 2) + n..][..2], [1.0, 1.0]);
            }
        }
    }
    let part = Matrix::columns(&a, k, 2, 3);
    let mut out = vec![0.0; m * n];
    multiply(
        part,
        Matrix::rows(&b[2 * n..5 * n], n),
        &mut out,
        n,
        m,
        n,
        false,
    );
    let sum: f64 = (2..5)
        .map(|l| f64::from(a[4 * k + l]) * f64::from(b[l * n + 8]))
        .sum();
    assert!((f64::from(out[4 * n + 8]) - sum).abs() < 1e-5);
}
