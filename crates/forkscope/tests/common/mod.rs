//! A temporary folder and the built binary in it.
#![allow(dead_code, reason = "every test file uses another part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A temporary folder in which commands run.
pub struct Sandbox {
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file in the folder.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path().join(name), content).expect("a written file");
        self
    }

    /// The binary, to run in the folder, without what the caller's environment would change.
    pub fn command(&self) -> Command {
        self.bare(env!("CARGO_BIN_EXE_forkscope"))
    }

    /// A shell line in the folder, with the binary on the path.
    pub fn shell(&self, line: &str) -> Ended {
        let binary = Path::new(env!("CARGO_BIN_EXE_forkscope"));
        let path = format!(
            "{}:{}",
            binary.parent().expect("a folder").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut command = self.bare("sh");
        command.args(["-c", line]).env("PATH", path);
        ended(command.output().expect("a shell"))
    }

    fn bare(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).stdin(Stdio::null());
        for name in [
            "RUST_BACKTRACE",
            "NO_COLOR",
            "CLICOLOR_FORCE",
            "FORCE_COLOR",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// Runs the binary with these arguments.
    pub fn run(&self, args: &[&str]) -> Ended {
        ended(
            self.command()
                .args(args)
                .output()
                .expect("the built binary"),
        )
    }

    /// Runs it and expects exit 0 and a silent stderr.
    pub fn ok(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{args:?}: {ended:?}"
        );
        ended.stdout
    }

    /// Runs it with `--json` and expects one document.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.ok(&args)).expect("one JSON document")
    }

    /// Runs it, expects a failure of one line on stderr and nothing on stdout, and returns the line.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(code), ""),
            "{args:?}: {ended:?}"
        );
        if code != 2 {
            let one_line = ended.stderr.starts_with("error: ") && ended.stderr.lines().count() == 1;
            assert!(one_line, "{args:?}: {}", ended.stderr);
        }
        ended.stderr
    }
}

/// A file beside the tests.
pub fn fixture(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", name]
        .iter()
        .collect();
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn ended(output: Output) -> Ended {
    let text = |bytes| String::from_utf8(bytes).expect("output in UTF-8");
    Ended {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}
