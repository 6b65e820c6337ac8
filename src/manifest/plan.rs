//! The plan of a backup.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hex::HexBytes;
use super::kind::{BackupKind, IncrementRecord};
use super::record::{CommitRule, DescriptorRecord, HashedFile, LayoutSource, ServerFacts};
use super::window::WindowRecord;
use crate::model::{DescriptorSource, KeyLayout, KeyLayouts, KeyRange, NameCharset, TableKind};

/// One table of a [`PlanRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTable {
    /// Full name.
    pub name: String,
    /// How its cells are decoded.
    pub kind: TableKind,
    /// Versions of a column that the scan asks for.
    pub versions: i32,
    /// As HBase described it.
    pub descriptor: DescriptorRecord,
    /// Who told the descriptor.
    pub described_by: DescriptorSource,
    /// First keys of all regions but the first, sorted.
    pub split_keys: Vec<HexBytes>,
    /// Of an increment by write time: cells with an older timestamp are not read; `None`: the whole table is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// What is to be done, in key order: the jobs cover all keys, each once.
    pub jobs: Vec<PlannedJob>,
}

/// Keys that a worker reads as one job; its number is its position in the table, from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedJob {
    /// First key.
    pub start: HexBytes,
    /// First key behind it; empty: the table's end.
    pub stop: HexBytes,
}

impl PlannedTable {
    /// The keys of the jobs.
    pub fn ranges(&self) -> Vec<KeyRange> {
        self.jobs.iter().map(|job| KeyRange::new(job.start.clone(), job.stop.clone())).collect()
    }
}

impl From<&KeyRange> for PlannedJob {
    fn from(range: &KeyRange) -> Self {
        Self { start: range.start.clone().into(), stop: range.stop.clone().into() }
    }
}

/// `plan.json` of a backup: what was asked for, and all that decoding depends on. A run that resumes it takes these from
/// here, so that shards of two runs are decoded alike.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanRecord {
    /// [`super::FORMAT`]; filled in.
    pub format: u32,
    /// The backup's id; filled in.
    pub backup: String,
    /// Version of the program that started it; filled in.
    pub tool_version: String,
    /// Beginning, RFC 3339; filled in from `started_ms`.
    pub started: String,
    /// Beginning, ms UTC.
    pub started_ms: i64,
    /// What the backup is of; filled in by whoever plans.
    #[serde(default)]
    pub kind: BackupKind,
    /// Id of the backup that this one adds to.
    #[serde(default)]
    pub parent: Option<String>,
    /// How an increment is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increment: Option<IncrementRecord>,
    /// What a window is a selection of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowRecord>,
    /// Ids of the backups of which this one is made, base first, where it is not read from a cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
    /// Delete markers and overwritten versions are asked for.
    pub raw: bool,
    /// UID widths and salt.
    pub layout: KeyLayout,
    /// Layouts of rows under another salt, as in the manifest.
    #[serde(default)]
    pub older_layouts: Vec<KeyLayout>,
    /// How the layout became known.
    pub layout_source: LayoutSource,
    /// How the bytes of names are read.
    pub name_charset: NameCharset,
    /// The keys of the TSD's configuration that matter; `None` when no configuration was given.
    #[serde(default)]
    pub opentsdb_conf: Option<BTreeMap<String, String>>,
    /// The TSD's rollup configuration, JSON as text.
    #[serde(default)]
    pub rollup_config: Option<String>,
    /// What is read from.
    pub server: ServerFacts,
    /// How records and the manifest are created.
    pub commit_rule: CommitRule,
    /// The names of UIDs, as a table of `kind`, `uid` and `name`; `None` without a UID table.
    pub names: Option<HashedFile>,
    /// When these names were read, ms UTC: the read began then.
    pub names_read_ms: i64,
    /// Tables in the order of reading.
    pub tables: Vec<PlannedTable>,
    /// Tables that OpenTSDB may do without and that do not exist.
    pub absent_tables: Vec<String>,
    /// What the tables keep and the backup will not hold, in words.
    pub not_held: Vec<String>,
    /// What somebody should read about the source.
    pub warnings: Vec<String>,
    /// Hash of the file without these digits; filled in. Must stay the last field.
    pub self_blake3: String,
}

impl PlanRecord {
    /// The layouts of all rows.
    pub fn layouts(&self) -> KeyLayouts {
        KeyLayouts::new(self.layout, self.older_layouts.iter().copied())
    }

    /// The UID table.
    pub fn uid_table(&self) -> Option<&PlannedTable> {
        self.tables.iter().find(|table| table.kind == TableKind::Uid)
    }
}
