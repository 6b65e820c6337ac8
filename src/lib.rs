//! tsdb-ark backs up, restores and verifies a whole OpenTSDB that lives on HBase, through nothing but a Thrift gateway.
//!
//! # Data flow
//!
//! Left to right it is a backup, right to left a restore. Each arrow carries a plain value from [`model`] and its tally
//! (rows, cells, points, bytes and an order-independent checksum), so that every number is carried from the scan to the
//! manifest and compared on the way back, never recomputed.
//!
//! ```text
//!  cluster ─► shard ─► scan ─► codec ─► columnar ─► parquet_file ─► store ─► manifest     backup    flow::backup
//!  cluster ◄─────────── put ◄─ codec ◄─ columnar ◄─ parquet_file ◄─ store ◄─ manifest     restore   flow::restore
//! ```
//!
//! # Layers
//!
//! A row may import rows above it only; `tests/layers.rs` enforces the table and the doors of foreign crates.
//!
//! | rank | module | what it is | only door to |
//! | --- | --- | --- | --- |
//! | 0 | [`model`] | the vocabulary: cells, key ranges, points, tallies | |
//! | 1 | [`codec`] | OpenTSDB's bytes and typed rows, both ways | |
//! | 1 | [`cluster`] | HBase over its Thrift gateways | thrift, hbase-thrift |
//! | 1 | [`store`] | bytes on disk or S3 | object_store |
//! | 2 | [`shard`] | regions to even pieces of work | |
//! | 2 | [`scan`] | one shard as pages of cells | |
//! | 2 | [`put`] | batches of cells to a table | |
//! | 2 | [`columnar`] | points and rows as columns | arrow |
//! | 3 | [`parquet_file`] | columns as Parquet files | parquet |
//! | 3 | [`manifest`] | what a backup is; **the format of a repository** | serde_json |
//! | 4 | [`flow`] | the spine: threads, memory, the order of things | rayon, tokio |
//! | 5 | `cli` (binary only) | words in, words out | clap, anyhow, toml, indicatif |
//!
//! Below `flow` nothing starts a thread: `cluster`, `scan` and `put` block, `codec`, `columnar` and `parquet_file` use
//! the CPU only, `store` is asynchronous.
//!
//! # Where is it?
//!
//! | a question about | is answered in |
//! | --- | --- |
//! | a byte of a row key, qualifier or value | [`codec`]: `row_key`, `qualifier`, `value`, and a file for each kind of cell or table |
//! | a byte on the wire | [`cluster`]: `request`, `reply`; its frame and socket in `wire`; `thrift1` for gateways of HBase 1.x |
//! | an error of a gateway, and whether it is retried | [`cluster`]: `error`, `retry` |
//! | a column of a Parquet file | [`columnar`] and, for points, [`parquet_file`]: `points_schema`; its bytes in `encodings` |
//! | a JSON file, a path or a lock of a repository | [`manifest`] |
//! | disk, S3, create-only puts | [`store`] |
//! | what a backup, restore, verification, export or prune does next | [`flow`]: the room of that name |
//! | what the source looks like: tables, layout, names | [`flow`]: `source` |
//! | whether an increment by write time holds here | [`flow`]: `increments`, for `check` and `backup` |
//! | cells on their way into files | [`flow`]: `encode` |
//! | a line of an export | [`flow`]: `export`, a file of `formats` for each |
//! | threads, memory, pace, progress | [`flow`]: `engine` |
//! | a flag, an exit code, a line of output | `cli` |
//!
//! # Words
//!
//! - *gateway*: an HBase Thrift server, the only thing of the cluster that is talked to. *Page*: one of its replies.
//! - *job*: one key range of one table, as planned. *Shard*: what one scan of keys became, a job or a piece of one; the
//!   unit of work and of retry. *Attempt*: one try at a shard; the names of its record and files carry its id.
//! - *plan*, *worker*, *commit*: the three steps of a backup, in one process or in many. They share nothing but the store.
//! - *cell*, *row key*, *base time*, *point*, *series*, *TSUID*, *UID*: as in HBase and OpenTSDB.
//! - *exact*: proven at export to rebuild the cell byte for byte from the typed columns. *Raw cell*: kept as bytes.
//! - *tally*: counts and checksum of a set of cells.
//! - *increment*: a backup of what has changed since its *parent*. *Chain*: a full backup and increments on it, read as one.
//!   *Merge*: a chain made one full backup.
//! - *repository*: the directory or S3 prefix that holds backups. *Backup*: one committed set. *Shard record*: the JSON
//!   that says that one shard is done. *Basis*: the shards that were recorded when UIDs were read. *Manifest*: the JSON that commits a backup; written last, once.
//!
//! # What holds
//!
//! Every cell that a scan returned is in the backup and comes back with its row, column, timestamp and type. What does
//! not decode is kept raw, counted and reported; it never stops a run. A command that did nothing, or only part, never
//! exits with 0.

pub mod cluster;
pub mod codec;
pub mod columnar;
pub mod flow;
pub mod manifest;
pub mod model;
pub mod parquet_file;
pub mod put;
pub mod scan;
pub mod shard;
pub mod store;
