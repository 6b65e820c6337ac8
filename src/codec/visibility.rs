//! What a reader sees of a row that holds delete markers.
//!
//! HBase returns the cells of a row sorted by family, qualifier and falling timestamp; markers of a family come first,
//! with an empty qualifier. A family marker hides puts at or below its timestamp, a family-version marker those at
//! exactly its timestamp; column and version markers do the same for their column alone. (HBase types 14, 10, 12, 8.)

use std::collections::HashSet;

use crate::model::{CellRef, RawReason, RowView, kind};

/// Markers seen so far, for one family or one column.
#[derive(Debug, Default)]
struct Markers {
    up_to: Option<i64>,
    exactly: HashSet<i64>,
}

impl Markers {
    fn clear(&mut self) {
        self.up_to = None;
        self.exactly.clear();
    }

    fn add_up_to(&mut self, timestamp: i64) -> RawReason {
        self.up_to = Some(self.up_to.map_or(timestamp, |up_to| up_to.max(timestamp)));
        RawReason::DeleteMarker
    }

    fn add_exactly(&mut self, timestamp: i64) -> RawReason {
        self.exactly.insert(timestamp);
        RawReason::DeleteMarker
    }

    fn hide(&self, timestamp: i64) -> bool {
        self.up_to.is_some_and(|up_to| timestamp <= up_to) || self.exactly.contains(&timestamp)
    }
}

/// True when the row has cells other than puts.
#[inline]
pub fn has_markers(cells: &[CellRef]) -> bool {
    cells.iter().any(|cell| cell.kind != kind::PUT)
}

/// Splits a row: puts that a reader sees go to `live`, everything else to `hidden` with its reason.
pub fn split(row: RowView<'_>, live: &mut Vec<CellRef>, hidden: &mut Vec<(CellRef, RawReason)>) {
    live.clear();
    hidden.clear();
    let (mut family, mut column, mut seen) = (Markers::default(), Markers::default(), false);
    let mut previous: Option<&CellRef> = None;
    for cell in row.cells {
        let same_family = previous.is_some_and(|p| p.family == cell.family);
        if !same_family {
            family.clear();
        }
        if !same_family || previous.is_some_and(|p| row.cell(p).qualifier != row.cell(cell).qualifier) {
            column.clear();
            seen = false;
        }
        previous = Some(cell);
        let reason = match cell.kind {
            kind::PUT if family.hide(cell.timestamp) || column.hide(cell.timestamp) => RawReason::Deleted,
            kind::PUT if seen => RawReason::OldVersion,
            kind::PUT => {
                seen = true;
                live.push(*cell);
                continue;
            }
            kind::DELETE_FAMILY => family.add_up_to(cell.timestamp),
            kind::DELETE_FAMILY_VERSION => family.add_exactly(cell.timestamp),
            kind::DELETE_COLUMN => column.add_up_to(cell.timestamp),
            kind::DELETE => column.add_exactly(cell.timestamp),
            // A type that HBase does not send: it is no put, so no column can carry it.
            _ => RawReason::NotIdentical,
        };
        hidden.push((*cell, reason));
    }
}
