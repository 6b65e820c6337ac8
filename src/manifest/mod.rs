//! What a backup is: the format of a repository, and the functions that read and write it.
//!
//! This page is the specification. A reader needs it, a JSON parser, a Parquet reader and BLAKE3.
//!
//! # The tree
//!
//! ```text
//! <repository>/
//!   repository.json                                   what this is; written once
//!   backups/<id>/                                     id: 20250102T030405Z-1a2b3c4d, UTC and 8 random hex digits
//!     plan.json                                       what was asked for; written first, once
//!     manifest.json                                   commits the backup; written last, once
//!     shards/<table>-<shard>.json                     one record per finished shard; written once
//!     points/ series/ rollups/ annotations/ histograms/ uids/ meta/ tree/ cells/
//!       <table>-<shard>-<attempt>-<n>.parquet
//!       _delta_log/<version>.json                     the committed files as a Delta Lake table
//!     catalogue/files/ shards/ metrics/
//!       <attempt>-<n>.parquet
//!       _delta_log/<version>.json
//!     views.sql                                       one view per Parquet table over the committed files, for DuckDB;
//!                                                     views-<attempt>.sql where a plain one of an earlier run had to stay
//!   restores/<id>/                                    progress of a restore: plan.json, files/, finished.json
//!   locks/<kind>-<token>-<beat>.json                  who is at work; no part of a backup
//!   drills/                                           no part of a backup
//! ```
//!
//! `<shard>` is decimal, at least 5 digits. `<attempt>` is 12 lower-case hex digits, new for each try at a shard.
//! `<n>` counts the files of an attempt. `<version>` is 20 decimal digits. `<table>` is escaped as [`layout`] says. Every path inside a JSON file is
//! relative to the repository.
//!
//! # What counts
//!
//! - A backup exists when its `manifest.json` exists. A folder without one is running or was interrupted.
//! - A shard counts when `catalogue/shards` names its number and attempt, a Parquet file when `catalogue/files` names it.
//!   Records and files beside these are strays of attempts that were lost or altered; a reader skips them, so it goes by
//!   the catalogue, the Delta logs or `views.sql`, never by a listing. The process that commits removes them afterwards
//!   where it may delete.
//! - A backup without manifest can be resumed. A shard of it is done when its record has its own hash and every
//!   file that it names is there with its size and hash; everything else is read again under new numbers. UIDs are read
//!   again whenever other tables were, since they come last.
//! - Besides that only prune deletes: the record of the plan first, then the manifest, then the rest of the folder. Before, it puts
//!   an empty `pruning` into the folder, so that a folder which a prune did not finish is told from an unfinished backup.
//! - Nothing is ever changed or overwritten. `repository.json`, manifests and shard records are created with a
//!   create-only put (`If-None-Match: *`, or a hard link on disk). Of two attempts that race the loser reads the
//!   winner's file and compares `attempt`: its own means that an earlier answer was lost.
//! - A store that ignores the condition is refused, or used under a weaker rule when the user says so; `commit_rule` is
//!   then `read-back`: the writer looks that no file is there, puts it, waits (3 s for a manifest, 0.25 s for a shard
//!   record), reads it back and compares `attempt`. Two writers of one file, of which one stops for longer than that
//!   between look and put, could then both believe to have won; the file of the later one stays.
//! - Tables are read in the order of `order`, UIDs last: every UID that a data row names is in the backup. Restore goes
//!   the other way round.
//!
//! # JSON in general
//!
//! UTF-8, indented by two spaces, one line feed at the end. Numbers are integers below 2^63 except where said. Times
//! whose names end in `_ms` are milliseconds since 1970, UTC. Keys of rows are lower-case hex without prefix. A reader
//! looks at `format` first and refuses a number that it does not know; fields that it does not know it skips. A field
//! that may be missing a value holds `null`. Format 1, of development versions, had other columns and no Delta logs; no
//! version reads both.
//!
//! **Own hash.** All JSON files end with the field `self_blake3`: the BLAKE3 (64 lower-case hex
//! digits) of all bytes of the file without these 64 digits. The file therefore ends with `"self_blake3": "`, the
//! digits, `"`, line feed, `}`, line feed, and no parser is needed to check it. It notices accidents and careless edits;
//! it is not a signature.
//!
//! **Tally.** `{rows, cells, points, bytes, checksum}`, for a set of cells: `bytes` counts row key (once per cell),
//! family, qualifier and value; `checksum`, 16 lower-case hex digits, is the wrapping 64-bit sum of the XXH3-64 (seed 0)
//! of every cell, over
//!
//! ```text
//! u32 LE row length | row | u8 family length | family | u32 LE qualifier length | qualifier |
//! i64 LE timestamp in ms | u8 type (4 put, 8 delete, 10 delete family version, 12 delete column, 14 delete family) | value
//! ```
//!
//! Sums of tallies are field by field, `checksum` wrapping. The tallies of the shards of a table add up to the table's;
//! the tallies of the files of a shard add up to the shard's in `cells`, `bytes` and `checksum`, because every cell has
//! exactly one file from which restore takes it.
//!
//! # repository.json
//!
//! | field | meaning |
//! |---|---|
//! | `format` | 2 |
//! | `what` | `tsdb-ark repository` |
//! | `id` | 32 random hex digits |
//! | `created`, `created_ms` | RFC 3339 and ms |
//! | `tool_version` | version that created it |
//! | `sealing` | `none`: files lie as they are |
//! | `self_blake3` | own hash |
//!
//! # plan.json
//!
//! | field | meaning |
//! |---|---|
//! | `format`, `backup`, `tool_version`, `started`, `started_ms` | as in the manifest |
//! | `raw`, `layout`, `older_layouts`, `layout_source`, `name_charset`, `rollup_config` | as in the manifest |
//! | `opentsdb_conf` | as in the manifest; `null` when no configuration was given |
//! | `cluster_id`, `api` | as in the manifest's `server` |
//! | `tables` | `name`, `kind`, `versions` of each table, in the order of reading |
//! | `self_blake3` | own hash |
//!
//! # manifest.json
//!
//! | field | meaning |
//! |---|---|
//! | `format` | 2 |
//! | `repository`, `backup` | ids; `backup` is the folder's name |
//! | `attempt` | unique to the process that committed |
//! | `tool_version`, `kind`, `parent` | version that committed; `full`; `null`, or the id of the backup that this one adds to |
//! | `commit_rule` | `create-only`, or `read-back` (above); may be absent: `create-only` |
//! | `started`, `started_ms`, `finished`, `finished_ms` | RFC 3339 and ms |
//! | `raw` | true: delete markers and overwritten versions were read as well |
//! | `exactness` | what is exact about it, one sentence for people |
//! | `layout` | `metric_width`, `tagk_width`, `tagv_width` (bytes of a UID), `salt_width` (bytes, 0 none), `salt_buckets` |
//! | `older_layouts` | further layouts of the same UID widths, for rows under another salt; their numbers count from 1, see `form` in `crate::parquet_file`; may be absent: none |
//! | `layout_source` | how `layout` became known: `conf`, `flags` or `detected` |
//! | `name_charset` | how the bytes of names were read: `iso-8859-1` or `utf-8`; may be absent: `iso-8859-1` |
//! | `server` | `cluster_id`, `hbase_version` (or `null`), `api` (`thrift2`, `thrift1`), `transport`, `addresses` |
//! | `opentsdb_conf` | the keys of the TSD's configuration that matter, with their values |
//! | `rollup_config` | the TSD's rollup configuration, JSON as text, or `null` |
//! | `tables` | one object per table, below |
//! | `catalogue` | `path`, `size`, `blake3` of each file of the catalogue, of `views.sql` and of each version of each Delta log |
//! | `totals` | `seconds` (a fraction), `bytes_read`, `bytes_written`, `peak_rss_bytes` |
//! | `self_blake3` | own hash |
//!
//! Each of `tables`:
//!
//! | field | meaning |
//! |---|---|
//! | `name` | full name, `namespace:name` outside the default namespace |
//! | `kind` | `data`, `rollup`, `uid`, `meta`, `tree` or `other`: how cells were decoded |
//! | `order` | position in the order of reading, from 0 |
//! | `descriptor` | `attributes`, and `families` with `name`, `attributes`, `configuration`: what is needed to create the table |
//! | `split_keys` | first keys of all regions but the first, hex, sorted |
//! | `versions` | versions of a column that the scan asked for |
//! | `shards` | number of shard records |
//! | `tally` | what the scan read |
//! | `raw_cells` | cells in `cells/` by reason |
//! | `cells_by_layout` | cells of exact points in rows of each of `older_layouts`, by its number; may be absent: none |
//! | `rows_by_kind` | Parquet rows by kind of file (the folder's name) |
//! | `files`, `bytes_written` | Parquet files and their bytes |
//! | `first_point_ms`, `last_point_ms` | times of the first and last point, or `null` |
//! | `gaps` | keys that could not be read: `shard` (number of the record that says the same), `start`, `stop` (as there), `reason`, `message`; may be absent: none |
//!
//! In `descriptor`, names and values are bytes written as text: printable ASCII except the backslash stands for itself,
//! every other byte is `\x` and two upper-case hex digits (so in JSON `\\x00`). `configuration` is plain text.
//!
//! # shards/\<table\>-\<shard\>.json
//!
//! | field | meaning |
//! |---|---|
//! | `format`, `backup` | 2; the backup's id |
//! | `attempt` | the attempt that finished the shard, part of its files' names |
//! | `table`, `shard` | table, unescaped; number from 0 |
//! | `start`, `stop` | keys, hex: first inclusive, last exclusive; an empty `stop` is the table's end |
//! | `started_ms`, `finished_ms` | ms |
//! | `tally`, `raw_cells`, `cells_by_layout` | as in the manifest |
//! | `files` | `path`, `kind` (the folder's name), `size`, `blake3`, `rows` (of Parquet), `tally` (cells that restore takes from here), `first_row`, `last_row` (hex or `null`), `ranges` |
//! | | `ranges`: `first_metric`, `last_metric` (least and greatest `metric` by bytes, or `null`), `metric_nulls` (rows without one), `first_ms`, `last_ms`, `timestamp_nulls` (the same of `timestamp`) |
//! | `metrics` | the up to 1,000 metrics with most points, by name: `metric`, `uid` (hex), `points`, `first_ms`, `last_ms` |
//! | `metrics_left_out` | how many more there are; the catalogue has all |
//! | `gap` | absent, or why nothing of the range could be read, as in the manifest; the catalogue has no such shard |
//! | `self_blake3` | own hash |
//!
//! # restores/\<id\>/
//!
//! `plan.json` has `format`, `restore` (the id), `backup`, `cluster_id` of the target, `started`, and `targets` with
//! `table`, `target`, `had_rows`, `create`. `files/<kind>-<file name>.json` says that all cells of one file were
//! acknowledged: `format`, `restore`, `path`, `blake3`, `tally`, `new_timestamps` (cells written above a delete marker). `finished.json` ends it. All end with their own hash.
//!
//! # locks/\<kind\>-\<token\>-\<beat\>.json
//!
//! | field | meaning |
//! |---|---|
//! | `format` | 2 |
//! | `kind`, `token` | `backup`, `restore`, `verify` or `prune`; 16 random hex digits |
//! | `host`, `boot`, `pid_space`, `pid`, `process_start` | the owner: host, boot id, name space of process ids, process id, start in ticks since boot |
//! | `command`, `backup` | the owner's command line; the backup that it works on, or `null` |
//! | `since_ms`, `interval_ms` | when the lock was taken; ms between two beats |
//! | `tool_version` | version of the owner's program |
//! | `self_blake3` | own hash |
//!
//! Beats count from 0; the newest counts. The lock is over when `<kind>-<token>-released.json` exists, when the newest
//! beat was stored more than 5 minutes ago by the store's clock, or when the owner's host knows that its process is gone.
//!
//! # Delta logs
//!
//! Each folder of Parquet files that has committed ones is a table of the [Delta protocol](https://github.com/delta-io/delta/blob/master/PROTOCOL.md),
//! reader version 1, writer version 2, that no writer but this program changes. Version 0 has `protocol`, `metaData` and
//! one `add` per committed file, by name; paths are relative, `modificationTime` and `createdTime` are when the backup
//! began, `id` is made from the backup's id and the folder. `stats` has `numRecords` and, outside the catalogue, least,
//! greatest and number of missing values of `table`, `metric` and `timestamp`, where the folder has them. A folder
//! without committed files has no log. Logs are written before the manifest, which names them with their hashes. A run
//! that is interrupted in between leaves logs; the resumed one writes the same bytes, or a further version that
//! removes and adds what differs (all of it, when the folder has no committed files any more). A version that the
//! manifest does not name is damage.
//!
//! # Parquet tables
//!
//! Columns are self-describing; none is unsigned. Which tables there are:
//!
//! | folder | rows | source for restore |
//! |---|---|---|
//! | `points` | decoded points | those marked `exact` |
//! | `series` | series: number, TSUID, metric, tags as a map; one row per series and points file | no |
//! | `rollups`, `annotations`, `histograms`, `uids`, `meta`, `tree` | decoded cells beside their exact bytes | yes |
//! | `cells` | cells kept as bytes, with the reason | yes |
//! | `catalogue/files` | one row per Parquet file: what the shard records say | no |
//! | `catalogue/shards` | one row per shard | no |
//! | `catalogue/metrics` | one row per metric: points, first and last time | no |
//!
//! A series number is 64 bits: 0, the first 37 bits of the attempt's name, 26 bits that count from 0 in the attempt.
//! Attempts of a backup differ in these 37 bits, so `series_id` is unique in a backup.

