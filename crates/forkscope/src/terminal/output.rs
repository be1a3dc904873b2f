//! Results on stdout: buffered, colour only for a screen that wants it.

use std::env;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// Standard output for results. Every write can tell that the reader has gone
/// away, which ends a command quietly.
pub struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    colour: bool,
}

impl Output {
    /// Opens stdout; colour follows the screen, `NO_COLOR` and `TERM=dumb`.
    pub fn open() -> Self {
        let stdout = io::stdout();
        let colour = stdout.is_terminal() && colour_wanted();
        Self {
            writer: BufWriter::with_capacity(1 << 16, stdout.lock()),
            colour,
        }
    }

    /// Writes one line.
    pub fn line(&mut self, line: &str) -> Outcome {
        self.writer
            .write_all(line.as_bytes())
            .and_then(|()| self.writer.write_all(b"\n"))
            .map_err(|e| Failure::from_stdout(&e))
    }

    /// Writes a label in bold where the screen has it, and its text.
    pub fn labelled(&mut self, label: &str, text: &str) -> Outcome {
        let padded = format!("{label:<11} ");
        let line = format!("{}{text}", self.bold(&padded));
        self.line(&line)
    }

    /// Writes one JSON document, indented, with a line end.
    pub fn json<T: Serialize>(&mut self, document: &T) -> Outcome {
        serde_json::to_writer_pretty(&mut self.writer, document).map_err(|e| {
            match e.io_error_kind() {
                Some(kind) => Failure::from_stdout(&io::Error::from(kind)),
                None => Failure::Internal(format!("cannot write the result as JSON: {e}")),
            }
        })?;
        self.line("")
    }

    /// The text in bold, or as it is where there is no colour.
    pub fn bold(&self, text: &str) -> String {
        if self.colour {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Hands everything to the system. A command ends with this: a result that
    /// could not be written is not a success.
    pub fn finish(mut self) -> Outcome {
        self.writer.flush().map_err(|e| Failure::from_stdout(&e))
    }
}

/// `NO_COLOR` (not empty) and a dumb terminal refuse colour.
fn colour_wanted() -> bool {
    env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && env::var_os("TERM").is_none_or(|t| t != "dumb")
}
