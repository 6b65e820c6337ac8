//! Delete markers of a target that would hide what is restored.
//!
//! HBase shows a put only when no marker covers it, whichever was written first, and a put that is covered is lost: a
//! flush drops it when marker and put are both in memory, a compaction drops it together with the marker. So the ranges
//! that will be written are read before the first put, raw and without values, and the markers in them are compared with
//! the cells that go there:
//!
//! | marker | covers |
//! | --- | --- |
//! | DeleteFamily (14) | every cell of the family at or below its timestamp |
//! | DeleteFamilyVersion (10) | every cell of the family at exactly its timestamp |
//! | DeleteColumn (12) | every cell of the column at or below its timestamp |
//! | Delete (8) | the cell of the column at exactly its timestamp |
//!
//! In a family with `NEW_VERSION_BEHAVIOR` the order of writing counts as well, so that a marker covers nothing that is
//! written after it; its markers are passed over. So are markers that the backup itself holds (`backup --raw`): what
//! they cover was hidden when it was backed up.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::cluster::{Client, ClusterError};
use crate::codec::Mask;
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::threads::Threads;
use crate::flow::engine::workers::work_through;
use crate::flow::source::descriptions::describe;
use crate::flow::stored::backup_files::BackupContents;
use crate::flow::stored::contents::ContentsReader;
use crate::flow::{FlowError, Progress, RestorePlan};
use crate::model::{
    Cell, CellBlock, FileKind, FileRow, KeyRange, OwnedCell, ShardRow, TableDescriptor, hex, kind, successor,
    value_hash,
};
use crate::scan::{ScanOptions, ShardScan};

use super::contain::OwnedColumn;
use super::target::Target;

/// Markers that are held at once.
const GROUP: usize = 200_000;
/// Cells that a refusal names.
const NAMED: usize = 3;

/// What the steps of a restore need to know.
pub struct Scene<'a> {
    /// What is asked for.
    pub plan: &'a RestorePlan,
    /// Bridge to the store.
    pub threads: &'a Threads,
    /// The backup.
    pub contents: &'a BackupContents,
    /// How fast to go.
    pub pace: &'a Pace,
    /// Counters.
    pub progress: &'a Progress,
    /// Bytes of files that are decoded at once.
    pub memory: ByteBudget,
}

/// What the markers of one target cover.
#[derive(Debug, Default)]
pub struct Coverage {
    /// Covered cells of the backup by shard; shards without any are left out.
    pub shards: BTreeMap<String, u64>,
    /// The first of them in words, in order.
    first: BTreeSet<String>,
    /// Families with covered cells that keep deleted cells, and how (`KEEP_DELETED_CELLS`).
    keeping: BTreeMap<String, String>,
}

impl Coverage {
    /// Covered cells.
    pub fn cells(&self) -> u64 {
        self.shards.values().sum()
    }
}

