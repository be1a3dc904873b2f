//! What every command owes a terminal, a pipe and a reader of `--help`.

mod common;

use std::io::{Read, Write};
use std::process::Stdio;

use common::{Sandbox, fixture};

#[test]
fn version_and_help_are_answers() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.ok(&["--version"]),
        format!("forkscope {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(sandbox.ok(&["--help"]).contains("Exit codes: 0 done"));
    assert_eq!(
        sandbox.ok(&["entropy", "--version"]).trim(),
        format!("forkscope-entropy {}", env!("CARGO_PKG_VERSION"))
    );
}

/// The subcommands, as the help lists them.
fn subcommands(sandbox: &Sandbox) -> Vec<String> {
    let help = sandbox.ok(&["--help"]);
    let (_, listed) = help.split_once("Commands:\n").expect("a list of commands");
    listed
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect()
}

/// The shell lines that a help text ends in.
fn example(sandbox: &Sandbox, args: &[&str]) -> String {
    let help = sandbox.ok(args);
    let (_, rest) = help
        .split_once("Example:\n")
        .unwrap_or_else(|| panic!("{args:?}: {help}"));
    assert!(!rest.contains("Example"), "{args:?}: {rest}");
    let lines: Vec<&str> = rest.lines().take_while(|line| !line.is_empty()).collect();
    for line in &lines {
        assert!(
            line.starts_with("  ") && line.len() < 79,
            "{args:?}: wrapped on narrow screens: {line}"
        );
    }
    lines.join("\n")
}

#[test]
fn every_example_runs_as_it_stands() {
    let list = Sandbox::new();
    let commands = subcommands(&list);
    assert!(
        ["entropy", "report"]
            .iter()
            .all(|known| commands.iter().any(|c| c == known)),
        "{commands:?}"
    );
    for command in commands.iter().map(String::as_str).chain([""]) {
        let sandbox = Sandbox::new();
        let args: Vec<&str> = [command, "--help"]
            .into_iter()
            .filter(|arg| !arg.is_empty())
            .collect();
        let example = example(&sandbox, &args);
        assert!(
            example.contains(format!("forkscope {command}").trim_end()),
            "{command}: {example}"
        );
        // A minute's work, and it has tests of its own.
        if command != "demo" {
            let ended = sandbox.shell(&format!("set -e\n{example}"));
            assert_eq!(ended.code, Some(0), "{example}: {ended:?}");
            assert!(!ended.stdout.is_empty(), "{example}");
        }
    }
}

#[test]
fn no_colour_reaches_a_pipe() {
    let sandbox = Sandbox::new();
    let table = sandbox.ok(&["entropy", &fixture("ten.json")]);
    assert!(!table.contains('\x1b'), "{table:?}");
}

/// Runs a command on a terminal made by `script(1)`; `None` where there is none.
fn on_a_terminal(sandbox: &Sandbox, line: &str) -> Option<String> {
    if sandbox.shell("command -v script").code != Some(0) {
        eprintln!("skipped: script(1) is not installed");
        return None;
    }
    let ended = sandbox.shell(&format!("TERM=xterm script -qec {line:?} /dev/null"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    Some(ended.stdout)
}

#[test]
fn colour_is_for_screens_that_want_it() {
    let sandbox = Sandbox::new();
    sandbox.file("t.json", r#"{"a": [0.5, 0.5]}"#);
    let Some(bold) = on_a_terminal(&sandbox, "forkscope entropy t.json") else {
        return;
    };
    assert!(bold.contains("\x1b[1m"), "{bold:?}");
    let plain = on_a_terminal(&sandbox, "NO_COLOR=1 forkscope entropy t.json").unwrap();
    assert!(
        plain.contains("0.6931") && !plain.contains('\x1b'),
        "{plain:?}"
    );
    let dumb = on_a_terminal(&sandbox, "TERM=dumb forkscope entropy t.json").unwrap();
    assert!(!dumb.contains('\x1b'), "{dumb:?}");
}

#[test]
fn a_reader_that_leaves_is_no_fault() {
    let sandbox = Sandbox::new();
    let rows: String = (0..50_000).map(|i| format!("row{i},0.5,0.5\n")).collect();
    sandbox.file("long.csv", rows);
    let mut child = sandbox
        .command()
        .args(["entropy", "long.csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary");
    let mut first = [0u8; 16];
    child
        .stdout
        .take()
        .expect("stdout")
        .read_exact(&mut first)
        .expect("a first line");
    let ended = child.wait_with_output().expect("an end");
    assert_eq!(
        (ended.status.code(), ended.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

#[test]
fn a_full_disk_behind_stdout_is_told() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        eprintln!("skipped: no /dev/full");
        return;
    };
    let sandbox = Sandbox::new();
    let ended = sandbox
        .command()
        .args(["entropy", &fixture("ten.json")])
        .stdout(full)
        .output()
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("cannot write the result to stdout"), "{said}");
}

#[test]
fn input_may_come_through_a_pipe() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command()
        .args(["entropy", "/dev/stdin", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the built binary");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(b"a,0.5,0.5\n")
        .expect("a written line");
    let ended = child.wait_with_output().expect("an end");
    let document: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(
        (ended.status.code(), document["n"].clone()),
        (Some(0), serde_json::json!(1))
    );
}

#[test]
fn an_interrupted_run_is_incomplete() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command()
        .args(["demo", "--out", "run"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary");
    // The manifest is on disk before the first unit of work.
    let manifest = sandbox.path().join("run/run.json");
    while !manifest.exists() && child.try_wait().expect("a status").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(
        sandbox.shell(&format!("kill -INT {}", child.id())).code,
        Some(0)
    );
    let mut said = String::new();
    child
        .stderr
        .take()
        .expect("stderr")
        .read_to_string(&mut said)
        .expect("text");
    assert_eq!(child.wait().expect("an end").code(), Some(5), "{said}");
    assert!(said.contains("--resume"), "{said}");
    let manifest = std::fs::read_to_string(manifest).expect("run.json");
    assert!(!manifest.contains("\"complete\""), "{manifest}");
}
