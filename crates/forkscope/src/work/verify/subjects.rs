//! The subjects of a statement, where they can be found.

use std::collections::BTreeMap;

use forkscope_audit::attest::{Fault, Found, Part, Statement, check};
use serde_json::Value;

use super::{Job, Report};
use crate::failure::Failure;
use crate::work::attest::{self, DataPlace, Places, ROLES};

/// Compares the files of models and data.
pub fn check(job: &Job, statement: &Statement, report: &mut Report) -> Result<(), Failure> {
    let mut places: BTreeMap<&str, Places> = BTreeMap::new();
    let mut unknown = Vec::new();
    for (role, given) in ROLES.into_iter().zip(&job.models) {
        let prefix = format!("{role}/");
        let attested = statement
            .subject
            .iter()
            .any(|s| s.name.starts_with(&prefix));
        match (attested, given) {
            (false, Some(_)) => {
                let said = format!("the attestation has no {role} model, so --{role} says nothing");
                return Err(Failure::Usage(said));
            }
            (false, None) => {}
            (true, Some(spec)) => drop(places.insert(role, Places::of(spec)?)),
            (true, None) => match known(statement, role) {
                Some(found) => drop(places.insert(role, found)),
                None => unknown.push(format!("--{role}")),
            },
        }
    }
    let mut faults = Vec::new();
    let mut failed: Option<Failure> = None;
    let data = data(job, statement)?;
    let found = check::check_subjects(statement, &mut |subject| {
        let Some((role, name)) = subject.name.split_once('/') else {
            return Ok(data.clone());
        };
        Ok(match (role, places.get(role)) {
            ("data", _) => data.clone(),
            (_, None) => Found::Unknown,
            (_, Some(places)) => places.find(name).unwrap_or_else(|failure| {
                failed.get_or_insert(failure);
                Found::Unknown
            }),
        })
    })?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    faults.extend(found.faults);
    for (role, places) in &places {
        for name in places.names()? {
            let name = format!("{role}/{name}");
            if statement.subject(&name).is_none() {
                let said = "is not among the attested files, and a policy reads it";
                faults.push(Fault::new(Part::Subject, name, said));
            }
        }
    }
    if data == Found::Unknown && found.unknown.iter().any(|n| n.starts_with("data")) {
        unknown.push("--data".into());
    }
    if found.checked == 0 && faults.is_empty() {
        let said = format!("not checked: give {}", unknown.join(" and "));
        report.skip("subjects", &said);
        return Ok(());
    }
    let left = match unknown.is_empty() {
        true => String::new(),
        false => format!(
            "; {} not checked: give {}",
            found.unknown.len(),
            unknown.join(" and ")
        ),
    };
    report.check("subjects", faults, || {
        format!("{} files are those that were audited{left}", found.checked)
    });
    Ok(())
}

/// Where the run says that a model was, if files of it are there.
fn known(statement: &Statement, role: &str) -> Option<Places> {
    let places = Places::of(spec_of(statement, role)?).ok()?;
    let there = places.names().is_ok_and(|names| !names.is_empty());
    there.then_some(places)
}

/// What the run says that a model was.
pub fn spec_of<'s>(statement: &'s Statement, role: &str) -> Option<&'s str> {
    let spec = statement.run_text("settings", role)?;
    // A hub id is looked up only when the user says so: a check downloads nothing.
    let local = spec.starts_with("embedded:")
        || spec
            .split('+')
            .all(|part| std::path::Path::new(part).exists())
        || std::path::Path::new(spec).exists();
    local.then_some(spec)
}

fn data(job: &Job, statement: &Statement) -> Result<Found, Failure> {
    let settings = statement.predicate.run.get("settings");
    let place = settings.and_then(Value::as_object).and_then(DataPlace::of);
    // A hub file is looked up only when the user says so.
    let place = place.filter(|p| job.data.is_some() || !p.path.starts_with("hub:"));
    Ok(match attest::digest(place.as_ref(), job.data.as_deref())? {
        Some(sha256) => Found::Digest(sha256),
        None => Found::Unknown,
    })
}
