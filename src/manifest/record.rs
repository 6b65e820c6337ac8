//! The values behind each JSON file; the format is described in [`crate::manifest`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hex::{HexBytes, escape, unescape};
use super::kind::{BackupKind, IncrementRecord};
use super::window::{NamedUids, WindowRecord};
use crate::model::{
    DescriptorSource, FamilyDescriptor, FileKind, FileRow, Gap, GapReason, KeyLayout, KeyLayouts, KeyRange,
    NameCharset, ShardRow, TableDescriptor, TableKind, Tally,
};
use crate::store::StoredFile;

/// How many metrics a shard record counts one by one; where there are more, a file beside it has all.
pub const METRICS_PER_RECORD: usize = 100;

/// `repository.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryRecord {
    /// [`super::FORMAT`].
    pub format: u32,
    /// Always [`super::WHAT`].
    pub what: String,
    /// Random, 32 hex digits.
    pub id: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// Milliseconds, UTC.
    pub created_ms: i64,
    /// Version of the program that created it.
    pub tool_version: String,
    /// How files are sealed: `none`.
    pub sealing: String,
    /// Hash of the file without these digits. Must stay the last field.
    pub self_blake3: String,
}

/// How the key layout became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayoutSource {
    /// From the TSD's configuration file.
    Conf,
    /// From flags.
    Flags,
    /// From the data.
    #[default]
    Detected,
}

impl LayoutSource {
    /// The name in JSON and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conf => "conf",
            Self::Flags => "flags",
            Self::Detected => "detected",
        }
    }
}

/// What the backup was read from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerFacts {
    /// HBase's cluster id, when the gateway reports it.
    pub cluster_id: Option<String>,
    /// HBase's version, when the gateway reports it.
    pub hbase_version: Option<String>,
    /// `thrift2` or `thrift1`.
    pub api: String,
    /// How bytes travel, for example `framed` or `buffered`.
    pub transport: String,
    /// Gateways, `host:port`.
    pub addresses: Vec<String>,
}

/// A table descriptor whose bytes survive JSON: names and values are escaped text (see [`crate::manifest`]).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DescriptorRecord {
    /// Table attributes.
    pub attributes: BTreeMap<String, String>,
    /// Families, sorted by name.
    pub families: Vec<FamilyRecord>,
}

/// A column family of a [`DescriptorRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FamilyRecord {
    /// Name, escaped.
    pub name: String,
    /// Attributes, escaped.
    pub attributes: BTreeMap<String, String>,
    /// Settings, plain text.
    pub configuration: BTreeMap<String, String>,
}

impl From<&TableDescriptor> for DescriptorRecord {
    fn from(table: &TableDescriptor) -> Self {
        let families = table.families.iter().map(|family| FamilyRecord {
            name: escape(&family.name),
            attributes: escape_map(&family.attributes),
            configuration: family.configuration.iter().cloned().collect(),
        });
        Self { attributes: escape_map(&table.attributes), families: families.collect() }
    }
}

impl DescriptorRecord {
    /// The descriptor of a table called `name`, or `None` when an escape is broken.
    pub fn descriptor(&self, name: &str) -> Option<TableDescriptor> {
        let families = self.families.iter().map(|family| {
            Some(FamilyDescriptor {
                name: unescape(&family.name)?,
                attributes: unescape_map(&family.attributes)?,
                configuration: family.configuration.clone().into_iter().collect(),
            })
        });
        Some(TableDescriptor {
            name: name.to_owned(),
            attributes: unescape_map(&self.attributes)?,
            families: families.collect::<Option<_>>()?,
        })
    }
}

fn escape_map(map: &[(Vec<u8>, Vec<u8>)]) -> BTreeMap<String, String> {
    map.iter().map(|(name, value)| (escape(name), escape(value))).collect()
}

fn unescape_map(map: &BTreeMap<String, String>) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let pairs = map.iter().map(|(name, value)| Some((unescape(name)?, unescape(value)?)));
    let mut pairs = pairs.collect::<Option<Vec<_>>>()?;
    pairs.sort();
    Some(pairs)
}

