//! Cells that are kept as bytes.

use crate::model::OwnedCell;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// Why a cell is kept raw. The names are part of the repository format and of every report.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RawReason { $($(#[$doc])* $variant,)* }

        impl RawReason {
            /// All reasons.
            pub const ALL: &'static [RawReason] = &[$(RawReason::$variant,)*];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $(RawReason::$variant => $name,)* }
            }

            /// The reason with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(RawReason::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    /// A delete marker (only in raw backups).
    DeleteMarker => "delete_marker",
    /// A put that a delete marker of the same row hides (only in raw backups).
    Deleted => "deleted",
    /// An older version of a column.
    OldVersion => "old_version",
    /// A family that OpenTSDB does not use in this table.
    OtherFamily => "other_family",
    /// An empty qualifier where none belongs.
    EmptyQualifier => "empty_qualifier",
    /// A qualifier that no OpenTSDB writes.
    UnknownQualifier => "unknown_qualifier",
    /// A row key too short, or whose tags do not divide into pairs.
    BadRowKey => "bad_row_key",
    /// Base time not a multiple of 3,600 s.
    OddBaseTime => "odd_base_time",
    /// The salt is none of any bucket that is known, and not the one that the series hashes to.
    WrongSalt => "wrong_salt",
    /// The salt of another bucket than the series hashes to, under every number of buckets that is known: the row was
    /// written with yet another number.
    OtherSalt => "other_salt",
    /// A point at or behind the end of the row's hour.
    OffsetOutsideHour => "offset_outside_hour",
    /// A value without bytes.
    EmptyValue => "empty_value",
    /// Flags that no writer sets, for example an integer of 3 bytes.
    ImpossibleFlags => "impossible_flags",
    /// A value shorter or longer than its flags say, readable by the rules for old versions.
    RepairedFlags => "repaired_flags",
    /// A value that does not fit its flags and cannot be read.
    BadValueLength => "bad_value_length",
    /// A 4-byte float on 8 bytes with a prefix other than zero (the known sign extension bug and others).
    DirtyFloatPrefix => "dirty_float_prefix",
    /// A compacted column whose values are too short or too long for its qualifier.
    BadCompacted => "bad_compacted",
    /// A compacted column whose trailing byte is not the one that its points give.
    OddTrailingByte => "odd_trailing_byte",
    /// An append cell that ends inside an entry, or without entries.
    BadAppend => "bad_append",
    /// Unused bits set in a millisecond qualifier.
    UnusedBits => "unused_bits",
    /// A binary32 NaN whose payload does not survive widening.
    NanPayload => "nan_payload",
    /// A cell timestamp outside 1970 to 9999, which other readers of Parquet cannot show.
    OddTimestamp => "odd_timestamp",
    /// Decoded, but not rebuilt to the same bytes for a reason without a name of its own.
    NotIdentical => "not_identical",
    /// A value that is not the JSON it should be.
    BadJson => "bad_json",
    /// A table whose content OpenTSDB does not define.
    ForeignTable => "foreign_table",
}

/// A cell on its way to the raw table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCell {
    /// The cell.
    pub cell: OwnedCell,
    /// Why it is here.
    pub reason: RawReason,
}
