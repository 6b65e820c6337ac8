//! The vocabulary: plain values that every stage takes and returns.
//!
//! Nothing here does I/O, starts a thread or knows a foreign format. A stage hands a value from this module to the
//! next one together with its [`Tally`], so that every number is carried and never recomputed.

mod catalogue;
mod cell;
mod columns;
mod gap;
mod hex;
mod key_range;
mod layout;
mod plain;
mod point_times;
mod points;
mod raw;
mod retry;
mod series;
mod series_table;
mod table;
mod tally;
pub mod time;
mod typed;
mod uid;

pub use catalogue::{FileKind, FileRow, MetricRow, SeriesRow, SeriesRows, ShardRow};
pub use cell::{Cell, CellBlock, CellRef, OutOfSpace, OwnedCell, RowView, Span, kind};
pub use columns::{Column, ColumnRanges, ColumnType, METRICS_PER_FILE, MetricNames};
pub use gap::{Gap, GapReason};
pub use hex::{hex, unhex};
pub use key_range::{KeyRange, successor};
pub use layout::{KeyLayout, KeyLayouts, LayoutError};
pub use plain::{Number, PlainAnnotation, PlainColumns, PlainPoint, PlainRun, TagColumn, TagColumns};
pub use point_times::PointTimes;
pub use points::{FLAG_MILLISECONDS, FLAG_SUPERSEDED, Form, LAYOUT_UNIT, PointBatch, Segment, WriteTime};
pub use raw::{RawCell, RawReason};
pub use retry::Retry;
pub use series::{LabelTable, LabelView, SeriesLabel, SeriesLabels};
pub use series_table::SeriesTable;
pub use table::{DescriptorSource, FOREVER, FamilyDescriptor, Region, TableDescriptor, TableKind};
pub use tally::{CellHasher, Tally, saturating_sum, value_hash};
pub use typed::{Annotation, Histogram, HistogramBucket, MetaRow, Rollup, RollupValue, TreeRow, TypedRows, UidRow};
pub use uid::{NameCharset, UidKind, UidNames, UidSlot};
