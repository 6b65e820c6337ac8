//! The rows of the UID table that belong to a window: those of the UIDs that its data rows name.
//!
//! A UID has a row under its bytes (its name, and UIDMeta) and one under its name (the UID). Both rows are shared by the
//! three kinds, so of each row only the columns of the kinds that are named are taken. The row of the counters is taken
//! whole: beside a table without it a TSD would give out UIDs from 1 again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::Client;
use crate::codec::{UidEntry, kind_of_column, read_uid_row, row_key};
use crate::flow::engine::pace::Pace;
use crate::flow::source::gaps::{AtDamage, could_be_skipped};
use crate::flow::source::window::NameOf;
use crate::flow::{FlowError, Progress};
use crate::manifest::NamedUids;
use crate::model::{Cell, CellBlock, KeyLayout, KeyLayouts, KeyRange, NameCharset, UidKind, kind, successor};
use crate::scan::{ScanOptions, ShardScan, Wanted, WantedRows};

/// The row of the counters.
const COUNTERS: &[u8] = &[0];
/// Rows between two wanted ones that are rather read than asked around.
const NEAR: u64 = 64;

/// UIDs that rows name, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UidSet([BTreeSet<Vec<u8>>; 3]);

impl UidSet {
    /// Adds what the keys of a page name; a key that fits no layout names nothing.
    pub fn add_rows(&mut self, page: &CellBlock, layouts: &KeyLayouts) {
        let KeyLayout { tagk_width, .. } = *layouts.main();
        for row in page.rows() {
            let Some(found) = row_key::find(row.key, layouts) else { continue };
            self.add(UidKind::Metric, found.key.metric);
            for pair in found.key.tags.chunks_exact(layouts.main().tag_width()) {
                let (tagk, tagv) = pair.split_at(usize::from(tagk_width));
                self.add(UidKind::Tagk, tagk);
                self.add(UidKind::Tagv, tagv);
            }
        }
    }

    fn add(&mut self, kind: UidKind, uid: &[u8]) {
        let known = &mut self.0[kind as usize];
        if !known.contains(uid) {
            known.insert(uid.to_vec());
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(BTreeSet::len).sum()
    }

    fn iter(&self) -> impl Iterator<Item = (UidKind, &[u8])> {
        UidKind::ALL
            .into_iter()
            .zip(&self.0)
            .flat_map(|(kind, uids)| uids.iter().map(move |uid| (kind, uid.as_slice())))
    }

    /// As a shard record keeps them.
    pub fn record(&self) -> NamedUids {
        let [metric, tagk, tagv] = self.0.each_ref().map(|uids| uids.iter().flatten().copied().collect::<Vec<u8>>());
        NamedUids { metric: metric.into(), tagk: tagk.into(), tagv: tagv.into() }
    }

    /// Adds those of a shard record.
    pub fn add_record(&mut self, record: &NamedUids, layout: &KeyLayout) {
        let KeyLayout { metric_width, tagk_width, tagv_width, .. } = *layout;
        let all = [(&record.metric, metric_width), (&record.tagk, tagk_width), (&record.tagv, tagv_width)];
        for (kind, (uids, width)) in UidKind::ALL.into_iter().zip(all) {
            uids.0.chunks_exact(usize::from(width.max(1))).for_each(|uid| self.add(kind, uid));
        }
    }
}

/// The wanted rows of a UID table.
#[derive(Debug, Default)]
pub struct UidWindow {
    /// By row: bit 0 to 2 for the kinds of its `name` columns, 3 to 5 of its `id` columns.
    rows: BTreeMap<Vec<u8>, u8>,
    /// So many of the rows are wanted that the table is read from end to end.
    dense: bool,
}

impl UidWindow {
    fn want(&mut self, key: &[u8], kind: UidKind, id: bool) {
        // HBase has no empty row key, and a request would take it for the beginning of the table.
        if !key.is_empty() {
            *self.rows.entry(key.to_vec()).or_default() |= 1 << (kind as u8 + if id { 3 } else { 0 });
        }
    }