/// One table of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableRecord {
    /// Full name, `namespace:name` outside the default namespace.
    pub name: String,
    /// How its cells were decoded.
    pub kind: TableKind,
    /// Its position in the order in which the tables were read, from 0; restore goes the other way round.
    pub order: u32,
    /// As HBase described it.
    pub descriptor: DescriptorRecord,
    /// Who told the descriptor, and so how much of it is there. Manifests without it are from gateways that tell all.
    #[serde(default)]
    pub described_by: DescriptorSource,
    /// First keys of all regions but the first, sorted.
    pub split_keys: Vec<HexBytes>,
    /// Versions of each column that the scan asked for.
    pub versions: i32,
    /// Shards, each with a record; gaps are none.
    pub shards: u64,
    /// What the scan read.
    pub tally: Tally,
    /// Raw cells by the name of their reason.
    pub raw_cells: BTreeMap<String, u64>,
    /// Cells of points in rows under another salt, by the number of the layout, from 1; see [`Manifest::older_layouts`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cells_by_layout: BTreeMap<u8, u64>,
    /// Parquet rows by kind of file.
    pub rows_by_kind: BTreeMap<FileKind, u64>,
    /// Parquet files.
    pub files: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Time of the first point, ms UTC.
    pub first_point_ms: Option<i64>,
    /// Time of the last point, ms UTC.
    pub last_point_ms: Option<i64>,
    /// Keys that could not be read, in order; shards cover all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<GapRecord>,
}

/// Keys that a backup lacks because they could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRecord {
    /// Attempt of the shard record that says the same.
    pub attempt: String,
    /// First key.
    pub start: HexBytes,
    /// First key behind it; empty: the table's end.
    pub stop: HexBytes,
    /// Why.
    pub reason: GapReason,
    /// What HBase said, or what was seen.
    pub message: String,
}

impl GapRecord {
    /// The record of a gap by an attempt.
    pub fn new(gap: &Gap, attempt: String) -> Self {
        let (start, stop) = (gap.range.start.clone().into(), gap.range.stop.clone().into());
        Self { attempt, start, stop, reason: gap.reason, message: gap.message.clone() }
    }

    /// The gap.
    pub fn gap(&self) -> Gap {
        let range = KeyRange::new(self.start.clone(), self.stop.clone());
        Gap { range, reason: self.reason, message: self.message.clone() }
    }
}

/// A file and its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashedFile {
    /// Relative to the repository.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// BLAKE3, 64 hex digits.
    pub blake3: String,
}

impl From<StoredFile> for HashedFile {
    fn from(file: StoredFile) -> Self {
        Self { path: file.path, size: file.size, blake3: file.blake3 }
    }
}

/// What a backup took.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Bytes read from the gateways.
    pub bytes_read: u64,
    /// Bytes written to the repository.
    pub bytes_written: u64,
    /// Greatest memory use of the process.
    pub peak_rss_bytes: u64,
}

/// How the files that decide, manifests and shard records, are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommitRule {
    /// The store creates a file or refuses: of racing writers exactly one wins.
    #[default]
    CreateOnly,
    /// The store overwrites. The writer looked that nothing was there, put, waited, and read its own file back.
    ReadBack,
}

