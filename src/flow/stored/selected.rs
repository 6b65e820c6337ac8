//! Which cells of a backup are selected: the unit is the cell, as HBase holds it.
//!
//! | cell | is selected when its series is, and |
//! | --- | --- |
//! | a point in a cell of its own | its time is |
//! | several points in one cell (compacted, append) | one of them is: HBase's cells are not cut |
//! | a rollup | the start of its interval is; where the interval is not known, its row may reach into the time |
//! | annotation, histogram, delete marker, what does not decode | its row's hour has a time that is |
//! | a row key that does not decode | never |
//!
//! Names are those of the backup's own UID table. A series without a name is selected by time alone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::convert::Infallible;

use data_encoding::HEXUPPER;

use crate::codec::row_key::{self, RowKey};
use crate::codec::{RollupConfig, RollupTable, interval_start, point_offsets};
use crate::flow::Selection;
use crate::manifest::{Manifest, TableRecord};
use crate::model::{Cell, FileKind, FileRow, KeyLayouts, OwnedCell, PointBatch, Segment, TableKind, UidKind, UidNames};
use crate::parquet_file::Choose;

use super::kept_parts::KeptParts;
use super::used_uids::Used;

/// The points of an exact cell lie inside the hour of its row.
const HOUR_MS: i64 = 3_600_000;
/// No row of rollups spans more than a year.
const YEAR_MS: i64 = 366 * 24 * HOUR_MS;

/// What is selected of a backup.
#[derive(Debug)]
pub struct Selected {
    /// Which cells.
    pub wanted: Wanted,
    /// The UIDs in their row keys.
    pub used: Used,
    /// The UID table of the backup, whole, and its files.
    pub uids: Option<(TableRecord, Vec<FileRow>)>,
    /// Tables of the backup that hold nothing of the selection, or are not selected from.
    pub left_out: Vec<String>,
}

/// Which cells of a backup are wanted.
#[derive(Debug)]
pub struct Wanted {
    selection: Selection,
    names: UidNames,
    layouts: KeyLayouts,
    kinds: HashMap<String, (TableKind, Option<RollupTable>)>,
    /// UIDs of the metrics that match.
    metrics: BTreeSet<Vec<u8>>,
    uid_cells: HashSet<OwnedCell>,
    /// Of the files that hold them.
    kept: KeptParts,
}

impl Wanted {
    /// For a backup, with the names of its UID table.
    pub fn new(selection: &Selection, manifest: &Manifest, names: UidNames) -> Self {
        let mut metrics = BTreeSet::new();
        let Ok(()) = names.each(|kind, uid, name| {
            if kind == UidKind::Metric && selection.has_metric(Some(name)) {
                metrics.insert(uid.to_vec());
            }
            Ok::<_, Infallible>(())
        });
        Self {
            selection: selection.clone(),
            names,
            layouts: manifest.layouts(),
            kinds: kinds(manifest),
            metrics,
            uid_cells: HashSet::new(),
            kept: KeptParts::default(),
        }
    }

    /// Selects cells of the UID table.
    pub fn with_uid_cells(self, uid_cells: HashSet<OwnedCell>) -> Self {
        Self { uid_cells, ..self }
    }

    /// The layouts of row keys.
    pub fn layouts(&self) -> &KeyLayouts {
        &self.layouts
    }

    /// False for a file of data or rollups that holds nothing of the selection and no version of a selected cell, as far as
    /// the catalogue shows. By UIDs and not by names, which may have changed since the file was written.
    pub fn may_be_in(&self, file: &FileRow) -> bool {
        let ranges = &file.ranges;
        let in_time = match (file.kind, ranges.first_ms, ranges.last_ms, ranges.timestamp_nulls) {
            (FileKind::Points, Some(first), Some(last), 0) => self.meets_hours(first, last),
            _ => true,
        };
        let in_rows = match (&file.first_row, &file.last_row) {
            (Some(first), Some(last)) => self.may_be_between(first, last),
            _ => true,
        };
        in_time && in_rows
    }

    /// False when no cell with a point between two times, in ms, has a selected point in its hour.
    fn meets_hours(&self, first_ms: i64, last_ms: i64) -> bool {
        self.selection.meets(first_ms.saturating_sub(HOUR_MS), last_ms.saturating_add(HOUR_MS))
    }

    /// False when no row between two keys, which may be cut short, can be of a metric that matches.
    fn may_be_between(&self, first: &[u8], last: &[u8]) -> bool {
        if self.selection.metrics.is_empty() {
            return true;
        }
        let width = usize::from(self.layouts.main().metric_width);
        let mut salts = std::iter::once(self.layouts.main()).chain(self.layouts.older()).map(|l| l.salt_width.into());
        salts.any(|salt: usize| {
            let metric = |row: &'_ [u8]| row.get(salt..).map(|rest| rest.get(..width).unwrap_or(rest).to_vec());
            match (first.get(..salt), last.get(..salt)) {
                (Some(low), Some(high)) if low == high => match (metric(first), metric(last)) {
                    (Some(first), Some(last)) if first <= last => self.metrics.range(first..=last).next().is_some(),
                    _ => true,
                },
                // All salts in between may be there.
                _ => true,
            }
        })
    }

    /// Decides about cells of one table.
    pub fn chooser(&self, table: &str) -> Chooser<'_> {
        let (kind, rollups) = self.kinds.get(table).map_or((TableKind::Other, None), |(kind, of)| (*kind, of.as_ref()));
        Chooser { wanted: self, kind, rollups, metrics: HashMap::new(), series: Vec::new(), selected: false }
    }

    fn tags(&self, tags: &[u8]) -> bool {
        if self.selection.tags.is_empty() {
            return true;
        }
        let layout = self.layouts.main();
        let (key, pair) = (usize::from(layout.tagk_width), layout.tag_width());
        // A UID without a name matches no pattern; its pair is left out.
        let pairs = tags.chunks_exact(pair).filter_map(|pair| {
            let (tagk, tagv) = pair.split_at(key);
            Some((self.names.get(UidKind::Tagk, tagk)?, self.names.get(UidKind::Tagv, tagv)?))
        });
        self.selection.has_tags(pairs)
    }
}

