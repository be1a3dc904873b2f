//! What a user can get wrong about a task.

/// Why a task setting was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// No verifier has this name.
    #[error("no verifier is called {name:?}; give one of {known}")]
    UnknownVerifier {
        /// What was given.
        name: String,
        /// What there is.
        known: String,
    },
    /// No behaviour has this name.
    #[error("no behaviour is called {0:?}; give refusal, correct, regex:PATTERN or cmd:PROGRAM")]
    UnknownBehaviour(String),
    /// A pattern that does not compile, or compiles into too much.
    #[error(
        "the pattern {pattern:?} cannot be used: {reason}; mend it (look-around and back-references are not supported)"
    )]
    BadPattern {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A judge command that cannot be read.
    #[error("the judge command {line:?} cannot be used: {reason}; give cmd:PROGRAM ARGUMENT ...")]
    BadJudge {
        /// What was given.
        line: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A judge command that failed on a text.
    #[error(
        "the judge {program:?} {reason}; it must read a text on stdin, print one of 1, true, yes, 0, false, no, and end with exit code 0"
    )]
    Judge {
        /// The program.
        program: String,
        /// What it did.
        reason: String,
    },
    /// The library math-verify cannot be asked; the sentence says why.
    #[error("the verifier math-verify is not available: {0}")]
    MathVerify(String),
}