/// `manifest.json`. [`super::BackupWriter::commit`] fills in the fields that it owns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// [`super::FORMAT`]; filled in by commit.
    pub format: u32,
    /// The repository's id; filled in by commit.
    pub repository: String,
    /// The backup's id; filled in by commit.
    pub backup: String,
    /// The process that committed, unique; filled in by commit.
    pub attempt: String,
    /// Version of the program that committed; filled in by commit.
    pub tool_version: String,
    /// What it is of.
    pub kind: BackupKind,
    /// How it was committed; filled in by commit. Manifests without it are create-only.
    #[serde(default)]
    pub commit_rule: CommitRule,
    /// Id of the backup that this one adds to; `None` for a full one.
    pub parent: Option<String>,
    /// How an increment was made; `None` for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increment: Option<IncrementRecord>,
    /// What a window is a selection of; `None` for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowRecord>,
    /// Ids of the backups of which it was made, base first; none for one that was read from a cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
    /// Beginning, RFC 3339; filled in by commit from `started_ms`.
    pub started: String,
    /// Beginning, ms UTC.
    pub started_ms: i64,
    /// End, RFC 3339; filled in by commit from `finished_ms`.
    pub finished: String,
    /// End, ms UTC.
    pub finished_ms: i64,
    /// Delete markers and overwritten versions were asked for.
    pub raw: bool,
    /// What is exact about it, for people.
    pub exactness: String,
    /// UID widths and salt.
    pub layout: KeyLayout,
    /// Layouts of rows under another salt, in the order of their numbers, from 1: the points of such a row have their
    /// `form` plus 16 times the number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub older_layouts: Vec<KeyLayout>,
    /// How the layout became known.
    pub layout_source: LayoutSource,
    /// How the bytes of names were read.
    #[serde(default)]
    pub name_charset: NameCharset,
    /// What it was read from.
    pub server: ServerFacts,
    /// The keys of the TSD's configuration that matter, with their values.
    pub opentsdb_conf: BTreeMap<String, String>,
    /// The TSD's rollup configuration, JSON as text.
    pub rollup_config: Option<String>,
    /// Tables in the order in which they were read.
    pub tables: Vec<TableRecord>,
    /// Files of the catalogue.
    pub catalogue: Vec<HashedFile>,
    /// What it took.
    pub totals: Totals,
    /// Hash of the file without these digits; filled in by commit. Must stay the last field.
    pub self_blake3: String,
}

impl Manifest {
    /// The layouts of all rows.
    pub fn layouts(&self) -> KeyLayouts {
        KeyLayouts::new(self.layout, self.older_layouts.iter().copied())
    }
}

/// Points of a metric in a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricCount {
    /// Name; `None` when the UID has none.
    pub metric: Option<String>,
    /// UID.
    pub uid: HexBytes,
    /// Points.
    pub points: u64,
    /// Time of the first, ms UTC.
    pub first_ms: i64,
    /// Time of the last, ms UTC.
    pub last_ms: i64,
}

/// `shards/<table>-<attempt>.json`. [`super::BackupWriter::put_shard_record`] fills in `format`, `backup` and the hash.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ShardRecord {
    /// [`super::FORMAT`]; filled in.
    pub format: u32,
    /// The backup's id; filled in.
    pub backup: String,
    /// The shard, as in the catalogue.
    #[serde(flatten)]
    pub shard: ShardRow,
    /// In the UID table: the [`BasisRecord`] of the read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// In a window, outside the UID table: the UIDs that its rows name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uids: Option<NamedUids>,
    /// Bytes read from the gateway.
    pub bytes_read: u64,
    /// Greatest memory use of the process so far.
    pub peak_rss_bytes: u64,
    /// Raw cells by the name of their reason.
    pub raw_cells: BTreeMap<String, u64>,
    /// Cells of points in rows under another salt, by the number of the layout, from 1; see [`Manifest::older_layouts`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cells_by_layout: BTreeMap<u8, u64>,
    /// Files, as in the catalogue; none for an empty shard.
    pub files: Vec<FileRow>,
    /// The metrics with most points, [`METRICS_PER_RECORD`] at most, sorted by UID.
    pub metrics: Vec<MetricCount>,
    /// How many metrics found no room in `metrics`.
    pub metrics_left_out: u64,
    /// Where some found none: the file with all of them, a table like `catalogue/metrics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_metrics: Option<HashedFile>,
    /// The keys could not be read: why. Such a record has no files, and a resumed backup reads its keys again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapRecord>,
    /// Hash of the file without these digits; filled in. Must stay the last field.
    pub self_blake3: String,
}