fn kinds(manifest: &Manifest) -> HashMap<String, (TableKind, Option<RollupTable>)> {
    let config = manifest.rollup_config.as_deref().and_then(|text| RollupConfig::parse(text).ok());
    let known = |table: &TableRecord| config.as_ref().and_then(|config| config.table(&table.name));
    manifest.tables.iter().map(|table| (table.name.clone(), (table.kind, known(table)))).collect()
}

/// Decides about the cells of one table; neighbours mostly are of one series.
pub struct Chooser<'w> {
    wanted: &'w Wanted,
    kind: TableKind,
    rollups: Option<&'w RollupTable>,
    metrics: HashMap<Vec<u8>, bool>,
    /// TSUID of the series that was looked at last, and whether it is selected.
    series: Vec<u8>,
    selected: bool,
}

impl Choose for Chooser<'_> {
    fn may_want_series(&self, first: &str, last: &str) -> bool {
        let digits = 2 * usize::from(self.wanted.layouts.main().metric_width);
        let metric = |tsuid: &str| HEXUPPER.decode(tsuid.get(..digits)?.as_bytes()).ok();
        match (metric(first), metric(last)) {
            (Some(first), Some(last)) if first <= last && !self.wanted.selection.metrics.is_empty() => {
                self.wanted.metrics.range(first..=last).next().is_some()
            }
            _ => true,
        }
    }

    fn wants_series(&mut self, tsuid: &[u8]) -> bool {
        self.tsuid(tsuid)
    }

    fn may_want_times(&self, first_ms: i64, last_ms: i64) -> bool {
        self.wanted.meets_hours(first_ms, last_ms)
    }

    fn may_want_rows(&self, first: &[u8], last: &[u8]) -> bool {
        !matches!(self.kind, TableKind::Data | TableKind::Rollup) || self.wanted.may_be_between(first, last)
    }
}

impl<'w> Chooser<'w> {
    /// What was read of files for the sake of these cells.
    pub fn kept(&self) -> &'w KeptParts {
        &self.wanted.kept
    }

    /// True for a series that is selected.
    pub fn series(&mut self, metric: &[u8], tags: &[u8]) -> bool {
        let same = self.series.split_at_checked(metric.len()).is_some_and(|(m, t)| m == metric && t == tags);
        if !same {
            self.series.clear();
            self.series.extend_from_slice(metric);
            self.series.extend_from_slice(tags);
            self.selected = self.metric(metric) && self.wanted.tags(tags);
        }
        self.selected
    }

    /// True for a TSUID that is selected.
    pub fn tsuid(&mut self, tsuid: &[u8]) -> bool {
        let width = usize::from(self.wanted.layouts.main().metric_width);
        tsuid.split_at_checked(width).is_some_and(|(metric, tags)| self.series(metric, tags))
    }

    fn metric(&mut self, uid: &[u8]) -> bool {
        match self.metrics.get(uid) {
            Some(known) => *known,
            None => {
                let name = self.wanted.names.get(UidKind::Metric, uid);
                let matches = self.wanted.selection.has_metric(name);
                self.metrics.insert(uid.to_vec(), matches);
                matches
            }
        }
    }

    /// True for a cell that is selected.
    pub fn cell(&mut self, cell: &Cell<'_>) -> bool {
        match self.kind {
            TableKind::Uid => self.wanted.uid_cells.contains(&cell.to_owned()),
            TableKind::Data | TableKind::Rollup => {
                let found = row_key::find(cell.row, &self.wanted.layouts);
                found.is_some_and(|found| self.series(found.key.metric, found.key.tags) && self.time(&found.key, cell))
            }
            _ => false,
        }
    }

    /// True for points of which one is selected: cells of their own are still to be looked at one by one.
    pub fn segment(&mut self, batch: &PointBatch, segment: &Segment) -> bool {
        let tsuid = batch.series.get(segment.series as usize);
        let times = batch.timestamps.get(segment.start..segment.start.saturating_add(segment.len));
        tsuid.is_some_and(|tsuid| self.tsuid(tsuid))
            && times.is_some_and(|times| times.iter().any(|time| self.wanted.selection.has_time(*time)))
    }

    /// True for points of a selected series in an hour that has a selected time: other versions of a selected cell, whose
    /// points may be others, are among them.
    pub fn hour(&mut self, batch: &PointBatch, segment: &Segment) -> bool {
        let base_ms = i64::from(segment.base) * 1000;
        batch.series.get(segment.series as usize).is_some_and(|tsuid| self.tsuid(tsuid))
            && self.wanted.selection.meets(base_ms, base_ms + HOUR_MS - 1)
    }

    /// True for a cell of a selected series whose time is selected.
    pub fn time(&self, key: &RowKey<'_>, cell: &Cell<'_>) -> bool {
        let (selection, base_ms) = (&self.wanted.selection, i64::from(key.base) * 1000);
        if self.kind == TableKind::Rollup {
            return match interval_start(cell, key, self.rollups) {
                Some(start) => selection.has_time(start),
                None => selection.meets(base_ms, base_ms + YEAR_MS - 1),
            };
        }
        match point_offsets(cell) {
            Some(points) => points.iter().any(|offset_ms| selection.has_time(base_ms + i64::from(*offset_ms))),
            None => selection.meets(base_ms, base_ms + HOUR_MS - 1),
        }
    }
}
