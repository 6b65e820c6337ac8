//! The read of the whole UID table: names, and what is odd about it.

use std::collections::BTreeMap;

use crate::cluster::Client;
use crate::codec::{UidEntry, read_uid_row};
use crate::flow::FlowError;
use crate::flow::engine::pace::Pace;
use crate::flow::source::gaps::{AtDamage, SECOND_CHANCES, behind, gap_at, readable};
use crate::flow::source::table::SourceTable;
use crate::model::{CellBlock, KeyLayout, NameCharset, UidKind, UidNames, UidSlot};
use crate::scan::{ScanOptions, ShardScan};

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
        // Each further gap lies in front of the one before.
        let mut stop = range.stop;
        loop {
            match pace.next_page(&mut scan, &mut page) {
                Ok(Some(_)) => {
                    page.rows().flat_map(read_uid_row).for_each(|entry| collector.add(entry));
                    check_memory(&collector.names, most)?;
                }
                Ok(None) => break,
                Err(error) => {
                    let what = error.to_string();
                    match gap_at(&mut scan, error, at_damage)? {
                        Some(gap) => {
                            left.extend(behind(&gap.range, &stop));
                            scan.end_at(&gap.range.start);
                            stop = gap.range.start;
                        }
                        None if chances > 0 => chances -= 1,
                        None => {
                            let place = format!("table {}", table.name);
                            return Err(FlowError::damaged(format!(
                                "rows fail at some reads and not at others: {what}"
                            ))
                            .at(place));
                        }
                    }
                }
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
