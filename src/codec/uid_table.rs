//! `tsdb-uid`: names to UIDs and back, counters, UIDMeta.
//!
//! | row | column | content |
//! | --- | --- | --- |
//! | name | `id:metrics`, `id:tagk`, `id:tagv` | UID |
//! | UID | `name:metrics`, `name:tagk`, `name:tagv` | name, ISO-8859-1 |
//! | UID | `name:metric_meta`, `name:tagk_meta`, `name:tagv_meta` | UIDMeta JSON |
//! | `00` | `id:metrics`, `id:tagk`, `id:tagv` | i64, highest serial UID |
//! | any | `name:ts_meta`, `name:ts_ctr` | left by an early 2.0 |

use crate::codec::json;
use crate::codec::visibility;
use crate::model::{Cell, RawReason, RowView, UidKind, UidRow, hex, kind};

fn kind_of_map(qualifier: &[u8]) -> Option<UidKind> {
    UidKind::ALL.into_iter().find(|kind| kind.qualifier().as_bytes() == qualifier)
}

fn kind_of_meta(qualifier: &[u8]) -> Option<UidKind> {
    match qualifier {
        b"metric_meta" => Some(UidKind::Metric),
        b"tagk_meta" => Some(UidKind::Tagk),
        b"tagv_meta" => Some(UidKind::Tagv),
        _ => None,
    }
}

/// Reads a cell.
///
/// # Errors
/// The reason to keep it raw: another family, an empty or unknown qualifier, meta that is not JSON.
pub fn read(cell: &Cell<'_>) -> Result<UidRow, RawReason> {
    let mut row =
        UidRow { cell: cell.to_owned(), role: "other", kind: None, uid: None, name: None, counter: None, json: None };
    match (cell.family, cell.qualifier) {
        (b"id" | b"name", b"") => return Err(RawReason::EmptyQualifier),
        (b"id", map) => {
            row.kind = Some(kind_of_map(map).ok_or(RawReason::UnknownQualifier)?);
            read_id(cell, &mut row);
        }
        (b"name", b"ts_meta" | b"ts_ctr") => row.uid = Some(hex(cell.row)),
        (b"name", column) => {
            row.uid = Some(hex(cell.row));
            if let Some(kind) = kind_of_map(column) {
                (row.kind, row.role, row.name) = (Some(kind), "reverse", Some(json::latin1(cell.value)));
            } else {
                row.kind = Some(kind_of_meta(column).ok_or(RawReason::UnknownQualifier)?);
                (row.role, row.json) = ("meta", Some(json::text(cell.value).ok_or(RawReason::BadJson)?));
            }
        }
        _ => return Err(RawReason::OtherFamily),
    }
    Ok(row)
}

fn read_id(cell: &Cell<'_>, row: &mut UidRow) {
    if cell.row == [0] {
        // A counter of other than 8 bytes is a known corruption: the cell stays, the number is not read.
        row.role = "counter";
        row.counter = cell.value.try_into().ok().map(i64::from_be_bytes);
    } else if !cell.value.is_empty() {
        row.role = "forward";
        row.uid = Some(hex(cell.value));
        row.name = Some(json::latin1(cell.row));
    }
}

/// The names that a row of `tsdb-uid` gives to its UID: the newest visible reverse map of each kind.
pub fn read_uid_row(row: RowView<'_>) -> impl Iterator<Item = (UidKind, &[u8], String)> {
    let mut live = row.cells.to_vec();
    if visibility::has_markers(row.cells) {
        visibility::split(row, &mut live, &mut Vec::new());
    }
    let mut seen = [false; 3];
    live.into_iter().filter_map(move |cell| {
        let cell = row.cell(&cell);
        let kind = kind_of_map(cell.qualifier).filter(|_| cell.family == b"name" && cell.kind == kind::PUT)?;
        let first = !std::mem::replace(&mut seen[kind as usize], true);
        first.then(|| (kind, row.key, json::latin1(cell.value)))
    })
}
