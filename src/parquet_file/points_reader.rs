//! Points out of a file.

use bytes::Bytes;
use parquet::data_type::{DoubleType, Int64Type};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;

use super::FileError;
use super::column::{Column, check_rows, ended_early, guarded};
use super::pages::check_pages;
use super::part_file::PartFile;
use super::points_schema::{at, schema};
use super::points_writer::BATCHES;
use super::run_reader::Runs;
use crate::columnar::{ColumnError, PointRun, PointValues, Regroup, Written};
use crate::model::{FileKind, PointBatch};

/// Rows that are decoded at once: small enough for the cache, large enough to forget the calls.
const STEP: usize = 16_384;

/// Reads a points file row group by row group.
pub struct PointsReader {
    file: Box<dyn FileReader>,
    next: usize,
    /// Row groups of each batch, where they are not those of the footer.
    batches: Option<Vec<usize>>,
}

/// The columns that a reader of points does without.
pub(super) fn is_restored(place: usize) -> bool {
    !matches!(place, at::TABLE | at::METRIC | at::TAGS | at::SERIES_ID)
}

impl PointsReader {
    /// Opens a file that has so many rows, for example a [`bytes::Bytes`] or a [`std::fs::File`].
    ///
    /// # Errors
    /// [`FileError`] when it is damaged, holds something else or has another number of rows.
    pub fn open_recorded<R: ChunkReader + Clone + 'static>(source: R, rows: u64) -> Result<Self, FileError> {
        let reader = Self::open(source.clone())?;
        check_rows(reader.file.metadata(), rows)?;
        guarded(|| check_pages(&source, reader.file.metadata(), is_restored))?;
        Ok(reader)
    }

    /// Opens a file whose number of rows nobody knows; it must come from a writer that is trusted.
    ///
    /// # Errors
    /// [`FileError`] when it is damaged or holds something else.
    pub fn open<R: ChunkReader + 'static>(source: R) -> Result<Self, FileError> {
        let file = guarded(|| SerializedFileReader::new(source).map_err(FileError::Damaged))?;
        check_schema(file.metadata().file_metadata().schema_descr())?;
        Ok(Self { file: Box::new(file), next: 0, batches: None })
    }

    /// Reads the row groups of a part, of which each batch has so many.
    pub(super) fn of_part(file: PartFile, batches: Vec<usize>) -> Self {
        Self { file: Box::new(file), next: 0, batches: Some(batches) }
    }

    /// The key-value metadata of the footer.
    pub fn footer(&self) -> Vec<(String, String)> {
        let entries = self.file.metadata().file_metadata().key_value_metadata();
        let entries = entries.map(Vec::as_slice).unwrap_or_default();
        entries.iter().map(|entry| (entry.key.clone(), entry.value.clone().unwrap_or_default())).collect()
    }

    /// How many row groups follow each other that may share a range of row keys: those of one batch. One number for the
    /// whole file where it does not say.
    pub fn batches(&self) -> Vec<usize> {
        self.batches.clone().unwrap_or_else(|| batches_of(self.file.metadata()))
    }

    /// Row groups of the file.
    pub fn group_count(&self) -> usize {
        self.file.num_row_groups()
    }

    /// The points of the next row group, in file order; `None` behind the last. Checksums of the segments are 0.
    ///
    /// # Errors
    /// [`FileError`] when the file is damaged; the group is skipped then.
    pub fn next_group(&mut self) -> Result<Option<PointBatch>, FileError> {
        if self.next >= self.file.num_row_groups() {
            return Ok(None);
        }
        let index = self.next;
        self.next += 1;
        guarded(|| {
            let group = self.file.get_row_group(index).map_err(FileError::Damaged)?;
            read_group(group.as_ref()).map(Some)
        })
    }
}

/// Row groups of each batch, as the footer has them.
pub(super) fn batches_of(file: &ParquetMetaData) -> Vec<usize> {
    let groups = file.num_row_groups();
    let entries = file.file_metadata().key_value_metadata().map(Vec::as_slice).unwrap_or_default();
    let text = entries.iter().find(|entry| entry.key == BATCHES).and_then(|entry| entry.value.as_deref());
    let counts: Option<Vec<usize>> = text.and_then(|text| text.split(',').map(|count| count.parse().ok()).collect());
    let adds_up =
        |counts: &Vec<usize>| counts.iter().try_fold(0usize, |sum, count| sum.checked_add(*count)) == Some(groups);
    counts.filter(adds_up).unwrap_or_else(|| vec![groups])
}

