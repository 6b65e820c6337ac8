//! Delete markers of a target, read in groups of bounded size: by row, with the puts that are in the way of new timestamps.

use std::collections::{HashMap, HashSet};

use crate::cluster::Client;
use crate::codec::Mask;
use crate::flow::FlowError;
use crate::flow::stored::backup_files::BackupContents;
use crate::model::{
    Cell, CellBlock, FileKind, KeyRange, OwnedCell, ShardRow, TableDescriptor, kind, successor, value_hash,
};
use crate::scan::{ScanOptions, ShardScan};

use super::scene::{Scene, each_cell};

/// Markers that are held at once.
const GROUP: usize = 200_000;

/// The markers of one row, and what is taken there.
#[derive(Debug, Default)]
pub struct RowMarkers {
    families: HashMap<Vec<u8>, Mask>,
    columns: HashMap<(Vec<u8>, Vec<u8>), Mask>,
    /// Values of puts that no marker covers: they are somebody's cells, or copies that an interrupted run has written.
    taken: HashMap<(Vec<u8>, Vec<u8>, i64), u128>,
}

impl RowMarkers {
    fn add(&mut self, cell: &OwnedCell) {
        let mask = if Mask::is_of_family(cell.kind) {
            self.families.entry(cell.family.clone()).or_default()
        } else {
            self.columns.entry((cell.family.clone(), cell.qualifier.clone())).or_default()
        };
        mask.add(cell.kind, cell.timestamp);
    }

    fn masks(&self, family: &[u8], qualifier: &[u8]) -> impl Iterator<Item = &Mask> {
        let column = self.columns.get(&(family.to_vec(), qualifier.to_vec()));
        self.families.get(family).into_iter().chain(column)
    }

    /// True for a timestamp at which a put of the column is hidden.
    pub fn covers(&self, family: &[u8], qualifier: &[u8], timestamp: i64) -> bool {
        self.masks(family, qualifier).any(|mask| mask.hides(timestamp))
    }

    /// Whether a put of another value, which no marker covers, lies between the two timestamps.
    pub fn has_between(&self, family: &[u8], qualifier: &[u8], (low, high): (i64, i64), value: u128) -> bool {
        self.taken.iter().any(|((of_family, of_column, timestamp), there)| {
            of_family == family && of_column == qualifier && low < *timestamp && *timestamp < high && *there != value
        })
    }

    /// False where a marker reaches so high that no timestamp is left above it: 2^63-1 stands for "now" in a put.
    pub fn leaves_room(&self, family: &[u8], qualifier: &[u8]) -> bool {
        let floor = self.masks(family, qualifier).filter_map(|mask| mask.up_to).max();
        floor.is_none_or(|floor| floor < i64::MAX - 1)
    }

    /// The lowest timestamp from `least` on at which a put of the column is neither covered nor in the place of another
    /// value. So a run that is resumed or repeated finds the copies of the run before, and writes them over.
    pub fn free(&self, family: &[u8], qualifier: &[u8], least: i64, value: u128) -> i64 {
        let floor = self.masks(family, qualifier).filter_map(|mask| mask.up_to).max();
        let mut timestamp = floor.map_or(least, |floor| least.max(floor.saturating_add(1)));
        let there = |timestamp| self.taken.get(&(family.to_vec(), qualifier.to_vec(), timestamp));
        let taken = |timestamp| there(timestamp).is_some_and(|there| *there != value);
        while timestamp < i64::MAX && (self.covers(family, qualifier, timestamp) || taken(timestamp)) {
            timestamp += 1;
        }
        timestamp
    }
}

/// The markers in a key range.
pub struct MarkerGroup {
    /// The keys.
    pub range: KeyRange,
    /// By row; rows without markers are left out.
    pub rows: HashMap<Vec<u8>, RowMarkers>,
}

impl MarkerGroup {
    /// True for a put that a marker covers.
    pub fn covers(&self, cell: &Cell<'_>) -> bool {
        let row = || self.rows.get(cell.row);
        cell.kind == kind::PUT && row().is_some_and(|row| row.covers(cell.family, cell.qualifier, cell.timestamp))
    }

