//! Ctrl-C and SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tsdb_ark::flow::Cancel;

/// Remembers whether somebody asked to stop.
#[derive(Debug)]
pub struct Signals(Arc<AtomicBool>);

impl Signals {
    /// The first signal asks the stages to stop; a second ctrl-C ends the process at once with 130.
    ///
    /// # Errors
    /// The system refuses a signal handler.
    pub fn listen(cancel: &Cancel) -> anyhow::Result<Self> {
        let received = Arc::new(AtomicBool::new(false));
        // Handlers run in the order of registration: the first signal must not yet see the flag that it sets.
        flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&received)).context("cannot handle ctrl-C")?;
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, Arc::clone(&received)).context("cannot handle signals")?;
            flag::register(signal, cancel.flag()).context("cannot handle signals")?;
        }
        Ok(Self(received))
    }

    /// True after a signal.
    pub fn received(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
