//! What a reader sees of a row that holds delete markers.
//!
//! HBase returns the cells of a row sorted by family, qualifier and falling timestamp; markers of a family come first,
//! with an empty qualifier. A family marker hides puts at or below its timestamp, a family-version marker those at
//! exactly its timestamp; column and version markers do the same for their column alone. (HBase types 14, 10, 12, 8.)

use std::collections::BTreeSet;

use crate::model::{CellRef, RawReason, RowView, kind};

/// What the delete markers of one family, or of one column, hide.
#[derive(Debug, Clone, Default)]
pub struct Mask {
    /// All puts at or below it.
    pub up_to: Option<i64>,
    /// Puts at exactly these.
    pub exactly: BTreeSet<i64>,
}

impl Mask {
    /// Adds a delete marker; false for a type that is none.
    pub fn add(&mut self, marker: u8, timestamp: i64) -> bool {
        match marker {
            kind::DELETE_FAMILY | kind::DELETE_COLUMN => self.up_to = self.up_to.max(Some(timestamp)),
            kind::DELETE_FAMILY_VERSION | kind::DELETE => {
                self.exactly.insert(timestamp);
            }
            _ => return false,
        }
        true
    }

    /// True for a put that it hides.
    #[inline]
    pub fn hides(&self, timestamp: i64) -> bool {
        self.up_to.is_some_and(|up_to| timestamp <= up_to) || self.exactly.contains(&timestamp)
    }

    /// True for a marker of a whole family.
    pub fn is_of_family(marker: u8) -> bool {
        matches!(marker, kind::DELETE_FAMILY | kind::DELETE_FAMILY_VERSION)
    }

    fn clear(&mut self) {
        self.up_to = None;
        self.exactly.clear();
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
    let (mut family, mut column, mut seen) = (Mask::default(), Mask::default(), false);
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
            kind::PUT if family.hides(cell.timestamp) || column.hides(cell.timestamp) => RawReason::Deleted,
            kind::PUT if seen => RawReason::OldVersion,
            kind::PUT => {
                seen = true;
                live.push(*cell);
                continue;
            }
            marker => {
                let mask = if Mask::is_of_family(marker) { &mut family } else { &mut column };
                // A type that HBase does not send: it is no put, so no column can carry it.
                if mask.add(marker, cell.timestamp) { RawReason::DeleteMarker } else { RawReason::NotIdentical }
            }
        };
        hidden.push((*cell, reason));
    }
}
