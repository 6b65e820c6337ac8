//! What a command found and did, for a person and, as JSON, for scripts.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::flow::VerifyLevel;
use crate::manifest::{GapRecord, IncrementBy, TableRecord, WindowRecord};
use crate::model::{GapReason, KeyLayout, TableKind, Tally, hex};

/// One table of a backup.
#[derive(Debug, Clone, Serialize)]
pub struct TableReport {
    /// Name.
    pub table: String,
    /// What is in it.
    pub kind: TableKind,
    /// Regions when the backup began.
    pub regions: u64,
    /// Versions of a column that were asked for; 2147483647 is all.
    pub versions: i32,
    /// Rows, cells, points, bytes and checksum.
    #[serde(flatten)]
    pub tally: Tally,
    /// Cells kept raw.
    pub raw_cells: u64,
    /// Raw cells by reason.
    pub raw_reasons: BTreeMap<String, u64>,
    /// Cells of points in rows under another salt, by number of the layout, from 1.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cells_by_layout: BTreeMap<u8, u64>,
    /// Shards.
    pub shards: u64,
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes_written: u64,
    /// Keys that could not be read, in order.
    pub gaps: Vec<GapReport>,
}

/// Keys that are missing from a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapReport {
    /// First key, hex.
    pub start: String,
    /// First key behind it, hex; empty: the table's end.
    pub stop: String,
    /// Why.
    pub reason: GapReason,
    /// What HBase said, or what was seen.
    pub message: String,
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
    /// `full`, `incremental` or `window`.
    pub kind: String,
    /// What a window is a selection of.
    pub window: Option<WindowRecord>,
    /// What was there already; `None` without `--resume`.
    pub resumed: Option<ResumedReport>,
    /// Tables in the order in which they were read.
    pub tables: Vec<TableReport>,
    /// Tables that OpenTSDB may do without and that do not exist.
    pub absent_tables: Vec<String>,
    /// UID widths and salt.
    pub layout: KeyLayout,
    /// The same of rows under another salt.
    pub older_layouts: Vec<KeyLayout>,
    /// Where the layout comes from: `opentsdb.conf`, `flags` or `detected`.
    pub layout_from: String,
    /// What the tables keep and the backup does not hold, because the gateway cannot read it; makes the exit code 3.
    pub not_held: Vec<String>,
    /// Remarks that somebody should read.
    pub warnings: Vec<String>,
    /// Wall time.
    pub seconds: f64,
    /// Bytes from the gateway.
    pub bytes_read: u64,
    /// Bytes to the repository.
    pub bytes_written: u64,
    /// Files that were decoded again after they were written.
    pub files_read_back: u64,
    /// Most memory that the process held.
    pub peak_rss_bytes: u64,
    /// Seconds in which the run held back because a gateway was slow.
    pub back_off_seconds: f64,
    /// The increment that followed; `None` where none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<Box<BackupReport>>,
    /// Of a dry run: an increment would follow.
    #[serde(skip)]
    pub catch_up_planned: bool,
}

/// A planned backup.
#[derive(Debug, Clone, Serialize)]
pub struct PlanReport {
    /// Backup id.
    pub backup: String,
    /// Tables in the order in which they are to be read; the UID table is the last.
    pub tables: Vec<PlannedTableReport>,
    /// Bytes of the names of UIDs that were stored for the workers.
    pub names_bytes: u64,
    /// What the tables keep and the backup will not hold; makes the exit code 3.
    pub not_held: Vec<String>,
    /// Remarks that somebody should read.
    pub warnings: Vec<String>,
    /// Wall time.
    pub seconds: f64,
}

/// The jobs of one table.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedTableReport {
    /// Name.
    pub table: String,
    /// What is in it.
    pub kind: TableKind,
    /// Jobs in key order.
    pub jobs: Vec<JobReport>,
}

/// A job.
#[derive(Debug, Clone, Serialize)]
pub struct JobReport {
    /// Table and number.
    pub job: String,
    /// First key, hex.
    pub start: String,
    /// First key behind it, hex; empty: the table's end.
    pub stop: String,
}

