//! Columns of a table by name, one function per type.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, TimestampMillisecondArray,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Schema};

use super::ColumnError;

/// Columns on their way to a table.
#[derive(Default)]
pub(super) struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a column; it is nullable when `nullable`.
    pub(super) fn array(&mut self, name: &str, nullable: bool, array: ArrayRef) {
        self.fields.push(Field::new(name, array.data_type().clone(), nullable));
        self.arrays.push(array);
    }

    pub(super) fn binary<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a [u8]>) {
        self.array(name, false, Arc::new(BinaryArray::from_iter_values(values)));
    }

    pub(super) fn optional_binary<'a>(&mut self, name: &str, values: impl Iterator<Item = Option<&'a [u8]>>) {
        self.array(name, true, Arc::new(values.collect::<BinaryArray>()));
    }

    pub(super) fn text<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a str>) {
        self.array(name, false, Arc::new(StringArray::from_iter_values(values)));
    }

    pub(super) fn optional_text<'a>(&mut self, name: &str, values: impl Iterator<Item = Option<&'a str>>) {
        self.array(name, true, Arc::new(values.collect::<StringArray>()));
    }

    pub(super) fn int(&mut self, name: &str, values: impl Iterator<Item = i64>) {
        self.array(name, false, Arc::new(Int64Array::from_iter_values(values)));
    }

    pub(super) fn optional_int(&mut self, name: &str, values: impl Iterator<Item = Option<i64>>) {
        self.array(name, true, Arc::new(values.collect::<Int64Array>()));
    }

    pub(super) fn optional_float(&mut self, name: &str, values: impl Iterator<Item = Option<f64>>) {
        self.array(name, true, Arc::new(values.collect::<Float64Array>()));
    }

    pub(super) fn bool(&mut self, name: &str, values: impl Iterator<Item = bool>) {
        self.array(name, false, Arc::new(values.map(Some).collect::<BooleanArray>()));
    }

    /// Bytes as signed numbers: not every reader knows unsigned ones.
    pub(super) fn byte(&mut self, name: &str, values: impl Iterator<Item = u8>) {
        self.array(name, false, Arc::new(Int32Array::from_iter_values(values.map(i32::from))));
    }

    pub(super) fn optional_byte(&mut self, name: &str, values: impl Iterator<Item = Option<u8>>) {
        self.array(name, true, Arc::new(values.map(|value| value.map(i32::from)).collect::<Int32Array>()));
    }

    /// Milliseconds, UTC.
    pub(super) fn time(&mut self, name: &str, values: impl Iterator<Item = i64>) {
        let array = TimestampMillisecondArray::from_iter_values(values).with_timezone("UTC");
        self.array(name, false, Arc::new(array));
    }

    pub(super) fn optional_time(&mut self, name: &str, values: impl Iterator<Item = Option<i64>>) {
        let array = values.collect::<TimestampMillisecondArray>().with_timezone("UTC");
        self.array(name, true, Arc::new(array));
    }

    /// The table.
    pub(super) fn table(self) -> Result<RecordBatch, ColumnError> {
        RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays)
            .map_err(|error| ColumnError::Arrow(error.to_string()))
    }
}

/// Offsets of lists of these lengths.
pub(super) fn offsets(lengths: impl Iterator<Item = usize>) -> Result<OffsetBuffer<i32>, ColumnError> {
    let too_many = |_| ColumnError::Arrow("more than 2^31 list entries in one batch".to_owned());
    let mut total = 0usize;
    let mut offsets = vec![0i32];
    for length in lengths {
        total += length;
        offsets.push(i32::try_from(total).map_err(too_many)?);
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
}

/// Columns of a table that was read.
#[derive(Clone, Copy)]
pub(super) struct Found<'a>(pub(super) &'a RecordBatch);

impl<'a> Found<'a> {
    fn typed(self, name: &'static str, fits: impl Fn(&DataType) -> bool) -> Result<&'a ArrayRef, ColumnError> {
        self.0.column_by_name(name).filter(|array| fits(array.data_type())).ok_or(ColumnError::Column(name))
    }

    /// The column, which must be set in every row.
    fn set(self, name: &'static str, fits: impl Fn(&DataType) -> bool) -> Result<&'a ArrayRef, ColumnError> {
        self.typed(name, fits)
            .and_then(|array| if array.null_count() == 0 { Ok(array) } else { Err(ColumnError::Column(name)) })
    }

    pub(super) fn binary(self, name: &'static str) -> Result<&'a BinaryArray, ColumnError> {
        Ok(self.set(name, |found| *found == DataType::Binary)?.as_binary())
    }

    pub(super) fn optional_binary(self, name: &'static str) -> Result<&'a BinaryArray, ColumnError> {
        Ok(self.typed(name, |found| *found == DataType::Binary)?.as_binary())
    }

    pub(super) fn text(self, name: &'static str) -> Result<&'a StringArray, ColumnError> {
        Ok(self.set(name, |found| *found == DataType::Utf8)?.as_string())
    }

    pub(super) fn optional_text(self, name: &'static str) -> Result<&'a StringArray, ColumnError> {
        Ok(self.typed(name, |found| *found == DataType::Utf8)?.as_string())
    }

    pub(super) fn int(self, name: &'static str) -> Result<&'a Int64Array, ColumnError> {
        Ok(self.set(name, |found| *found == DataType::Int64)?.as_primitive::<Int64Type>())
    }

    pub(super) fn bool(self, name: &'static str) -> Result<&'a BooleanArray, ColumnError> {
        Ok(self.set(name, |found| *found == DataType::Boolean)?.as_boolean())
    }

    pub(super) fn time(self, name: &'static str) -> Result<&'a TimestampMillisecondArray, ColumnError> {
        Ok(self.set(name, is_milliseconds)?.as_primitive::<TimestampMillisecondType>())
    }

    pub(super) fn text_list(self, name: &'static str) -> Result<&'a ListArray, ColumnError> {
        self.set(name, |found| matches!(found, DataType::List(of) if *of.data_type() == DataType::Utf8))
            .and_then(|array| array.as_list_opt().ok_or(ColumnError::Column(name)))
    }

    pub(super) fn optional_time(self, name: &'static str) -> Result<&'a TimestampMillisecondArray, ColumnError> {
        Ok(self.typed(name, is_milliseconds)?.as_primitive::<TimestampMillisecondType>())
    }
}

fn is_milliseconds(found: &DataType) -> bool {
    matches!(found, DataType::Timestamp(arrow_schema::TimeUnit::Millisecond, _))
}
