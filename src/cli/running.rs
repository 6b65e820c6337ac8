//! What a verb shares with the rest of the process while it runs.

use tsdb_ark::flow::{Cancel, Progress};

/// What every verb may use while it runs.
#[derive(Debug, Default)]
pub struct Running {
    /// Counters that the flow moves.
    pub progress: Progress,
    /// Set by ctrl-C and SIGTERM.
    pub cancel: Cancel,
}
