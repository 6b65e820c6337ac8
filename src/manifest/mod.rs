//! What a backup is: the format of a repository, and the functions that read and write it.
//!
//! This page is the specification. A reader needs it, a JSON parser, a Parquet reader and BLAKE3.
//!
//! # The tree
//!
//! ```text
//! <repository>/
//!   repository.json                                   what this is; written once
//!   backups/<id>/                                     id: 20250102T030405Z-1a2b3c4d, UTC and 8 hex digits, below
//!     names.parquet                                   names of UIDs for the workers; written before the plan, once
//!     plan.json                                       what is to be done; written once, before the first record
//!     manifest.json                                   commits the backup; written last, once
//!     basis-<id>.json                                 the shards that a read of the UID table is based on
//!     shards/<table>-<attempt>.json                   one record per finished shard; written once
//!     shards/<table>-<attempt>-metrics.parquet        all metrics of a shard whose record has no room for them
//!     points/ series/ rollups/ annotations/ histograms/ uids/ meta/ tree/ cells/
//!       <table>-<attempt>-<n>.parquet
//!       _delta_log/<version>.json                     the committed files as a Delta Lake table
//!     catalogue/files/ shards/ metrics/
//!       <attempt>-<n>.parquet
//!       _delta_log/<version>.json
//!     views.sql                                       one view per Parquet table over the committed files, for DuckDB, of an increment named `increment_...`;
//!                                                     views-<attempt>.sql where a plain one of an earlier run had to stay
//!   restores/<id>/                                    progress of a restore: plan.json, files/, finished.json
//!   locks/<kind>-<token>-<beat>.json                  who is at work; no part of a backup
//!   drills/                                           no part of a backup
//! ```
//!
//! Ids sort by the time of what is in the backups: the newest one is the last. The id of a merge comes right behind that of
//! the last backup that it was made of.
//!
//! `<attempt>` is 12 random lower-case hex digits, new for each try at a shard, in whatever process.
//! `<n>` counts the files of an attempt. `<version>` is 20 decimal digits. `<table>` is escaped as [`layout`] says. Every path inside a JSON file is
//! relative to the repository.
//!
//! # What counts
//!
//! - A backup exists when its `manifest.json` exists. A folder without one is running or was interrupted.
//! - A shard counts when `catalogue/shards` names its attempt, a Parquet file when `catalogue/files` names it.
//!   Records and files beside these are strays of attempts that were lost or altered; a reader skips them, so it goes by
//!   the catalogue, the Delta logs or `views.sql`, never by a listing. The process that commits removes them afterwards
//!   where it may delete.
//! - Plan, workers and commit share the store alone, and may be any number of processes. A worker reads keys and records
//!   each shard once its files are stored. A record counts when it has its own hash, stands under its own name, and every
//!   file that it names is there with its size. Who commits reads all records back and chooses shards that cover every
//!   table once and without overlaps: as little as possible in gaps, then as few shards as possible. Keys that no record
//!   covers prevent the commit.
//! - UIDs come last. Before a worker reads the UID table, all others must be covered; the attempts that do so are put into
//!   `basis-<id>.json`, and every shard of the UID table names that `basis`. It counts beside exactly these shards. Where
//!   another shard takes the place of one of them, the UID table is read again.
//! - A backup without manifest can be resumed: what no record covers is done, then it is committed. A resumed run reads
//!   all files that are recorded, and one with another hash counts no more. It tries gaps again.
//! - Besides that only prune deletes: the record of the plan first, then the manifest, then the rest of the folder. Before, it puts
//!   an empty `pruning` into the folder, so that a folder which a prune did not finish is told from an unfinished backup.
//! - Nothing is ever changed or overwritten. `repository.json`, manifests and shard records are created with a
//!   create-only put (`If-None-Match: *`, or a hard link on disk). The name of a shard record is its attempt's alone: what
//!   lies there comes from an earlier try of the same put. Of two processes that commit at the same time the loser reads
//!   the winner's manifest and compares `attempt`: its own means that an earlier answer was lost.
//! - A store that ignores the condition is refused, or used under a weaker rule when the user says so; `commit_rule` is
//!   then `read-back`: the writer of a manifest looks that no file is there, puts it, waits 3 s (0.25 s for a plan or a
//!   Delta log), reads it back and compares `attempt`. Two writers of one file, of which one stops for longer than that
//!   between look and put, could then both believe to have won; the file of the later one stays.
//! - Tables are read in the order of `order`, UIDs last: every UID that a data row names is in the backup. Restore goes
//!   the other way round.
//!
//! # JSON in general
//!
//! UTF-8, indented by two spaces, one line feed at the end. Numbers are integers below 2^63 except where said. Times
//! whose names end in `_ms` are milliseconds since 1970, UTC. Keys of rows are lower-case hex without prefix. A reader
//! looks at `format` first and refuses a number that it does not know; fields that it does not know it skips. A field
//! that may be missing a value holds `null`. Formats 1 to 4, of development versions, had other columns, records and
//! checksums; no version reads two formats.
//!
//! **Own hash.** All JSON files end with the field `self_blake3`: the BLAKE3 (64 lower-case hex
//! digits) of all bytes of the file without these 64 digits. The file therefore ends with `"self_blake3": "`, the
//! digits, `"`, line feed, `}`, line feed, and no parser is needed to check it. It notices accidents and careless edits;
//! it is not a signature.
//!
//! **Tally.** `{rows, cells, points, bytes, checksum}`, for a set of cells: `bytes` counts row key (once per cell),
//! family, qualifier and value; `checksum`, 16 lower-case hex digits, is the wrapping 64-bit sum of a hash of every
//! cell: XXH3-64, seeded with the XXH3-64 (seed 0) of the row key, over
//!
//! ```text
//! u8 family length | family | u32 LE qualifier length | qualifier | i64 LE timestamp in ms |
//! u8 type (4 put, 8 delete, 10 delete family version, 12 delete column, 14 delete family) | value
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
//! | `format` | 5 |
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
//! | `kind`, `parent`, `increment`, `merged`, `window` | as in the manifest |
//! | `raw`, `layout`, `older_layouts`, `layout_source`, `name_charset`, `rollup_config`, `server`, `commit_rule` | as in the manifest |
//! | `opentsdb_conf` | as in the manifest; `null` when no configuration was given |
//! | `names` | `path`, `size`, `blake3` of `names.parquet`; `null` without a UID table |
//! | `names_read_ms` | when the read of these names began |
//! | `tables` | in the order of reading, each with `name`, `kind`, `versions`, `descriptor`, `described_by`, `split_keys` as in the manifest, and `jobs` |
//! | | `since_ms`, of an increment by write time: the timestamp from which cells are read; absent: all of the table is |
//! | | `jobs`: `start`, `stop` of each; together they cover all keys, in order and each once. A job is named by table and position, from 0: `tsdb/3` |
//! | `absent_tables`, `not_held`, `warnings` | tables of the TSD that do not exist; what the backup will not hold; what somebody should read; texts |
//! | `self_blake3` | own hash |
//!
//! `names.parquet` has a row for each UID with a name: `kind` (`metric`, `tagk`, `tagv`), `uid` (bytes), `name`. Names that
//! were given later are looked up in the cluster. After the commit nobody needs it.
//!
//! # basis-\<id\>.json
//!
//! `format`, `backup`, `basis` (the id), `shards` (attempts, sorted), `self_blake3`. The id is the first 12 hex digits of the
//! BLAKE3 of the attempts with a line feed behind each, so workers that find the same shards write the same file.
//!
//! # manifest.json
//!
//! | field | meaning |
//! |---|---|
//! | `format` | 5 |
//! | `repository`, `backup` | ids; `backup` is the folder's name |
//! | `attempt` | unique to the process that committed |
//! | `tool_version` | version that committed |
//! | `kind` | `full`: all cells of its tables; `incremental`: cells to add to its parent, and delete markers to apply to it; `window`: a selection. A reader refuses a kind that it does not know |
//! | `parent` | `null`, or the id of the backup that an increment adds to |
//! | `increment` | of an increment: `by` (`time`, `compare`), `parent_blake3` (the parent's `self_blake3`), `since_ms` (by time: no older timestamp was read, may be absent), `guarantee` (for people); else absent |
//! | `window` | of a window: `metrics` (patterns; none: all), `tags` (`key`, `value`: a pattern), `from_ms`, `to_ms` (or `null`), `left_out` (tables that a selection of points does not apply to; may be absent: none); else absent |
//! | `merged` | ids of the backups of which this one was made, base first; absent: it was read from a cluster |
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
//! | `catalogue` | `path`, `size`, `blake3` of each file of the catalogue, of `views.sql`, of each version of each Delta log, of the basis, and of `names.parquet` where it is there |
//! | `totals` | sums over the shards: `seconds` (a fraction) in which at least one was being read, `bytes_read` from the gateways, `bytes_written` in Parquet files; `peak_rss_bytes`, the most that one process held |
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
//! | `shards` | number of shards; gaps are none |
//! | `tally` | what the scan read |
//! | `raw_cells` | cells in `cells/` by reason |
//! | `cells_by_layout` | cells of exact points in rows of each of `older_layouts`, by its number; may be absent: none |
//! | `rows_by_kind` | Parquet rows by kind of file (the folder's name) |
//! | `files`, `bytes_written` | Parquet files and their bytes |
//! | `first_point_ms`, `last_point_ms` | times of the first and last point, or `null` |
//! | `gaps` | keys that could not be read: `attempt` (of the record that says the same), `start`, `stop` (as there), `reason`, `message`; may be absent: none |
//!
//! In `descriptor`, names and values are bytes written as text: printable ASCII except the backslash stands for itself,
//! every other byte is `\x` and two upper-case hex digits (so in JSON `\\x00`). `configuration` is plain text.
//!
//! # Chains
//!
//! An increment is what must be added to its parent: cells, and delete markers (types 8, 10, 12, 14) in `cells`. Parent, its
//! parent, down to a full backup are a chain; `parent_blake3` names each of them exactly. A table is read member after
//! member, from the last one on that did not lack it, row by row:
//!
//! 1. To what was visible before, the member's puts are added; where both have a version of a column, the member's counts.
//! 2. What a marker of this member covers is taken out, of both. Markers of earlier members are done with.
//! 3. Of each column the newest versions stay, as many as the family keeps (`VERSIONS` in the last member's descriptor).
//!
//! What is left after the last member is the table as of its scan. After a last member by write time, what had expired by
//! then (`TTL`, `MIN_VERSIONS`) is taken out as well; one by comparison holds a marker for it.
//!
//! # shards/\<table\>-\<attempt\>.json
//!
//! | field | meaning |
//! |---|---|
//! | `format`, `backup` | 5; the backup's id |
//! | `table`, `attempt` | table, unescaped; the attempt that finished the shard, part of its files' names |
//! | `start`, `stop` | keys, hex: first inclusive, last exclusive; an empty `stop` is the table's end. In a window: of these keys the shard has the selected ones |
//! | `started_ms`, `finished_ms` | ms, by the clock of the worker |
//! | `tally` | what the scan returned |
//! | `basis` | in the UID table: the basis of the read; else absent |
//! | `uids` | in a window, outside the UID table: the UIDs that the rows name, `metric`, `tagk`, `tagv`, each sorted and one behind the other, hex; else absent |
//! | `bytes_read`, `peak_rss_bytes` | bytes from the gateway; the most memory that the process had held |
//! | `raw_cells`, `cells_by_layout` | as in the manifest |
//! | `files` | `path`, `table`, `kind` (the folder's name), `attempt`, `rows` (of Parquet), `size`, `blake3`, `footer_size` and `footer_blake3` (of the end of the file from the page indexes on), `tally` (cells that restore takes from here), `first_row`, `last_row`, `ranges` |
//! | | `first_row`, `last_row` (hex, or `null` in a file without cells): no cell's row is outside. In `points` they may be rows of the scan up to a page away; elsewhere they are the file's own |
//! | | `ranges`: `metrics` (the values of `metric`, the first 100 by bytes), `metrics_left_out` (how many more), `first_metric`, `last_metric` (least and greatest by bytes, or `null`), `metric_nulls` (rows without one), `first_ms`, `last_ms`, `timestamp_nulls` (the same of `timestamp`) |
//! | `metrics` | the up to 100 metrics with most points, by UID: `metric` (or `null`), `uid` (hex), `points`, `first_ms`, `last_ms` |
//! | `metrics_left_out` | how many more there are |
//! | `all_metrics` | absent, or where there are more: `path`, `size`, `blake3` of a table like `catalogue/metrics` with all of them |
//! | `gap` | absent, or why nothing of the range could be read, as in the manifest; the catalogue has no such shard |
//! | `self_blake3` | own hash |
//!
//! # restores/\<id\>/
//!
//! `plan.json` has `format`, `restore` (the id), `backup`, `cluster_id` of the target, `started`, and `targets` with
//! `table`, `target`, `had_rows`, `create`, and, of a part of the backup, `selection` (as flags; `tally` of its files is of
//! the selected cells). `files/<kind>-<file name>.json` says that all cells of one file were
//! acknowledged: `format`, `restore`, `path`, `blake3`, `tally`, `new_timestamps` (cells written above a delete marker). `finished.json` ends it. All end with their own hash.
//!
//! # locks/\<kind\>-\<token\>-\<beat\>.json
//!
//! | field | meaning |
//! |---|---|
//! | `format` | 5 |
//! | `kind`, `token` | `backup`, `worker`, `restore`, `verify`, `export` or `prune`; 16 random hex digits |
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
//! | `catalogue/files` | one row per Parquet file: what `files` of the shard records say | no |
//! | `catalogue/shards` | one row per shard: what its record says, up to `tally` | no |
//! | `catalogue/metrics` | one row per metric: points, first and last time | no |
//!
//! Any 8 KiB of a file can be checked without the rest: `tsdb-ark.blocks` in the footer has 16 lower-case hex digits for each
//! 8 KiB in front of the page indexes, from the first byte on, the XXH3-64 (seed 0) of these bytes; the last block may be
//! shorter. The end of the file from the page indexes on has `footer_size` bytes and the hash `footer_blake3`.
//!
//! Points lie batch after batch, in the order of row keys; inside a batch they are sorted by series. `tsdb-ark.batches` in the
//! footer of a points file says how many row groups each batch is, with commas between.
//!
//! A series number is 64 bits: 0, the first 37 bits of the attempt's name, 26 bits that count from 0 in the attempt.
//! Attempts of a backup differ in these 37 bits (of two that do not, one counts), so `series_id` is unique in a backup.