/// Looks for markers that cover what will be restored, in every target that exists. The coverage of each target comes
/// in the order of `targets`.
///
/// # Errors
/// [`FlowError::Refused`] when there are any, unless the plan is to write new timestamps; the gateway's or the store's.
pub fn survey(
    scene: &Scene<'_>,
    client: &mut Client,
    targets: &[Target<'_>],
    warnings: &mut Vec<String>,
) -> Result<Vec<Coverage>, FlowError> {
    let mut found = Vec::new();
    for target in targets {
        if target.create {
            found.push(Coverage::default());
            continue;
        }
        match client.require_types(&target.name) {
            Ok(()) => {}
            Err(ClusterError::Untyped { .. } | ClusterError::NotInThrift1 { .. }) => {
                warnings.push(format!(
                    "whether table {} holds delete markers cannot be seen through this gateway (Thrift1, or HBase before \
                     2.2): restored cells at or below one stay hidden, and are lost with it, which only the check after the \
                     restore shows; if rows were deleted from the table, flush and major-compact it before the restore",
                    target.name
                ));
                found.push(Coverage::default());
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let (descriptor, _) = describe(client, &target.name, &[])?;
        found.push(cover(scene, target, &descriptor).map_err(|e| e.at(format!("table {}", target.name)))?);
    }
    client.disconnect();
    let covered: Vec<_> = targets.iter().zip(&found).filter(|(_, coverage)| coverage.cells() > 0).collect();
    if covered.is_empty() {
        return Ok(found);
    }
    if !scene.plan.new_timestamps {
        return Err(FlowError::refused(refusal(&covered)));
    }
    for (target, coverage) in covered {
        warnings.push(format!(
            "{} cells of table {} are covered by delete markers and get a new timestamp above the marker: they are visible \
             again, but the times at which they were written are lost",
            coverage.cells(),
            target.name
        ));
    }
    Ok(found)
}

fn refusal(covered: &[(&Target<'_>, &Coverage)]) -> String {
    let table = |(target, coverage): &(&Target<'_>, &Coverage)| {
        let first: Vec<&str> = coverage.first.iter().map(String::as_str).collect();
        format!("{} cells of table {} (first: {})", coverage.cells(), target.name, first.join("; "))
    };
    let renames: Vec<String> =
        covered.iter().map(|(target, _)| format!("--rename-table {}=NEW", target.table.name)).collect();
    format!(
        "delete markers cover cells that would be restored: {}. HBase would hide these cells and drop them at its next flush \
         or compaction. Nothing was written. There are three ways out: (1) remove the markers in the HBase shell, and run the \
         same command again: {}. (2) Restore into a new table: {}. (3) Write the covered cells with new timestamps, above the \
         markers: --new-timestamps",
        covered.iter().map(table).collect::<Vec<_>>().join(", "),
        covered.iter().map(shell).collect::<Vec<_>>().join("; "),
        renames.join(" ")
    )
}

/// What removes the markers of a table in the HBase shell. A family that keeps deleted cells keeps its markers in every
/// compaction, so it must not for as long as this one takes.
fn shell((target, coverage): &(&Target<'_>, &Coverage)) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let name = quote(&target.name);
    let alter =
        |family: &str, kept: &str| format!("alter {name}, NAME => {}, KEEP_DELETED_CELLS => '{kept}'", quote(family));
    let mut steps: Vec<String> = Vec::new();
    for family in coverage.keeping.keys() {
        steps.push(format!("{} (the deleted cells that family {family} keeps go as well)", alter(family, "FALSE")));
    }
    steps.extend(["flush", "major_compact"].map(|verb| format!("{verb} {name}")));
    steps.push(format!("compaction_state {name} (again until it says NONE)"));
    steps.extend(coverage.keeping.iter().map(|(family, kept)| alter(family, kept)));
    steps.join("; ")
}

fn cover(scene: &Scene<'_>, target: &Target<'_>, descriptor: &TableDescriptor) -> Result<Coverage, FlowError> {
    let shards: Vec<&ShardRow> =
        scene.contents.shards.iter().filter(|shard| shard.table == target.table.name).collect();
    scene.progress.stage(format!("looking for delete markers in {}", target.name), shards.len() as u64);
    let queue = WorkQueue::new(shards);
    let mut all = Coverage::default();
    let work = |client: &mut Client, shard: &ShardRow| {
        let mut groups = MarkerGroups::new(scene, &target.name, descriptor, shard);
        let (mut cells, mut first, mut families) = (0, BTreeSet::new(), BTreeSet::new());
        while let Some(group) = groups.next(client)? {
            if group.rows.is_empty() {
                continue;
            }
            each_cell(scene, shard, &group.range, &mut |_, cell| {
                if group.covers(cell) {
                    cells += 1;
                    if !families.contains(cell.family) {
                        families.insert(cell.family.to_vec());
                    }
                    first.insert(words(cell));
                    if first.len() > NAMED {
                        first.pop_last();
                    }
                }
                Ok(())
            })?;
        }
        Ok((shard.attempt.clone(), cells, first, families))
    };
    let mut covered = BTreeSet::new();
    let start = || scene.plan.gateways.client();
    let connections = scene.plan.resources.connections;
    work_through(connections, &queue, scene.progress, start, work, |(shard, cells, first, families)| {
        covered.extend(families);
        if cells > 0 {
            all.shards.insert(shard, cells);
            all.first.extend(first);
            while all.first.len() > NAMED {
                all.first.pop_last();
            }
        }
    })?;
    for family in descriptor.families.iter().filter(|family| covered.contains(&family.name)) {
        let kept = family.attribute("KEEP_DELETED_CELLS").filter(|kept| !kept.eq_ignore_ascii_case("FALSE"));
        let name = String::from_utf8_lossy(&family.name).into_owned();
        all.keeping.extend(kept.map(|kept| (name, kept.to_ascii_uppercase())));
    }
    Ok(all)
}

fn words(cell: &Cell<'_>) -> String {
    let family = String::from_utf8_lossy(cell.family);
    format!("row {} column {family}:{} timestamp {}", hex(cell.row), hex(cell.qualifier), cell.timestamp)
}

/// Hands on the cells of a shard's rows inside a range, with the file that each comes from.
///
/// # Errors
/// The store's, or what `each` returns.
pub fn each_cell(
    scene: &Scene<'_>,
    shard: &ShardRow,
    range: &KeyRange,
    each: &mut dyn FnMut(&FileRow, &Cell<'_>) -> Result<(), FlowError>,
) -> Result<(), FlowError> {
    let Scene { plan, threads, contents, progress, ref memory, pace } = *scene;
    let reader = ContentsReader { threads, store: &plan.store, contents, memory, cancel: pace.cancel(), progress };
    reader.each_block(shard, &|file| may_meet(file, range), &mut |file, block| {
        let mut rows = block.rows().filter(|row| range.contains(row.key));
        rows.try_for_each(|row| row.iter().try_for_each(|cell| each(file, &cell)))
    })
}

fn may_meet(file: &FileRow, range: &KeyRange) -> bool {
    match (&file.first_row, &file.last_row) {
        (Some(first), Some(last)) => range.is_before_stop(first) && *last >= range.start,
        _ => true,
    }
}

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

    fn covers(&self, family: &[u8], qualifier: &[u8], timestamp: i64) -> bool {
        self.masks(family, qualifier).any(|mask| mask.hides(timestamp))
    }

    /// The lowest timestamp from `least` on at which a put of the column is neither covered nor in the place of another
    /// value. So a run that is resumed or repeated finds the copies of the run before, and writes them over.
    fn free(&self, family: &[u8], qualifier: &[u8], least: i64, value: u128) -> i64 {
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
}

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
        let by_order = |name: &str| name.eq_ignore_ascii_case("true");
        let families = descriptor.families.iter();
        let ignored_families = families.filter(|f| f.attribute("NEW_VERSION_BEHAVIOR").is_some_and(by_order));
        // Values decide where new timestamps go.
        let no_values = !scene.plan.new_timestamps;
        let options = ScanOptions { max_versions: i32::MAX, raw: true, no_values, ..ScanOptions::default() };
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
mod tests {
    use super::*;

    fn marker(kind: u8, qualifier: &[u8], timestamp: i64) -> OwnedCell {
        let (row, family, qualifier) = (b"r".to_vec(), b"t".to_vec(), qualifier.to_vec());
        OwnedCell { row, family, qualifier, timestamp, kind, value: Vec::new() }
    }

    fn group(markers: &[OwnedCell], taken: &[(i64, &[u8])]) -> MarkerGroup {
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
        assert!(!other.covers(&Cell { kind: kind::DELETE, ..put(b"q", 9) }), "a marker hides no marker");
    }

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
        let single = group(&[marker(kind::DELETE_FAMILY, b"", 100)], &[(101, b"x")]);
        let put = Cell { row: b"r", family: b"t", qualifier: b"q", timestamp: 7, kind: kind::PUT, value: b"" };
        let new = NewTimestamps::single(&single);
        assert_eq!([new.of(&put), new.of(&Cell { timestamp: 105, ..put })], [102, 105]);
    }
}
