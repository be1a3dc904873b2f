//! Whatever byte is changed, it is seen and named.

use std::fs;
use std::path::PathBuf;

use forkscope_audit::attest::{Part, PrivateKey, Proof, Refusal, Statement, check, dsse, refind};
use forkscope_metrics::rng::Key;
use serde_json::Value;

use super::run::{Attested, Fallible};

fn text(faults: &[forkscope_audit::attest::Fault]) -> String {
    faults
        .iter()
        .map(|f| format!("{} {}: {}\n", f.part.as_str(), f.name, f.problem))
        .collect()
}

#[test]
fn one_thousand_single_byte_corruptions_are_caught_and_named() -> Fallible {
    let attested = Attested::new("any", |_, _| {})?;
    attested.sign(7)?;
    assert_eq!(text(&attested.faults()?), "");
    let run = |name: &str| attested.run().join(name);
    let mut targets: Vec<(String, PathBuf)> = attested
        .subjects()?
        .into_iter()
        .map(|(subject, path)| (subject.name, path))
        .collect();
    for name in [
        "attestation.json",
        "rollouts.parquet",
        "tokens.parquet",
        "findings.json",
        "report.html",
        "token_pieces.json",
        "run.json",
    ] {
        targets.push((name.to_owned(), run(name)));
    }
    let key = Key::new(20_261_121, "corruption", 0, "test");
    let mut caught = std::collections::BTreeMap::<&str, u32>::new();
    for i in 0..1000u64 {
        let mut draws = key.rng_at(i);
        let mut pick = |n: usize| (draws.next_u64() % n as u64) as usize;
        let (name, path) = &targets[i as usize % targets.len()];
        let whole = fs::read(path)?;
        // The times of a run may differ between equal runs: they are not attested.
        let end = match name.as_str() {
            "run.json" => String::from_utf8(whole.clone())?
                .find("\"timing\"")
                .ok_or("times")?,
            _ => whole.len(),
        };
        let (at, flip) = (pick(end), 1 + pick(255) as u8);
        let mut changed = whole.clone();
        changed[at] ^= flip;
        fs::write(path, &changed)?;
        let faults = attested.faults()?;
        let said = text(&faults);
        assert!(
            said.contains(name.as_str()),
            "{name} byte {at} ^ {flip:#x}: {said:?}"
        );
        *caught.entry(name).or_default() += 1;
        fs::write(path, whole)?;
    }
    assert_eq!(caught.values().sum::<u32>(), 1000);
    assert_eq!(text(&attested.faults()?), "");
    Ok(())
}

#[test]
fn every_bit_of_the_envelope_matters() -> Fallible {
    let attested = Attested::new("any", |_, _| {})?;
    let path = attested.sign(7)?;
    let whole = fs::read(&path)?;
    let key = Key::new(3, "bits", 0, "test");
    let last = whole.len() - 1;
    // The head, the tail with key and signature, and some of the payload between.
    let between = (0..100).map(|i| (key.uniform(i) * whole.len() as f64) as usize);
    for at in (0..30).chain(last - 330..=last).chain(between) {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (key.uniform(at as u64 + 1000) * 8.0) as u8;
        assert!(check::read(&changed).is_err(), "byte {at}");
    }
    for cut in [0, 1, whole.len() / 2, last] {
        assert!(check::read(&whole[..cut]).is_err());
    }
    Ok(())
}

