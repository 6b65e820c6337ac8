//! Annotations: qualifier `01` and an offset, value JSON.
//!
//! Times come from the JSON: a start time in seconds that is a multiple of 1,000 gets a wrong offset in its qualifier.

use serde_json::{Map, Value};

use crate::codec::row_key::RowKey;
use crate::codec::{LAST_TIMESTAMP, json};
use crate::model::{Annotation, Cell, RawReason};

/// Reads an annotation.
///
/// # Errors
/// [`RawReason::BadJson`], or [`RawReason::BadRowKey`] for a row without tags that is not the global one.
pub fn read(cell: &Cell<'_>, key: &RowKey<'_>) -> Result<Annotation, RawReason> {
    let object = json::object(cell.value).ok_or(RawReason::BadJson)?;
    let tsuid = match (key.tags.is_empty(), key.is_global()) {
        (true, true) => None,
        (true, false) => return Err(RawReason::BadRowKey),
        _ => Some(key.tsuid_hex()),
    };
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(Annotation {
        cell: cell.to_owned(),
        tsuid,
        start_ms: time(&object, "startTime"),
        end_ms: time(&object, "endTime").filter(|end| *end != 0),
        description: text("description"),
        notes: text("notes"),
        custom: object.get("custom").filter(|custom| !custom.is_null()).map(Value::to_string),
    })
}

/// A time in ms. Upstream tells seconds from milliseconds by the upper 32 bits.
fn time(object: &Map<String, Value>, name: &str) -> Option<i64> {
    let time = object.get(name)?.as_i64().filter(|time| *time >= 0)?;
    let ms = if time >> 32 == 0 { time * 1000 } else { time };
    (ms <= LAST_TIMESTAMP).then_some(ms)
}