mod begun;
mod delta;
mod error;
mod hex;
mod id;
pub mod layout;
mod lock;
mod record;
mod repository;
mod sealed;

pub use begun::{PlanRecord, PlannedTable, RestorePlanRecord, RestoreProgress, RestoreTarget, RestoredFile};
pub use delta::{DeltaFile, DeltaState, DeltaTable};
pub use error::{RepositoryError, RepositoryErrorKind};
pub use hex::HexBytes;
pub use id::new_attempt;
pub use layout::{BackupPaths, FileName};
pub use lock::{EXPIRY_MS, Lock, LockKind, LockName, LockRecord, new_lock_token};
pub use record::{
    BackupSummary, CommitRule, DescriptorRecord, FamilyRecord, FileRecord, GapRecord, HashedFile, LayoutSource,
    METRICS_PER_RECORD, Manifest, MetricCount, RepositoryRecord, ServerFacts, ShardRecord, TableRecord, Totals,
};
pub use repository::{BackupWriter, Repository, ShardOutcome};

/// The format that this program writes, and the only one that it reads.
pub const FORMAT: u32 = 2;
/// How `repository.json` tells itself apart from other files of that name.
pub const WHAT: &str = "tsdb-ark repository";
const TOOL_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A value as one line of JSON, for reports.
///
/// # Errors
/// [`RepositoryError::Encode`] for a value that JSON cannot express.
pub fn to_json<T: serde::Serialize>(value: &T) -> Result<String, RepositoryError> {
    serde_json::to_string(value)
        .map_err(|e| RepositoryError::Encode { path: "a report".to_owned(), reason: e.to_string() })
}

#[cfg(test)]
mod tests;
