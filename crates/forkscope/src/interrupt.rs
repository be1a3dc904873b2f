//! Ctrl-C and SIGTERM for commands whose runs can be resumed.
//!
//! A command that calls [`watch`] promises to look at [`interrupted`] between
//! units of work, leave its run `incomplete` and return
//! [`Failure::Incomplete`]. A second
//! signal ends the process at once, with the same exit code: what is on disk
//! is whole at any moment. Other commands keep the system's default.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::failure::{Failure, INCOMPLETE, Outcome};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on the first signal only raises the flag. Asked again, it changes
/// nothing: of two watchers the second would take the first signal for a second.
pub fn watch() -> Outcome {
    let mut new = false;
    let asked = ASKED.get_or_init(|| {
        new = true;
        Arc::new(AtomicBool::new(false))
    });
    if !new {
        return Ok(());
    }
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the shutdown looks at the flag before it is raised.
        flag::register_conditional_shutdown(signal, i32::from(INCOMPLETE), Arc::clone(asked))
            .and_then(|_| flag::register(signal, Arc::clone(asked)))
            .map_err(|e| Failure::Internal(format!("cannot watch for signal {signal}: {e}")))?;
    }
    Ok(())
}

/// Whether somebody asked to stop.
pub fn interrupted() -> bool {
    ASKED
        .get()
        .is_some_and(|asked| asked.load(Ordering::Relaxed))
}