    /// Wants the column of a cell of a backup.
    pub fn want_cell(&mut self, cell: &Cell<'_>) {
        match (cell.family, kind_of_column(cell.qualifier)) {
            (b"id", Some(kind)) => self.want(cell.row, kind, true),
            (b"name", Some(kind)) => self.want(cell.row, kind, false),
            _ => drop(self.rows.entry(cell.row.to_vec()).or_default()),
        }
    }

    fn keeps(&self, cell: &Cell<'_>) -> bool {
        let Some(wanted) = self.rows.get(cell.row) else { return false };
        let id = match cell.family {
            b"id" if cell.row == COUNTERS => return true,
            b"id" => 3,
            b"name" => 0,
            _ => return false,
        };
        match kind_of_column(cell.qualifier) {
            Some(kind) => wanted >> (kind as u8 + id) & 1 == 1,
            // A marker of the whole family.
            None => cell.kind != kind::PUT && cell.qualifier.is_empty(),
        }
    }
}

impl Wanted for UidWindow {
    fn next(&self, left: &KeyRange) -> Option<KeyRange> {
        let mut rows =
            self.rows.range(left.start.clone()..).map(|(key, _)| key).take_while(|key| left.is_before_stop(key));
        let first = rows.next()?;
        if self.dense {
            return Some(KeyRange::new(first.clone(), left.stop.clone()));
        }
        let mut last = first;
        for key in rows {
            match (number(last), number(key)) {
                (Some(low), Some(high)) if last.len() == key.len() && high - low <= NEAR => last = key,
                _ => break,
            }
        }
        let stop = successor(last).filter(|stop| left.is_before_stop(stop));
        Some(KeyRange::new(first.clone(), stop.unwrap_or_else(|| left.stop.clone())))
    }

