//! One row through the members of a chain, by HBase's rules.
//!
//! A member adds cells and applies its delete markers to what was there before it and to what it brings itself; markers of
//! earlier members are done with. After each member a column keeps as many versions as its family, so that a version that
//! was once pushed out does not come back when a newer one is deleted.

use crate::codec::Mask;
use crate::model::{Cell, CellBlock, FamilyDescriptor, OutOfSpace, kind};

/// How many versions the families of a table keep, and for how long.
#[derive(Debug, Clone, Default)]
pub struct FamilyRules {
    families: Vec<FamilyRule>,
    /// Versions that a scan asked for at most.
    asked: usize,
}

#[derive(Debug, Clone)]
struct FamilyRule {
    name: Vec<u8>,
    versions: usize,
    /// No put at or before this lives any more, unless the family keeps some versions whatever their age.
    expired_ms: Option<i64>,
    least: usize,
}

impl FamilyRules {
    /// Of a table whose scans asked for so many versions. `now_ms`: the time at which cells must still be alive; `None`:
    /// what has expired is in the increments.
    pub fn new(families: &[FamilyDescriptor], asked: i32, now_ms: Option<i64>) -> Self {
        let rule = |family: &FamilyDescriptor| FamilyRule {
            name: family.name.clone(),
            versions: usize::try_from(family.versions()).unwrap_or(1),
            expired_ms: now_ms
                .zip(family.ttl_seconds())
                .map(|(now, seconds)| now.saturating_sub(seconds.saturating_mul(1000))),
            least: family.min_versions(),
        };
        Self { families: families.iter().map(rule).collect(), asked: usize::try_from(asked).unwrap_or(1).max(1) }
    }

    fn of(&self, family: &[u8]) -> Option<&FamilyRule> {
        self.families.iter().find(|rule| rule.name == family)
    }

    fn versions(&self, family: &[u8]) -> usize {
        self.of(family).map_or(1, |rule| rule.versions).min(self.asked)
    }

    /// True for a version that has expired; `newer` ones of the column are alive.
    fn is_expired(&self, family: &[u8], timestamp: i64, newer: usize) -> bool {
        let Some(rule) = self.of(family) else { return false };
        rule.expired_ms.is_some_and(|expired| timestamp <= expired) && newer >= rule.least
    }
}

/// A cell of the row: where its bytes are in the arena.
#[derive(Debug, Clone, Copy)]
struct Held {
    family: (u32, u32),
    qualifier: (u32, u32),
    value: (u32, u32),
    timestamp: i64,
    kind: u8,
}

/// Family and qualifier.
type Column<'a> = (&'a [u8], &'a [u8]);

/// A row on its way through the members.
#[derive(Debug, Default)]
pub struct RowFold {
    bytes: Vec<u8>,
    /// Puts that are visible after the members so far: by family, qualifier and falling timestamp.
    state: Vec<Held>,
    /// Cells of the member that is being added.
    fresh: Vec<Held>,
    next: Vec<Held>,
}

