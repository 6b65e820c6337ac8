//! What an error says about trying again.

/// Every error of the lower layers answers this; the retry loop of `cluster` and the exit codes of the command line
/// are decided by it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails again: wrong argument, missing table, access denied.
    Permanent,
    /// A later or another try may succeed: connection lost, server restarting, region moving.
    Transient,
    /// The other side is overloaded: try later and more gently.
    Throttled,
}
