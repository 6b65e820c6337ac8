//! Exact cells out of the files that hold them beside their typed columns.
//!
//! Values are read as references into their pages: one long value that a dictionary page holds for thousands of rows is
//! not copied until its row is handed on.

use parquet::basic::Type;
use parquet::data_type::{ByteArrayType, Int32Type, Int64Type};
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;

use super::FileError;
use super::column::{Column, check_rows, guarded};
use super::pages::check_pages;
use super::part_file::PartFile;
use crate::columnar::ColumnError;
use crate::model::{CellBlock, RawReason, kind};

/// Rows that are decoded at once.
const STEP: usize = 1024;
/// Bytes of cells that are handed on at once, about.
const STEP_BYTES: usize = 4 << 20;

/// Reads the exact cells of any file but points and the catalogue.
pub struct CellReader {
    file: Box<dyn FileReader>,
    places: Places,
    next_group: usize,
    columns: Option<CellColumns>,
    /// Rows of the group that are not decoded yet.
    in_group: usize,
    /// Rows that are decoded and not handed on yet.
    in_step: usize,
    reasons: Vec<RawReason>,
    failed: bool,
}

/// Where the columns of the exact cell are.
pub(super) struct Places {
    pub(super) row: usize,
    family: usize,
    qualifier: usize,
    value: usize,
    time: usize,
    /// `type` and `reason`, which only raw cells have.
    raw: Option<(usize, usize)>,
}

impl Places {
    pub(super) fn has(&self, place: usize) -> bool {
        let Self { row, family, qualifier, value, time, raw } = *self;
        [row, family, qualifier, value, time].contains(&place)
            || raw.is_some_and(|(kind, reason)| [kind, reason].contains(&place))
    }

    pub(super) fn find(schema: &SchemaDescriptor) -> Result<Self, FileError> {
        let position = |name: &str| schema.columns().iter().position(|column| column.path().string() == name);
        let find = |name: &'static str, of: Type| {
            let fits = |at: &usize| {
                let column = &schema.columns()[*at];
                column.physical_type() == of && column.max_def_level() == 0 && column.max_rep_level() == 0
            };
            position(name).filter(fits).ok_or(FileError::Foreign(ColumnError::Column(name)))
        };
        let raw = position("type").is_some();
        Ok(Self {
            row: find("row", Type::BYTE_ARRAY)?,
            family: find("family", Type::BYTE_ARRAY)?,
            qualifier: find("qualifier", Type::BYTE_ARRAY)?,
            value: find("value", Type::BYTE_ARRAY)?,
            time: find(if raw { "timestamp" } else { "written" }, Type::INT64)?,
            raw: if raw { Some((find("type", Type::INT32)?, find("reason", Type::BYTE_ARRAY)?)) } else { None },
        })
    }
}

struct CellColumns {
    row: Column<ByteArrayType>,
    family: Column<ByteArrayType>,
    qualifier: Column<ByteArrayType>,
    value: Column<ByteArrayType>,
    time: Column<Int64Type>,
    raw: Option<(Column<Int32Type>, Column<ByteArrayType>)>,
}

impl CellColumns {
    fn open(group: &dyn RowGroupReader, places: &Places) -> Result<Self, FileError> {
        let raw = |(kind, reason)| Ok::<_, FileError>((Column::open(group, kind)?, Column::open(group, reason)?));
        Ok(Self {
            row: Column::open(group, places.row)?,
            family: Column::open(group, places.family)?,
            qualifier: Column::open(group, places.qualifier)?,
            value: Column::open(group, places.value)?,
            time: Column::open(group, places.time)?,
            raw: places.raw.map(raw).transpose()?,
        })
    }

    fn fill(&mut self, rows: usize) -> Result<(), FileError> {
        self.row.fill(rows)?;
        self.family.fill(rows)?;
        self.qualifier.fill(rows)?;
        self.value.fill(rows)?;
        self.time.fill(rows)?;
        if let Some((kind, reason)) = &mut self.raw {
            kind.fill(rows)?;
            reason.fill(rows)?;
        }
        Ok(())
    }

