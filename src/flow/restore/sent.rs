//! What became of the files of a backup.

use std::collections::BTreeSet;

use crate::model::Tally;
use crate::put::Refused;

/// What became of a table's files.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// Cells sent now, as the backup holds them.
    pub tally: Tally,
    /// Files that an earlier run has sent.
    pub files_skipped: u64,
    /// Their cells.
    pub skipped: Tally,
    /// Cells that were written with a new timestamp, by earlier runs too.
    pub new_timestamps: u64,
    /// Of those written now, the ones that came to lie above a newer value of the target.
    pub above_newer: u64,
    /// The shards that they are of.
    pub rewritten: BTreeSet<String>,
    /// Cells that the cluster does not take.
    pub refused: Refused,
}

/// What was sent of a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSent {
    /// As the backup holds it.
    pub tally: Tally,
    /// Cells that were written with a new timestamp.
    pub new_timestamps: u64,
    /// Of these, the ones that came to lie above a newer value of the target.
    pub above_newer: u64,
}

impl FileSent {
    /// Adds another part of the file.
    pub fn add(&mut self, part: &Self) {
        self.tally.add(&part.tally);
        self.new_timestamps += part.new_timestamps;
        self.above_newer += part.above_newer;
    }
}
