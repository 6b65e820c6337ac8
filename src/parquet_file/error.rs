//! What can go wrong with a Parquet file.

use parquet::errors::ParquetError;

use crate::columnar::ColumnError;
use crate::model::{FileKind, Retry};

/// An error of this stage.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The place that takes the bytes failed.
    #[error("the Parquet file could not be handed on: {0}")]
    Sink(#[source] std::io::Error),
    /// The batch contradicts itself or is not sorted; a fault of the program.
    #[error("the points cannot be written: {0}; please report this, the batch was not made by the sort")]
    Batch(&'static str),
    /// Rows of one table for the file of another; a fault of the program.
    #[error("a file of {file} cannot take rows of {rows}; please report this")]
    WrongKind {
        /// What the file holds.
        file: &'static str,
        /// What was to be written.
        rows: &'static str,
    },
    /// The Parquet library refuses.
    #[error("encoding the Parquet file failed: {0}")]
    Encode(#[source] ParquetError),
    /// The bytes are no Parquet file, or a damaged one.
    #[error("the Parquet file cannot be read: {0}; verify its hash and restore it from a copy")]
    Damaged(#[source] ParquetError),
    /// The Parquet library gave up on the bytes.
    #[error("the Parquet file cannot be read: the decoder gave up on it; verify its hash and restore it from a copy")]
    Undecodable,
    /// More or fewer rows than were recorded when the file was written.
    #[error(
        "the Parquet file claims {found} rows, but {recorded} were recorded; verify its hash and restore it from a copy"
    )]
    Rows {
        /// What the file claims.
        found: u64,
        /// What it should have, or what its size allows.
        recorded: u64,
    },
    /// A Parquet file with other columns or values than this program writes.
    #[error("the Parquet file is none of this program's: {0}")]
    Foreign(#[from] ColumnError),
    /// A Parquet file of another table.
    #[error("the Parquet file should hold {expected} but does not: column {column} is missing or of another type")]
    NotThisKind {
        /// What the caller expects.
        expected: &'static str,
        /// The first column that does not fit.
        column: String,
    },
}

impl FileError {
    /// Whether the same call may succeed later: only the sink can recover.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Sink(_) => Retry::Transient,
            _ => Retry::Permanent,
        }
    }

    /// An error while writing: the sink's own, or the library's.
    pub(crate) fn writing(error: ParquetError) -> Self {
        match error {
            ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
                Ok(io) => Self::Sink(*io),
                Err(other) => Self::Encode(ParquetError::External(other)),
            },
            other => Self::Encode(other),
        }
    }

    pub(crate) fn wrong_kind(file: FileKind, rows: FileKind) -> Self {
        Self::WrongKind { file: file.name(), rows: rows.name() }
    }
}
