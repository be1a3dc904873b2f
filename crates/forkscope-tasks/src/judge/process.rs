//! One question to one process: text in, a short answer out, within a time.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::JudgeLimits;

/// How often a process that has answered is looked at, until it has ended.
const POLL: Duration = Duration::from_millis(2);

/// The answer of a program; the error is why there is none.
pub(super) fn run(
    program: &str,
    arguments: &[String],
    text: &str,
    limits: JudgeLimits,
) -> Result<Vec<u8>, String> {
    let until = Instant::now() + limits.time;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // A group of its own, so that all it starts can be ended with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.spawn();
    let mut child = Ending(child.map_err(|e| format!("cannot be started ({e})"))?);
    let pipes = (child.0.stdin.take(), child.0.stdout.take());
    let (Some(mut input), Some(output)) = pipes else {
        return Err("has no pipes".to_owned());
    };
    let text = text.to_owned();
    // It may answer without reading; a pipe it has closed is its own affair.
    spawn(move || drop(input.write_all(text.as_bytes())))?;
    let (answered, answers) = channel();
    let most = limits.output as u64 + 1;
    spawn(move || {
        let mut answer = Vec::new();
        let read = output.take(most).read_to_end(&mut answer);
        // Nobody listens any more if the time was up.
        drop(answered.send(read.map(|_| answer)));
    })?;
    let late = || format!("gave no answer within {} s", limits.time.as_secs_f64());
    let left = until.saturating_duration_since(Instant::now());
    let answer = match answers.recv_timeout(left) {
        Ok(answer) => answer.map_err(|e| format!("cannot be read ({e})"))?,
        Err(RecvTimeoutError::Timeout) => return Err(late()),
        Err(RecvTimeoutError::Disconnected) => return Err("cannot be read".to_owned()),
    };
    if answer.len() > limits.output {
        return Err(format!("wrote more than {} bytes", limits.output));
    }
    while Instant::now() < until {
        match child.0.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(answer),
            Ok(Some(status)) => return Err(format!("ended with {status}")),
            Ok(None) => std::thread::sleep(POLL),
            Err(e) => return Err(format!("cannot be waited for ({e})")),
        }
    }
    Err(late())
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = std::thread::Builder::new().name("judge".to_owned());
    let started: io::Result<_> = thread.spawn(work);
    started
        .map(drop)
        .map_err(|e| format!("cannot be talked to ({e})"))
}

/// A process that is ended, with its group, when nobody needs it any more.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // Any of these fails where the process has ended by itself.
        #[cfg(unix)]
        if let Some(group) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
