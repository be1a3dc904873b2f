//! One rollout of a `diff` run as a token heat-map in SVG, the README's picture.
//!
//! `cargo run --release --example heatmap_svg -- RUN PROBLEM_ID SAMPLE > docs/heatmap.svg`
//!
//! The fill of a token is KL(tuned || base) at its position, nats, on a square-
//! root scale that is full at 2; where the two argmaxes differ, both stand
//! below, the base's first. Every number is read from `tokens.parquet`.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use forkscope_records::types::DiffRow;
use forkscope_records::{TokenPieces, read_table};

const WIDTH: f64 = 880.0;
const MARGIN: f64 = 16.0;
const CHARACTER: f64 = 8.6;
const LINE: f64 = 46.0;
const FULL_NATS: f64 = 2.0;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [run, problem, sample] = words.as_slice() else {
        return Err("give RUN PROBLEM_ID SAMPLE".into());
    };
    let run = Path::new(run);
    let sample: u32 = sample.parse()?;
    let pieces = TokenPieces::read(run)?;
    let rows: Vec<DiffRow> = read_table::<DiffRow>(&run.join("tokens.parquet"))?
        .into_iter()
        .filter(|row| row.problem_id == *problem && row.sample == sample)
        .collect();
    if rows.is_empty() {
        return Err(format!("the run has no rollout {problem} / {sample}").into());
    }
    print!("{}", picture(&rows, &pieces));
    Ok(())
}

fn picture(rows: &[DiffRow], pieces: &TokenPieces) -> String {
    let (mut body, mut x, mut y) = (String::new(), MARGIN, MARGIN);
    for row in rows {
        let text = shown(pieces, row.token_id);
        let below = (row.argmax_base_id != row.argmax_tuned_id).then(|| {
            let [base, tuned] =
                [row.argmax_base_id, row.argmax_tuned_id].map(|id| shown(pieces, id));
            format!("{base}\u{2192}{tuned}")
        });
        let wide = below
            .as_ref()
            .map_or(0.0, |b| 0.8 * CHARACTER * b.chars().count() as f64);
        let width = (CHARACTER * text.chars().count() as f64).max(wide) + 12.0;
        if x + width > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + LINE);
        }
        cell(&mut body, x, y, width, row, &text, below.as_deref());
        x += width + 3.0;
    }
    let height = y + LINE + 34.0;
    let scale = legend(height - 26.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>\n{body}{scale}</svg>\n"
    )
}

fn cell(
    out: &mut String,
    x: f64,
    y: f64,
    width: f64,
    row: &DiffRow,
    text: &str,
    below: Option<&str>,
) {
    let kl = row.kl_tuned_base_nats.unwrap_or(f64::INFINITY);
    let middle = x + width / 2.0;
    let ink = if strength(kl) > 0.55 {
        "#ffffff"
    } else {
        "#1a1a1a"
    };
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<g><title>t {}: KL {kl:.3} nats, base entropy {:.3}, tuned entropy {:.3}</title>\
         <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"24\" rx=\"4\" fill=\"{}\"/>\
         <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{ink}\">{}</text>",
        row.t,
        row.entropy_base_nats,
        row.entropy_tuned_nats,
        colour(kl),
        y + 17.0,
        escaped(text),
    );
    if let Some(below) = below {
        let _ = write!(
            out,
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\" fill=\"#8a4b08\">{}</text>",
            y + 37.0,
            escaped(below)
        );
    }
    out.push_str("</g>\n");
}

/// The scale and what the small words mean.
fn legend(y: f64) -> String {
    let mut out = String::new();
    let mut x = MARGIN;
    for nats in [0.0, 0.01, 0.1, 0.5, 1.0, 2.0] {
        let _ = write!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"16\" height=\"14\" rx=\"3\" fill=\"{}\" stroke=\"#cccccc\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" fill=\"#444444\">{nats}</text>",
            colour(nats),
            x + 21.0,
            y + 11.0
        );
        x += 58.0;
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" fill=\"#444444\">KL(tuned \u{2016} base), nats; \
         <tspan fill=\"#8a4b08\">below: first choice of base\u{2192}tuned, where they differ</tspan></text>",
        x + 6.0,
        y + 11.0
    );
    out
}

/// 0 to 1 on the square-root scale.
fn strength(nats: f64) -> f64 {
    (nats / FULL_NATS).sqrt().min(1.0)
}

/// From near white to dark blue.
fn colour(nats: f64) -> String {
    let mix = |from: f64, to: f64| (from + (to - from) * strength(nats)).round() as u8;
    format!(
        "#{:02x}{:02x}{:02x}",
        mix(243.0, 8.0),
        mix(246.0, 48.0),
        mix(250.0, 107.0)
    )
}

/// A token's text without what cannot be seen.
fn shown(pieces: &TokenPieces, id: u32) -> String {
    let piece = pieces.get(id).unwrap_or("?");
    piece.trim().chars().filter(|c| !c.is_control()).collect()
}

/// Text for XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
