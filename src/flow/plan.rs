//! What a command is asked to do, as values: printable, and complete before anything runs.

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::cluster::Gateways;
use crate::flow::{AttributeEdit, Ceiling, OpentsdbConf, Selection, TtlChoice};
use crate::manifest::IncrementBy;
use crate::model::{KeyLayout, NameCharset, TableDescriptor};
use crate::store::Store;

/// How much of the machine and of the cluster a run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Connections to the gateways, one scan or put on each.
    pub connections: usize,
    /// Threads that decode and encode; 0: one per core.
    pub cpu: usize,
    /// Bytes that pages, batches and files in the making may take together.
    pub max_memory: u64,
    /// Bytes of a page that scans aim at.
    pub page_bytes: u64,
}

impl Default for Resources {
    fn default() -> Self {
        Self { connections: 4, cpu: 0, max_memory: 320 << 20, page_bytes: 4 << 20 }
    }
}

/// Points of the smallest batches.
pub const LEAST_BATCH: u64 = 50_000;
/// Bytes that a point takes in a batch, its share of vectors that grow included.
pub const BYTES_PER_POINT: u64 = 48;

impl Resources {
    /// Bytes that are left for the names of UIDs beside the smallest batches; a quarter at least, so that a small limit with
    /// many connections still does.
    pub fn for_names(&self) -> u64 {
        let connection = 4 * self.page_bytes + 3 * LEAST_BATCH * BYTES_PER_POINT;
        self.max_memory.saturating_sub(self.connections as u64 * connection).max(self.max_memory / 4)
    }
}

/// What a run owes the cluster's users: how fast it may go, and when it goes slower by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Manners {
    /// Wire bytes per second from or to the gateways, all connections together.
    pub rate: Option<u64>,
    /// Rows per second from or to the gateways, all connections together.
    pub rate_rows: Option<u64>,
    /// Limits by the time of day; the lowest of all that hold counts.
    pub ceilings: Vec<Ceiling>,
    /// Where the day of the ceilings is.
    pub time_zone: TimeZone,
    /// Back off when a gateway takes this many times as long as without load; `None`: never, and nothing is measured.
    pub back_off: Option<f64>,
}

impl Default for Manners {
    /// No limits and no back-off.
    fn default() -> Self {
        Self { rate: None, rate_rows: None, ceilings: Vec::new(), time_zone: TimeZone::UTC, back_off: None }
    }
}

/// UID widths and salt as given by flags; each overrides what the configuration or detection says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutFlags {
    /// Bytes of a metric UID.
    pub metric_width: Option<u8>,
    /// Bytes of a tag key UID.
    pub tagk_width: Option<u8>,
    /// Bytes of a tag value UID.
    pub tagv_width: Option<u8>,
    /// Salt bytes.
    pub salt_width: Option<u8>,
    /// Salt buckets: the number that is in use, then those of older rows; empty: not given.
    pub salt_buckets: Vec<u32>,
}

impl LayoutFlags {
    /// True when at least one is given.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// The layout with the flags in place of its own numbers.
    pub fn over(&self, layout: KeyLayout) -> KeyLayout {
        KeyLayout {
            metric_width: self.metric_width.unwrap_or(layout.metric_width),
            tagk_width: self.tagk_width.unwrap_or(layout.tagk_width),
            tagv_width: self.tagv_width.unwrap_or(layout.tagv_width),
            salt_width: self.salt_width.unwrap_or(layout.salt_width),
            salt_buckets: self.salt_buckets.first().copied().unwrap_or(layout.salt_buckets),
        }
    }
}

/// Table names as a user gives them; what is `None` comes from the OpenTSDB configuration or is OpenTSDB's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableNames {
    /// Data tables, the main one first; empty: not given.
    pub data: Vec<String>,
    /// The UID table.
    pub uid: Option<String>,
    /// There is no UID table.
    pub no_uid: bool,
    /// The meta table.
    pub meta: Option<String>,
    /// The tree table.
    pub tree: Option<String>,
    /// Further tables: rollups, pre-aggregates, anything else.
    pub extra: Vec<String>,
}

/// A source: where the OpenTSDB is and what is known about it.
#[derive(Clone)]
pub struct Source {
    /// Gateways of the cluster.
    pub gateways: Gateways,
    /// Tables.
    pub names: TableNames,
    /// The TSD's configuration.
    pub conf: Option<OpentsdbConf>,
    /// Widths and salt given by hand.
    pub layout: LayoutFlags,
    /// How the bytes of names are read; `None`: not given.
    pub charset: Option<NameCharset>,
    /// Descriptors of tables given by hand, for gateways that do not report them.
    pub descriptions: Vec<TableDescriptor>,
}

/// A backup from a cluster.
#[derive(Clone)]
pub struct BackupPlan {
    /// What to back up.
    pub source: Source,
    /// The repository's store.
    pub store: Store,
    /// Commit without create-only puts, under the weaker rule.
    pub weak_commit: bool,
    /// Ask for delete markers and overwritten versions too.
    pub raw: bool,
    /// Back up what has changed since another backup.
    pub increment: Option<IncrementPlan>,
    /// Make an increment by write time on the full backup when that is committed.
    pub catch_up: Option<CatchUpPlan>,
    /// Only these points, and their names; `None`: everything. A run that resumes takes no time from here that is left open.
    pub window: Option<Selection>,
    /// With `raw`: versions per column at most.
    pub max_versions: i32,
    /// Never try to delete anything, not even what is left of the own lock.
    pub append_only: bool,
    /// Decode every file again after it was written, not one in 16.
    pub verify_written: bool,
    /// Copy everything else where keys cannot be read, and record them as gaps.
    pub skip_unreadable: bool,
    /// Limits.
    pub resources: Resources,
    /// Resume the newest unfinished backup that was started with the same settings.
    pub resume: bool,
    /// Limits towards the cluster.
    pub manners: Manners,
    /// Only plan: connect, find tables and shards, write nothing.
    pub dry_run: bool,
    /// Pieces that each table is cut into, about; `None`: as many as the connections need.
    pub jobs: Option<usize>,
}

