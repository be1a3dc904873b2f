//! What a verification says.

use std::path::Path;

use forkscope_audit::attest::{Attestation, Fault, Rechecked};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::Outcome;
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything is as attested.
    Passed,
    /// Something is not.
    Failed,
    /// It was not made; the detail says why.
    Skipped,
}

#[derive(Debug, Clone, Serialize)]
struct Check {
    check: &'static str,
    status: Status,
    detail: String,
}

/// The sample that was computed again.
#[derive(Debug, Clone, Serialize)]
pub struct RecheckReport {
    /// Share that was asked for.
    pub share: f64,
    /// Seed of the draw.
    pub seed: u64,
    /// Profile that the run was made under.
    pub recorded_numerics: String,
    /// Profile of this machine.
    pub numerics: String,
    /// Greatest difference that is allowed; 0 where bits are compared.
    pub tolerance: f64,
    /// What was computed again.
    pub tables: Vec<Rechecked>,
    /// Tables with rows that only the tool which made them can compute.
    pub not_computed: Vec<String>,
}

/// Everything that a verification found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    schema: &'static str,
    /// Whether nothing is wrong.
    ok: bool,
    attestation: String,
    run: String,
    signed: bool,
    keyid: Option<String>,
    root: Option<String>,
    checks: Vec<Check>,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recheck: Option<RecheckReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<Map<String, Value>>,
}

impl Report {
    /// Nothing checked yet.
    pub fn new(attestation: &Path, run: &Path) -> Self {
        Self {
            schema: "forkscope/verification/1",
            ok: true,
            attestation: attestation.display().to_string(),
            run: run.display().to_string(),
            signed: false,
            keyid: None,
            root: None,
            checks: Vec::new(),
            faults: Vec::new(),
            recheck: None,
            row: None,
        }
    }

    /// Says which attestation it is.
    pub fn describe(&mut self, attestation: &Attestation) {
        self.signed = attestation.signer.is_some();
        self.keyid = attestation.signer.as_ref().map(|key| key.id());
        self.root = Some(attestation.statement.predicate.merkle.root.clone());
    }

    /// A check was made; `detail` is for one that found nothing.
    pub fn check(
        &mut self,
        check: &'static str,
        faults: Vec<Fault>,
        detail: impl FnOnce() -> String,
    ) {
        let (status, detail) = match faults.len() {
            0 => (Status::Passed, detail()),
            1 => (Status::Failed, "1 thing is wrong".to_owned()),
            n => (Status::Failed, format!("{n} things are wrong")),
        };
        self.ok &= faults.is_empty();
        self.checks.push(Check {
            check,
            status,
            detail,
        });
        self.faults.extend(faults);
    }

    /// A check was not made.
    pub fn skip(&mut self, check: &'static str, why: &str) {
        self.checks.push(Check {
            check,
            status: Status::Skipped,
            detail: why.to_owned(),
        });
    }

    /// What was computed again.
    pub fn rechecked(&mut self, recheck: RecheckReport) {
        self.recheck = Some(recheck);
    }

    /// The values of a row that was proved.
    pub fn proved(&mut self, row: Map<String, Value>) {
        self.row = Some(row);
    }

    /// Writes everything to stdout.
    pub fn print(&self, json: bool) -> Outcome {
        let mut out = Output::open();
        if json {
            out.json(self)?;
            return out.finish();
        }
        for check in &self.checks {
            let status = match check.status {
                Status::Passed => "ok",
                Status::Failed => "FAILED",
                Status::Skipped => "-",
            };
            out.labelled(
                check.check,
                &format!("{status:<7} {}", sanitise(&check.detail)),
            )?;
        }
        if let Some(keyid) = &self.keyid {
            out.labelled("key id", keyid)?;
        }
        if let Some(root) = &self.root {
            out.labelled("root", root)?;
        }
        for (name, value) in self.row.iter().flatten() {
            out.line(&sanitise(&format!("  {name}: {value}")))?;
        }
        if !self.faults.is_empty() {
            out.line("")?;
        }
        for fault in &self.faults {
            let line = format!("{} {}: {}", fault.part.as_str(), fault.name, fault.problem);
            out.line(&sanitise(&line))?;
        }
        out.finish()
    }
}