impl RowFold {
    /// Forgets the row.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.state.clear();
        self.fresh.clear();
    }

    /// Takes a cell of the next member.
    pub fn add(&mut self, cell: &Cell<'_>) {
        let mut hold = |bytes: &[u8]| {
            let at = self.bytes.len() as u32;
            self.bytes.extend_from_slice(bytes);
            (at, bytes.len() as u32)
        };
        let (family, qualifier, value) = (hold(cell.family), hold(cell.qualifier), hold(cell.value));
        self.fresh.push(Held { family, qualifier, value, timestamp: cell.timestamp, kind: cell.kind });
    }

    fn slice(bytes: &[u8], (at, len): (u32, u32)) -> &[u8] {
        &bytes[at as usize..][..len as usize]
    }

    /// Applies the cells that were taken since the last call, as those of one member.
    pub fn member(&mut self, rules: &FamilyRules) {
        if self.fresh.is_empty() {
            return;
        }
        let bytes = &self.bytes;
        let of = |cell: &Held| (Self::slice(bytes, cell.family), Self::slice(bytes, cell.qualifier));
        let order = |a: &Held, b: &Held| of(a).cmp(&of(b)).then(b.timestamp.cmp(&a.timestamp));
        // What the member brings comes first where both have the same version: it was written over it.
        self.fresh.sort_by(order);
        let mut families: Vec<(&[u8], Mask)> = Vec::new();
        let mut columns: Vec<(Column<'_>, Mask)> = Vec::new();
        for marker in self.fresh.iter().filter(|cell| cell.kind != kind::PUT) {
            let (family, qualifier) = of(marker);
            let mask = if Mask::is_of_family(marker.kind) {
                match families.iter().position(|(name, _)| *name == family) {
                    Some(at) => &mut families[at].1,
                    None => {
                        families.push((family, Mask::default()));
                        let last = families.len() - 1;
                        &mut families[last].1
                    }
                }
            } else {
                // Markers of a column follow each other.
                if columns.last().is_none_or(|(column, _)| *column != (family, qualifier)) {
                    columns.push(((family, qualifier), Mask::default()));
                }
                let last = columns.len() - 1;
                &mut columns[last].1
            };
            mask.add(marker.kind, marker.timestamp);
        }
        self.next.clear();
        let puts = self.fresh.iter().filter(|cell| cell.kind == kind::PUT);
        self.next.extend(puts.chain(&self.state));
        self.next.sort_by(order);
        self.state.clear();
        let (mut versions, mut allowed) = (0, 1);
        let mut previous: Option<(&[u8], &[u8], i64)> = None;
        for cell in &self.next {
            let (family, qualifier) = of(cell);
            if previous.is_none_or(|(f, q, _)| (f, q) != (family, qualifier)) {
                (versions, allowed) = (0, rules.versions(family));
            } else if previous.is_some_and(|(.., timestamp)| timestamp == cell.timestamp) {
                continue;
            }
            previous = Some((family, qualifier, cell.timestamp));
            let of_family = families.iter().find(|(name, _)| *name == family);
            let of_column = columns.binary_search_by(|(column, _)| column.cmp(&(family, qualifier)));
            let hidden = of_family.is_some_and(|(_, mask)| mask.hides(cell.timestamp))
                || of_column.is_ok_and(|at| columns[at].1.hides(cell.timestamp));
            if hidden || versions >= allowed || rules.is_expired(family, cell.timestamp, versions) {
                continue;
            }
            versions += 1;
            self.state.push(*cell);
        }
        self.fresh.clear();
    }

    /// True when nothing of the row is visible.
    pub fn is_empty(&self) -> bool {
        self.state.is_empty()
    }

    /// Writes the row into a block.
    ///
    /// # Errors
    /// [`OutOfSpace`].
    pub fn write(&self, key: &[u8], block: &mut CellBlock) -> Result<(), OutOfSpace> {
        if self.is_empty() {
            return Ok(());
        }
        block.push_row(key)?;
        let of = |span| Self::slice(&self.bytes, span);
        let mut cells = self.state.iter();
        cells.try_for_each(|cell| {
            block.push_cell(of(cell.family), of(cell.qualifier), cell.timestamp, cell.kind, of(cell.value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(versions: &str) -> FamilyRules {
        let attributes = vec![(b"VERSIONS".to_vec(), versions.as_bytes().to_vec())];
        let family = FamilyDescriptor { name: b"t".to_vec(), attributes, ..FamilyDescriptor::default() };
        FamilyRules::new(&[family], i32::MAX, None)
    }

    fn cell(qualifier: &'static [u8], timestamp: i64, kind: u8, value: &'static [u8]) -> Cell<'static> {
        Cell { row: b"r", family: b"t", qualifier, timestamp, kind, value }
    }

    fn put(timestamp: i64, value: &'static [u8]) -> Cell<'static> {
        cell(b"q", timestamp, kind::PUT, value)
    }

    /// What is visible after these members, as timestamps and values.
    fn folded(rules: &FamilyRules, members: &[&[Cell<'static>]]) -> Vec<(Vec<u8>, i64, Vec<u8>)> {
        let mut fold = RowFold::default();
        for member in members {
            member.iter().for_each(|cell| fold.add(cell));
            fold.member(rules);
        }
        let mut block = CellBlock::new();
        fold.write(b"r", &mut block).unwrap();
        block.iter().map(|cell| (cell.qualifier.to_vec(), cell.timestamp, cell.value.to_vec())).collect()
    }

    fn times(rules: &FamilyRules, members: &[&[Cell<'static>]]) -> Vec<i64> {
        folded(rules, members).into_iter().map(|(_, timestamp, _)| timestamp).collect()
    }

    #[test]
    fn members_add_overwrite_and_delete() {
        let one = rules("1");
        let marker = |kind, timestamp| cell(b"q", timestamp, kind, b"");
        assert_eq!(times(&one, &[&[put(5, b"a")], &[put(7, b"b")]]), [7]);
        assert_eq!(folded(&one, &[&[put(5, b"a")], &[put(5, b"b")]])[0].2, b"b", "the later member's value");
        assert_eq!(times(&one, &[&[put(5, b"a")], &[marker(kind::DELETE_COLUMN, 5)]]), [0; 0]);
        assert_eq!(times(&one, &[&[put(5, b"a")], &[marker(kind::DELETE_COLUMN, 4)]]), [5]);
        assert_eq!(times(&one, &[&[put(5, b"a")], &[marker(kind::DELETE, 5)], &[put(5, b"b")]]), [5], "written again");
        assert_eq!(times(&one, &[&[put(5, b"a")], &[marker(kind::DELETE, 5), put(5, b"b")]]), [0; 0], "HBase hides it");
        let family = |kind, timestamp| cell(b"", timestamp, kind, b"");
        assert_eq!(times(&one, &[&[put(5, b"a")], &[family(kind::DELETE_FAMILY, 9), put(10, b"b")]]), [10]);
        assert_eq!(times(&one, &[&[put(5, b"a")], &[family(kind::DELETE_FAMILY_VERSION, 5)]]), [0; 0]);
        let other = cell(b"p", 5, kind::PUT, b"x");
        assert_eq!(folded(&one, &[&[put(5, b"a"), other], &[marker(kind::DELETE_COLUMN, 9)]])[0].0, b"p");
        assert_eq!(times(&one, &[&[], &[put(5, b"a")]]), [5], "a row that the base lacks");
    }

    #[test]
    fn a_version_that_was_pushed_out_stays_out() {
        let delete = cell(b"q", 7, kind::DELETE, b"");
        assert_eq!(times(&rules("1"), &[&[put(5, b"a")], &[put(7, b"b")], &[delete]]), [0; 0]);
        assert_eq!(times(&rules("2"), &[&[put(5, b"a")], &[put(7, b"b")], &[delete]]), [5]);
        assert_eq!(times(&rules("2"), &[&[put(5, b"a"), put(6, b"b")], &[put(7, b"c")]]), [7, 6]);
    }

    #[test]
    fn what_has_expired_is_gone_but_for_the_least_versions() {
        let attributes = |least: &str| {
            [("VERSIONS", "3"), ("TTL", "1"), ("MIN_VERSIONS", least)]
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .to_vec()
        };
        let rules = |least: &str| {
            let family = FamilyDescriptor { name: b"t".to_vec(), attributes: attributes(least), ..Default::default() };
            FamilyRules::new(&[family], i32::MAX, Some(10_000))
        };
        let members: &[&[Cell<'static>]] = &[&[put(8_000, b"a"), put(8_500, b"b")], &[put(9_500, b"c")]];
        assert_eq!(times(&rules("0"), members), [9_500]);
        assert_eq!(times(&rules("2"), members), [9_500, 8_500]);
    }
}
