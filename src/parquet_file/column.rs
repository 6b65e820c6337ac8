//! One column of a row group, some rows at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::RowGroupReader;

use super::FileError;
use crate::columnar::ColumnError;

/// The library checks most of what it reads but promises no more than that; should it panic on damaged pages, that is an
/// error of this file like the rest.
pub(super) fn guarded<T>(read: impl FnOnce() -> Result<T, FileError>) -> Result<T, FileError> {
    // Nothing of a panicked read is used again: the caller gets the error alone.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(FileError::Undecodable))
}

/// The row groups must add up to the rows that were recorded when the file was written: a run of one byte can claim any
/// number of rows.
pub(super) fn check_rows(file: &ParquetMetaData, recorded: u64) -> Result<(), FileError> {
    match rows_of(file) {
        Some(found) if found == recorded => Ok(()),
        found => Err(FileError::Rows { found: found.unwrap_or(u64::MAX), recorded }),
    }
}

/// The rows of all groups; `None` when the numbers are impossible.
pub(super) fn rows_of(file: &ParquetMetaData) -> Option<u64> {
    let mut rows = file.row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
    rows.try_fold(0u64, |sum, rows| sum.checked_add(rows?))
}

pub(super) fn ended_early() -> FileError {
    FileError::Damaged(ParquetError::EOF("a column ends before its row group".into()))
}

/// A column and the values of the current step.
pub(super) struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
    levels: Vec<i16>,
    optional: bool,
    value: usize,
    level: usize,
}

impl<T: DataType> Column<T> {
    /// The column at a place of the schema, whose type must be `T`.
    pub(super) fn open(group: &dyn RowGroupReader, place: usize) -> Result<Self, FileError> {
        let reader = group.get_column_reader(place).map_err(FileError::Damaged)?;
        let optional = group.metadata().column(place).column_descr().max_def_level() > 0;
        let reader = get_typed_column_reader::<T>(reader);
        Ok(Self { reader, values: Vec::new(), levels: Vec::new(), optional, value: 0, level: 0 })
    }

    /// Decodes the next rows.
    pub(super) fn fill(&mut self, rows: usize) -> Result<(), FileError> {
        self.values.clear();
        self.levels.clear();
        (self.value, self.level) = (0, 0);
        let levels = self.optional.then_some(&mut self.levels);
        let (read, ..) = self.reader.read_records(rows, levels, None, &mut self.values).map_err(FileError::Damaged)?;
        if read == rows { Ok(()) } else { Err(ended_early()) }
    }

    /// True when rows may have no value.
    pub(super) fn is_optional(&self) -> bool {
        self.optional
    }

    /// The values of the next rows of an optional column, of which all have one or none has. Empty: none has.
    ///
    /// # Errors
    /// [`FileError`] when the step has fewer rows, or some have a value and some have none.
    pub(super) fn take(&mut self, rows: usize) -> Result<&[T::T], FileError> {
        let levels = self.levels.get(self.level..self.level + rows).ok_or_else(ended_early)?;
        let set = levels.iter().filter(|level| **level > 0).count();
        self.level += rows;
        if set > 0 && set < rows {
            return Err(ColumnError::Contradiction("rows of one kind need all a value, or none").into());
        }
        self.take_required(set)
    }

    /// The values of the next rows.
    ///
    /// # Errors
    /// [`FileError`] when the step has fewer.
    pub(super) fn take_required(&mut self, rows: usize) -> Result<&[T::T], FileError> {
        let values = self.values.get(self.value..self.value + rows).ok_or_else(ended_early)?;
        self.value += rows;
        Ok(values)
    }

    /// The next row of an optional column.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<&T::T>, FileError> {
        let level = self.levels.get(self.level).ok_or_else(ended_early)?;
        self.level += 1;
        if *level == 0 { Ok(None) } else { self.required().map(Some) }
    }

    /// The next value.
    #[inline]
    pub(super) fn required(&mut self) -> Result<&T::T, FileError> {
        let value = self.values.get(self.value).ok_or_else(ended_early)?;
        self.value += 1;
        Ok(value)
    }
}