#[test]
fn missing_added_and_changed_things_are_named() -> Fallible {
    let attested = Attested::new("any", |_, _| {})?;
    attested.sign(7)?;
    let run = attested.run();
    let said = |change: &dyn Fn() -> Fallible, undo: &dyn Fn() -> Fallible| -> Fallible<String> {
        change()?;
        let said = text(&attested.faults()?);
        undo()?;
        Ok(said)
    };
    let rows = fs::read(run.join("tokens.parquet"))?;
    let findings = fs::read_to_string(run.join("findings.json"))?;
    let json = fs::read_to_string(run.join("run.json"))?;
    let write = |name: &str, bytes: &[u8]| -> Fallible { Ok(fs::write(run.join(name), bytes)?) };

    let missing = said(
        &|| Ok(fs::remove_file(run.join("tokens.parquet"))?),
        &|| write("tokens.parquet", &rows),
    )?;
    assert_eq!(missing, "file tokens.parquet: is missing\n");
    let added = said(&|| write("extra.txt", b"x"), &|| {
        Ok(fs::remove_file(run.join("extra.txt"))?)
    })?;
    assert_eq!(added, "file extra.txt: is not among the attested files\n");
    let setting = said(
        &|| {
            write(
                "run.json",
                json.replace("\"kl_changed\": 0.1", "\"kl_changed\": 0.2")
                    .as_bytes(),
            )
        },
        &|| write("run.json", json.as_bytes()),
    )?;
    assert_eq!(
        setting,
        "settings run.json settings.kl_changed: is 0.2 where 0.1 was attested\n"
    );
    let spelling = said(
        &|| write("run.json", json.replacen(' ', "  ", 1).as_bytes()),
        &|| write("run.json", json.as_bytes()),
    )?;
    assert_eq!(
        spelling,
        "file run.json: is not spelled as it was written\n"
    );
    let times = said(
        &|| {
            write(
                "run.json",
                json.replace("\"started\": \"20", "\"started\": \"19")
                    .as_bytes(),
            )
        },
        &|| write("run.json", json.as_bytes()),
    )?;
    assert_eq!(times, "", "times are not attested");
    let finding = said(
        &|| {
            write(
                "findings.json",
                findings.replacen("\"n\": 240", "\"n\": 241", 1).as_bytes(),
            )
        },
        &|| write("findings.json", findings.as_bytes()),
    )?;
    assert!(finding.contains("findings share."), "{finding}");
    #[cfg(unix)]
    {
        let link = said(
            &|| {
                fs::rename(
                    run.join("report.html"),
                    attested.dir.path().join("elsewhere"),
                )?;
                let elsewhere = attested.dir.path().join("elsewhere");
                Ok(std::os::unix::fs::symlink(
                    elsewhere,
                    run.join("report.html"),
                )?)
            },
            &|| {
                Ok(fs::rename(
                    attested.dir.path().join("elsewhere"),
                    run.join("report.html"),
                )?)
            },
        )?;
        assert!(link.contains("report.html: is no plain file"), "{link}");
    }
    assert_eq!(text(&attested.faults()?), "");
    Ok(())
}

/// Somebody changes rows, and digests and findings with them, and keeps the signature
/// off: the root still says which rows.
#[test]
fn changed_rows_are_named_by_range_even_if_the_digests_fit() -> Fallible {
    let honest = Attested::new("any", |_, _| {})?.statement()?;
    let attested = Attested::new("any", |rows, _| rows[100].js_nats += 1e-9)?;
    let mut statement = attested.statement()?;
    statement.predicate.merkle = honest.predicate.merkle;
    let key = PrivateKey::from_seed(&[7; 32]);
    let bytes = dsse::seal(&statement.to_bytes()?, &key);
    let attestation = check::read(&bytes).map_err(|e| format!("{e:?}"))?;
    let said = text(&attested.faults_of(&attestation)?);
    assert_eq!(said, "rows tokens.parquet: differs within rows 0 to 239\n");
    Ok(())
}

/// A row that is shown without the run.
#[test]
fn single_rows_are_proved() -> Fallible {
    let attested = Attested::new("any", |_, _| {})?;
    let statement = attested.statement()?;
    for row in [0, 1, 127, 128, 239] {
        let proof = Proof::of(&attested.run(), "tokens.parquet", row)?;
        let values = proof.check(&statement)?;
        assert_eq!(values["problem_id"], format!("problem-{}", row / 40));
        assert_eq!(values["t"], 4 + row % 20);
        assert!(
            values["topk_base_ids"]
                .as_array()
                .is_some_and(|ids| ids.len() == 5)
        );
        let mut at = proof.clone();
        at.row ^= 1;
        let mut other = proof.clone();
        other
            .leaf
            .replace_range(20..21, if &proof.leaf[20..21] == "0" { "1" } else { "0" });
        let mut table = proof.clone();
        table.table = "rollouts.parquet".into();
        let mut shorter = proof.clone();
        shorter.path.pop();
        let mut schema = proof.clone();
        schema.schema = "forkscope/proof/2".into();
        let mut odd = proof;
        odd.leaf.push('\u{e9}');
        for forged in [at, other, table, shorter, schema, odd] {
            assert!(forged.check(&statement).is_err(), "{forged:?}");
        }
    }
    let beyond = Proof::of(&attested.run(), "tokens.parquet", 240);
    assert!(
        beyond
            .err()
            .is_some_and(|e| e.to_string().contains("there is no row 240"))
    );
    Ok(())
}

