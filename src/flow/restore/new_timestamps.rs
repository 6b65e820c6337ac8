//! New timestamps for cells that delete markers of the target cover.

use std::collections::{BTreeMap, HashMap};

use crate::flow::FlowError;
use crate::model::{Cell, kind, value_hash};

use super::marker_groups::MarkerGroup;
use super::transform::{Take, Transform};
use super::visible::OwnedColumn;

/// New timestamps for the covered cells of a group.
pub struct NewTimestamps<'g> {
    group: &'g MarkerGroup,
    /// Of versions that move; `None` where every column has one.
    moved: Option<HashMap<(OwnedColumn, i64), i64>>,
}

impl<'g> NewTimestamps<'g> {
    /// For a table whose columns have one version each.
    pub fn single(group: &'g MarkerGroup) -> Self {
        Self { group, moved: None }
    }

    /// Gives every covered version the lowest free timestamp above its markers. The versions of a column keep their
    /// order, so that one that is not covered moves as well when it would no longer be above those before it.
    /// `columns`: the hashes of their values by timestamp.
    pub fn assign(group: &'g MarkerGroup, columns: BTreeMap<OwnedColumn, BTreeMap<i64, u128>>) -> Self {
        let mut moved = HashMap::new();
        for ((row, family, qualifier), versions) in columns {
            let Some(markers) = group.rows.get(&row) else { continue };
            let mut least = i64::MIN;
            for (version, value) in versions {
                let moves = version < least || markers.covers(&family, &qualifier, version);
                let timestamp =
                    if moves { markers.free(&family, &qualifier, version.max(least), value) } else { version };
                least = timestamp.saturating_add(1);
                if timestamp != version {
                    moved.insert(((row.clone(), family.clone(), qualifier.clone()), version), timestamp);
                }
            }
        }
        Self { group, moved: Some(moved) }
    }

    /// The timestamp that a cell is written with.
    pub fn of(&self, cell: &Cell<'_>) -> i64 {
        let Some(markers) = self.group.rows.get(cell.row).filter(|_| cell.kind == kind::PUT) else {
            return cell.timestamp;
        };
        match &self.moved {
            None if markers.covers(cell.family, cell.qualifier, cell.timestamp) => {
                markers.free(cell.family, cell.qualifier, cell.timestamp, value_hash(cell.value))
            }
            None => cell.timestamp,
            Some(moved) => {
                let column = (cell.row.to_vec(), cell.family.to_vec(), cell.qualifier.to_vec());
                let key = (column, cell.timestamp);
                moved.get(&key).copied().unwrap_or(cell.timestamp)
            }
        }
    }
}

impl NewTimestamps<'_> {
    /// Whether a cell with this new timestamp comes to lie above a newer value of somebody else's, which it may hide.
    pub fn is_above_newer(&self, cell: &Cell<'_>, timestamp: i64) -> bool {
        let between = (cell.timestamp, timestamp);
        let row = self.group.rows.get(cell.row);
        row.is_some_and(|row| row.has_between(cell.family, cell.qualifier, between, value_hash(cell.value)))
    }
}

impl Transform for NewTimestamps<'_> {
    fn cell(&self, cell: &Cell<'_>, take: &mut Take<'_>) -> Result<(), FlowError> {
        take(&Cell { timestamp: self.of(cell), ..*cell })
    }
}

#[cfg(test)]
mod tests {
    use super::super::marker_groups::tests::{group, marker};
    use super::*;
    use crate::model::OwnedCell;

    /// The value of a version is its timestamp as text.
    fn assigned(markers: &[OwnedCell], taken: &[(i64, &[u8])], versions: &[i64]) -> Vec<i64> {
        let group = group(markers, taken);
        let column = (b"r".to_vec(), b"t".to_vec(), b"q".to_vec());
        let new = NewTimestamps::assign(
            &group,
            BTreeMap::from([(
                column,
                versions.iter().map(|version| (*version, value_hash(version.to_string().as_bytes()))).collect(),
            )]),
        );
        let put = |timestamp| Cell { row: b"r", family: b"t", qualifier: b"q", timestamp, kind: kind::PUT, value: b"" };
        versions.iter().map(|version| new.of(&put(*version))).collect()
    }

    #[test]
    fn new_timestamps_are_above_the_markers_and_keep_the_order() {
        let family = marker(kind::DELETE_FAMILY, b"", 100);
        assert_eq!(assigned(std::slice::from_ref(&family), &[], &[0, 50, 100, 101, 200]), [101, 102, 103, 104, 200]);
        let family_alone = std::slice::from_ref(&family);
        assert_eq!(assigned(family_alone, &[(101, b"x"), (103, b"y")], &[0, 50]), [102, 104], "others' cells stay");
        assert_eq!(
            assigned(family_alone, &[(101, b"0"), (102, b"50")], &[0, 50]),
            [101, 102],
            "copies of a run before"
        );
        assert_eq!(assigned(family_alone, &[(101, b"0")], &[0, 50]), [101, 102], "one copy of a run before");
        let version = marker(kind::DELETE, b"q", 101);
        assert_eq!(assigned(&[family, version.clone()], &[], &[7]), [102]);
        assert_eq!(assigned(&[version], &[], &[7, 101, 150]), [7, 102, 150], "only what is covered");
        let column = marker(kind::DELETE_COLUMN, b"p", 100);
        assert_eq!(assigned(&[column], &[], &[7]), [7]);
        let above = |taken: &[(i64, &[u8])]| {
            let group = group(&[marker(kind::DELETE, b"q", 7)], taken);
            let put = Cell { row: b"r", family: b"t", qualifier: b"q", timestamp: 7, kind: kind::PUT, value: b"a" };
            let new = NewTimestamps::single(&group);
            (new.of(&put), new.is_above_newer(&put, new.of(&put)))
        };
        assert_eq!(above(&[]), (8, false));
        assert_eq!(above(&[(9, b"b")]), (8, false));
        assert_eq!(above(&[(8, b"b")]), (9, true), "what was newer is hidden");
        assert_eq!(above(&[(8, b"a")]), (8, false), "a copy of a run before");
        let single = group(&[marker(kind::DELETE_FAMILY, b"", 100)], &[(101, b"x")]);
        let put = Cell { row: b"r", family: b"t", qualifier: b"q", timestamp: 7, kind: kind::PUT, value: b"" };
        let new = NewTimestamps::single(&single);
        assert_eq!([new.of(&put), new.of(&Cell { timestamp: 105, ..put })], [102, 105]);
    }
}
