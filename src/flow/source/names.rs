//! Names of UIDs: those that were read at the start, and look-ups on the way for what was assigned since.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use crate::cluster::{Gateways, PageRequest};
use crate::codec::{SeriesNamer, UidEntry, read_uid_row};
use crate::flow::FlowError;
use crate::flow::engine::pace::Pace;
use crate::flow::source::gaps::{AtDamage, could_be_skipped};
use crate::model::{CellBlock, KeyLayout, KeyRange, LabelTable, NameCharset, SeriesTable, UidKind, UidNames};
use crate::scan::{ScanOptions, ShardScan};

/// So many unknown UIDs are asked for one by one; for more the names assigned lately are read once.
const FEW: usize = 32;
/// How far the clock of this machine may be ahead of HBase's.
const CLOCKS_MS: i64 = 24 * 3600 * 1000;
const NAMES: &[u8] = b"name";

/// A UID of the layout's width, as a number: a run may have to remember millions.
type Uid = (UidKind, u64);

fn number(uid: &[u8]) -> u64 {
    uid.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Where and how names are looked up.
pub struct NameSource {
    /// Gateways of the cluster.
    pub gateways: Gateways,
    /// The UID table; `None`: there is none, and nothing is looked up.
    pub uid_table: Option<String>,
    /// How the bytes of names are read.
    pub charset: NameCharset,
    /// How fast to go.
    pub pace: Pace,
    /// What to do where names cannot be read.
    pub at_damage: AtDamage,
}

/// Names for labels, shared by all shards of a backup. No lock is held while the cluster is asked.
pub struct Names {
    /// A UID that had no name when it was asked for, after data that names it was read, is marked: it is asked for once.
    known: RwLock<UidNames>,
    source: NameSource,
    layout: KeyLayout,
    /// When the first read of all names began, ms UTC.
    read_ms: i64,
}

impl Names {
    /// Starts from what was read since `read_ms`.
    pub fn new(known: UidNames, read_ms: i64, source: NameSource, layout: KeyLayout) -> Self {
        Self { known: RwLock::new(known), source, layout, read_ms }
    }

    /// The labels of series, in their order. UIDs without a name are looked up once, all of them together; what stays
    /// unknown is shown in hex.
    ///
    /// # Errors
    /// The gateway's, when a look-up fails.
    pub fn labels(&self, series: &SeriesTable) -> Result<LabelTable, FlowError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (labels, incomplete) = self.describe(series, &known);
        let unknown = self.unknown(&known, incomplete.iter().filter_map(|at| series.get(*at)));
        drop(known);
        let Some(table) = self.source.uid_table.as_deref().filter(|_| !unknown.is_empty()) else { return Ok(labels) };
        let found = match self.look_up(table, &unknown) {
            // A name that cannot be read is none.
            Err(error) if self.source.at_damage == AtDamage::Skip && could_be_skipped(&error) => HashMap::new(),
            found => found?,
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for uid in unknown {
            match found.get(&uid) {
                Some(name) => known.insert(uid.0, &self.bytes(uid), name),
                None => known.mark_nameless(uid.0, &self.bytes(uid)),
            }
        }
        drop(known);
        if found.is_empty() {
            return Ok(labels);
        }
        Ok(self.describe(series, &self.known.read().unwrap_or_else(PoisonError::into_inner)).0)
    }

    /// Labels, and the indexes of the incomplete ones.
    fn describe(&self, series: &SeriesTable, known: &UidNames) -> (LabelTable, Vec<usize>) {
        let (mut labels, mut incomplete) = (LabelTable::new(), Vec::new());
        let mut namer = SeriesNamer::new(&self.layout, known);
        for (at, tsuid) in series.iter().enumerate() {
            if !namer.name(tsuid, &mut labels) {
                incomplete.push(at);
            }
        }
        (labels, incomplete)
    }

    /// Bytes of memory that the names take now.
    pub fn memory(&self) -> u64 {
        self.known.read().unwrap_or_else(PoisonError::into_inner).memory() as u64
    }

    /// The name of a UID among those already known.
    pub fn known_name(&self, kind: UidKind, uid: &[u8]) -> Option<String> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(kind, uid).map(str::to_string)
    }

    /// A metric's name among those already known.
    pub fn metric(&self, uid: &[u8]) -> Option<String> {
        self.known_name(UidKind::Metric, uid)
    }

    /// Hands on every name that is known.
    ///
    /// # Errors
    /// The first of `each`.
    pub fn each<E>(&self, each: impl FnMut(UidKind, &[u8], &str) -> Result<(), E>) -> Result<(), E> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).each(each)
    }

    /// The bytes of a UID.
    fn bytes(&self, (kind, number): Uid) -> Vec<u8> {
        let KeyLayout { metric_width, tagk_width, tagv_width, .. } = self.layout;
        let width = usize::from([metric_width, tagk_width, tagv_width][kind as usize]);
        number.to_be_bytes().get(8 - width.min(8)..).unwrap_or_default().to_vec()
    }

    /// UIDs of these series that have no name and were not asked for yet.
    fn unknown<'a>(&self, known: &UidNames, tsuids: impl Iterator<Item = &'a [u8]>) -> HashSet<Uid> {
        let uids = tsuids.flat_map(|tsuid| uids_of(tsuid, &self.layout));
        uids.filter(|(kind, uid)| known.get(*kind, uid).is_none() && !known.is_nameless(*kind, uid))
            .map(|(kind, uid)| (kind, number(uid)))
            .collect()
    }

    /// Asks for names over one connection, which ends with the call: a gateway may have few workers.
    fn look_up(&self, table: &str, unknown: &HashSet<Uid>) -> Result<HashMap<Uid, String>, FlowError> {
        let mut client = self.source.gateways.client();
        let mut found = HashMap::new();
        let mut take = |page: &CellBlock| {
            for entry in page.rows().flat_map(read_uid_row) {
                if let UidEntry::Reverse { kind, uid, name } = entry
                    && let key = (kind, number(uid))
                    && uid == self.bytes(key)
                    && unknown.contains(&key)
                {
                    found.insert(key, self.source.charset.decode(name).into_owned());
                }
            }
        };
        let mut page = CellBlock::new();
        if unknown.len() > FEW {
            // A name that was not there at the first read is written later than that.
            let options = ScanOptions {
                families: vec![NAMES.to_vec()],
                written_since: Some(self.read_ms.saturating_sub(CLOCKS_MS)),
                ..ScanOptions::default()
            };
            let mut scan = ShardScan::new(&mut client, table, KeyRange::all(), self.source.pace.pages(options));
            while self.source.pace.next_page(&mut scan, &mut page)?.is_some() {
                take(&page);
            }
        } else {
            let uids: HashSet<Vec<u8>> = unknown.iter().map(|uid| self.bytes(*uid)).collect();
            for uid in &uids {
                let stop = [uid.as_slice(), &[0]].concat();
                let families = [NAMES];
                let request = PageRequest { families: &families, ..PageRequest::new(table, uid, &stop, 1) };
                client.scan_page(&request, &mut page)?;
                take(&page);
            }
        }
        Ok(found)
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