/// A signed statement whose findings are not those of its rows.
#[test]
fn findings_that_the_rows_do_not_give_are_found() -> Fallible {
    let attested = Attested::new("any", |_, _| {})?;
    let statement = attested.statement()?;
    let refound = refind(&attested.run(), &statement.predicate.run, true)?;
    assert_eq!((text(&refound.faults).as_str(), refound.left), ("", 0));
    assert!(refound.compared > 50, "{}", refound.compared);
    let path = attested.run().join("findings.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let list = json["findings"].as_array_mut().ok_or("findings")?;
    let id = list[0]["id"].as_str().ok_or("an id")?.to_owned();
    list[0]["value"] = 0.123.into();
    fs::write(&path, serde_json::to_vec(&json)?)?;
    let refound = refind(&attested.run(), &statement.predicate.run, true)?;
    let said = text(&refound.faults);
    assert!(said.contains(&id) && said.contains("0.123"), "{said}");
    Ok(())
}

#[test]
fn other_versions_are_refused_by_name() -> Fallible {
    let attested = Attested::new("any", |_, _| {})?;
    let good = String::from_utf8(attested.statement()?.to_bytes()?)?;
    let key = PrivateKey::from_seed(&[7; 32]);
    for (from, to) in [
        ("forkscope/attestation/1", "forkscope/attestation/2"),
        (
            "urn:forkscope:attestation:1",
            "https://slsa.dev/provenance/v1",
        ),
        (
            "https://in-toto.io/Statement/v1",
            "https://in-toto.io/Statement/v0.1",
        ),
    ] {
        // Sorted keys stay sorted: only values change.
        let other = good.replace(from, to);
        let sealed = dsse::seal(other.as_bytes(), &key);
        for bytes in [other.as_bytes(), &sealed] {
            match check::read(bytes) {
                Err((Part::Statement, Refusal::Version(said))) => {
                    assert!(said.contains(to) && said.contains(from), "{said}");
                }
                other => return Err(format!("{other:?}").into()),
            }
        }
    }
    // The schema of rows is named by the tree.
    let mut statement = attested.statement()?;
    statement.predicate.merkle.encoding = "forkscope/rows/2".into();
    let said = text(&check::check_statement(&statement));
    assert!(said.contains("forkscope/rows/2"), "{said}");
    Ok(())
}

#[test]
fn hostile_statements_are_refused() -> Fallible {
    let attested = Attested::new("any", |_, _| {})?;
    let good = attested.statement()?;
    let bytes = String::from_utf8(good.to_bytes()?)?;
    let read = Statement::parse(bytes.as_bytes()).map_err(|e| format!("{e:?}"))?;
    assert!(
        read.to_bytes()? == bytes.as_bytes(),
        "a statement reads as written"
    );
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for hostile in [
        String::new(),
        "null".into(),
        "[]".into(),
        deep,
        bytes.replacen("\"subject\":[", "\"subject\":{}, \"x\":[", 1),
        bytes.replacen("{\"_type\"", "{\"_type\":\"\",\"_type\"", 1),
        format!("{bytes}\n"),
        format!(" {bytes}"),
        bytes.replacen("\"bytes\":", "\"bytes\":-", 1),
        bytes.replacen("\"chunk_rows\":4096", "\"chunk_rows\":1e300", 1),
    ] {
        let refused = matches!(Statement::parse(hostile.as_bytes()), Err(Refusal::Fault(_)));
        assert!(refused, "{}", hostile.chars().take(200).collect::<String>());
    }
    // Lists that a writer never writes, signed by somebody.
    let twice = |change: &dyn Fn(&mut Statement)| {
        let mut statement = good.clone();
        change(&mut statement);
        text(&check::check_statement(&statement))
    };
    let first = good.predicate.files.first().cloned().ok_or("a file")?;
    assert!(twice(&|s| s.predicate.files.insert(0, first.clone())).contains("files"));
    assert!(twice(&|s| s.subject.reverse()).contains("subject"));
    assert!(twice(&|s| s.predicate.merkle.leaves += 1).contains("root"));
    assert!(twice(&|s| s.predicate.merkle.tables.clear()).contains("root"));
    let settings = |s: &mut Statement| {
        s.predicate.run.insert("command".into(), "audit".into());
    };
    assert!(twice(&settings).contains("run.json"));
    Ok(())
}