/// What an increment is made of, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncrementPlan {
    /// The backup that it adds to: an id, a unique prefix of one, or `latest`.
    pub parent: String,
    /// How to find out what has changed.
    pub by: IncrementBy,
    /// By time: how far the clocks of the cluster and of whoever made the parent may be apart.
    pub overlap: Duration,
    /// By time: for how long the cluster keeps delete markers.
    pub horizon: Duration,
}

impl IncrementPlan {
    /// The [`horizon`](Self::horizon) unless another is given: HBase's interval of major compactions.
    pub const HORIZON: Duration = Duration::from_secs(7 * 86_400);
}

/// How to make the increment that follows a full backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatchUpPlan {
    /// As of [`IncrementPlan`].
    pub overlap: Duration,
    /// As of [`IncrementPlan`].
    pub horizon: Duration,
}

/// A merge of a full backup and its increments.
pub struct MergePlan {
    /// The repository's store.
    pub store: Store,
    /// The last member: a backup id, a unique prefix of one, or `latest`.
    pub backup: String,
    /// The full backup that it must begin with, where one is named.
    pub from: Option<String>,
    /// Resume the newest unfinished merge of the same backups.
    pub resume: bool,
    /// Commit without create-only puts, under the weaker rule.
    pub weak_commit: bool,
    /// Never try to delete anything.
    pub append_only: bool,
    /// Decode every file again after it was written, not one in 16.
    pub verify_written: bool,
    /// Limits; `connections` are pieces at once.
    pub resources: Resources,
}

/// A job of a planned backup: key range number so and so of a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobName {
    /// Table.
    pub table: String,
    /// Position in the table's jobs, from 0.
    pub number: usize,
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table, self.number)
    }
}

/// Work on a backup that was planned, perhaps by another process.
pub struct WorkPlan {
    /// How to work: the source's gateways, the store, limits. What decoding depends on comes from the backup's plan.
    pub run: BackupPlan,
    /// The backup.
    pub backup: String,
    /// What to do; empty: whatever is not recorded yet.
    pub jobs: Vec<JobName>,
}

/// The commit of a backup whose jobs are done.
pub struct CommitPlan {
    /// The repository's store.
    pub store: Store,
    /// The backup.
    pub backup: String,
    /// Never try to delete anything.
    pub append_only: bool,
}

/// A restore.
pub struct RestorePlan {
    /// Gateways of the target cluster.
    pub gateways: Gateways,
    /// The repository's store.
    pub store: Store,
    /// Backup id, a unique prefix of one, or `latest`.
    pub backup: String,
    /// Old table name and new one.
    pub rename: Vec<(String, String)>,
    /// Old namespace and new one, for the tables that `rename` does not name; `default` is the one without a prefix.
    pub rename_namespaces: Vec<(String, String)>,
    /// What the attributes of created tables shall be.
    pub attributes: Vec<AttributeEdit>,
    /// What becomes of the time to live of their families; `None`: it is kept, and cells that would expire are refused.
    pub ttl: Option<TtlChoice>,
    /// Only these tables (by their names in the backup); empty: all.
    pub tables: Vec<String>,
    /// Only these points, and the UIDs that they need.
    pub selection: Selection,
    /// Write into tables that hold rows already.
    pub into_existing: bool,
    /// Resume the newest unfinished restore that was started in the same way.
    pub resume: bool,
    /// Read the target back and compare.
    pub read_back: bool,
    /// Write cells that delete markers of the target cover with new timestamps, instead of refusing.
    pub new_timestamps: bool,
    /// Have each put in the write-ahead log before it is answered.
    pub sync_wal: bool,
    /// The target's UID table, when it is not among the restored ones.
    pub uid_table: Option<String>,
    /// Limits.
    pub resources: Resources,
    /// Limits towards the cluster.
    pub manners: Manners,
    /// Only check what would happen.
    pub dry_run: bool,
}

/// How deep a verification goes; each level catches what the one before misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyLevel {
    /// Every file is there with its size and hash.
    Files,
    /// Every file decodes to cells whose tally is the recorded one.
    Cells,
    /// The cells of the backup and of the live cluster are compared.
    Source,
}

/// A verification.
pub struct VerifyPlan {
    /// The repository's store.
    pub store: Store,
    /// Backup id, a unique prefix of one, or `latest`.
    pub backup: String,
    /// How deep.
    pub level: VerifyLevel,
    /// The live cluster, for [`VerifyLevel::Source`].
    pub gateways: Option<Gateways>,
    /// Compare with tables of other names: name in the backup and name in the cluster.
    pub rename: Vec<(String, String)>,
    /// Differences named at most; all are counted.
    pub max_named: usize,
    /// Count ordinary changes of a table in use as differences, too.
    pub strict: bool,
    /// Limits.
    pub resources: Resources,
    /// Limits towards the cluster, for [`VerifyLevel::Source`].
    pub manners: Manners,
}
