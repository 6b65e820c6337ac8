//! What a command found and did, for a person and, as JSON, for scripts.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::flow::VerifyLevel;
use crate::model::{KeyLayout, TableKind, Tally};

/// One table of a backup.
#[derive(Debug, Clone, Serialize)]
pub struct TableReport {
    /// Name.
    pub table: String,
    /// What is in it.
    pub kind: TableKind,
    /// Rows, cells, points, bytes and checksum.
    #[serde(flatten)]
    pub tally: Tally,
    /// Cells kept raw.
    pub raw_cells: u64,
    /// Raw cells by reason.
    pub raw_reasons: BTreeMap<String, u64>,
    /// Shards.
    pub shards: u64,
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes_written: u64,
}

/// What a resumed backup found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ResumedReport {
    /// Shards of earlier runs that count.
    pub shards_kept: u64,
    /// Their cells.
    pub cells_kept: u64,
    /// Shards that were read now.
    pub shards_read: u64,
    /// Records and files of earlier runs that do not count, with the reason.
    pub problems: Vec<String>,
}

/// A finished backup.
#[derive(Debug, Clone, Serialize)]
pub struct BackupReport {
    /// Backup id; `None` after a dry run.
    pub backup: Option<String>,
    /// What was there already; `None` without `--resume`.
    pub resumed: Option<ResumedReport>,
    /// Tables in the order in which they were read.
    pub tables: Vec<TableReport>,
    /// Tables that OpenTSDB may do without and that do not exist.
    pub absent_tables: Vec<String>,
    /// UID widths and salt.
    pub layout: KeyLayout,
    /// Where the layout comes from: `opentsdb.conf`, `flags` or `detected`.
    pub layout_from: String,
    /// Remarks that somebody should read.
    pub warnings: Vec<String>,
    /// Wall time.
    pub seconds: f64,
    /// Bytes from the gateway.
    pub bytes_read: u64,
    /// Bytes to the repository.
    pub bytes_written: u64,
    /// Most memory that the process held.
    pub peak_rss_bytes: u64,
    /// Seconds in which the run held back because a gateway was slow.
    pub back_off_seconds: f64,
}

/// One table of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct RestoredTable {
    /// Name in the backup.
    pub table: String,
    /// Name in the target.
    pub target: String,
    /// True when the restore made it.
    pub created: bool,
    /// Cells sent.
    pub cells: u64,
    /// Bytes of the cells sent.
    pub bytes: u64,
    /// Checksum of the cells sent, by earlier runs too, 16 hex digits.
    pub checksum: String,
    /// Files that an earlier run of the same restore had sent.
    pub files_skipped: u64,
    /// Their cells.
    pub cells_skipped: u64,
    /// True: sent and backed up cells agree.
    pub sent_agrees: bool,
    /// True: the target read back agrees; `None`: not read, or the table held other rows before.
    pub target_agrees: Option<bool>,
}

/// A finished restore.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreReport {
    /// Backup id.
    pub backup: String,
    /// Id of this restore in the repository; `None` when its progress could not be kept.
    pub restore: Option<String>,
    /// True when it went on with an earlier run.
    pub resumed: bool,
    /// Tables in the order in which they were written.
    pub tables: Vec<RestoredTable>,
    /// Remarks that somebody should read.
    pub warnings: Vec<String>,
    /// What is left to do or to decide, and makes the exit code 3.
    pub attention: Vec<String>,
    /// Tables whose read-back does not agree.
    pub differences: u64,
    /// True when nothing was written because of a dry run.
    pub dry_run: bool,
    /// Wall time.
    pub seconds: f64,
    /// Bytes from the repository.
    pub bytes_read: u64,
    /// Bytes to the gateway.
    pub bytes_written: u64,
    /// Most memory that the process held.
    pub peak_rss_bytes: u64,
    /// Seconds in which the run held back because a gateway was slow.
    pub back_off_seconds: f64,
}

/// Why a cell differs between backup and source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Older than the family's time to live: HBase dropped it.
    Expired,
    /// Only in the source, written after the backup began.
    WrittenLater,
    /// Only in the backup: deleted, overwritten or compacted since.
    Deleted,
    /// In both with different bytes, or only in the source although it is older than the backup.
    Damaged,
}

/// One differing cell.
#[derive(Debug, Clone, Serialize)]
pub struct CellDifference {
    /// Table in the backup.
    pub table: String,
    /// Row key in hex.
    pub row: String,
    /// Family.
    pub family: String,
    /// Qualifier in hex.
    pub qualifier: String,
    /// Cell timestamp in ms.
    pub timestamp: i64,
    /// HBase type code.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Why.
    pub difference: DifferenceKind,
    /// Value in the backup, hex; `None`: not there.
    pub backup_value: Option<String>,
    /// Value in the source, hex; `None`: not there.
    pub source_value: Option<String>,
}

/// Something wrong with a file of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileProblem {
    /// Path below the repository.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

/// A finished verification.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// Backup id.
    pub backup: String,
    /// How deep.
    pub level: VerifyLevel,
    /// Files looked at.
    pub files: u64,
    /// Cells decoded or compared.
    pub cells: u64,
    /// Number of differences and problems.
    pub differences: u64,
    /// Problems of files.
    pub problems: Vec<FileProblem>,
    /// Differing cells by kind.
    pub by_kind: BTreeMap<DifferenceKind, u64>,
    /// The first differing cells.
    pub cells_named: Vec<CellDifference>,
    /// Remarks that somebody should read.
    pub warnings: Vec<String>,
    /// Wall time.
    pub seconds: f64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Most memory that the process held.
    pub peak_rss_bytes: u64,
    /// Seconds in which the run held back because a gateway was slow.
    pub back_off_seconds: f64,
}

/// One table that a preflight looked at.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedTable {
    /// Name.
    pub table: String,
    /// What is in it.
    pub kind: TableKind,
    /// Regions.
    pub regions: u64,
    /// Families with the versions that each keeps and the time to live in seconds.
    pub families: Vec<CheckedFamily>,
}

/// One family that a preflight looked at.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedFamily {
    /// Name.
    pub family: String,
    /// Versions kept.
    pub versions: i32,
    /// Time to live in seconds.
    pub ttl_seconds: Option<i64>,
}

/// A preflight.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// Gateways and what they speak.
    pub gateways: Vec<String>,
    /// Cluster id.
    pub cluster_id: Option<String>,
    /// The repository and its store; empty when none was given.
    pub store: Vec<String>,
    /// Tables.
    pub tables: Vec<CheckedTable>,
    /// Tables that OpenTSDB may do without and that do not exist.
    pub absent_tables: Vec<String>,
    /// UID widths and salt.
    pub layout: KeyLayout,
    /// Where the layout comes from: `opentsdb.conf`, `flags` or `detected`.
    pub layout_from: String,
    /// Row keys sampled, and how many of them fit the layout.
    pub keys_sampled: u64,
    /// Of them, how many fit.
    pub keys_fitting: u64,
    /// What is sure.
    pub sure: Vec<String>,
    /// What somebody should read.
    pub warnings: Vec<String>,
    /// What a backup would not carry.
    pub would_be_lost: Vec<String>,
}
