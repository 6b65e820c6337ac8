//! Parquet files: points, the other tables and the catalogue, written and read. The only door to `parquet`.
//!
//! # The tables
//!
//! Every column is signed, and every name and type is in the file; `*` may be null. Compression is zstd, or none where it saves nothing. Times are
//! INT64 TIMESTAMP(MILLIS, UTC), texts are UTF-8, keys and cells BYTE_ARRAY. TSUIDs are upper-case hex without salt and
//! time. What a column means to OpenTSDB is told beside the types of [`crate::model`].
//!
//! `points`, one row per point:
//!
//! | column | type | meaning |
//! | --- | --- | --- |
//! | `table` | text | HBase table |
//! | `metric`* , `tags` | text | names; tags as one JSON object with sorted keys. UIDs without a name are null and hex |
//! | `series_id` | INT64 | joins `series`; unique to the attempt |
//! | `tsuid` | text | the series |
//! | `form` | INT32 | 0 a cell of its own, 1 compacted, 2 compacted without the trailing byte, 3 append cell `05 00 00`, 4 append cell `00 00 05`, 5 and 6 like 1 and 2, told apart from a neighbouring cell of the same row and write time |
//! | `timestamp` | time | of the point |
//! | `value_int`*, `value_float`* | INT64, DOUBLE | exactly one is set |
//! | `flags` | INT32 | bits 0-2 length of the value less 1, bit 3 float, bit 4 qualifier in milliseconds |
//! | `exact` | BOOLEAN | the columns rebuild the cell; otherwise it is in `cells` |
//! | `superseded` | BOOLEAN | a query of OpenTSDB shows another cell for this instant |
//! | `written`* | time | of the whole cell, for forms 1 to 6 |
//! | `write_delay`* | INT64 | write time less `timestamp` in ms, for form 0 |
//!
//! Batches of points stand in the order of their TSUIDs, and series in that of time, so the column index tells one series
//! or metric apart from others by pages of 20,000 rows; a large metric has row groups of its own. `table` and `tags` have no
//! column index: their bounds would be a sixth of the footer, and `tsuid` tells the same.
//!
//! Rows of one cell are neighbours: they agree in `tsuid`, hour, `form`, `exact` and `written`, and their order is that of
//! the points in the cell. `rollups`, `annotations`, `histograms`, `uids`, `meta` and `tree` have one row per cell, first
//! what it decodes to, at the end the cell: `row`, `family`, `qualifier`, `value`, and its timestamp `written`. `cells` has
//! `table`, `row`, `family`, `qualifier`, `timestamp` (INT64, ms), `type` (INT32, HBase's number), `value`, `reason`.
//! `names.parquet` has `kind`, `uid` and `name`. `series` has `series_id`, `tsuid`, `metric`*, `tags`, `tag` (MAP of text to text), `complete`. The catalogue's `files` and
//! `shards` repeat the shard records, `metrics` counts points by table and metric. `rows` is the only number that a reader
//! needs from outside: a file must have as many as the catalogue says. No page is larger than 1 GiB when it is decompressed.
//!
//! # What points cost
//!
//! `cargo bench --bench points`: 10 metrics (2 counters, 3 small integer walks, 3 two-decimal gauges, 1 nearly constant
//! integer, 1 noise), batches of 2^20 points, up to 5.76 M of them; bytes repeat exactly, seconds per million points are
//! the best of 3 on one busy core of two and only good for large differences.
//!
//! | points | B/pt | encode s/M | read s/M |
//! | --- | --- | --- | --- |
//! | compacted, one write time for all | 1.77 | 0.025 | 0.056 |
//! | compacted | 1.86 | 0.026 | 0.063 |
//! | single cells | 3.16 | 0.036 | 0.051 |
//! | compacted, times jittered by a second | 2.39 | 0.044 | 0.071 |
//! | single, jittered | 3.70 | 0.043 | 0.055 |
//! | milliseconds, compacted | 3.63 | 0.027 | 0.048 |
//! | appends, regular times | 1.86 | 0.021 | 0.053 |
//! | 4 points per row, 1,600 hosts | 3.24 | 0.080 | 0.066 |
//! | 1 single point per row, 4,000 hosts | 4.00 | 0.078 | 0.088 |
//! | 60 points per series, 9,600 hosts | 2.41 | 0.031 | 0.053 |
//! | 4 points per series, 96,000 hosts | 6.24 | 0.200 | 0.229 |
//!
//! From the bytes of a reply to the file, proof included, in instructions per point, which repeat (`scripts/bench.sh
//! --offline --instructions`): compacted 385, single cells 987, series of three rows of two points 3,048. With the
//! library's column writers, a series at a time in maps of vectors, and cells decoded one by one these were 688, 1,760 and
//! 5,062; bytes were the same to 0.2 %.
//!
//! Write times of single cells (1.4 B) and jittered times (0.55 B) are entropy, not layout. Write times shared by 4 points
//! cost 0.96 B as differences; runs that short would be larger. A series in a row group costs about 6 bytes of tags and
//! 6 bytes of TSUID once, which shows only where series are short-lived; the TSUID stays nevertheless, because the
//! points must be restorable without the catalogue.
//!
//! # Form
//!
//! `form` of a point is the number of its [`Form`](crate::model::Form), plus 16 times the number of the layout of its row
//! key: 0 is the manifest's `layout`, the others are its `older_layouts`, counted from 1.

mod blocks;
mod cell_reader;
mod chain_views;
mod column;
mod encodings;
mod error;
mod names_file;
mod page_chunk;
mod pages;
mod part;
mod part_file;
mod plain_writer;
mod points_reader;
mod points_schema;
mod points_writer;
mod run_column;
mod run_reader;
mod sink;
mod table_reader;
mod table_writer;
mod value_column;
mod views;

pub use blocks::Fetch;
pub use cell_reader::CellReader;
pub use chain_views::{ChainFile, ChainViews, chain_views_sql};
pub use error::FileError;
pub use names_file::{NamesWriter, read_names};
#[cfg(test)]
pub(crate) use pages::page_bodies;
pub use part::{Choose, FilePart};
pub use plain_writer::{PlainWriter, Profile, annotations_file};
pub use points_reader::PointsReader;
pub use points_writer::PointsWriter;
pub use sink::FileSummary;
pub use table_reader::{read_annotations, read_files, read_metrics, read_series, read_shards};
pub use table_writer::TableWriter;
pub use views::views_sql;

/// Rows of a data page: smaller pages cost size and speed, larger ones prune coarsely.
const ROWS_PER_PAGE: usize = 20_000;
/// Compression level; 9 gains half a percent for half again the time.
const ZSTD_LEVEL: i32 = 3;

#[cfg(test)]
mod tests;
