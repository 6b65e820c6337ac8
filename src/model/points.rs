//! Decoded points as columns: what the codec fills, the sort reorders, Parquet stores and restore reads back.
//!
//! A [`PointBatch`] is a list of [`Segment`]s over dense vectors. A segment is a run of points that share the row key,
//! the form and how their write time is kept: one compacted or append cell, or neighbouring single cells of one row.

use crate::model::SeriesTable;

/// In [`PointBatch::flags`]: the point was stored with a millisecond qualifier.
pub const FLAG_MILLISECONDS: u8 = 0x10;
/// In [`PointBatch::flags`]: a TSD that answers a query takes another cell for this instant, because that one was
/// written later (or stands later in the same append cell).
pub const FLAG_SUPERSEDED: u8 = 0x20;

/// How a point was stored; the numbers are part of the repository format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Form {
    /// A cell of its own.
    Single = 0,
    /// One of several in a compacted column that ends in the trailing byte.
    Compacted = 1,
    /// One of several in a compacted column without the trailing byte, as `TSDB.newBatch()` writes.
    CompactedBare = 2,
    /// An entry of an append cell, qualifier `05 00 00`.
    Appended = 3,
    /// An entry of an append cell, qualifier `00 00 05`, as OpenTSDB 3 writes.
    Appended3 = 4,
    /// Like [`Compacted`](Self::Compacted); told apart from a neighbouring cell of the same row, form and write time.
    CompactedOdd = 5,
    /// Like [`CompactedBare`](Self::CompactedBare), told apart from its neighbour.
    CompactedBareOdd = 6,
}

impl Form {
    /// The form with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Single,
            1 => Self::Compacted,
            2 => Self::CompactedBare,
            3 => Self::Appended,
            4 => Self::Appended3,
            5 => Self::CompactedOdd,
            6 => Self::CompactedBareOdd,
            _ => return None,
        })
    }
}

/// Where the HBase timestamps of a segment's cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteTime {
    /// One cell timestamp in ms for the whole segment (one compacted or append cell).
    Shared(i64),
    /// Each point is a cell: cell timestamp = point time in ms + `delays[start + i]`, starting at this index.
    Delays(usize),
}

/// A run of points of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index into [`PointBatch::series`].
    pub series: u32,
    /// Base time of the row in seconds.
    pub base: u32,
    /// First point: index into `timestamps` and `flags`.
    pub start: usize,
    /// Number of points.
    pub len: usize,
    /// First integer of the segment: index into `ints`.
    pub int_start: usize,
    /// First float of the segment: index into `floats`.
    pub float_start: usize,
    /// How the points were stored.
    pub form: Form,
    /// Number of the row key's layout, see [`KeyLayouts`](crate::model::KeyLayouts).
    pub layout: u8,
    /// True when these columns alone rebuild the cells byte for byte; false: the raw table is the source for restore.
    pub exact: bool,
    /// Cell timestamps.
    pub write_time: WriteTime,
    /// Sum of the cell hashes (see [`crate::model::CellHasher`]) of the segment's cells; meaningful when `exact`.
    pub checksum: u64,
}

/// In the number that a point's form is stored under, the low part is the form's own and this many times the rest is the
/// number of the row key's layout.
pub const LAYOUT_UNIT: u8 = 16;

impl Segment {
    /// The number that form and layout are stored under.
    pub fn stored_form(&self) -> u8 {
        self.form as u8 + LAYOUT_UNIT * self.layout
    }
}

/// Points of one table, from one shard.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PointBatch {
    /// Runs of points, in scan order until sorted.
    pub segments: Vec<Segment>,
    /// Milliseconds since the epoch, UTC, one per point.
    pub timestamps: Vec<i64>,
    /// Low nibble: the flags of the point's qualifier (bit 3 float, bits 0-2 value length - 1); then
    /// [`FLAG_MILLISECONDS`] and [`FLAG_SUPERSEDED`]. One per point.
    pub flags: Vec<u8>,
    /// Values of the points whose flags say integer, in point order.
    pub ints: Vec<i64>,
    /// Values of the points whose flags say float (binary32 is widened), in point order.
    pub floats: Vec<f64>,
    /// Cell timestamp - point time, in ms, of the points in [`Form::Single`] segments, in point order.
    pub delays: Vec<i64>,
    /// TSUIDs by series index.
    pub series: SeriesTable,
}

impl PointBatch {
    /// Number of points.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// True without points.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Bytes of memory in use.
    pub fn memory(&self) -> usize {
        self.segments.len() * size_of::<Segment>()
            + (self.timestamps.len() + self.ints.len() + self.floats.len() + self.delays.len()) * 8
            + self.flags.len()
            + self.series.memory()
    }

    /// Makes room for as many points as another batch has.
    pub fn reserve_for(&mut self, other: &Self) {
        self.segments.reserve(other.segments.len());
        self.timestamps.reserve(other.timestamps.len());
        self.flags.reserve(other.flags.len());
        self.ints.reserve(other.ints.len());
        self.floats.reserve(other.floats.len());
        self.delays.reserve(other.delays.len());
    }

    /// Forgets the points and series, keeps capacity.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.timestamps.clear();
        self.flags.clear();
        self.ints.clear();
        self.floats.clear();
        self.delays.clear();
        self.series.clear();
    }
}