    /// Appends the next row; `last` is the row key before, and becomes this one.
    fn push(
        &mut self,
        block: &mut CellBlock,
        reasons: &mut Vec<RawReason>,
        last: &mut Option<parquet::data_type::ByteArray>,
    ) -> Result<(), FileError> {
        let row = self.row.required()?;
        if last.as_ref().is_none_or(|last| last.data() != row.data()) {
            block.push_row(row.data()).map_err(ColumnError::from)?;
            *last = Some(row.clone());
        }
        let kind = match &mut self.raw {
            None => kind::PUT,
            Some((kinds, names)) => {
                let number = *kinds.required()?;
                let name = names.required()?.data();
                let value = |column, value: String| FileError::Foreign(ColumnError::Value { column, value });
                let name = std::str::from_utf8(name).ok().unwrap_or_default();
                reasons.push(RawReason::from_name(name).ok_or_else(|| value("reason", name.to_owned()))?);
                u8::try_from(number).map_err(|_| value("type", number.to_string()))?
            }
        };
        let (family, qualifier, value) = (self.family.required()?, self.qualifier.required()?, self.value.required()?);
        let time = *self.time.required()?;
        block.push_cell(family.data(), qualifier.data(), time, kind, value.data()).map_err(ColumnError::from)?;
        Ok(())
    }
}

impl CellReader {
    /// Opens a file that has so many rows.
    ///
    /// # Errors
    /// [`FileError`] when it is damaged or has another number of rows.
    pub fn open<R: ChunkReader + Clone + 'static>(source: R, rows: u64) -> Result<Self, FileError> {
        let file = guarded(|| SerializedFileReader::new(source.clone()).map_err(FileError::Damaged))?;
        check_rows(file.metadata(), rows)?;
        let places = Places::find(file.metadata().file_metadata().schema_descr())?;
        guarded(|| check_pages(&source, file.metadata(), |place| places.has(place)))?;
        Ok(Self::of(Box::new(file), places))
    }

    /// Reads the row groups of a part, which has these columns.
    pub(super) fn of_part(file: PartFile, places: Places) -> Self {
        Self::of(Box::new(file), places)
    }

    fn of(file: Box<dyn FileReader>, places: Places) -> Self {
        let reasons = Vec::new();
        Self { file, places, next_group: 0, columns: None, in_group: 0, in_step: 0, reasons, failed: false }
    }

    /// Appends the next cells, in file order, to `block`; false at the end. Some hundred cells, or about 4 MiB, at a
    /// time; neighbouring cells of one row key become one row.
    ///
    /// # Errors
    /// [`FileError`] when the file is damaged or the block is full; nothing more can be read then.
    pub fn next(&mut self, block: &mut CellBlock) -> Result<bool, FileError> {
        if self.failed {
            return Ok(false);
        }
        self.reasons.clear();
        let read = guarded(|| self.read(block));
        self.failed = read.is_err();
        read
    }

    fn read(&mut self, block: &mut CellBlock) -> Result<bool, FileError> {
        while self.in_step == 0 {
            if self.in_group > 0 {
                let rows = STEP.min(self.in_group);
                self.columns.as_mut().map_or(Ok(()), |columns| columns.fill(rows))?;
                (self.in_group, self.in_step) = (self.in_group - rows, rows);
            } else if self.next_group < self.file.num_row_groups() {
                let group = self.file.get_row_group(self.next_group).map_err(FileError::Damaged)?;
                self.next_group += 1;
                // `open` has seen that the numbers of rows are not negative.
                self.in_group = usize::try_from(group.metadata().num_rows()).unwrap_or(usize::MAX);
                self.columns = Some(CellColumns::open(group.as_ref(), &self.places)?);
            } else {
                return Ok(false);
            }
        }
        let Some(columns) = &mut self.columns else { return Ok(false) };
        let (begun, mut last) = (block.bytes().len(), None);
        while self.in_step > 0 && block.bytes().len() - begun < STEP_BYTES {
            columns.push(block, &mut self.reasons, &mut last)?;
            self.in_step -= 1;
        }
        Ok(true)
    }

    /// Why the cells of the last call are raw, one per cell; empty for typed tables.
    pub fn reasons(&self) -> &[RawReason] {
        &self.reasons
    }
}
