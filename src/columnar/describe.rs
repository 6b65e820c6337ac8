//! What columns a table has, and what it says of the columns by which readers skip files.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field};

use super::ColumnError;
use super::tables::empty_table;
use crate::model::{Column, ColumnRanges, ColumnType, FileKind};

/// The columns of a points file; `true`: a row may have none.
const POINTS: &[(&str, ColumnType, bool)] = &[
    ("table", ColumnType::Text, false),
    ("metric", ColumnType::Text, true),
    ("tags", ColumnType::Text, false),
    ("series_id", ColumnType::Long, false),
    ("tsuid", ColumnType::Text, false),
    ("form", ColumnType::Int, false),
    ("timestamp", ColumnType::Time, false),
    ("value_int", ColumnType::Long, true),
    ("value_float", ColumnType::Double, true),
    ("flags", ColumnType::Int, false),
    ("exact", ColumnType::Bool, false),
    ("superseded", ColumnType::Bool, false),
    ("written", ColumnType::Time, true),
    ("write_delay", ColumnType::Long, true),
];

/// The columns of the files of a kind, in their order.
///
/// # Errors
/// [`ColumnError`] for a column without a name for its type, which would be a fault of this module.
pub fn columns_of(kind: FileKind) -> Result<Vec<Column>, ColumnError> {
    match empty_table(kind)? {
        Some(table) => table.schema().fields().iter().map(|field| column(field)).collect(),
        None => {
            let column = |(name, of, nullable): &(&str, ColumnType, bool)| Column {
                name: (*name).to_owned(),
                nullable: *nullable,
                of: of.clone(),
            };
            Ok(POINTS.iter().map(column).collect())
        }
    }
}

fn column(field: &Field) -> Result<Column, ColumnError> {
    Ok(Column { name: field.name().clone(), nullable: field.is_nullable(), of: column_type(field.data_type())? })
}

fn column_type(of: &DataType) -> Result<ColumnType, ColumnError> {
    let unknown = || ColumnError::Arrow(format!("a column of type {of}"));
    Ok(match of {
        DataType::Utf8 => ColumnType::Text,
        DataType::Binary => ColumnType::Binary,
        DataType::Boolean => ColumnType::Bool,
        DataType::Int32 => ColumnType::Int,
        DataType::Int64 => ColumnType::Long,
        DataType::Float32 => ColumnType::Float,
        DataType::Float64 => ColumnType::Double,
        DataType::Timestamp(arrow_schema::TimeUnit::Millisecond, Some(_)) => ColumnType::Time,
        DataType::List(element) => ColumnType::List(Box::new(column(element)?)),
        DataType::Struct(members) => {
            ColumnType::Struct(members.iter().map(|member| column(member)).collect::<Result<_, _>>()?)
        }
        DataType::Map(entry, _) => match column_type(entry.data_type())? {
            ColumnType::Struct(members) => {
                let [key, value] = <[Column; 2]>::try_from(members).map_err(|_| unknown())?;
                ColumnType::Map(Box::new(key), Box::new(value))
            }
            _ => return Err(unknown()),
        },
        _ => return Err(unknown()),
    })
}

/// Widens the ranges by the rows of a table. `timestamp` counts where it is a time.
pub fn widen(ranges: &mut ColumnRanges, table: &RecordBatch) {
    if let Some(metrics) = table.column_by_name("metric").and_then(|array| array.as_string_opt::<i32>()) {
        // Neighbours mostly have the same metric.
        let mut last = None;
        for metric in metrics {
            if last != Some(metric) || metric.is_none() {
                ranges.add_metric(metric, 1);
                last = Some(metric);
            }
        }
    }
    let times = table.column_by_name("timestamp");
    if let Some(times) = times.and_then(|array| array.as_primitive_opt::<TimestampMillisecondType>()) {
        ranges.timestamp_nulls += times.null_count() as u64;
        let set = || times.iter().flatten();
        ranges.add_times(set().min().zip(set().max()));
    }
}
