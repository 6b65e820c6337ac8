//! Names of UIDs: one read of `tsdb-uid` at the start, look-ups on the way for what was assigned since.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError, RwLock};

use crate::cluster::Client;
use crate::codec::{describe_series, read_uid_row};
use crate::flow::FlowError;
use crate::flow::pace::Pace;
use crate::model::{CellBlock, KeyLayout, KeyRange, SeriesLabel, UidKind, UidNames};
use crate::scan::{ScanOptions, ShardScan};

/// What a read of the UID table shows besides names.
#[derive(Debug, Clone, Default)]
pub struct UidFacts {
    /// Length of forward values in bytes -> how many, by kind.
    pub widths: [BTreeMap<usize, u64>; 3],
}

impl UidFacts {
    /// The width that most UIDs of a kind have.
    pub fn width(&self, kind: UidKind) -> Option<usize> {
        self.widths[kind as usize].iter().max_by_key(|(_, count)| **count).map(|(width, _)| *width)
    }
}

/// Reads all names.
///
/// # Errors
/// The scan's, or [`FlowError::Interrupted`].
pub fn read_names(client: &mut Client, uid_table: &str, pace: &Pace) -> Result<(UidNames, UidFacts), FlowError> {
    let mut names = UidNames::new();
    let mut facts = UidFacts::default();
    let options = pace.pages(ScanOptions { max_versions: 1, ..ScanOptions::default() });
    let mut scan = ShardScan::new(client, uid_table, KeyRange::all(), options);
    let mut page = CellBlock::new();
    while pace.next_page(&mut scan, &mut page)?.is_some() {
        for row in page.rows() {
            for (kind, uid, name) in read_uid_row(row) {
                names.insert(kind, uid, &name);
            }
            for cell in row.iter().filter(|cell| cell.family == b"id" && cell.row != [0]) {
                if let Some(kind) = UidKind::ALL.into_iter().find(|k| k.qualifier().as_bytes() == cell.qualifier) {
                    *facts.widths[kind as usize].entry(cell.value.len()).or_default() += 1;
                }
            }
        }
    }
    Ok((names, facts))
}

/// Names for labels, shared by all shards of a backup.
pub struct Names {
    known: RwLock<UidNames>,
    lookups: Mutex<Lookups>,
    layout: KeyLayout,
}

struct Lookups {
    client: Client,
    uid_table: String,
    /// UIDs that have no name: asked once, not again.
    missing: HashSet<(UidKind, Vec<u8>)>,
}

impl Names {
    /// Starts from what was read; `client` serves look-ups only.
    pub fn new(known: UidNames, client: Client, uid_table: &str, layout: KeyLayout) -> Self {
        let lookups = Lookups { client, uid_table: uid_table.to_string(), missing: HashSet::new() };
        Self { known: RwLock::new(known), lookups: Mutex::new(lookups), layout }
    }

    /// The label of a series. UIDs without a name are looked up once; what stays unknown is shown in hex.
    ///
    /// # Errors
    /// The gateway's, when a look-up fails.
    pub fn label(&self, tsuid: &[u8]) -> Result<SeriesLabel, FlowError> {
        let describe = || {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            describe_series(tsuid, &self.layout, &known)
        };
        let label = describe();
        if label.complete || !self.look_up(tsuid)? {
            return Ok(label);
        }
        Ok(describe())
    }

    /// Looks up what is missing of a series; true when something was found.
    fn look_up(&self, tsuid: &[u8]) -> Result<bool, FlowError> {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = false;
        for (kind, uid) in uids_of(tsuid, &self.layout) {
            let known = || self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known().get(kind, uid).is_some() || lookups.missing.contains(&(kind, uid.to_vec())) {
                continue;
            }
            match lookups.ask(kind, uid)? {
                Some(name) => {
                    self.known.write().unwrap_or_else(PoisonError::into_inner).insert(kind, uid, &name);
                    found = true;
                }
                None => {
                    lookups.missing.insert((kind, uid.to_vec()));
                }
            }
        }
        lookups.client.disconnect();
        Ok(found)
    }

    /// A metric's name among those already known.
    pub fn metric(&self, uid: &[u8]) -> Option<String> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(UidKind::Metric, uid).map(str::to_string)
    }
}

impl Lookups {
    fn ask(&mut self, kind: UidKind, uid: &[u8]) -> Result<Option<String>, FlowError> {
        let mut stop = uid.to_vec();
        stop.push(0);
        let options = ScanOptions { max_versions: 1, ..ScanOptions::default() };
        let mut scan = ShardScan::new(&mut self.client, &self.uid_table, KeyRange::new(uid, stop), options);
        let mut page = CellBlock::new();
        if scan.next_page(&mut page)?.is_none() {
            return Ok(None);
        }
        let name = page
            .rows()
            .flat_map(read_uid_row)
            .find(|(found, _, _)| *found == kind)
            .map(|(_, _, name)| name.to_string());
        Ok(name)
    }
}

/// The UIDs that a TSUID consists of; a remainder that is no whole pair is left out.
fn uids_of<'a>(tsuid: &'a [u8], layout: &KeyLayout) -> Vec<(UidKind, &'a [u8])> {
    let mut uids = Vec::new();
    let Some((metric, tags)) = tsuid.split_at_checked(usize::from(layout.metric_width)) else { return uids };
    uids.push((UidKind::Metric, metric));
    for pair in tags.chunks_exact(layout.tag_width()) {
        let (tagk, tagv) = pair.split_at(usize::from(layout.tagk_width));
        uids.push((UidKind::Tagk, tagk));
        uids.push((UidKind::Tagv, tagv));
    }
    uids
}
