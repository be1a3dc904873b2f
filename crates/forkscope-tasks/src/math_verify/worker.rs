//! One Python process that checks answers, one at a time.
//!
//! A thread of its own writes each question and reads the answer, so that the
//! time limit covers both; a worker that exceeds it is killed. Questions and
//! answers are lines of JSON on stdin and stdout: no text of a model is ever an
//! argument or meets a shell.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// What the process runs.
const SCRIPT: &str = include_str!("worker.py");
/// Longest answer that is read, bytes.
const MAX_ANSWER: u64 = 1 << 16;
/// What the process keeps of the environment: where programs and its own
/// packages are found.
const KEPT: [&str; 6] = [
    "PATH",
    "HOME",
    "LD_LIBRARY_PATH",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
];

/// Bounds of a worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Seconds that starting may take.
    pub(super) start: Duration,
    /// Seconds that a check may take, by the clock and of CPU time.
    pub(super) check: Duration,
    /// Address space, bytes.
    pub(super) memory: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    /// The time was up.
    Time,
    /// The process ended or said something else than an answer.
    Process(String),
}

/// What is asked.
#[derive(Debug, serde::Serialize)]
pub(super) struct Ask<'a> {
    pub(super) gold: &'a str,
    pub(super) text: &'a str,
    pub(super) ended: bool,
}

/// What the process answers.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    /// Whether the library finds the two equivalent.
    pub(super) equal: bool,
    /// Whether it could read both.
    pub(super) read: bool,
    /// The answer that it found in the text.
    pub(super) found: Option<String>,
    /// An error that says nothing of the answer.
    pub(super) failed: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Greeting {
    version: Option<String>,
    missing: Option<String>,
}

pub(super) struct Worker {
    child: Child,
    questions: SyncSender<Vec<u8>>,
    answers: Receiver<io::Result<Vec<u8>>>,
    check: Duration,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Either may fail because the process has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    /// Starts a process and waits until the library is loaded; the library's
    /// version. The error is a sentence with its remedy.
    pub(super) fn start(python: &Path, limits: &Limits) -> Result<(Self, String), String> {
        let name = python.display();
        let mut child = command(python).spawn().map_err(|error| {
            format!("{name} cannot be started ({error}); install Python, or name an interpreter with --python or FORKSCOPE_PYTHON")
        })?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = pipes else {
            return Err(format!("{name} has no pipes"));
        };
        let (questions, asked) = sync_channel(1);
        let (answered, answers) = sync_channel(1);
        let worker = Self {
            child,
            questions,
            answers,
            check: limits.check,
        };
        let talk = move || talk(input, output, &asked, &answered);
        std::thread::Builder::new()
            .name("math-verify".to_owned())
            .spawn(talk)
            .map_err(|error| format!("a thread for {name} cannot be started ({error})"))?;
        let settings = json!({
            "memory_bytes": limits.memory,
            "start_seconds": limits.start.as_secs().max(1),
            "check_seconds": limits.check.as_secs().max(1),
        });
        let greeting: Greeting = worker
            .exchange(settings.to_string(), limits.start)
            .map_err(|lost| match lost {
                Lost::Time => format!("{name} did not load math-verify within {} s; give another interpreter with --python", limits.start.as_secs()),
                Lost::Process(reason) => format!("{name} did not start as a Python interpreter ({reason}); give another with --python"),
            })?;
        match greeting {
            Greeting {
                version: Some(version),
                ..
            } => Ok((worker, version)),
            Greeting { missing, .. } => Err(format!(
                "{name} cannot load math-verify ({}); install it with `{name} -m pip install math-verify`, or name an interpreter that has it with --python or FORKSCOPE_PYTHON",
                missing.unwrap_or_else(|| "no reason given".to_owned()),
            )),
        }
    }

    /// One check. After an error the worker is of no further use.
    pub(super) fn check(&self, ask: &Ask<'_>) -> Result<Answer, Lost> {
        let line = serde_json::to_string(ask).map_err(|e| Lost::Process(e.to_string()))?;
        self.exchange(line, self.check)
    }

    fn exchange<T: DeserializeOwned>(&self, line: String, limit: Duration) -> Result<T, Lost> {
        let mut line = line.into_bytes();
        line.push(b'\n');
        let gone = || Lost::Process("the process ended".to_owned());
        self.questions.send(line).map_err(|_| gone())?;
        let answer = match self.answers.recv_timeout(limit) {
            Ok(answer) => answer.map_err(|error| Lost::Process(error.to_string()))?,
            Err(RecvTimeoutError::Timeout) => return Err(Lost::Time),
            Err(RecvTimeoutError::Disconnected) => return Err(gone()),
        };
        serde_json::from_slice(&answer)
            .map_err(|_| Lost::Process("its output is not an answer".to_owned()))
    }
}

fn command(python: &Path) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-B", "-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .env_clear()
        // The same text gets the same answer, and nothing is loaded from where
        // the command happens to run.
        .envs([
            ("PYTHONHASHSEED", "0"),
            ("PYTHONSAFEPATH", "1"),
            ("PYTHONUTF8", "1"),
        ])
        .envs(
            KEPT.iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
    // Ctrl-C is for the command, which ends its workers by itself.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// Questions in, answers out, until either side ends.
fn talk(
    mut input: ChildStdin,
    output: ChildStdout,
    questions: &Receiver<Vec<u8>>,
    answers: &SyncSender<io::Result<Vec<u8>>>,
) {
    let mut output = BufReader::new(output);
    for question in questions {
        let answer = ask(&mut input, &mut output, &question);
        let failed = answer.is_err();
        if answers.send(answer).is_err() || failed {
            return;
        }
    }
}

fn ask(input: &mut ChildStdin, output: &mut impl BufRead, question: &[u8]) -> io::Result<Vec<u8>> {
    input.write_all(question)?;
    input.flush()?;
    let mut answer = Vec::new();
    output.take(MAX_ANSWER).read_until(b'\n', &mut answer)?;
    match answer.last() {
        Some(b'\n') => Ok(answer),
        Some(_) => Err(io::Error::other("its output is too long or was cut off")),
        None => Err(io::Error::other("the process ended")),
    }
}
