//! Points out of a file.

use parquet::data_type::{BoolType, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;

use super::FileError;
use super::column::{Column, check_rows, ended_early, guarded};
use super::pages::check_pages;
use super::points_schema::{at, schema};
use crate::columnar::{ColumnError, PointRow, PointValue, Regroup, Written};
use crate::model::{FileKind, PointBatch};

/// Rows that are decoded at once: small enough for the cache, large enough to forget the calls.
const STEP: usize = 16_384;

/// Reads a points file row group by row group.
pub struct PointsReader {
    file: Box<dyn FileReader>,
    next: usize,
}

impl PointsReader {
    /// Opens a file that has so many rows, for example a [`bytes::Bytes`] or a [`std::fs::File`].
    ///
    /// # Errors
    /// [`FileError`] when it is damaged, holds something else or has another number of rows.
    pub fn open_recorded<R: ChunkReader + Clone + 'static>(source: R, rows: u64) -> Result<Self, FileError> {
        let reader = Self::open(source.clone())?;
        check_rows(reader.file.metadata(), rows)?;
        let restored = |place| !matches!(place, at::TABLE | at::METRIC | at::TAGS | at::SERIES_ID);
        guarded(|| check_pages(&source, reader.file.metadata(), restored))?;
        Ok(reader)
    }

    /// Opens a file whose number of rows nobody knows; it must come from a writer that is trusted.
    ///
    /// # Errors
    /// [`FileError`] when it is damaged or holds something else.
    pub fn open<R: ChunkReader + 'static>(source: R) -> Result<Self, FileError> {
        let file = guarded(|| SerializedFileReader::new(source).map_err(FileError::Damaged))?;
        check_schema(file.metadata().file_metadata().schema_descr())?;
        Ok(Self { file: Box::new(file), next: 0 })
    }

    /// The key-value metadata of the footer.
    pub fn footer(&self) -> Vec<(String, String)> {
        let entries = self.file.metadata().file_metadata().key_value_metadata();
        let entries = entries.map(Vec::as_slice).unwrap_or_default();
        entries.iter().map(|entry| (entry.key.clone(), entry.value.clone().unwrap_or_default())).collect()
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

fn check_schema(found: &SchemaDescriptor) -> Result<(), FileError> {
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
    let mut columns = PointColumns::open(group)?;
    let rows = usize::try_from(group.metadata().num_rows()).map_err(|_| ended_early())?;
    let mut regroup = Regroup::new();
    let mut done = 0;
    while done < rows {
        let step = STEP.min(rows - done);
        columns.fill(step)?;
        for _ in 0..step {
            regroup.push(&columns.row()?)?;
        }
        done += step;
    }
    Ok(regroup.finish())
}

/// The columns that rebuild cells, a step of rows at a time.
struct PointColumns {
    tsuid: Column<ByteArrayType>,
    form: Column<Int32Type>,
    timestamp: Column<Int64Type>,
    value_int: Column<Int64Type>,
    value_float: Column<DoubleType>,
    flags: Column<Int32Type>,
    exact: Column<BoolType>,
    superseded: Column<BoolType>,
    written: Column<Int64Type>,
    write_delay: Column<Int64Type>,
}

impl PointColumns {
    fn open(group: &dyn RowGroupReader) -> Result<Self, FileError> {
        Ok(Self {
            tsuid: Column::open(group, at::TSUID)?,
            form: Column::open(group, at::FORM)?,
            timestamp: Column::open(group, at::TIMESTAMP)?,
            value_int: Column::open(group, at::VALUE_INT)?,
            value_float: Column::open(group, at::VALUE_FLOAT)?,
            flags: Column::open(group, at::FLAGS)?,
            exact: Column::open(group, at::EXACT)?,
            superseded: Column::open(group, at::SUPERSEDED)?,
            written: Column::open(group, at::WRITTEN)?,
            write_delay: Column::open(group, at::WRITE_DELAY)?,
        })
    }

    fn fill(&mut self, rows: usize) -> Result<(), FileError> {
        self.tsuid.fill(rows)?;
        self.form.fill(rows)?;
        self.timestamp.fill(rows)?;
        self.value_int.fill(rows)?;
        self.value_float.fill(rows)?;
        self.flags.fill(rows)?;
        self.exact.fill(rows)?;
        self.superseded.fill(rows)?;
        self.written.fill(rows)?;
        self.write_delay.fill(rows)
    }

    /// The next row of the step.
    #[inline]
    fn row(&mut self) -> Result<PointRow<'_>, FileError> {
        let value = match (self.value_int.next()?.copied(), self.value_float.next()?.copied()) {
            (Some(int), None) => PointValue::Int(int),
            (None, Some(float)) => PointValue::Float(float),
            _ => return Err(ColumnError::Contradiction("a point needs one of value_int and value_float").into()),
        };
        let written = match (self.written.next()?.copied(), self.write_delay.next()?.copied()) {
            (Some(at), None) => Written::At(at),
            (None, Some(delay)) => Written::After(delay),
            _ => return Err(ColumnError::Contradiction("a point needs one of written and write_delay").into()),
        };
        Ok(PointRow {
            form: *self.form.required()?,
            timestamp: *self.timestamp.required()?,
            value,
            flags: *self.flags.required()?,
            exact: *self.exact.required()?,
            superseded: *self.superseded.required()?,
            written,
            tsuid: self.tsuid.required()?.data(),
        })
    }
}