impl ShardRecord {
    /// Sets `metrics` to the greatest ones and counts the others.
    pub fn set_metrics(&mut self, mut metrics: Vec<MetricCount>) {
        metrics.sort_by(|a, b| b.points.cmp(&a.points).then_with(|| a.uid.cmp(&b.uid)));
        self.metrics_left_out = metrics.len().saturating_sub(METRICS_PER_RECORD) as u64;
        metrics.truncate(METRICS_PER_RECORD);
        metrics.sort_by(|a, b| a.uid.cmp(&b.uid));
        self.metrics = metrics;
    }

    /// The record of a gap, as an attempt of its own.
    pub fn of_gap(table: &str, gap: GapRecord, now_ms: i64) -> Self {
        let shard = ShardRow {
            table: table.to_owned(),
            attempt: gap.attempt.clone(),
            start: gap.start.0.clone(),
            stop: gap.stop.0.clone(),
            started_ms: now_ms,
            finished_ms: now_ms,
            tally: Tally::default(),
        };
        Self { shard, gap: Some(gap), ..Self::default() }
    }
}

/// `basis-<id>.json`: what was recorded when a read of the UID table began. Every UID that one of these shards names is
/// in that read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BasisRecord {
    /// [`super::FORMAT`]; filled in.
    pub format: u32,
    /// The backup's id; filled in.
    pub backup: String,
    /// The first 12 digits of the BLAKE3 of `shards`, with a line feed behind each; filled in.
    pub basis: String,
    /// Attempts that cover all other tables, sorted.
    pub shards: Vec<String>,
    /// Hash of the file without these digits; filled in. Must stay the last field.
    pub self_blake3: String,
}

impl BasisRecord {
    /// The id of the basis with these shards.
    pub fn id_of(shards: &[String]) -> String {
        let mut hasher = blake3::Hasher::new();
        for shard in shards {
            hasher.update(shard.as_bytes()).update(b"\n");
        }
        hasher.finalize().to_hex().chars().take(12).collect()
    }
}

/// What a list of backups shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackupSummary {
    /// Id.
    pub backup: String,
    /// Beginning, RFC 3339.
    pub started: String,
    /// Beginning, ms UTC.
    pub started_ms: i64,
    /// End, ms UTC.
    pub finished_ms: i64,
    /// What it is of.
    pub kind: BackupKind,
    /// Id of the backup that it adds to.
    pub parent: Option<String>,
    /// It was made of other backups.
    pub merged: bool,
    /// Delete markers and overwritten versions included.
    pub raw: bool,
    /// Names of the tables.
    pub tables: Vec<String>,
    /// All tables together.
    pub tally: Tally,
    /// Raw cells of all tables.
    pub raw_cells: u64,
    /// Parquet files.
    pub files: u64,
    /// Bytes of the Parquet files.
    pub bytes: u64,
    /// Gaps of all tables.
    pub gaps: u64,
    /// Version of the program that committed.
    pub tool_version: String,
}

impl From<&Manifest> for BackupSummary {
    fn from(manifest: &Manifest) -> Self {
        let mut tally = Tally::default();
        manifest.tables.iter().for_each(|table| tally.add(&table.tally));
        let sum = |numbers: &mut dyn Iterator<Item = u64>| numbers.fold(0, u64::saturating_add);
        Self {
            backup: manifest.backup.clone(),
            started: manifest.started.clone(),
            started_ms: manifest.started_ms,
            finished_ms: manifest.finished_ms,
            kind: manifest.kind.clone(),
            parent: manifest.parent.clone(),
            merged: !manifest.merged.is_empty(),
            raw: manifest.raw,
            tables: manifest.tables.iter().map(|table| table.name.clone()).collect(),
            tally,
            raw_cells: sum(&mut manifest.tables.iter().flat_map(|table| table.raw_cells.values().copied())),
            files: sum(&mut manifest.tables.iter().map(|table| table.files)),
            bytes: sum(&mut manifest.tables.iter().map(|table| table.bytes_written)),
            gaps: manifest.tables.iter().map(|table| table.gaps.len() as u64).sum(),
            tool_version: manifest.tool_version.clone(),
        }
    }
}
