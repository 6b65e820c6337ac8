//! Names of UIDs: one read of `tsdb-uid` at the start, look-ups on the way for what was assigned since.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use crate::cluster::{Client, Gateways, PageRequest};
use crate::codec::{SeriesNamer, UidEntry, read_uid_row};
use crate::flow::FlowError;
use crate::flow::engine::pace::Pace;
use crate::flow::source::gaps::{AtDamage, SECOND_CHANCES, behind, could_be_skipped, gap_at, readable};
use crate::flow::source::table::SourceTable;
use crate::model::{CellBlock, KeyLayout, KeyRange, LabelTable, NameCharset, SeriesTable, UidKind, UidNames, UidSlot};
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

/// What a read of the UID table shows besides names, by kind.
#[derive(Debug, Clone, Default)]
pub struct UidFacts {
    /// Length of UIDs in bytes -> how many forward and how many reverse rows have one.
    pub widths: [BTreeMap<usize, [u64; 2]>; 3],
    /// UIDs whose name is known from its forward row alone.
    pub forward_only: [u64; 3],
    /// UIDs that have a name, which no forward row leads to.
    pub reverse_only: [u64; 3],
    /// UIDs that several names lead to.
    pub several_names: [u64; 3],
    /// The counters, where they are there: the last UID that was given out; `None` for one of other than 8 bytes.
    pub counters: [Option<Option<i64>>; 3],
    /// Names beyond ASCII that are UTF-8, and that are not.
    pub beyond_ascii: [u64; 2],
}

impl UidFacts {
    /// Widths and how many UIDs have them, the most frequent first.
    pub fn widths(&self, kind: UidKind) -> Vec<(usize, u64)> {
        let counted = |(width, rows): (&usize, &[u64; 2])| (*width, rows[0].max(rows[1]));
        let mut widths: Vec<(usize, u64)> = self.widths[kind as usize].iter().map(counted).collect();
        widths.sort_by_key(|(width, count)| (std::cmp::Reverse(*count), *width));
        widths
    }

    /// The width that most UIDs of a kind have.
    pub fn width(&self, kind: UidKind) -> Option<usize> {
        self.widths(kind).first().map(|(width, _)| *width)
    }
}

/// What was seen of a UID, as bits.
mod seen {
    /// A forward row leads to it.
    pub const FORWARD: u8 = 1;
    /// It has a reverse row.
    pub const REVERSE: u8 = 2;
    /// A forward row and the reverse row name each other.
    pub const MATCHED: u8 = 4;
    /// Several names lead to it.
    pub const CONTESTED: u8 = 8;
    /// The name of its forward row is beyond ASCII, and UTF-8.
    pub const UTF8: u8 = 16;
    /// The name of its forward row is beyond ASCII, and no UTF-8.
    pub const NO_UTF8: u8 = 32;
}

/// The bit of a name beyond ASCII.
fn beyond_ascii(name: &[u8]) -> u8 {
    match (name.is_ascii(), std::str::from_utf8(name)) {
        (true, _) => 0,
        (_, Ok(_)) => seen::UTF8,
        (_, Err(_)) => seen::NO_UTF8,
    }
}

/// Collects the rows of the UID table, which come in the order of their keys: a UID may come before its names or
/// behind them, and has the name of its forward row until then.
#[derive(Default)]
struct Collector {
    charset: NameCharset,
    names: UidNames,
    facts: UidFacts,
    /// [`seen`], by slot.
    seen: Vec<u8>,
}

impl Collector {
    fn add(&mut self, entry: UidEntry<'_>) {
        match entry {
            UidEntry::Counter { kind, value } => {
                self.facts.counters[kind as usize] = Some(value.try_into().ok().map(i64::from_be_bytes));
            }
            UidEntry::Reverse { kind, uid, name } => {
                self.facts.widths[kind as usize].entry(uid.len()).or_default()[1] += 1;
                self.note_charset(beyond_ascii(name));
                self.reverse(kind, uid, &self.charset.decode(name));
            }
            UidEntry::Forward { kind, uid, name } => {
                self.facts.widths[kind as usize].entry(uid.len()).or_default()[0] += 1;
                self.forward(kind, uid, &self.charset.decode(name), beyond_ascii(name));
            }
        }
    }

    fn seen(&mut self, kind: UidKind, uid: &[u8]) -> Option<(UidSlot, &mut u8)> {
        let slot = self.names.slot(kind, uid)?;
        if self.seen.len() < self.names.slots() {
            self.seen.resize(self.names.slots(), 0);
        }
        Some((slot, self.seen.get_mut(slot.index())?))
    }

