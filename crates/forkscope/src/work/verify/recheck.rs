//! A random sample computed again from the weights.

use forkscope_audit::attest::{
    Comparison, Fault, Part, Rechecked, Statement, TOLERANCE, recheck_logprobs, recheck_pair,
    recheck_scores,
};
use forkscope_policy::numerics;
use forkscope_records::table::TableReader;
use forkscope_records::types::{DiffRow, Rollout, ScoreRow};
use serde_json::Value;

use super::report::RecheckReport;
use super::{Draw, Job, Report, same_profile, subjects};
use crate::cli::Settings;
use crate::failure::Failure;
use crate::terminal::progress::Progress;
use crate::work::attest::ROLES;
use crate::work::models::{self, Named};

const CHECK: &str = "recheck";

/// Makes the check, if it was asked for.
pub fn check(
    job: &Job,
    statement: &Statement,
    whole: bool,
    settings: &Settings,
    report: &mut Report,
) -> Result<(), Failure> {
    let Some(draw) = job.recheck else {
        report.skip(CHECK, "not asked for (--recheck 1%)");
        return Ok(());
    };
    if !whole || report.faults.iter().any(|f| f.part == Part::Subject) {
        report.skip(CHECK, "not made: what would be compared is not as attested");
        return Ok(());
    }
    let (recorded, same) = same_profile(statement);
    let how = match same {
        true => Comparison::Bits,
        false => Comparison::Tolerance,
    };
    let models = open(job, statement)?;
    let (done, mut faults) = tables(job, statement, &models, how, draw, settings)?;
    let tables = &statement.predicate.merkle.tables;
    let not_computed: Vec<String> = tables
        .iter()
        .map(|t| t.name.clone())
        .filter(|name| !done.iter().any(|d| &d.table == name) && name != "rollouts.parquet")
        .collect();
    for name in done.iter().flat_map(|d| d.faults.clone()) {
        faults.push(name);
    }
    if done.is_empty() && faults.is_empty() {
        report.skip(
            CHECK,
            "not made: the run has no rows that weights give again",
        );
        return Ok(());
    }
    let rows: u64 = done.iter().map(|d| d.rows).sum();
    let drawn = done.iter().map(|d| d.drawn).max().unwrap_or(0);
    let worst = done
        .iter()
        .map(|d| d.greatest_difference)
        .fold(0.0, f64::max);
    report.check(CHECK, faults, || {
        let compared = match how {
            Comparison::Bits => "bit for bit (the numerics profile is this machine's)".to_owned(),
            Comparison::Tolerance => format!(
                "within {TOLERANCE} (greatest difference {worst:.1e}); bits are not compared, for the numerics profile is another one: {recorded}; here {}",
                numerics::profile()
            ),
        };
        let left = match not_computed.is_empty() {
            true => String::new(),
            false => format!("; not computed again: {}", not_computed.join(", ")),
        };
        format!(
            "{rows} rows of {drawn} rollouts (seed {}) computed again: the same {compared}{left}",
            draw.seed
        )
    });
    report.rechecked(RecheckReport {
        share: draw.share,
        seed: draw.seed,
        recorded_numerics: recorded,
        numerics: numerics::profile().to_owned(),
        tolerance: if same { 0.0 } else { TOLERANCE },
        tables: done,
        not_computed,
    });
    Ok(())
}

/// The models of the run that can be found: base, tuned, model.
fn open(job: &Job, statement: &Statement) -> Result<[Option<Named>; 3], Failure> {
    let spec = |i: usize| {
        let given = job.models.get(i).cloned().flatten();
        let role = ROLES.get(i).copied().unwrap_or_default();
        given.or_else(|| subjects::spec_of(statement, role).map(str::to_owned))
    };
    let mut found = match (spec(0), spec(1)) {
        (Some(base), Some(tuned)) => {
            let (base, tuned) = models::open_pair(&base, &tuned)?;
            [Some(base), Some(tuned), None]
        }
        (base, tuned) => [
            base.map(|s| models::open(&s)).transpose()?,
            tuned.map(|s| models::open(&s)).transpose()?,
            None,
        ],
    };
    if let (Some(slot), Some(spec)) = (found.get_mut(2), spec(2)) {
        *slot = Some(models::open(&spec)?);
    }
    for (role, named) in ROLES.iter().zip(&found) {
        let digests = statement.predicate.run.get("digests");
        let recorded = digests.and_then(|d| d.get(role)?.as_str());
        if recorded.is_some() && named.is_none() {
            return Err(Failure::Usage(format!(
                "--recheck computes from the weights, and the {role} model is not where the run says; give --{role}"
            )));
        }
    }
    Ok(found)
}

