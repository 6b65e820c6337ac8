//! Points and annotations as tables for other programs.

use std::sync::Arc;

use arrow_array::builder::{MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{Array, BooleanArray, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray};

use super::ColumnError;
use super::columns::{Columns, Found};
use crate::model::{Number, PlainAnnotation, PlainColumns, PlainPoint, PlainRun, SeriesLabel, TagColumns};

/// The points of some series as a table: `metric`, `timestamp`, `value` (the number as a binary64), `value_int` (exact,
/// where the number is an integer), the tags, and what tells versions apart where that is asked for. Without runs it is
/// the table's columns alone.
///
/// # Errors
/// [`ColumnError::Arrow`] when the columns do not form a table, a fault of this module.
pub fn plain_table(runs: &[PlainRun], columns: &PlainColumns) -> Result<RecordBatch, ColumnError> {
    let points = || runs.iter().flat_map(|run| &run.points);
    let mut table = Columns::new();
    if columns.metric {
        add_names(&mut table, "metric", runs, |label| label.metric.as_deref())?;
    }
    table.time("timestamp", points().map(|point| point.timestamp));
    let values: Float64Array = points().map(|point| Some(point.value.as_float())).collect();
    table.array("value", false, Arc::new(values));
    table.optional_int("value_int", points().map(integer));
    match &columns.tags {
        TagColumns::Map => table.array("tags", false, Arc::new(tag_maps(runs)?)),
        TagColumns::Keys(keys) => {
            for column in keys {
                let value = |label: &'_ SeriesLabel| -> Option<usize> {
                    label.tags.iter().position(|(key, _)| *key == column.key)
                };
                add_names(&mut table, &column.name, runs, |label| {
                    value(label).and_then(|at| label.tags.get(at)).map(|(_, value)| value.as_str())
                })?;
            }
        }
    }
    if columns.versions {
        let superseded: BooleanArray = points().map(|point| Some(point.superseded)).collect();
        table.array("superseded", false, Arc::new(superseded));
        table.time("written", points().map(|point| point.written));
    }
    table.table()
}

fn integer(point: &PlainPoint) -> Option<i64> {
    match point.value {
        Number::Int(int) => Some(int),
        Number::Float(_) => None,
    }
}

/// A column of which a whole run has one value: the text is there once for each run.
fn add_names<'r>(
    table: &mut Columns,
    name: &str,
    runs: &'r [PlainRun],
    value: impl Fn(&'r SeriesLabel) -> Option<&'r str>,
) -> Result<(), ColumnError> {
    let arrow = |error: arrow_schema::ArrowError| ColumnError::Arrow(error.to_string());
    let (mut texts, mut keys) = (Vec::new(), Vec::new());
    for run in runs {
        let key = value(&run.label).map(|text| {
            texts.push(text);
            texts.len() as i32 - 1
        });
        keys.extend(std::iter::repeat_n(key, run.points.len()));
    }
    let (keys, texts) = (Int32Array::from(keys), Arc::new(StringArray::from_iter_values(texts)));
    table.array(name, true, Arc::new(DictionaryArray::<Int32Type>::try_new(keys, texts).map_err(arrow)?));
    Ok(())
}

fn tag_maps(runs: &[PlainRun]) -> Result<impl Array + use<>, ColumnError> {
    let arrow = |error: arrow_schema::ArrowError| ColumnError::Arrow(error.to_string());
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for run in runs {
        for _ in &run.points {
            for (key, value) in &run.label.tags {
                maps.keys().append_value(key);
                maps.values().append_value(value);
            }
            maps.append(true).map_err(arrow)?;
        }
    }
    Ok(maps.finish())
}

/// Annotations as a table.
///
/// # Errors
/// As [`plain_table`].
pub fn annotation_table(rows: &[PlainAnnotation]) -> Result<RecordBatch, ColumnError> {
    let mut table = Columns::new();
    table.optional_text("metric", rows.iter().map(|row| row.metric.as_deref()));
    table.optional_text("tags", rows.iter().map(|row| row.tags_json.as_deref()));
    table.optional_text("tsuid", rows.iter().map(|row| row.tsuid.as_deref()));
    table.optional_time("start", rows.iter().map(|row| row.start_ms));
    table.optional_time("end", rows.iter().map(|row| row.end_ms));
    table.optional_text("description", rows.iter().map(|row| row.description.as_deref()));
    table.optional_text("notes", rows.iter().map(|row| row.notes.as_deref()));
    table.optional_text("custom", rows.iter().map(|row| row.custom.as_deref()));
    table.table()
}

/// What the rows of an annotations table decode to.
///
/// # Errors
/// [`ColumnError`] when a column is missing.
pub fn read_annotations(table: &RecordBatch) -> Result<Vec<PlainAnnotation>, ColumnError> {
    let found = Found(table);
    let text = |name: &'static str| -> Result<_, ColumnError> {
        let array = found.optional_text(name)?;
        Ok(move |at: usize| (!array.is_null(at)).then(|| array.value(at).to_owned()))
    };
    let time = |name: &'static str| -> Result<_, ColumnError> {
        let array = found.optional_time(name)?;
        Ok(move |at: usize| (!array.is_null(at)).then(|| array.value(at)))
    };
    let (tsuid, metric, tags) = (text("tsuid")?, text("metric")?, text("tags")?);
    let (start, end) = (time("start")?, time("end")?);
    let (description, notes, custom) = (text("description")?, text("notes")?, text("custom")?);
    let row = |at| PlainAnnotation {
        tsuid: tsuid(at),
        metric: metric(at),
        tags_json: tags(at),
        start_ms: start(at),
        end_ms: end(at),
        description: description(at),
        notes: notes(at),
        custom: custom(at),
    };
    Ok((0..table.num_rows()).map(row).collect())
}
