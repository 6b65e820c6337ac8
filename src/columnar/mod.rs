//! Points and rows as columns: the order of points, and the Arrow form of the smaller tables. The only door to `arrow-*`.

mod catalogue;
mod columns;
mod describe;
mod error;
mod names;
mod plain;
mod regroup;
mod sort;
mod tables;

pub use arrow_array::RecordBatch as Table;
pub use catalogue::{read_files, read_metrics, read_series, read_shards};
pub use describe::{columns_of, widen};
pub use error::ColumnError;
pub use names::{NamesTable, each_name};
pub use plain::{annotation_table, plain_table, read_annotations};
pub use regroup::{PointRun, PointValues, Regroup, Written};
pub use sort::{sort_points, sort_points_into};
pub use tables::{TableRows, empty_table};

#[cfg(test)]
mod samples;
#[cfg(test)]
pub(crate) use samples::samples;
