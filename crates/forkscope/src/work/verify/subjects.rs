//! The subjects of a statement, where they can be found.

use std::collections::BTreeMap;
use std::path::Path;

use forkscope_audit::attest::{Fault, Found, Part, Statement, check};
use serde_json::Value;

use super::{Job, Report};
use crate::failure::Failure;
use crate::work::attest::{Input, Places, ROLES};

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
    let inputs = inputs(statement);
    let found = check::check_subjects(statement, &mut |subject| {
        let (role, name) = subject.name.split_once('/').unwrap_or((&subject.name, ""));
        let found = match (places.get(role), inputs.iter().find(|i| i.role == role)) {
            (Some(places), _) => places.find(name),
            (None, Some(input)) => input.find(given(job, role)),
            (None, None) => Ok(Found::Unknown),
        };
        Ok(found.unwrap_or_else(|failure| {
            failed.get_or_insert(failure);
            Found::Unknown
        }))
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
    if found
        .unknown
        .iter()
        .any(|n| n == "data" || n.starts_with("data/"))
    {
        unknown.push("--data".into());
    }
    if found.checked == 0 && faults.is_empty() {
        let said = format!("not checked: give {}", unknown.join(" and "));
        report.skip("subjects", &said);
        return Ok(());
    }
    let mut roles: Vec<&str> = found.unknown.iter().map(|name| role(name)).collect();
    roles.dedup();
    let give = match unknown.is_empty() {
        true => String::new(),
        false => format!(": give {}", unknown.join(" and ")),
    };
    let left = match roles.is_empty() {
        true => String::new(),
        false => format!("; {} not found, so not checked{give}", roles.join(" and ")),
    };
    report.check("subjects", faults, || {
        format!("{} files are those that were audited{left}", found.checked)
    });
    Ok(())
}

/// What stands before the first `/` of a subject's name.
fn role(name: &str) -> &str {
    name.split_once('/').map_or(name, |(role, _)| role)
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

/// The inputs that the attested run records.
fn inputs(statement: &Statement) -> Vec<Input> {
    let map = |name: &str| statement.predicate.run.get(name).and_then(Value::as_object);
    match (map("digests"), map("settings")) {
        (Some(digests), Some(settings)) => Input::all(digests, settings),
        _ => Vec::new(),
    }
}

/// Where the user says that an input is.
fn given<'j>(job: &'j Job, role: &str) -> Option<&'j Path> {
    job.data.as_deref().filter(|_| role == "data")
}