    /// False for a put that no new timestamp can bring above the markers.
    pub fn leaves_room(&self, cell: &Cell<'_>) -> bool {
        self.rows.get(cell.row).is_none_or(|row| row.leaves_room(cell.family, cell.qualifier))
    }
}

/// The markers of a target inside one shard, group by group: the groups cover the whole range of the shard, in order.
pub struct MarkerGroups<'s, 'a> {
    scene: &'s Scene<'a>,
    table: &'s str,
    shard: &'s ShardRow,
    options: ScanOptions,
    /// Families in which the order of writing decides.
    ignored_families: Vec<Vec<u8>>,
    left: Option<KeyRange>,
}

impl<'s, 'a> MarkerGroups<'s, 'a> {
    /// For a shard of the backup; `descriptor` is the target's.
    pub fn new(scene: &'s Scene<'a>, table: &'s str, descriptor: &TableDescriptor, shard: &'s ShardRow) -> Self {
        let by_order = |value: &str| value.eq_ignore_ascii_case("true");
        let families = descriptor.families.iter();
        let ignored_families = families.filter(|f| f.attribute("NEW_VERSION_BEHAVIOR").is_some_and(by_order));
        // Values decide where new timestamps go.
        let no_values = !scene.plan.new_timestamps;
        let wanted = scene.wanted.get(&shard.table).cloned();
        let options = ScanOptions { max_versions: i32::MAX, raw: true, no_values, wanted, ..ScanOptions::default() };
        Self {
            scene,
            table,
            shard,
            options: scene.pace.pages(options),
            ignored_families: ignored_families.map(|family| family.name.clone()).collect(),
            left: written(scene.contents, shard),
        }
    }

    /// The next group; `None` when the whole range was looked at.
    ///
    /// # Errors
    /// The gateway's or the store's; [`FlowError::Interrupted`].
    pub fn next(&mut self, client: &mut Client) -> Result<Option<MarkerGroup>, FlowError> {
        let Some(left) = self.left.take() else { return Ok(None) };
        let (mut markers, mut puts) = (Vec::new(), Vec::new());
        let mut scan = ShardScan::new(client, self.table, left.clone(), self.options.clone());
        let mut page = CellBlock::new();
        let mut stop = None;
        while let Some(bytes) = self.scene.pace.next_page(&mut scan, &mut page)? {
            self.scene.progress.read(bytes);
            for row in page.rows() {
                let is_marker = |cell: &Cell<'_>| {
                    cell.kind != kind::PUT && !self.ignored_families.iter().any(|family| family == cell.family)
                };
                let before = markers.len();
                markers.extend(row.iter().filter(is_marker).map(|cell| cell.to_owned()));
                if markers.len() > before && self.scene.plan.new_timestamps {
                    puts.extend(row.iter().filter(|cell| cell.kind == kind::PUT).map(|cell| cell.to_owned()));
                }
            }
            if markers.len() + puts.len() >= GROUP {
                stop = scan.position().map(<[u8]>::to_vec);
                break;
            }
        }
        let range = KeyRange::new(left.start, stop.clone().unwrap_or_else(|| left.stop.clone()));
        self.left = stop.map(|stop| KeyRange::new(stop, left.stop));
        let own = if markers.is_empty() { HashSet::new() } else { self.own(&range)? };
        let mut rows: HashMap<Vec<u8>, RowMarkers> = HashMap::new();
        for marker in markers.iter().filter(|marker| !own.contains(*marker)) {
            rows.entry(marker.row.clone()).or_default().add(marker);
        }
        for put in puts {
            let Some(row) = rows.get_mut(&put.row) else { continue };
            if !row.covers(&put.family, &put.qualifier, put.timestamp) {
                row.taken.insert((put.family, put.qualifier, put.timestamp), value_hash(&put.value));
            }
        }
        Ok(Some(MarkerGroup { range, rows }))
    }

    /// The markers that the backup itself holds there.
    fn own(&self, range: &KeyRange) -> Result<HashSet<OwnedCell>, FlowError> {
        let mut own = HashSet::new();
        if self.scene.contents.manifest.raw {
            let cells = self.scene.contents.cells_of_shard(self.shard).any(|file| file.kind == FileKind::Cells);
            if cells {
                each_cell(self.scene, self.shard, range, &mut |_, cell| {
                    if cell.kind != kind::PUT {
                        own.insert(cell.to_owned());
                    }
                    Ok(())
                })?;
            }
        }
        Ok(own)
    }
}

