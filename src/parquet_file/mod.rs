//! Parquet files: points, the other tables and the catalogue, written and read. The only door to `parquet`.
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
//! Write times of single cells (1.4 B) and jittered times (0.55 B) are entropy, not layout. Write times shared by 4 points
//! cost 0.96 B as differences; runs that short would be larger. A series in a row group costs about 6 bytes of tags and
//! 6 bytes of TSUID once, which shows only where series are short-lived; the TSUID stays nevertheless, because the
//! points must be restorable without the catalogue.

mod error;
mod page_chunk;
mod points_reader;
mod points_schema;
mod points_writer;
mod run_column;
mod sink;
mod table_reader;
mod table_writer;
mod value_column;
mod views;

pub use error::FileError;
pub use points_reader::PointsReader;
pub use points_writer::PointsWriter;
pub use sink::FileSummary;
pub use table_reader::{CellReader, read_files, read_metrics, read_series, read_shards};
pub use table_writer::TableWriter;
pub use views::views_sql;

/// Rows of a data page: smaller pages cost size and speed, larger ones prune coarsely.
const ROWS_PER_PAGE: usize = 20_000;
/// Compression level; 9 gains half a percent for half again the time.
const ZSTD_LEVEL: i32 = 3;

#[cfg(test)]
mod tests;
