//! What a backup is of: everything, what has changed since another one, or a selection.

use serde::{Deserialize, Serialize};

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum BackupKind {
    /// All cells of its tables.
    #[default]
    Full,
    /// What has changed since its parent: cells to add and delete markers to apply.
    Incremental,
    /// A selection of points, by time and name.
    Window,
    /// Something that this version does not know, and must not take for one of the others.
    Other(String),
}

impl BackupKind {
    /// The name in JSON and reports.
    pub fn name(&self) -> &str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Window => "window",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for BackupKind {
    fn from(name: String) -> Self {
        match name.as_str() {
            "full" => Self::Full,
            "incremental" => Self::Incremental,
            "window" => Self::Window,
            _ => Self::Other(name),
        }
    }
}

impl From<BackupKind> for String {
    fn from(kind: BackupKind) -> Self {
        kind.name().to_owned()
    }
}

/// How an increment found out what has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncrementBy {
    /// By write time: a raw scan of what was written since the parent's scan began.
    Time,
    /// By comparison with the parent: a full scan, of which what differs is kept.
    Compare,
}

impl IncrementBy {
    /// The name in JSON, flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Compare => "compare",
        }
    }

    /// What an increment of this sort promises.
    pub fn guarantee(self) -> &'static str {
        match self {
            Self::Time => {
                "holds every cell that was written since, at the time that its timestamp says, and every delete of a column \
                 or family whose marker HBase still held; it cannot see deletes of single versions of older cells, markers \
                 that a compaction had dropped, or cells and deletes with an older timestamp of their own"
            }
            Self::Compare => "parent and increment together are what the scan returned, cell for cell",
        }
    }
}

/// What an increment adds to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncrementRecord {
    /// How it was made.
    pub by: IncrementBy,
    /// Hash inside the parent's manifest (`self_blake3`): another manifest in its place is no parent.
    pub parent_blake3: String,
    /// By write time: the timestamp from which cells were read, ms; a table that the parent lacks is read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// What it promises, for people.
    pub guarantee: String,
}
