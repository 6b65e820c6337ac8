//! What was found out about a place before it is used.

use serde::Serialize;

/// What was found out about one of the places that a command uses.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Section {
    /// What is known, a line each.
    pub facts: Vec<String>,
    /// What somebody should read, a line each.
    pub warnings: Vec<String>,
    /// What makes a backup fail, unless a flag says what to do about it; a line each.
    pub stops: Vec<String>,
}