/// The keys between the first and the last row that a shard restores; `None` when there are none.
fn written(contents: &BackupContents, shard: &ShardRow) -> Option<KeyRange> {
    let mut range: Option<(Vec<u8>, Vec<u8>)> = None;
    for file in contents.cells_of_shard(shard).filter(|file| file.tally.cells > 0) {
        let (Some(first), Some(last)) = (&file.first_row, &file.last_row) else {
            return Some(KeyRange::new(shard.start.clone(), shard.stop.clone()));
        };
        range = Some(match range {
            None => (first.clone(), last.clone()),
            Some((low, high)) => (low.min(first.clone()), high.max(last.clone())),
        });
    }
    let (first, last) = range?;
    Some(KeyRange::new(first, successor(&last).unwrap_or_default()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn marker(kind: u8, qualifier: &[u8], timestamp: i64) -> OwnedCell {
        let (row, family, qualifier) = (b"r".to_vec(), b"t".to_vec(), qualifier.to_vec());
        OwnedCell { row, family, qualifier, timestamp, kind, value: Vec::new() }
    }

    pub fn group(markers: &[OwnedCell], taken: &[(i64, &[u8])]) -> MarkerGroup {
        let mut row = RowMarkers::default();
        markers.iter().for_each(|marker| row.add(marker));
        let place = |timestamp: i64| (b"t".to_vec(), b"q".to_vec(), timestamp);
        row.taken = taken.iter().map(|(timestamp, value)| (place(*timestamp), value_hash(value))).collect();
        MarkerGroup { range: KeyRange::all(), rows: HashMap::from([(b"r".to_vec(), row)]) }
    }

    #[test]
    fn each_marker_covers_what_hbase_hides() {
        let put =
            |qualifier, timestamp| Cell { row: b"r", family: b"t", qualifier, timestamp, kind: kind::PUT, value: b"" };
        let covered = |marker: OwnedCell| {
            let group = group(&[marker], &[]);
            let cells = [(&b"q"[..], 9), (b"q", 10), (b"q", 11), (b"p", 9), (b"p", 10), (b"p", 11)];
            cells.map(|(qualifier, timestamp)| group.covers(&put(qualifier, timestamp)))
        };
        assert_eq!(covered(marker(kind::DELETE_FAMILY, b"", 10)), [true, true, false, true, true, false]);
        assert_eq!(covered(marker(kind::DELETE_FAMILY_VERSION, b"", 10)), [false, true, false, false, true, false]);
        assert_eq!(covered(marker(kind::DELETE_COLUMN, b"q", 10)), [true, true, false, false, false, false]);
        assert_eq!(covered(marker(kind::DELETE, b"q", 10)), [false, true, false, false, false, false]);
        let other = OwnedCell { family: b"x".to_vec(), ..marker(kind::DELETE_FAMILY, b"", 10) };
        assert_eq!(covered(other), [false; 6]);
        let other = group(&[marker(kind::DELETE_FAMILY, b"", 10)], &[]);
        assert!(!other.covers(&Cell { row: b"s", ..put(b"q", 9) }));
        let room = |until| group(&[marker(kind::DELETE_FAMILY, b"", until)], &[]).leaves_room(&put(b"q", 9));
        assert_eq!([i64::MAX, i64::MAX - 1, i64::MAX - 2].map(room), [false, false, true]);
        assert!(!other.covers(&Cell { kind: kind::DELETE, ..put(b"q", 9) }), "a marker hides no marker");
    }
}
