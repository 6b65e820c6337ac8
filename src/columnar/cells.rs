//! The exact cells of a table that was read.

use arrow_array::{Array, RecordBatch};

use super::ColumnError;
use super::columns::Found;
use crate::model::{CellBlock, RawReason, kind};

/// The columns that hold the exact cell; the others of a table are for people.
pub const CELL_COLUMNS: &[&str] = &["row", "family", "qualifier", "value", "written", "timestamp", "type", "reason"];

/// Appends the cells of a table to `block`: values (PUT) of the typed tables, any type of raw cells. Neighbouring cells
/// of one row key become one row.
///
/// # Errors
/// [`ColumnError`] when a column is missing or the block is full.
pub fn append_cells(table: &RecordBatch, block: &mut CellBlock) -> Result<(), ColumnError> {
    let found = Found(table);
    let (rows, families) = (found.binary("row")?, found.binary("family")?);
    let (qualifiers, values) = (found.binary("qualifier")?, found.binary("value")?);
    let raw = found.has("type");
    let times = if raw { found.int("timestamp")?.values() } else { found.time("written")?.values() };
    let kinds = if raw { Some(found.byte("type")?.values()) } else { None };
    let mut last: Option<&[u8]> = None;
    for (index, timestamp) in times.iter().enumerate() {
        let row = rows.value(index);
        if last != Some(row) {
            block.push_row(row)?;
            last = Some(row);
        }
        let kind = kinds.and_then(|kinds| kinds.get(index).copied()).unwrap_or(kind::PUT);
        block.push_cell(families.value(index), qualifiers.value(index), *timestamp, kind, values.value(index))?;
    }
    Ok(())
}

/// Why each cell of a raw table is there, in order; empty for the typed tables.
///
/// # Errors
/// [`ColumnError::Value`] for a reason that this version does not know.
pub fn reasons(table: &RecordBatch) -> Result<Vec<RawReason>, ColumnError> {
    let found = Found(table);
    if !found.has("type") {
        return Ok(Vec::new());
    }
    let names = found.text("reason")?;
    let unknown = |name: &str| ColumnError::Value { column: "reason", value: name.to_owned() };
    (0..names.len())
        .map(|index| RawReason::from_name(names.value(index)).ok_or_else(|| unknown(names.value(index))))
        .collect()
}
