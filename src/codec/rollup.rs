//! Rollup and pre-aggregate cells.
//!
//! The qualifier is the aggregator's id (0..=127), or its name and a colon in pre-release data, then two bytes
//! `oooo oooo oooo Flll` whose offset counts intervals. Values are those of points.

use crate::codec::rollup_config::RollupTable;
use crate::codec::row_key::RowKey;
use crate::codec::{LAST_TIMESTAMP, qualifier, value};
use crate::model::{Cell, RawReason, Rollup, RollupValue};

/// The value when it has exactly the bytes that the flags say.
fn read_value(flags: u8, bytes: &[u8]) -> Option<RollupValue> {
    let width = qualifier::width(flags);
    if !qualifier::is_legal(flags) || bytes.len() != width {
        return None;
    }
    let word = value::word(bytes);
    Some(if flags & qualifier::FLAG_FLOAT == 0 {
        RollupValue::Int(value::int(word, width))
    } else {
        RollupValue::Float(value::float(word, width))
    })
}

/// True for a 3-byte qualifier that can be a rollup in a table that holds other things too: an id that the
/// configuration knows (any, without one) and a value of exactly the announced bytes.
pub fn has_shape(cell: &Cell<'_>, table: Option<&RollupTable>) -> bool {
    let [id, _, flags] = *cell.qualifier else { return false };
    let known = table.is_none_or(|table| table.aggregator(id).is_some());
    id < 0x80 && known && read_value(flags & 0xF, cell.value).is_some()
}

/// The name in a qualifier of the text form, `name:` and two bytes.
pub fn text_name(qualifier: &[u8]) -> Option<&str> {
    let (colon, name) = qualifier.get(..qualifier.len().checked_sub(2)?)?.split_last()?;
    let plain = *colon == b':' && name.len() >= 2 && name.iter().all(u8::is_ascii_alphanumeric);
    if plain { std::str::from_utf8(name).ok() } else { None }
}

/// Start of the interval of a rollup cell in ms UTC; `None` where the configuration does not say how long it is.
pub fn interval_start(cell: &Cell<'_>, key: &RowKey<'_>, table: Option<&RollupTable>) -> Option<i64> {
    read(cell, key, table).ok()?.timestamp
}

/// Reads a rollup cell of either form.
///
/// # Errors
/// [`RawReason::BadRowKey`] for a row without tags, [`RawReason::UnknownQualifier`] for another qualifier.
pub fn read(cell: &Cell<'_>, key: &RowKey<'_>, table: Option<&RollupTable>) -> Result<Rollup, RawReason> {
    if key.tags.is_empty() {
        return Err(RawReason::BadRowKey);
    }
    let (aggregator_id, aggregator) = match *cell.qualifier {
        [id, _, _] if id < 0x80 => (Some(id), table.and_then(|table| table.aggregator(id)).map(str::to_owned)),
        _ => (None, Some(text_name(cell.qualifier).ok_or(RawReason::UnknownQualifier)?.to_owned())),
    };
    let word = u16::from_be_bytes(*cell.qualifier.last_chunk().ok_or(RawReason::UnknownQualifier)?);
    let interval_number = word >> 4;
    let start = |seconds: u32| (i64::from(key.base) + i64::from(interval_number) * i64::from(seconds)) * 1000;
    Ok(Rollup {
        cell: cell.to_owned(),
        tsuid: key.tsuid_hex(),
        aggregator_id,
        aggregator,
        base: key.base,
        interval_number,
        timestamp: table.and_then(|t| t.interval_seconds).map(start).filter(|start| *start <= LAST_TIMESTAMP),
        value: read_value(word as u8 & 0xF, cell.value),
    })
}
