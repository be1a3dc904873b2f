//! A small attested run of a fixture pair, in a folder that vanishes.

use std::fs;
use std::path::{Path, PathBuf};

use forkscope_audit::attest::{
    Attestation, Fault, Found, PrivateKey, Statement, Subject, check, dsse,
};
use forkscope_audit::findings::{FindingInput, FindingSettings, ModelCost, Side, findings};
use forkscope_audit::{DiffSettings, diff_window, score_window};
use forkscope_policy::Policy;
use forkscope_records::digest::{digest_files, sha256_file};
use forkscope_records::types::{DiffRow, FinishReason, Rollout, Validity};
use forkscope_records::{Mode, RunDir, RunManifest, TokenPieces, write_findings};
use tempfile::TempDir;

pub type Fallible<T = ()> = Result<T, Box<dyn std::error::Error>>;

pub struct Attested {
    pub dir: TempDir,
    pub base: Policy,
    pub tuned: Policy,
}

/// A pair of fixtures with vocabularies of one size.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../forkscope-policy/tests/fixtures")
        .join(name)
}

fn copy(from: &Path, to: &Path) -> Fallible {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("golden") {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn rollout(problem: usize, sample: u32, vocab: usize) -> Rollout {
    let ids = (0..24).map(|i| ((problem * 37 + sample as usize * 11 + i * 7) % vocab) as u32);
    Rollout {
        problem_id: format!("problem-{problem}"),
        sample,
        token_ids: ids.collect(),
        prompt_len: 4,
        finish_reason: FinishReason::Eos,
        text: format!("text {problem} {sample}"),
        correct: Some((problem + sample as usize).is_multiple_of(2)),
        validity: Validity::Ok,
        logprobs: None,
    }
}

impl Attested {
    pub fn run(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// A run of six problems with two rollouts each, whose rows `change` may touch
    /// before they are written, under that numerics profile.
    pub fn new(
        numerics: &str,
        change: impl FnOnce(&mut [DiffRow], &mut [Rollout]),
    ) -> Fallible<Self> {
        let dir = tempfile::tempdir()?;
        let (model, adapter) = (dir.path().join("base"), dir.path().join("adapter"));
        copy(&fixture("models/llama-default"), &model)?;
        copy(&fixture("adapters/qv"), &adapter)?;
        let spec = format!("{}+{}", model.display(), adapter.display());
        let (base, tuned) = Policy::open_pair(&model.display().to_string(), &spec)?;
        let mut rollouts: Vec<Rollout> = (0..6)
            .flat_map(|p| (0..2).map(move |s| (p, s)))
            .map(|(p, s)| rollout(p, s, base.vocab_size()))
            .collect();
        for r in &mut rollouts {
            let rows = score_window(&tuned, &[r], 0)?;
            r.logprobs = Some(rows.iter().map(|row| row.logprob).collect());
        }
        let refs: Vec<&Rollout> = rollouts.iter().collect();
        let mut rows = diff_window(&base, &tuned, &refs, DiffSettings::default())?;
        change(&mut rows, &mut rollouts);
        let manifest = RunManifest::new("diff")
            .version("forkscope", env!("CARGO_PKG_VERSION"))
            .version("numerics", numerics)
            .seed("seed", 42)
            .setting("problems", "problems.jsonl")
            .setting("rollouts_by", "tuned")
            .setting("replicates", 40)
            .setting("class_topk", 5)
            .setting("kl_changed", 0.1);
        let attested = Self { dir, base, tuned };
        let mut run = RunDir::open(attested.run(), manifest, Mode::Fresh)?
            .to_write()
            .ok_or("a new run")?;
        let mut table = run.table::<Rollout>("rollouts", 4)?;
        table.append_all(rollouts.iter().cloned())?;
        table.finish()?;
        let mut table = run.table::<DiffRow>("tokens", 64)?;
        table.append_all(rows.iter().cloned())?;
        table.finish()?;
        let pieces: TokenPieces = (0..9).map(|id| (id, format!("piece {id}"))).collect();
        pieces.write(&run)?;
        let settings = FindingSettings {
            replicates: 40,
            ..FindingSettings::default()
        };
        let cost = |policy: &Policy| {
            Some(ModelCost {
                flops_per_token: policy.flops_per_token(),
                attention_flops_per_token_per_context: policy.attention_flops(),
            })
        };
        let found = findings(
            &FindingInput {
                rows: &rows,
                rollouts: &rollouts,
                rollouts_by: Some(Side::Tuned),
                other_rollouts: None,
                base_cost: cost(&attested.base),
                tuned_cost: cost(&attested.tuned),
                pieces: &|id| pieces.get(id).map(str::to_owned),
            },
            &settings,
        )?;
        write_findings(&run, &found)?;
        run.write_atomic("report.html", b"<!doctype html><p>a report</p>\n")?;
        run.note("positions", rows.len());
        run.complete()?;
        Ok(attested)
    }

    /// The model files under their subjects' names.
    pub fn subjects(&self) -> Fallible<Vec<(Subject, PathBuf)>> {
        let mut subjects = Vec::new();
        for (folder, prefix) in [("base", "base/"), ("adapter", "tuned/adapter/")] {
            let folder = self.dir.path().join(folder);
            for file in digest_files(&folder)? {
                let subject = Subject::new(format!("{prefix}{}", file.path), file.sha256);
                subjects.push((subject, folder.join(file.path)));
            }
        }
        Ok(subjects)
    }

    pub fn statement(&self) -> Fallible<Statement> {
        let json = forkscope_records::read_run_json(&self.run())?;
        let subjects = self.subjects()?.into_iter().map(|(s, _)| s).collect();
        Ok(Statement::of_run(&self.run(), &json, subjects, false)?)
    }

    /// Writes `attestation.json`, signed with the key of that seed.
    pub fn sign(&self, seed: u8) -> Fallible<PathBuf> {
        let key = PrivateKey::from_seed(&[seed; 32]);
        let path = self.run().join("attestation.json");
        fs::write(&path, dsse::seal(&self.statement()?.to_bytes()?, &key))?;
        Ok(path)
    }

    /// Everything that is wrong, the refusal of the attestation itself included.
    pub fn faults(&self) -> Fallible<Vec<Fault>> {
        let bytes = fs::read(self.run().join("attestation.json"))?;
        let attestation = match check::read(&bytes) {
            Ok(attestation) => attestation,
            Err((part, refusal)) => {
                return Ok(vec![Fault::new(
                    part,
                    "attestation.json",
                    format!("{refusal:?}"),
                )]);
            }
        };
        self.faults_of(&attestation)
    }

    pub fn faults_of(&self, attestation: &Attestation) -> Fallible<Vec<Fault>> {
        let mut faults = check::check_statement(&attestation.statement);
        faults.extend(check::check_run(&self.run(), attestation)?);
        let places = self.subjects()?;
        let subjects = check::check_subjects(&attestation.statement, &mut |subject| {
            let place = places.iter().find(|(s, _)| s.name == subject.name);
            Ok(match place {
                Some((_, path)) => Found::Digest(sha256_file(path)?),
                None => Found::Missing,
            })
        })?;
        faults.extend(subjects.faults);
        Ok(faults)
    }
}
