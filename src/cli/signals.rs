//! Ctrl-C and SIGTERM.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{flag, low_level::pipe};
use tsdb_ark::flow::Cancel;

use crate::cli::progress_line::ProgressLine;

/// Remembers whether somebody asked to stop.
#[derive(Debug)]
pub struct Signals(Arc<AtomicBool>);

impl Signals {
    /// The first signal asks the stages to stop, and says so around the progress line; a second ctrl-C ends the process at
    /// once with 130.
    ///
    /// # Errors
    /// The system refuses a signal handler.
    pub fn listen(cancel: &Cancel, line: &ProgressLine, quiet: bool) -> anyhow::Result<Self> {
        let received = Arc::new(AtomicBool::new(false));
        // Handlers run in the order of registration: the first signal must not yet see the flag that it sets.
        flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&received)).context("cannot handle ctrl-C")?;
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, Arc::clone(&received)).context("cannot handle signals")?;
            flag::register(signal, cancel.flag()).context("cannot handle signals")?;
        }
        // A file that meets the limit of `ulimit -f` is an error like a full disk, and no reason to die without a word.
        flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).context("cannot handle signals")?;
        if !quiet {
            announce(line.clone())?;
        }
        Ok(Self(received))
    }

    /// True after a signal.
    pub fn received(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Answers the first signal in words; a handler may not write.
fn announce(line: ProgressLine) -> anyhow::Result<()> {
    let (mut arrivals, sender) = UnixStream::pair().context("cannot handle signals")?;
    for signal in [SIGINT, SIGTERM] {
        let sender = sender.try_clone().context("cannot handle signals")?;
        pipe::register(signal, sender).context("cannot handle signals")?;
    }
    let wait = move || {
        if arrivals.read(&mut [0]).is_ok_and(|count| count > 0) {
            let text = "tsdb-ark: stopping; press ctrl-C again to stop at once";
            // Nothing is left to do when stderr is closed.
            line.suspend(|| drop(writeln!(std::io::stderr().lock(), "{text}")));
        }
    };
    // A machine without room for one more thread stops without a word.
    drop(std::thread::Builder::new().name("signals".into()).spawn(wait));
    Ok(())
}
