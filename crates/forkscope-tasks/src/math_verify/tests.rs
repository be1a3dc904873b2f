use super::*;

fn limits() -> Limits {
    Limits {
        start: Duration::from_secs(30),
        check: Duration::from_millis(800),
        memory: 4 << 30,
    }
}

/// An interpreter that is a shell script: it gets the script as an argument
/// and ignores it.
#[cfg(unix)]
fn pretender(name: &str, script: &str) -> (PathBuf, Pool) {
    use std::os::unix::fs::PermissionsExt;
    let dir = std::env::temp_dir().join(format!("forkscope-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("python3");
    std::fs::write(&path, format!("#!/bin/sh\nread settings\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    (dir, Pool::new(path, limits()))
}

const FAILED: Verdict = Verdict::Undecided(Undecided::Failed);
const TIMEOUT: Verdict = Verdict::Undecided(Undecided::Timeout);

#[test]
fn an_interpreter_that_is_not_there_is_named() {
    let pool = Pool::new(PathBuf::from("no-such-python-3"), limits());
    let said = pool.ready().unwrap_err().to_string();
    assert!(
        said.contains("no-such-python-3 cannot be started"),
        "{said}"
    );
    assert!(said.contains("--python"), "{said}");
    assert_eq!(pool.check("1", "1", true), FAILED);
    assert_eq!(pool.counts().failures, 1);
}

#[cfg(unix)]
#[test]
fn a_missing_library_is_named_with_its_remedy() {
    let missing = "echo '{\"missing\": \"ModuleNotFoundError\"}'";
    let (dir, pool) = pretender("missing", missing);
    let said = pool.ready().unwrap_err().to_string();
    std::fs::remove_dir_all(dir).unwrap();
    assert!(said.contains("-m pip install math-verify"), "{said}");
    assert!(said.contains("ModuleNotFoundError"), "{said}");
}

#[cfg(unix)]
#[test]
fn workers_that_hang_end_or_babble_leave_checks_undecided() {
    let greeting = "echo '{\"version\": \"0\"}'";
    for (name, script, expected) in [
        ("hangs", "read a; exec sleep 600", TIMEOUT),
        ("ends", "read a", FAILED),
        ("babbles", "read a; echo so; read b", FAILED),
        ("floods", "read a; exec yes | tr -d '\\n'", FAILED),
        (
            "fails",
            "read a; echo '{\"failed\": \"MemoryError\"}'; read b",
            FAILED,
        ),
    ] {
        let (dir, pool) = pretender(name, &format!("{greeting}\n{script}"));
        assert_eq!(pool.ready(), Ok("0".to_owned()));
        // The second finds a new worker, which fares as the first.
        let found = [pool.check("1", "1", true), pool.check("1", "2", true)];
        std::fs::remove_dir_all(dir).unwrap();
        let counts = pool.counts();
        if name == "fails" {
            assert_eq!((&found[0], counts.checks), (&FAILED, 2));
        } else {
            assert_eq!(found, [expected.clone(), expected], "{name}");
            assert_eq!((counts.checks, counts.timeouts + counts.failures), (2, 2));
        }
    }
}

#[cfg(unix)]
#[test]
fn a_worker_is_started_once_and_kept() {
    let script = "n=0; echo '{\"version\": \"0\"}'\nwhile read a; do n=$((n+1)); echo \"{\\\"equal\\\": true, \\\"read\\\": true, \\\"found\\\": \\\"$n\\\"}\"; done";
    let (dir, pool) = pretender("kept", script);
    let found: Vec<Verdict> = (0..3).map(|_| pool.check("1", "1", true)).collect();
    std::fs::remove_dir_all(dir).unwrap();
    for (i, verdict) in found.into_iter().enumerate() {
        let found = Some((i + 1).to_string());
        assert_eq!(
            verdict,
            Verdict::Decided {
                equal: true,
                read: true,
                found
            }
        );
    }
}

/// The library where it is installed (`FORKSCOPE_PYTHON`, else `python3`).
#[test]
fn the_library_is_asked_where_it_is_installed() {
    let limits = Limits {
        check: Duration::from_secs(20),
        ..limits()
    };
    let pool = Pool::new(interpreter(), limits);
    if let Err(reason) = pool.ready() {
        eprintln!("skipped: {reason}");
        return;
    }
    let equal = |gold: &str, text: &str| match pool.check(gold, text, true) {
        Verdict::Decided { equal, .. } => equal,
        other => panic!("{gold} | {text}: {other:?}"),
    };
    assert!(equal("\\frac12", "so $\\boxed{0.5}$"));
    assert!(!equal("\\frac12", "so $\\boxed{0.6}$"));
    assert!(equal("x^2+2x+1", "\\boxed{(x+1)^2}"));
    for (name, hostile) in [
        ("nesting", format!("\\boxed{{{}}}", "(".repeat(200))),
        ("code", "\\boxed{__import__('os').system('id')}".to_owned()),
        ("a line of its own", "\0\n{\"gold\": 1}".to_owned()),
    ] {
        let verdict = pool.check("3", &hostile, true);
        assert!(
            !matches!(verdict, Verdict::Decided { equal: true, .. }),
            "{name}"
        );
    }
    // What a cut text happens to end on is not its answer.
    let cut = pool.check("4", "I add 3 and 4", false);
    assert!(
        !matches!(cut, Verdict::Decided { equal: true, .. }),
        "{cut:?}"
    );
}

/// Towers of powers keep the library busy for hours.
#[test]
fn a_check_without_end_is_a_timeout() {
    let pool = Pool::new(
        interpreter(),
        Limits {
            check: Duration::from_secs(2),
            ..limits()
        },
    );
    if let Err(reason) = pool.ready() {
        eprintln!("skipped: {reason}");
        return;
    }
    let verdict = pool.check("3", "\\boxed{(123456789!)! - 1}", true);
    assert!(matches!(verdict, Verdict::Undecided(_)), "{verdict:?}");
    let after = pool.check("3", "\\boxed{3}", true);
    assert!(
        matches!(after, Verdict::Decided { equal: true, .. } | TIMEOUT),
        "{after:?}"
    );
}