    fn filter(&self, page: &mut CellBlock) {
        page.retain(|cell| self.keeps(cell));
    }
}

impl From<UidWindow> for WantedRows {
    fn from(window: UidWindow) -> Self {
        Self(Arc::new(window))
    }
}

fn number(key: &[u8]) -> Option<u64> {
    (key.len() <= 8).then(|| key.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Where the rows of UIDs are looked for.
pub struct UidSource<'a> {
    /// The UID table.
    pub table: &'a str,
    /// The names that are known.
    pub names: &'a dyn NameOf,
    /// How the bytes of names are read.
    pub charset: NameCharset,
    /// What to do where rows cannot be read.
    pub at_damage: AtDamage,
    /// How fast to go.
    pub pace: &'a Pace,
    /// Counters.
    pub progress: &'a Progress,
}

impl UidSource<'_> {
    /// The rows of these UIDs: under their bytes, and under the names that they have.
    ///
    /// # Errors
    /// The scan's; [`FlowError::Interrupted`].
    pub fn rows_of(&self, client: &mut Client, uids: &UidSet) -> Result<WantedRows, FlowError> {
        let mut reverse = UidWindow { dense: self.is_dense(uids), ..UidWindow::default() };
        uids.iter().for_each(|(kind, uid)| reverse.want(uid, kind, false));
        let dense = reverse.dense;
        let mut wanted = UidWindow { rows: reverse.rows.clone(), dense };
        let mut named: UidSet = UidSet::default();
        match self.read_names(client, reverse, &mut wanted, &mut named) {
            // What cannot be read has the name that is known.
            Err(error) if self.at_damage == AtDamage::Skip && could_be_skipped(&error) => {}
            result => result?,
        }
        for (kind, uid) in uids.iter().filter(|(kind, uid)| !named.0[*kind as usize].contains(*uid)) {
            let name = self.names.name(kind, uid).unwrap_or_default();
            let latin: Option<Vec<u8>> = name.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            latin.iter().for_each(|bytes| wanted.want(bytes, kind, true));
            if self.charset == NameCharset::Utf8 {
                wanted.want(name.as_bytes(), kind, true);
            }
        }
        wanted.rows.entry(COUNTERS.to_vec()).or_default();
        Ok(wanted.into())
    }

    /// From a quarter of all names on.
    fn is_dense(&self, uids: &UidSet) -> bool {
        let mut names = 0_usize;
        UidKind::ALL.into_iter().for_each(|kind| self.names.each_of(kind, &mut |_, _| names += 1));
        uids.len().saturating_mul(4) >= names
    }

    /// The names in the rows of UIDs, to the letter.
    fn read_names(
        &self,
        client: &mut Client,
        reverse: UidWindow,
        wanted: &mut UidWindow,
        named: &mut UidSet,
    ) -> Result<(), FlowError> {
        let options = ScanOptions {
            max_versions: 1,
            families: vec![b"name".to_vec()],
            wanted: Some(reverse.into()),
            ..ScanOptions::default()
        };
        let mut scan = ShardScan::new(client, self.table, KeyRange::all(), self.pace.pages(options));
        let mut page = CellBlock::new();
        while let Some(bytes) = self.pace.next_page(&mut scan, &mut page)? {
            self.progress.read(bytes);
            for entry in page.rows().flat_map(read_uid_row) {
                if let UidEntry::Reverse { kind, uid, name } = entry {
                    wanted.want(name, kind, true);
                    named.add(kind, uid);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(window: &UidWindow, mut left: KeyRange) -> Vec<KeyRange> {
        let mut found = Vec::new();
        while let Some(part) = window.next(&left) {
            left.start.clone_from(&part.stop);
            found.push(part);
            if left.start.is_empty() || left.is_empty() {
                break;
            }
        }
        found
    }

    #[test]
    fn rows_that_lie_together_are_read_together() {
        let mut window = UidWindow::default();
        for uid in [[0, 0, 1], [0, 0, 9], [0, 2, 0]] {
            window.want(&uid, UidKind::Tagv, false);
        }
        window.want(b"", UidKind::Tagv, true);
        window.want(b"web1", UidKind::Tagv, true);
        let all = [
            KeyRange::new([0, 0, 1], [0, 0, 9, 0]),
            KeyRange::new([0, 2, 0], [0, 2, 0, 0]),
            KeyRange::new("web1", "web1\0"),
        ];
        assert_eq!(ranges(&window, KeyRange::all()), all);
        assert_eq!(ranges(&window, KeyRange::new([0, 0, 2], [0, 2])), [KeyRange::new([0, 0, 9], [0, 0, 9, 0])]);
        window.dense = true;
        assert_eq!(ranges(&window, KeyRange::all()), [KeyRange::new([0, 0, 1], [])]);
    }

    #[test]
    fn of_a_shared_row_the_kinds_that_are_named_are_taken() {
        let mut uids = UidSet::default();
        let layout = KeyLayout { tagk_width: 2, ..KeyLayout::default() };
        let record = NamedUids { metric: vec![0, 0, 1].into(), tagk: vec![0, 1, 0, 2].into(), tagv: vec![].into() };
        uids.add_record(&record, &layout);
        assert_eq!((uids.len(), uids.record()), (3, record));
        let mut window = UidWindow::default();
        uids.iter().for_each(|(kind, uid)| window.want(uid, kind, false));
        window.want(b"cpu", UidKind::Metric, true);
        window.rows.insert(COUNTERS.to_vec(), 0);
        let mut page = CellBlock::new();
        let mut row = |key: &[u8], family: &[u8], columns: &[&str]| {
            page.push_row(key).unwrap();
            columns.iter().for_each(|column| page.push_cell(family, column.as_bytes(), 5, kind::PUT, b"x").unwrap());
        };
        row(COUNTERS, b"id", &["metrics", "tagv"]);
        row(&[0, 0, 1], b"name", &["metric_meta", "metrics", "tagv", "ts_meta"]);
        row(&[0, 0, 2], b"name", &["metrics"]);
        row(b"cpu", b"id", &["metrics", "tagk"]);
        window.filter(&mut page);
        let left: Vec<&[u8]> = page.iter().map(|cell| cell.qualifier).collect();
        assert_eq!(left, [&b"metrics"[..], b"tagv", b"metric_meta", b"metrics", b"metrics"]);
        // As a backup holds them.
        let mut again = UidWindow::default();
        page.iter().for_each(|cell| again.want_cell(&cell));
        assert!(page.iter().all(|cell| again.keeps(&cell)));
    }
}
