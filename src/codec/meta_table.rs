//! `tsdb-meta`: row key TSUID (never salted), family `name`, columns `ts_meta` (JSON) and `ts_ctr` (i64).

use crate::codec::json;
use crate::model::{Cell, KeyLayout, MetaRow, RawReason, hex};

/// Reads a cell.
///
/// # Errors
/// The reason to keep it raw: another family, a row key that is no TSUID, an empty or unknown qualifier, bad JSON.
pub fn read(cell: &Cell<'_>, layout: &KeyLayout) -> Result<MetaRow, RawReason> {
    if cell.family != b"name" {
        return Err(RawReason::OtherFamily);
    }
    let tags = cell.row.len().checked_sub(usize::from(layout.metric_width)).ok_or(RawReason::BadRowKey)?;
    if tags == 0 || !tags.is_multiple_of(layout.tag_width()) {
        return Err(RawReason::BadRowKey);
    }
    let mut row = MetaRow { cell: cell.to_owned(), tsuid: hex(cell.row), role: "other", counter: None, json: None };
    match cell.qualifier {
        b"" => return Err(RawReason::EmptyQualifier),
        b"ts_meta" => {
            (row.role, row.json) = ("ts_meta", Some(json::text(cell.value).ok_or(RawReason::BadJson)?));
        }
        b"ts_ctr" => {
            // A counter of other than 8 bytes keeps its cell; only the number is not read.
            row.counter = cell.value.try_into().ok().map(i64::from_be_bytes);
            row.role = if row.counter.is_some() { "ts_ctr" } else { "other" };
        }
        _ => return Err(RawReason::UnknownQualifier),
    }
    Ok(row)
}