/// Whatever of the run the models give again.
fn tables(
    job: &Job,
    statement: &Statement,
    [base, tuned, model]: &[Option<Named>; 3],
    how: Comparison,
    draw: Draw,
    settings: &Settings,
) -> Result<(Vec<Rechecked>, Vec<Fault>), Failure> {
    let mut faults = Vec::new();
    for (role, named) in ROLES.iter().zip([base, tuned, model]) {
        let digests = statement.predicate.run.get("digests");
        let recorded = digests.and_then(|d| d.get(role)?.as_str());
        if let (Some(named), Some(recorded)) = (named, recorded)
            && named.digest()? != recorded
        {
            let said = "is not the model that run.json records";
            faults.push(Fault::new(Part::Subject, *role, said));
        }
    }
    if !faults.is_empty() {
        return Ok((Vec::new(), faults));
    }
    let progress = Progress::new(3, "tables computed again", settings);
    let tokens = job.run.join("tokens.parquet");
    let mut done = Vec::new();
    match (base, tuned, model) {
        (Some(base), Some(tuned), _) if TableReader::<DiffRow>::open(&tokens).is_ok() => {
            let class_k = setting(statement, "class_topk").and_then(Value::as_u64);
            let class_k = class_k.and_then(|k| u32::try_from(k).ok()).unwrap_or(5);
            done.push(recheck_pair(
                &job.run,
                &base.policy,
                &tuned.policy,
                class_k,
                how,
                draw,
            )?);
        }
        (.., Some(model)) if TableReader::<ScoreRow>::open(&tokens).is_ok() => {
            done.push(recheck_scores(&job.run, &model.policy, how, draw)?);
        }
        _ => {}
    }
    progress.inc(1);
    for (table, policy) in sampled(statement, base, tuned, model) {
        let path = job.run.join(table);
        let recorded = |r: &Rollout| r.logprobs.is_some();
        let has = TableReader::<Rollout>::open(&path)
            .is_ok_and(|mut batches| batches.any(|b| b.is_ok_and(|b| b.iter().any(recorded))));
        if has {
            done.push(recheck_logprobs(
                &job.run,
                table,
                &policy.policy,
                how,
                draw,
            )?);
        }
        progress.inc(1);
    }
    progress.finish();
    Ok((done, faults))
}

fn setting<'s>(statement: &'s Statement, name: &str) -> Option<&'s Value> {
    statement.predicate.run.get("settings")?.get(name)
}

/// Tables of rollouts that the run sampled itself, and from whom.
fn sampled<'n>(
    statement: &Statement,
    base: &'n Option<Named>,
    tuned: &'n Option<Named>,
    model: &'n Option<Named>,
) -> Vec<(&'static str, &'n Named)> {
    if setting(statement, "problems").is_none_or(Value::is_null) {
        return Vec::new();
    }
    let by = setting(statement, "rollouts_by").and_then(Value::as_str);
    // An audit's rollouts are the tuned policy's, and then the base's.
    let audit = statement
        .predicate
        .run
        .get("command")
        .is_some_and(|c| c == "audit");
    let by = by.or(audit.then_some("tuned"));
    let (first, other) = match by {
        Some("base") => (base, tuned),
        Some("tuned") => (tuned, base),
        _ => (model, &None),
    };
    [
        ("rollouts.parquet", first),
        ("rollouts_other.parquet", other),
        ("rollouts_greedy.parquet", model),
    ]
    .into_iter()
    .filter_map(|(table, named)| Some((table, named.as_ref()?)))
    .collect()
}