/// What a worker did.
#[derive(Debug, Clone, Serialize)]
pub struct WorkReport {
    /// Backup id.
    pub backup: String,
    /// Jobs that the worker took up.
    pub jobs: Vec<String>,
    /// Shards that it recorded; one job may become several.
    pub shards: u64,
    /// Jobs of the backup that are not recorded yet, or not as a whole.
    pub missing: Vec<String>,
    /// Jobs with keys that could not be read and are recorded as gaps.
    pub unreadable: Vec<String>,
    /// Why the jobs of the UID table were left, when they were.
    pub left: Option<String>,
    /// Remarks that somebody should read.
    pub warnings: Vec<String>,
    /// Wall time.
    pub seconds: f64,
    /// Bytes from the gateway.
    pub bytes_read: u64,
    /// Bytes to the repository.
    pub bytes_written: u64,
    /// Files that were decoded again after they were written.
    pub files_read_back: u64,
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
    /// Cells that the cluster did not take; the report names the first.
    pub cells_refused: u64,
    /// True: sent and backed up cells agree.
    pub sent_agrees: bool,
    /// True: the target shows every cell of the backup; `None`: it was not read back.
    pub target_agrees: Option<bool>,
    /// Cells of the backup that the target does not show as they were backed up, by kind.
    pub by_kind: BTreeMap<DifferenceKind, u64>,
    /// Cells that the target shows and the backup lacks; no difference.
    pub also_there: u64,
    /// Cells that were written with a new timestamp because a delete marker covers the old one.
    pub new_timestamps: u64,
    /// Hidden cells and delete markers of a raw backup that HBase has dropped again.
    pub hidden_dropped: u64,
}

/// What a restore selected of a backup.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SelectionReport {
    /// Files of the tables that are selected from.
    pub files: u64,
    /// Of them, those that may hold selected cells, as far as the catalogue shows.
    pub files_read: u64,
    /// Bytes of all of `files`.
    pub bytes: u64,
    /// UIDs that the selected rows use.
    pub uids: u64,
    /// Cells of the UID table that are restored with them, counters included.
    pub uid_cells: u64,
    /// Tables that were asked for and of which nothing is restored: they hold nothing of the selection, or are not
    /// selected from (meta, trees and others).
    pub left_out: Vec<String>,
}

/// A finished restore.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreReport {
    /// Backup id.
    pub backup: String,
    /// Id of this restore in the repository; `None` when its progress could not be kept.
    pub restore: Option<String>,
    /// True when it resumed an earlier run.
    pub resumed: bool,
    /// Tables in the order in which they were written.
    pub tables: Vec<RestoredTable>,
    /// What a dry run would restore.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<PlannedRestore>,
    /// What was selected; absent: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<SelectionReport>,
    /// Gaps of the restored tables: keys that the backup lacks and a restore cannot bring back.
    pub gaps: u64,
    /// Remarks that somebody should read.
    pub warnings: Vec<String>,
    /// What is left to do or to decide, and makes the exit code 3.
    pub attention: Vec<String>,
    /// Tables that were not sent as they were backed up, or do not show it.
    pub differences: u64,
    /// The first cells that a target does not show as they were backed up.
    pub cells_named: Vec<CellDifference>,
    /// True when nothing was written because of a dry run.
    pub dry_run: bool,
    /// Wall time.
    pub seconds: f64,
    /// Bytes read, from the repository and from the gateway.
    pub bytes_read: u64,
    /// Of them, bytes of data files of the repository.
    pub repository_bytes_read: u64,
    /// Of them, bytes from the gateway: the search for delete markers and the check afterwards.
    pub cluster_bytes_read: u64,
    /// Bytes to the gateway.
    pub bytes_written: u64,
    /// Most memory that the process held.
    pub peak_rss_bytes: u64,
    /// Seconds in which the run held back because a gateway was slow.
    pub back_off_seconds: f64,
}

impl From<&TableRecord> for TableReport {
    fn from(table: &TableRecord) -> Self {
        Self {
            table: table.name.clone(),
            kind: table.kind,
            regions: table.split_keys.len() as u64 + 1,
            versions: table.versions,
            tally: table.tally,
            raw_cells: table.raw_cells.values().copied().fold(0, u64::saturating_add),
            raw_reasons: table.raw_cells.clone(),
            cells_by_layout: table.cells_by_layout.clone(),
            shards: table.shards,
            files: table.files,
            bytes_written: table.bytes_written,
            gaps: table.gaps.iter().map(GapReport::from).collect(),
        }
    }
}

