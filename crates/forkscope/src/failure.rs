//! What can end a command, as a sentence on stderr and an exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done (also when the reader of stdout went away) |
//! | 1 | internal fault: forkscope's, not the input's |
//! | 2 | usage |
//! | 3 | bad input, or a file that cannot be read or written |
//! | 4 | a gate or check failed |
//! | 5 | incomplete: interrupted, can be resumed |

use std::any::Any;
use std::fmt;
use std::io;
use std::process::ExitCode;
use std::sync::Mutex;

use crate::terminal::sanitise::sanitise;

/// Exit code of a usage error; clap uses the same.
pub const USAGE: u8 = 2;

/// Exit code of an interrupted run.
pub const INCOMPLETE: u8 = 5;

/// What a command returns.
pub type Outcome = Result<(), Failure>;

/// Why a command did not end well. Messages are lower-case sentences that name
/// file, field and remedy.
#[derive(Debug)]
#[allow(dead_code, reason = "the vocabulary of all commands")]
pub enum Failure {
    /// forkscope's own fault.
    Internal(String),
    /// Flags that contradict each other.
    Usage(String),
    /// Something the user handed in, or a disk that is full.
    Input(String),
    /// A gate or check failed; the results were written.
    Gate(String),
    /// Interrupted; what is on disk can be resumed.
    Incomplete(String),
    /// The reader of stdout has gone away, e.g. `| head`.
    ClosedPipe,
}

impl Failure {
    /// The same failure, with the place where it happened before it.
    pub fn at(self, place: &str) -> Self {
        let named = |said: String| format!("{place}: {said}");
        match self {
            Self::Internal(said) => Self::Internal(named(said)),
            Self::Usage(said) => Self::Usage(named(said)),
            Self::Input(said) => Self::Input(named(said)),
            Self::Gate(said) => Self::Gate(named(said)),
            other => other,
        }
    }

    /// The failure of a run that somebody interrupted.
    pub fn interrupted() -> Self {
        Self::Incomplete(
            "interrupted; the same command with --resume goes on where this one stopped".to_owned(),
        )
    }

    /// The failure for an error of `write` on stdout.
    pub fn from_stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Input(format!(
                "cannot write the result to stdout: {error}; redirect it elsewhere"
            )),
        }
    }

    /// The failure for a panic that unwound to `main`.
    pub fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let said = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".to_owned());
        let place = last_panic_place()
            .map(|place| format!(" ({place})"))
            .unwrap_or_default();
        Self::Internal(format!("{said}{place}"))
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Internal(_) => 1,
            Self::Usage(_) => USAGE,
            Self::Input(_) => 3,
            Self::Gate(_) => 4,
            Self::Incomplete(_) => INCOMPLETE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internal(said) => write!(
                f,
                "{said}. this is a fault of forkscope, not of your input; please report it with the command line"
            ),
            Self::Usage(said) => write!(f, "{said}; see --help"),
            Self::Input(said) | Self::Gate(said) | Self::Incomplete(said) => f.write_str(said),
            Self::ClosedPipe => f.write_str("the reader of stdout has gone away"),
        }
    }
}

/// A library's error is the input's fault unless the library says it is its own.
macro_rules! failures_of {
    ($($error:path),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let said = error.to_string();
                if error.is_internal() { Self::Internal(said) } else { Self::Input(said) }
            }
        }
    )*};
}

failures_of!(
    forkscope_audit::AuditError,
    forkscope_audit::attest::AttestError,
    forkscope_policy::PolicyError,
    forkscope_records::RecordsError,
);

impl From<forkscope_audit::attest::RecheckError> for Failure {
    fn from(error: forkscope_audit::attest::RecheckError) -> Self {
        use forkscope_audit::attest::RecheckError;
        match error {
            RecheckError::Audit(error) => error.into(),
            RecheckError::Attest(error) => error.into(),
        }
    }
}

impl From<forkscope_tasks::TaskError> for Failure {
    fn from(error: forkscope_tasks::TaskError) -> Self {
        Self::Input(error.to_string())
    }
}

impl From<forkscope_train::TrainError> for Failure {
    fn from(error: forkscope_train::TrainError) -> Self {
        use forkscope_train::TrainError;
        let said = error.to_string();
        match error {
            TrainError::Interrupted => Self::interrupted(),
            error if error.is_internal() => Self::Internal(said),
            _ => Self::Input(said),
        }
    }
}

impl From<forkscope_report::ReportError> for Failure {
    fn from(error: forkscope_report::ReportError) -> Self {
        use forkscope_report::ReportError;
        match error {
            ReportError::Records(records) => records.into(),
            ReportError::Encode { .. } => Self::Internal(error.to_string()),
            other => Self::Input(other.to_string()),
        }
    }
}

/// Ends the process: the sentence on stderr, the code to the shell.
pub fn finish(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::ClosedPipe) {
                // Names from files and models end up in messages: inert, one line.
                let line = format!("error: {}\n", sanitise(&failure.to_string()));
                let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

fn last_panic_place() -> Option<String> {
    LAST_PANIC.lock().ok().and_then(|place| place.clone())
}

/// Replaces the default panic message. A panic on a worker thread unwinds to
/// `main`, which reports it once; one that a library catches stays silent.
/// With `RUST_BACKTRACE` set the stack is written where it happens.
pub fn keep_panics_for_the_report() {
    std::panic::set_hook(Box::new(|info| {
        if let (Ok(mut last), Some(at)) = (LAST_PANIC.lock(), info.location()) {
            *last = Some(format!("{}:{}", at.file(), at.line()));
        }
        let backtrace = std::backtrace::Backtrace::capture();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            let _ = io::Write::write_all(
                &mut io::stderr(),
                format!("{info}\n{backtrace}\n").as_bytes(),
            );
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_named_as_our_fault() {
        keep_panics_for_the_report();
        let payload = std::panic::catch_unwind(|| panic!("row {} is gone", 3)).unwrap_err();
        drop(std::panic::take_hook());
        let failure = Failure::from_panic(payload.as_ref());
        assert_eq!(failure.exit_code(), 1);
        let said = failure.to_string();
        assert!(
            said.starts_with("row 3 is gone (") && said.contains("failure.rs:"),
            "{said}"
        );
        assert!(said.contains("fault of forkscope"), "{said}");
    }

    #[test]
    fn only_a_closed_pipe_is_forgiven() {
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::from_stdout(&pipe), Failure::ClosedPipe));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::from_stdout(&full).exit_code(), 3);
    }
}
