//! OpenTSDB's bytes and typed rows, both ways: pure, total, without I/O.
//!
//! ```text
//!  RowView ─► Decoder ─► exact point segments ─┐            rebuild_segment ─► cells (restore)
//!                     ─► typed rows (exact cell kept)       prove ─► the same code, against the checksums of the decode
//!                     ─► raw cells with a reason
//! ```
//!
//! Every cell ends up in exactly one *source*: an exact point segment, a typed row that holds the cell's bytes, or the
//! raw cells. A point cell that is readable but not exact is raw and, besides, a segment with `exact` false, so that
//! an analyst sees what a TSD would see. Nothing here panics on bytes from outside.

mod annotation;
mod data_row;
mod decoder;
mod duplicates;
mod entries;
mod histogram;
mod json;
mod meta_table;
mod prove;
pub mod qualifier;
mod rebuild;
mod rollup;
pub mod rollup_config;
pub mod row_key;
mod rows;
pub mod salt;
mod segments;
mod series;
mod singles;
mod tree_table;
mod uid_table;
mod value;
mod visibility;

#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use entries::point_offsets;
pub use json::tags_of_json;
pub use prove::{Proof, ProofError, merged_segments, prove};
pub use rebuild::{RebuildError, Scratch, rebuild_segment};
pub use rollup::interval_start;
pub use rollup_config::{RollupConfig, RollupConfigError, RollupTable};
pub use series::{SeriesNamer, describe_series};
pub use uid_table::{UidEntry, kind_of_column, read_uid_row};
pub use visibility::Mask;

/// The family of points, annotations, histograms, rollups and trees.
pub const POINT_FAMILY: &[u8] = b"t";

/// The last millisecond of the year 9999: beyond it other readers of Parquet cannot show a timestamp.
pub const LAST_TIMESTAMP: i64 = 253_402_300_799_999;

/// True when a cell timestamp can be kept in a typed column.
pub(crate) fn is_storable(timestamp: i64) -> bool {
    (0..=LAST_TIMESTAMP).contains(&timestamp)
}