impl From<&GapRecord> for GapReport {
    fn from(gap: &GapRecord) -> Self {
        let [start, stop] = [&gap.start, &gap.stop].map(|key| hex(&Vec::from(key.clone())).to_lowercase());
        Self { start, stop, reason: gap.reason, message: gap.message.clone() }
    }
}

/// A table of a restore that was not carried out.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedRestore {
    /// The table in the backup.
    pub table: String,
    /// Its name in the target cluster.
    pub target: String,
    /// It does not exist yet.
    pub create: bool,
    /// Cells to be sent.
    pub cells: u64,
}

impl RestoreReport {
    /// True when the cluster did not take every cell.
    pub fn lacks_cells(&self) -> bool {
        self.tables.iter().any(|table| table.cells_refused > 0)
    }
}

/// Why a cell differs between backup and cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Only in the backup, and older than the family's time to live: HBase dropped it.
    Expired,
    /// Only in the source, with a timestamp after the backup began.
    WrittenLater,
    /// Only in the backup: newer versions of the column are in its place.
    Overwritten,
    /// Only in the backup: deleted since, or replaced when a TSD compacted the row.
    Deleted,
    /// On one side only, without a reason to be seen: in the source with a timestamp from before the backup (written late
    /// with an old timestamp, or missed by the backup), or in the backup and not shown by the target of a restore.
    Missing,
    /// On both sides, with different values.
    Damaged,
    /// Hidden in a raw backup, and shown by the target of a restore.
    Reappeared,
}

impl DifferenceKind {
    /// True for what happens to any table in use.
    pub fn is_ordinary(self) -> bool {
        matches!(self, Self::Expired | Self::WrittenLater | Self::Overwritten)
    }
}

/// One differing cell.
#[derive(Debug, Clone, Serialize)]
pub struct CellDifference {
    /// Table in the backup.
    pub table: String,
    /// The table that it is compared with.
    pub source_table: String,
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
    /// Cells of the backup that were decoded; 0 with level `files`.
    pub cells: u64,
    /// Cells read from the live cluster, with level `source`.
    pub source_cells: u64,
    /// Number of problems, and of differences that somebody must look at: with `--strict` all, otherwise those of
    /// kinds `deleted`, `missing` and `damaged`.
    pub differences: u64,
    /// Differences that are ordinary in a table in use and do not count as such.
    pub ordinary_changes: u64,
    /// Gaps of the backup: keys that could not be read when it was made. They are no differences.
    pub gaps: u64,
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

/// Which increments fit a cluster.
#[derive(Debug, Clone, Default, Serialize)]
pub struct IncrementAdvice {
    /// `time` where write times say what has changed, else `compare`; `None` where no increment is possible yet.
    pub fits: Option<IncrementBy>,
    /// The backup that it would add to, the newest one of the cluster; `None` without any.
    pub parent: Option<String>,
    /// Why write times do not say what has changed.
    pub against_time: Vec<String>,
    /// Why no increment is possible.
    pub against_any: Vec<String>,
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
    /// The same of rows under another salt.
    pub older_layouts: Vec<KeyLayout>,
    /// Where the layout comes from: `opentsdb.conf`, `flags` or `detected`.
    pub layout_from: String,
    /// Row keys sampled, and how many of them fit the layout.
    pub keys_sampled: u64,
    /// Of them, how many fit.
    pub keys_fitting: u64,
    /// What is sure.
    pub sure: Vec<String>,
    /// What was assumed, because nothing contradicts it.
    pub guessed: Vec<String>,
    /// What somebody should read.
    pub warnings: Vec<String>,
    /// What makes a backup fail, with the flag for a backup all the same where there is one.
    pub stops_a_backup: Vec<String>,
    /// What a backup would not carry.
    pub would_be_lost: Vec<String>,
    /// Which increments fit.
    pub increments: IncrementAdvice,
}
