//! `tsdb-uid`: names to UIDs and back, counters, UIDMeta.
//!
//! | row | column | content |
//! | --- | --- | --- |
//! | name | `id:metrics`, `id:tagk`, `id:tagv` | UID |
//! | UID | `name:metrics`, `name:tagk`, `name:tagv` | name, ISO-8859-1 (UTF-8 of patched builds) |
//! | UID | `name:metric_meta`, `name:tagk_meta`, `name:tagv_meta` | UIDMeta JSON |
//! | `00` | `id:metrics`, `id:tagk`, `id:tagv` | i64, highest serial UID |
//! | any | `name:ts_meta`, `name:ts_ctr` | left by an early 2.0 |

use crate::codec::json;
use crate::codec::visibility;
use crate::model::{Cell, NameCharset, RawReason, RowView, UidKind, UidRow, hex, kind};

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
pub fn read(cell: &Cell<'_>, charset: NameCharset) -> Result<UidRow, RawReason> {
    let mut row =
        UidRow { cell: cell.to_owned(), role: "other", kind: None, uid: None, name: None, counter: None, json: None };
    match (cell.family, cell.qualifier) {
        (b"id" | b"name", b"") => return Err(RawReason::EmptyQualifier),
        (b"id", map) => {
            row.kind = Some(kind_of_map(map).ok_or(RawReason::UnknownQualifier)?);
            read_id(cell, charset, &mut row);
        }
        (b"name", b"ts_meta" | b"ts_ctr") => row.uid = Some(hex(cell.row)),
        (b"name", column) => {
            row.uid = Some(hex(cell.row));
            if let Some(kind) = kind_of_map(column) {
                (row.kind, row.role, row.name) = (Some(kind), "reverse", Some(charset.decode(cell.value).into_owned()));
            } else {
                row.kind = Some(kind_of_meta(column).ok_or(RawReason::UnknownQualifier)?);
                (row.role, row.json) = ("meta", Some(json::text(cell.value).ok_or(RawReason::BadJson)?));
            }
        }
        _ => return Err(RawReason::OtherFamily),
    }
    Ok(row)
}

fn read_id(cell: &Cell<'_>, charset: NameCharset, row: &mut UidRow) {
    if cell.row == [0] {
        // A counter of other than 8 bytes is a known corruption: the cell stays, the number is not read.
        row.role = "counter";
        row.counter = cell.value.try_into().ok().map(i64::from_be_bytes);
    } else if !cell.value.is_empty() {
        row.role = "forward";
        row.uid = Some(hex(cell.value));
        row.name = Some(charset.decode(cell.row).into_owned());
    }
}

/// What a column of `tsdb-uid` is about: a map or a UIDMeta.
pub fn kind_of_column(qualifier: &[u8]) -> Option<UidKind> {
    kind_of_map(qualifier).or_else(|| kind_of_meta(qualifier))
}

/// What a row of `tsdb-uid` says about names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UidEntry<'a> {
    /// The row is a UID and has this name.
    Reverse {
        /// Of what.
        kind: UidKind,
        /// The row key.
        uid: &'a [u8],
        /// Bytes of the name.
        name: &'a [u8],
    },
    /// The row is a name and belongs to this UID.
    Forward {
        /// Of what.
        kind: UidKind,
        /// The UID.
        uid: &'a [u8],
        /// The row key: bytes of the name.
        name: &'a [u8],
    },
    /// The row `00` counts the UIDs that were given out; the bytes of the counter, eight where it is whole.
    Counter {
        /// Of what.
        kind: UidKind,
        /// The cell's value.
        value: &'a [u8],
    },
}

/// The newest visible maps of a row, one of each family and kind.
pub fn read_uid_row(row: RowView<'_>) -> impl Iterator<Item = UidEntry<'_>> {
    let mut live = row.cells.to_vec();
    if visibility::has_markers(row.cells) {
        visibility::split(row, &mut live, &mut Vec::new());
    }
    let mut seen = [[false; 3]; 2];
    live.into_iter().filter_map(move |cell| {
        let cell = row.cell(&cell);
        let kind = kind_of_map(cell.qualifier).filter(|_| cell.kind == kind::PUT)?;
        let family = match cell.family {
            b"name" => 0,
            b"id" => 1,
            _ => return None,
        };
        let first = !std::mem::replace(&mut seen[family][kind as usize], true);
        let (uid, value) = (row.key, cell.value);
        first.then_some(match (family, row.key) {
            (0, _) => UidEntry::Reverse { kind, uid, name: value },
            (_, [0]) => UidEntry::Counter { kind, value },
            (_, name) => UidEntry::Forward { kind, uid: value, name },
        })
    })
}
