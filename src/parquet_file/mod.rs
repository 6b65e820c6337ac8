//! Parquet files: points, the other tables and the catalogue, written and read. The only door to `parquet`.

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
