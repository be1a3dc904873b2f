//! `forkscope entropy`: entropy per position from what others recorded, and
//! which positions are forks (entropy above a threshold).

mod bounds;
mod forks;
mod print;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use forkscope_records::logprobs::{self, Layout, Reading, Recorded};

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;

use bounds::Bounds;
use forks::{Analysis, Place, Rule, Validity};

/// What `forkscope entropy` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Entropy per position from probability tables (JSON, JSON Lines, CSV) or from the \
        log-prob responses of vLLM and OpenAI-compatible servers.\n\n\
        A table row is a whole distribution and gives a number. A response lists the most probable \
        tokens only and gives an interval that holds whatever the unlisted ones are; a fork is \
        certain only if the whole interval lies above the threshold.",
    after_help = "Example:\n  echo '{\"first\": [0.5, 0.3, 0.2]}' | forkscope entropy /dev/stdin --unit bits"
)]
pub struct Arguments {
    /// Probability table or log-prob response(s)
    file: PathBuf,
    /// Unit of entropies and of --tau
    #[arg(long, value_enum, default_value_t = Unit::Nats)]
    unit: Unit,
    /// A fork has entropy above X, in the unit asked for [default: 1.2 nats]
    #[arg(long, value_name = "X", value_parser = parse_tau, conflicts_with = "quantile")]
    tau: Option<f64>,
    /// A fork has entropy above the Q-quantile of all positions: 0.8 for the upper fifth
    #[arg(long, value_name = "Q", value_parser = parse_quantile)]
    quantile: Option<f64>,
    /// Show the N positions of highest entropy only, highest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    top: Option<u64>,
    /// Size of the vocabulary: without it entropies from log-probs have no upper bound
    #[arg(long, value_name = "V", value_parser = clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))]
    vocab_size: Option<u64>,
    /// What the file holds
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// One JSON document instead of the table, positions in the order of the file
    #[arg(long)]
    json: bool,
}

/// Unit of entropy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Unit {
    /// Natural logarithm
    Nats,
    /// Logarithm to base 2
    Bits,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Bits => "bits",
        }
    }

    fn of_nats(self, nats: f64) -> f64 {
        match self {
            Self::Nats => nats,
            Self::Bits => nats / std::f64::consts::LN_2,
        }
    }
}

/// What the file holds, as users force it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// By extension and content
    Auto,
    /// Table: {"name": [p, ...]}, or a list of rows
    Json,
    /// Table: one row per line
    Jsonl,
    /// Table: name and probabilities per line
    Csv,
    /// vLLM's prompt_logprobs
    PromptLogprobs,
    /// choices[].logprobs with token_logprobs
    Completions,
    /// choices[].logprobs.content[]
    Chat,
}

impl Format {
    fn layout(self) -> Option<Layout> {
        match self {
            Self::Auto => None,
            Self::Json => Some(Layout::Json),
            Self::Jsonl => Some(Layout::Jsonl),
            Self::Csv => Some(Layout::Csv),
            Self::PromptLogprobs => Some(Layout::PromptLogprobs),
            Self::Completions => Some(Layout::Completions),
            Self::Chat => Some(Layout::Chat),
        }
    }
}

fn parse_tau(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(tau) if tau.is_finite() && tau >= 0.0 => Ok(tau),
        _ => Err("give a number of at least 0".to_owned()),
    }
}

fn parse_quantile(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(q) if (0.0..=1.0).contains(&q) => Ok(q),
        _ => Err("give a number from 0 to 1".to_owned()),
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments, _: &Settings) -> Outcome {
    let path = arguments.file.as_path();
    let recorded = logprobs::read(path, arguments.format.layout())?;
    let rule = match (arguments.tau, arguments.quantile) {
        (Some(tau), _) => Rule::Tau(tau),
        (None, Some(q)) => Rule::Quantile(q),
        (None, None) => Rule::Default,
    };
    let source = Source::of(&recorded);
    let places = places(path, recorded, arguments)?;
    let analysis = Analysis::new(places, rule, arguments.unit);
    if analysis.n == 0 {
        return Err(Failure::Input(format!(
            "{}: none of {} positions has usable log-probs ({}); check how they were recorded",
            path.display(),
            analysis.places.len(),
            analysis.invalid_by_reason()
        )));
    }
    let mut out = Output::open();
    if arguments.json {
        print::json(&analysis, &source, arguments, &mut out)?;
    } else {
        print::table(&analysis, &source, arguments, &mut out)?;
    }
    out.finish()
}

/// What was read, in words and for the record.
struct Source {
    layouts: Vec<&'static str>,
    /// Half-width of printed log-probs; `None` for whole distributions.
    rounding_nats: Option<f64>,
}

impl Source {
    fn of(recorded: &Recorded) -> Self {
        match recorded {
            Recorded::Table { layout, .. } => Self {
                layouts: vec![layout.name()],
                rounding_nats: None,
            },
            Recorded::Logprobs {
                layouts, rounding, ..
            } => {
                let layouts = layouts.iter().map(|l| l.name()).collect();
                Self {
                    layouts,
                    rounding_nats: Some(*rounding),
                }
            }
        }
    }
}

/// The positions of the file with their entropies in the unit asked for.
fn places(path: &Path, recorded: Recorded, arguments: &Arguments) -> Result<Vec<Place>, Failure> {
    let unit = arguments.unit;
    let vocab = arguments.vocab_size;
    let too_small = |at: &str, listed: usize| {
        Failure::Input(format!(
            "{}: {at} lists {listed} tokens, more than --vocab-size {}; give the size of the model's vocabulary",
            path.display(),
            vocab.unwrap_or(0)
        ))
    };
    let fits = |listed: usize| vocab.is_none_or(|v| listed as u64 <= v);
    match recorded {
        Recorded::Table { rows, .. } => rows
            .into_iter()
            .map(|row| match fits(row.probs.len()) {
                true => Ok(Place::certain(
                    row.name,
                    bounds::of_distribution(&row.probs).in_unit(unit),
                )),
                false => Err(too_small(&format!("row {:?}", row.name), row.probs.len())),
            })
            .collect(),
        Recorded::Logprobs {
            positions,
            rounding,
            ..
        } => positions
            .into_iter()
            .map(|position| {
                let mut place = Place::unknown(position.at, position.token);
                match position.reading {
                    Reading::Unusable(why) => place.validity = Validity::Unusable(why),
                    Reading::Usable(listed) => {
                        let tokens = listed.leading.len() + listed.beyond.len();
                        if !fits(tokens) {
                            return Err(too_small(&place.name, tokens));
                        }
                        place.take(&listed);
                        let nats: Bounds =
                            bounds::of_listed(&listed, rounding, vocab).map_err(|e| {
                                Failure::Input(format!("{}: {}: {e}", path.display(), place.name))
                            })?;
                        place.entropy = Some(nats.in_unit(unit));
                    }
                }
                Ok(place)
            })
            .collect(),
    }
}