pub(super) fn check_schema(found: &SchemaDescriptor) -> Result<(), FileError> {
    let expected = SchemaDescriptor::new(schema()?);
    for (place, column) in expected.columns().iter().enumerate() {
        let same = found.columns().get(place).is_some_and(|other| {
            other.path() == column.path()
                && other.physical_type() == column.physical_type()
                && other.max_def_level() == column.max_def_level()
                && other.max_rep_level() == 0
        });
        if !same {
            let column = column.path().string();
            return Err(FileError::NotThisKind { expected: FileKind::Points.name(), column });
        }
    }
    Ok(())
}

fn read_group(group: &dyn RowGroupReader) -> Result<PointBatch, FileError> {
    let rows = usize::try_from(group.metadata().num_rows()).map_err(|_| ended_early())?;
    let mut columns = PointColumns::open(group, rows)?;
    let mut regroup = Regroup::new();
    let mut done = 0;
    while done < rows {
        let step = STEP.min(rows - done);
        columns.fill(step)?;
        let mut left = step;
        while left > 0 {
            let count = columns.alike().min(left);
            regroup.push(&columns.take(count)?)?;
            left -= count;
        }
        done += step;
    }
    Ok(regroup.finish())
}

/// The columns that rebuild cells: those of few values run by run, the others a step of rows at a time.
struct PointColumns {
    tsuid: Runs<Bytes>,
    form: Runs<i32>,
    flags: Runs<i32>,
    exact: Runs<bool>,
    superseded: Runs<bool>,
    written: Runs<i64>,
    timestamp: Column<Int64Type>,
    value_int: Column<Int64Type>,
    value_float: Column<DoubleType>,
    write_delay: Column<Int64Type>,
}

impl PointColumns {
    fn open(group: &dyn RowGroupReader, rows: usize) -> Result<Self, FileError> {
        Ok(Self {
            tsuid: Runs::read(group, at::TSUID, rows)?,
            form: Runs::read(group, at::FORM, rows)?,
            flags: Runs::read(group, at::FLAGS, rows)?,
            exact: Runs::read_bits(group, at::EXACT, rows)?,
            superseded: Runs::read_bits(group, at::SUPERSEDED, rows)?,
            written: Runs::read(group, at::WRITTEN, rows)?,
            timestamp: Column::open(group, at::TIMESTAMP)?,
            value_int: Column::open(group, at::VALUE_INT)?,
            value_float: Column::open(group, at::VALUE_FLOAT)?,
            write_delay: Column::open(group, at::WRITE_DELAY)?,
        })
    }

    fn fill(&mut self, rows: usize) -> Result<(), FileError> {
        self.timestamp.fill(rows)?;
        self.value_int.fill(rows)?;
        self.value_float.fill(rows)?;
        self.write_delay.fill(rows)
    }

    /// Rows from here on that differ in time, value and delay alone.
    #[inline]
    fn alike(&self) -> usize {
        let runs = [&self.form, &self.flags]
            .map(Runs::left)
            .into_iter()
            .chain([&self.exact, &self.superseded].map(Runs::left));
        runs.fold(self.tsuid.left().min(self.written.left()), usize::min)
    }

    /// The next rows, which are alike.
    fn take(&mut self, rows: usize) -> Result<PointRun<'_>, FileError> {
        if rows == 0 {
            return Err(ended_early());
        }
        let values = match (self.value_int.take(rows)?, self.value_float.take(rows)?) {
            (ints, []) if !ints.is_empty() => PointValues::Ints(ints),
            ([], floats) if !floats.is_empty() => PointValues::Floats(floats),
            _ => return Err(ColumnError::Contradiction("a point needs one of value_int and value_float").into()),
        };
        let written = match (self.written.take(rows).copied(), self.write_delay.take(rows)?) {
            (Some(at), []) => Written::At(at),
            (None, delays) if !delays.is_empty() => Written::After(delays),
            _ => return Err(ColumnError::Contradiction("a point needs one of written and write_delay").into()),
        };
        Ok(PointRun {
            tsuid: self.tsuid.take(rows).ok_or_else(ended_early)?,
            form: *self.form.take(rows).ok_or_else(ended_early)?,
            flags: *self.flags.take(rows).ok_or_else(ended_early)?,
            exact: *self.exact.take(rows).ok_or_else(ended_early)?,
            superseded: *self.superseded.take(rows).ok_or_else(ended_early)?,
            timestamps: self.timestamp.take_required(rows)?,
            values,
            written,
        })
    }
}
