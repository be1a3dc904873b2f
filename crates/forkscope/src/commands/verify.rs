//! `forkscope verify`: whether an attestation, and all that it is about, is as it was.

use std::path::{Path, PathBuf};

use clap::Args;
use forkscope_audit::attest::PublicKey;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::work::verify::{self, Draw, Job};

/// What `forkscope verify` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Checks an attestation against what it is about: the envelope and its signature, every \
        file of the run beside it, the Merkle root over the rows, the findings (compared, and where \
        that needs no model computed again from the rows), and the model files where they are given \
        or where the run says. Lists everything that is wrong; exit 4 if anything is.\n\n\
        Without --public-key it is not checked who signed. With --recheck a random sample of \
        rollouts is computed again from the weights.",
    after_help = "Example:\n  forkscope diff --base embedded:base --tuned embedded:reasoner \\\n    --problems embedded:problems --limit 2 -n 2 --out pair\n  \
        forkscope attest pair\n  forkscope verify pair/statement.json --recheck 50%"
)]
pub struct Arguments {
    /// attestation.json or statement.json, or the run that it is in
    #[arg(value_name = "ATTESTATION")]
    attestation: PathBuf,
    /// The signer's public key (ed25519, SPKI PEM); without it the signer is not checked
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Share of the rollouts to compute again from the weights, e.g. 1% or 0.05, or all
    #[arg(long, value_name = "SHARE", value_parser = share)]
    recheck: Option<f64>,
    /// Seed of that sample [default: random, and printed]
    #[arg(long, value_name = "S", requires = "recheck")]
    recheck_seed: Option<u64>,
    /// Check the proof of one row (`attest --prove`) instead of the run, which is not needed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recheck", "run", "base", "tuned", "model", "data"])]
    proof: Option<PathBuf>,
    /// The run, if the attestation is elsewhere
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
    /// Where the base model is, if not where the run says
    #[arg(long, value_name = "B")]
    base: Option<String>,
    /// Where the tuned model is, if not where the run says
    #[arg(long, value_name = "T")]
    tuned: Option<String>,
    /// Where the model of a run with one model is, if not where the run says
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Where the problems or rollouts are, if not where the run says
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// One JSON document on stdout instead of lines
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let attestation = match a.attestation.is_dir() {
        true => ["attestation.json", "statement.json"]
            .iter()
            .map(|name| a.attestation.join(name))
            .find(|path| path.exists())
            .ok_or_else(|| {
                Failure::Input(format!(
                    "{} has neither attestation.json nor statement.json; make one with `forkscope attest`",
                    a.attestation.display()
                ))
            })?,
        false => a.attestation.clone(),
    };
    let beside = attestation.parent().unwrap_or(Path::new("")).to_owned();
    let job = Job {
        run: match &a.run {
            Some(run) => run.clone(),
            None if beside.as_os_str().is_empty() => PathBuf::from("."),
            None => beside,
        },
        attestation,
        trusted: a.public_key.as_deref().map(PublicKey::read).transpose()?,
        models: [a.base.clone(), a.tuned.clone(), a.model.clone()],
        data: a.data.clone(),
        proof: a.proof.clone(),
        recheck: a
            .recheck
            .map(|share| draw(share, a.recheck_seed))
            .transpose()?,
    };
    let report = verify::run(&job, settings)?;
    report.print(a.json)?;
    match report.faults.len() {
        0 => Ok(()),
        1 => Err(Failure::Gate(
            "the attestation does not hold: 1 thing is wrong".into(),
        )),
        n => Err(Failure::Gate(format!(
            "the attestation does not hold: {n} things are wrong"
        ))),
    }
}

/// A seed that the signer could not have known.
fn draw(share: f64, seed: Option<u64>) -> Result<Draw, Failure> {
    let random = || {
        let mut bytes = [0u8; 8];
        getrandom::fill(&mut bytes)
            .map_err(|e| Failure::Internal(format!("the system gives no random bytes: {e}")))?;
        // A JSON number keeps 53 bits everywhere.
        Ok::<u64, Failure>(u64::from_le_bytes(bytes) >> 11)
    };
    let seed = seed.map_or_else(random, Ok)?;
    Ok(Draw { share, seed })
}

/// A share in (0, 1]: `1%`, `0.01`, `all`.
fn share(text: &str) -> Result<f64, String> {
    if text == "all" {
        return Ok(1.0);
    }
    let number = |digits: &str| digits.trim().parse::<f64>().ok();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|p| p / 100.0),
        None => number(text),
    };
    share
        .filter(|s| *s > 0.0 && *s <= 1.0)
        .ok_or_else(|| "is no share above 0 and up to 1, e.g. 1% or 0.05 or all".to_owned())
}