mod backup_writer;
mod begun;
mod delta;
mod error;
mod hex;
mod id;
mod kind;
pub mod layout;
mod lock;
mod plan;
mod record;
mod repository;
mod sealed;
mod shard_records;
mod window;

pub use backup_writer::BackupWriter;
pub use begun::{RestorePlanRecord, RestoreProgress, RestoreTarget, RestoredFile};
pub use delta::{DeltaFile, DeltaState, DeltaTable};
pub use error::{RepositoryError, RepositoryErrorKind};
pub use hex::HexBytes;
pub use id::new_attempt;
pub use kind::{BackupKind, IncrementBy, IncrementRecord};
pub use layout::{BackupPaths, FileName};
pub use lock::{EXPIRY_MS, Lock, LockKind, LockName, LockRecord, new_lock_token};
pub use plan::{PlanRecord, PlannedJob, PlannedTable};
pub use record::{
    BackupSummary, BasisRecord, CommitRule, DescriptorRecord, FamilyRecord, GapRecord, HashedFile, LayoutSource,
    METRICS_PER_RECORD, Manifest, MetricCount, RepositoryRecord, ServerFacts, ShardRecord, TableRecord, Totals,
};
pub use repository::Repository;
pub use window::{NamedUids, WindowRecord, WindowTag};

/// The format that this program writes, and the only one that it reads.
pub const FORMAT: u32 = 5;
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