    fn reverse(&mut self, kind: UidKind, uid: &[u8], name: &str) {
        let Some((slot, state)) = self.seen(kind, uid) else { return };
        let before = *state;
        *state |= seen::REVERSE;
        let same = self.names.name_at(slot) == Some(name);
        if before & seen::FORWARD != 0
            && let Some(state) = self.seen.get_mut(slot.index())
        {
            // Of several claims one may be this name.
            *state |= if same || before & seen::CONTESTED != 0 { seen::MATCHED } else { 0 };
            *state |= if same { 0 } else { seen::CONTESTED };
        }
        if !same {
            self.names.set(kind, slot, name);
        }
    }

    fn forward(&mut self, kind: UidKind, uid: &[u8], name: &str, charset: u8) {
        let Some((slot, state)) = self.seen(kind, uid) else { return };
        let before = *state;
        *state |= seen::FORWARD;
        if before & (seen::FORWARD | seen::REVERSE) == 0 {
            *state |= charset;
            self.names.set(kind, slot, name);
            return;
        }
        let same = before & seen::REVERSE != 0 && self.names.name_at(slot) == Some(name);
        if let Some(state) = self.seen.get_mut(slot.index()) {
            *state |= if same { seen::MATCHED } else { seen::CONTESTED };
        }
    }

    fn note_charset(&mut self, bits: u8) {
        self.facts.beyond_ascii[0] += u64::from(bits & seen::UTF8 != 0);
        self.facts.beyond_ascii[1] += u64::from(bits & seen::NO_UTF8 != 0);
    }

    /// What only forward rows name keeps that name, where one alone claims it.
    fn finish(mut self) -> (UidNames, UidFacts) {
        for (kind, slot) in self.names.all_slots() {
            let state = self.seen.get(slot.index()).copied().unwrap_or_default();
            let (at, has) = (kind as usize, |bits: u8| state & bits != 0);
            self.facts.several_names[at] += u64::from(has(seen::CONTESTED));
            if has(seen::REVERSE) {
                self.facts.reverse_only[at] += u64::from(!has(seen::MATCHED));
            } else if has(seen::CONTESTED) {
                self.names.unset(kind, slot);
            } else if has(seen::FORWARD) {
                self.facts.forward_only[at] += 1;
                self.note_charset(state);
            }
        }
        (self.names, self.facts)
    }
}

/// Reads all names, into no more than `most` bytes of memory.
///
/// # Errors
/// The scan's, [`FlowError::Input`] when the names need more memory, or [`FlowError::Interrupted`].
pub fn read_names(
    client: &mut Client,
    table: &SourceTable,
    charset: NameCharset,
    at_damage: AtDamage,
    most: u64,
    pace: &Pace,
) -> Result<(UidNames, UidFacts), FlowError> {
    let mut collector = Collector { charset, ..Collector::default() };
    let options = pace.pages(ScanOptions { max_versions: 1, ..ScanOptions::default() });
    let mut page = CellBlock::new();
    let mut left = readable(&table.gaps);
    let mut chances = SECOND_CHANCES;
    while let Some(range) = left.pop() {
        let mut scan = ShardScan::new(client, &table.name, range.clone(), options.clone());
        loop {
            match pace.next_page(&mut scan, &mut page) {
                Ok(Some(_)) => {
                    page.rows().flat_map(read_uid_row).for_each(|entry| collector.add(entry));
                    check_memory(&collector.names, most)?;
                }
                Ok(None) => break,
                Err(error) => match gap_at(&mut scan, error, at_damage)? {
                    Some(gap) => {
                        left.extend(behind(&gap.range, &range.stop));
                        scan.end_at(&gap.range.start);
                    }
                    None if chances > 0 => chances -= 1,
                    None => return Err(FlowError::damaged(format!("{} cannot be read reliably", table.name))),
                },
            }
        }
    }
    Ok(collector.finish())
}

fn check_memory(names: &UidNames, most: u64) -> Result<(), FlowError> {
    let memory = names.memory() as u64;
    if memory <= most && names.has_room() {
        return Ok(());
    }
    let count: usize = UidKind::ALL.into_iter().map(|kind| names.count(kind)).sum();
    Err(FlowError::input(format!(
        "the first {count} names of UIDs take {} MiB of memory, and there are more; --max-memory leaves {} MiB for them: raise it, \
         or use fewer connections",
        memory >> 20,
        most >> 20
    )))
}

/// What makes labels differ from what a TSD shows.
pub fn name_warnings(facts: &UidFacts) -> Vec<String> {
    let mut warnings = Vec::new();
    for kind in UidKind::ALL {
        let (at, kind) = (kind as usize, kind.qualifier());
        if facts.forward_only[at] > 0 {
            warnings.push(format!(
                "{} names of {kind} from forward rows only: their UIDs have no reverse row, and a TSD that meets them fails \
                 with \"no such unique ID\"; `tsdb uid fsck fix` mends that",
                facts.forward_only[at]
            ));
        }
        if facts.several_names[at] > 0 {
            warnings.push(format!(
                "{} UIDs of {kind} have several names; the reverse row decides which one is shown, and a UID without one is \
                 shown in hex",
                facts.several_names[at]
            ));
        }
    }
    warnings
}

/// What else is odd in `tsdb-uid`, and what the bytes of names say about their charset.
pub fn uid_warnings(facts: &UidFacts, layout: &KeyLayout, charset: NameCharset) -> Vec<String> {
    let mut warnings = Vec::new();
    let widths = [layout.metric_width, layout.tagk_width, layout.tagv_width];
    for kind in UidKind::ALL {
        let (at, width, kind) = (kind as usize, widths[kind as usize], kind.qualifier());
        if facts.reverse_only[at] > 0 {
            warnings.push(format!(
                "{} UIDs of {kind} have a name that no forward row leads back from: a TSD gives that name another UID",
                facts.reverse_only[at]
            ));
        }
        let last = if width >= 8 { i64::MAX } else { (1 << (8 * u32::from(width))) - 1 };
        match facts.counters[at] {
            None if !facts.widths[at].is_empty() => {
                warnings.push(format!("there is no counter for {kind} UIDs: a TSD would assign UIDs from 1 again"));
            }
            Some(None) => warnings.push(format!("the counter of {kind} has not eight bytes: no TSD can raise it")),
            Some(Some(count)) if count > last => warnings.push(format!(
                "the counter of {kind} is at {count}, past the last UID of {width} bytes ({last}): a TSD cannot give out new ones"
            )),
            _ => {}
        }
    }
    let [utf8, other] = facts.beyond_ascii;
    match charset {
        NameCharset::Latin1 if utf8 > 0 => warnings.push(format!(
            "{utf8} names beyond ASCII are UTF-8, {other} are not: a stock TSD writes ISO-8859-1, a patched one UTF-8; \
             --name-charset utf-8 shows them in queries as they were meant (a restore is the same either way)"
        )),
        NameCharset::Utf8 if other > 0 => {
            warnings.push(format!("{other} names are not UTF-8 and are read as ISO-8859-1"));
        }
        _ => {}
    }
    warnings
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

    /// A metric's name among those already known.
    pub fn metric(&self, uid: &[u8]) -> Option<String> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(UidKind::Metric, uid).map(str::to_string)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(entries: &[UidEntry<'_>]) -> (UidNames, UidFacts) {
        let mut collector = Collector::default();
        entries.iter().for_each(|entry| collector.add(*entry));
        collector.finish()
    }

    fn forward<'a>(name: &'a str, uid: &'a [u8]) -> UidEntry<'a> {
        UidEntry::Forward { kind: UidKind::Tagv, uid, name: name.as_bytes() }
    }

    fn reverse<'a>(uid: &'a [u8], name: &'a str) -> UidEntry<'a> {
        UidEntry::Reverse { kind: UidKind::Tagv, uid, name: name.as_bytes() }
    }

    #[test]
    fn forward_rows_name_what_nothing_else_names() {
        // "lost" alone leads to 1; two lead to 2; 3 is whole, before and behind its forward row; 4 has a second name.
        let low = [forward("lost", &[0, 1]), forward("a", &[0, 2]), forward("b", &[0, 2]), reverse(&[0, 3], "c")];
        let high =
            [forward("c", &[0, 3]), forward("d", &[b'x', 4]), forward("e", &[b'x', 4]), reverse(&[b'x', 4], "d")];
        let alone = [reverse(&[b'x', 5], "alone")];
        let (names, facts) = collect(&[low.as_slice(), &high, &alone].concat());
        let name = |uid: [u8; 2]| names.get(UidKind::Tagv, &uid);
        assert_eq!(
            (name([0, 1]), name([0, 2]), name([0, 3]), name([b'x', 4])),
            (Some("lost"), None, Some("c"), Some("d"))
        );
        let at = UidKind::Tagv as usize;
        assert_eq!((facts.forward_only[at], facts.several_names[at], facts.reverse_only[at]), (1, 2, 1));
    }

    #[test]
    fn widths_are_counted_in_both_maps() {
        let (_, facts) = collect(&[reverse(&[0, 3], "c"), forward("c", &[0, 3]), reverse(&[0, 0, 1], "d")]);
        assert_eq!(facts.widths(UidKind::Tagv), [(2, 1), (3, 1)]);
        let (_, facts) = collect(&[forward("c", &[0, 3]), forward("x", &[0, 0, 3]), forward("y", &[0, 0, 4])]);
        assert_eq!(facts.width(UidKind::Tagv), Some(3));
    }
}
