//! Names of metrics, tag keys and tag values.

use std::borrow::Cow;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

/// What a UID stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UidKind {
    /// A metric.
    Metric,
    /// A tag key.
    Tagk,
    /// A tag value.
    Tagv,
}

impl UidKind {
    /// All kinds.
    pub const ALL: [UidKind; 3] = [UidKind::Metric, UidKind::Tagk, UidKind::Tagv];

    /// The qualifier of the maps in `tsdb-uid`.
    pub fn qualifier(self) -> &'static str {
        match self {
            UidKind::Metric => "metrics",
            UidKind::Tagk => "tagk",
            UidKind::Tagv => "tagv",
        }
    }
}

/// How the bytes of names are read. OpenTSDB writes ISO-8859-1 and takes nothing else; patched builds store UTF-8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameCharset {
    /// One byte, one character.
    #[default]
    #[serde(rename = "iso-8859-1")]
    Latin1,
    /// UTF-8; a name that is none is read as ISO-8859-1, so that no two names become one.
    #[serde(rename = "utf-8")]
    Utf8,
}

impl NameCharset {
    /// The name in flags and in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latin1 => "iso-8859-1",
            Self::Utf8 => "utf-8",
        }
    }

    /// The text of a name.
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        let same = self == Self::Utf8 || bytes.is_ascii();
        match std::str::from_utf8(bytes) {
            Ok(text) if same => text.into(),
            _ => bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into(),
        }
    }
}

/// UIDs of one page: neighbouring numbers, because a TSD gives them out by counting.
const PAGE: usize = 16;
/// In a page: the UID was asked for and has no name.
const NAMELESS: u32 = u32::MAX;

/// A page of UIDs of one kind and length.
#[derive(Debug, Clone)]
struct Page {
    /// Kind and length.
    group: u8,
    /// Number of the UIDs divided by [`PAGE`].
    number: u64,
    /// Where the names begin in the arena; 0: nothing is known.
    names: [u32; PAGE],
}

/// The place of a UID in [`UidNames`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidSlot {
    page: usize,
    at: usize,
}

impl UidSlot {
    /// A number that no other slot has, less than [`UidNames::slots`].
    pub fn index(self) -> usize {
        self.page * PAGE + self.at
    }
}

/// UID to name, from the maps of `tsdb-uid`. UIDs of different lengths are different UIDs.
///
/// Names live in one buffer, because a large installation has tens of millions of tag values: a UID takes about 7 bytes
/// besides its name. Each name stands behind its length, 6 bits to an ASCII character, the lowest first; all but the
/// last have bit 6 set.
#[derive(Debug, Clone, Default)]
pub struct UidNames {
    arena: String,
    pages: Vec<Page>,
    /// Pages by group and number.
    index: HashTable<u32>,
    counts: [usize; 3],
}

impl UidNames {
    /// No names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a name; a later one for the same UID replaces the earlier. UIDs longer than 8 bytes are ignored.
    pub fn insert(&mut self, kind: UidKind, uid: &[u8], name: &str) {
        if let Some(slot) = self.slot(kind, uid) {
            self.set(kind, slot, name);
        }
    }

    /// The name of a UID.
    pub fn get(&self, kind: UidKind, uid: &[u8]) -> Option<&str> {
        let (page, at) = self.find(kind, uid)?;
        self.text(self.pages.get(page)?.names.get(at).copied()?)
    }

    /// True for a UID that was marked as one without a name.
    pub fn is_nameless(&self, kind: UidKind, uid: &[u8]) -> bool {
        let found = self.find(kind, uid).and_then(|(page, at)| self.pages.get(page)?.names.get(at).copied());
        found == Some(NAMELESS)
    }

    /// Hands on every UID that has a name, in no order.
    ///
    /// # Errors
    /// The first of `each`.
    pub fn each<E>(&self, mut each: impl FnMut(UidKind, &[u8], &str) -> Result<(), E>) -> Result<(), E> {
        for page in &self.pages {
            let (kind, width) = (UidKind::ALL[usize::from(page.group / 16) % 3], usize::from(page.group % 16));
            for (start, at) in page.names.iter().zip(0..) {
                if let Some(name) = self.text(*start) {
                    let uid = (page.number * PAGE as u64 + at).to_be_bytes();
                    each(kind, uid.get(uid.len().saturating_sub(width)..).unwrap_or_default(), name)?;
                }
            }
        }
        Ok(())
    }

    /// How many UIDs of a kind have a name.
    pub fn count(&self, kind: UidKind) -> usize {
        self.counts[kind as usize]
    }

    /// Bytes of memory in use.
    pub fn memory(&self) -> usize {
        self.arena.len() + self.pages.len() * (size_of::<Page>() + 2 * size_of::<u32>())
    }

    /// True as long as there is room for more names: 4 GiB with their lengths.
    pub fn has_room(&self) -> bool {
        self.arena.len() < NAMELESS as usize
    }

    /// More than any [`UidSlot::index`].
    pub fn slots(&self) -> usize {
        self.pages.len() * PAGE
    }

    /// The places of all UIDs that were asked for or have a name, with others between them.
    pub fn all_slots(&self) -> impl Iterator<Item = (UidKind, UidSlot)> + use<> {
        let kinds: Vec<UidKind> =
            self.pages.iter().map(|page| UidKind::ALL[usize::from(page.group / 16) % 3]).collect();
        kinds.into_iter().enumerate().flat_map(|(page, kind)| (0..PAGE).map(move |at| (kind, UidSlot { page, at })))
    }

    /// The place of a UID, made where there is none; `None` for a UID of more than 8 bytes.
    pub fn slot(&mut self, kind: UidKind, uid: &[u8]) -> Option<UidSlot> {
        let (group, number, at) = key(kind, uid)?;
        let Self { pages, index, .. } = self;
        let is =
            |page: &u32| pages.get(*page as usize).is_some_and(|page| (page.group, page.number) == (group, number));
        if let Some(page) = index.find(hash(group, number), is) {
            return Some(UidSlot { page: *page as usize, at });
        }
        let page = u32::try_from(pages.len()).ok()?;
        pages.push(Page { group, number, names: [0; PAGE] });
        let of = |page: &u32| pages.get(*page as usize).map_or(0, |page| hash(page.group, page.number));
        index.insert_unique(hash(group, number), page, of);
        Some(UidSlot { page: page as usize, at })
    }

    /// The name at a place.
    pub fn name_at(&self, slot: UidSlot) -> Option<&str> {
        self.text(self.pages.get(slot.page)?.names.get(slot.at).copied()?)
    }

    /// Records the name at a place.
    pub fn set(&mut self, kind: UidKind, slot: UidSlot, name: &str) {
        let Ok(start) = u32::try_from(self.arena.len().max(1)) else { return };
        if self.arena.is_empty() {
            // So that no name begins at 0.
            self.arena.push('\0');
        }
        let mut length = name.len();
        while length >= 64 {
            self.arena.push(char::from(0x40 | (length & 0x3f) as u8));
            length >>= 6;
        }
        self.arena.push(char::from(length as u8));
        self.arena.push_str(name);
        self.place(kind, slot, start);
    }

    /// Forgets the name at a place.
    pub fn unset(&mut self, kind: UidKind, slot: UidSlot) {
        self.place(kind, slot, 0);
    }

    /// Remembers that a UID has no name.
    pub fn mark_nameless(&mut self, kind: UidKind, uid: &[u8]) {
        if let Some(slot) = self.slot(kind, uid) {
            self.place(kind, slot, NAMELESS);
        }
    }

    fn place(&mut self, kind: UidKind, slot: UidSlot, start: u32) {
        let place = self.pages.get_mut(slot.page).and_then(|page| page.names.get_mut(slot.at));
        let Some(place) = place else { return };
        let named = |start: u32| usize::from(start != 0 && start != NAMELESS);
        let count = &mut self.counts[kind as usize];
        *count = *count + named(start) - named(*place);
        *place = start;
    }

    fn find(&self, kind: UidKind, uid: &[u8]) -> Option<(usize, usize)> {
        let (group, number, at) = key(kind, uid)?;
        let is = |page: &u32| {
            self.pages.get(*page as usize).is_some_and(|page| (page.group, page.number) == (group, number))
        };
        self.index.find(hash(group, number), is).map(|page| (*page as usize, at))
    }

    fn text(&self, start: u32) -> Option<&str> {
        if start == 0 || start == NAMELESS {
            return None;
        }
        let (mut at, mut length, mut shift) = (start as usize, 0, 0);
        loop {
            let byte = *self.arena.as_bytes().get(at)?;
            at += 1;
            length |= usize::from(byte & 0x3f) << shift;
            shift += 6;
            if byte & 0x40 == 0 {
                return self.arena.get(at..at + length);
            }
        }
    }
}

/// Group, number of the page, and place in it.
#[inline]
fn key(kind: UidKind, uid: &[u8]) -> Option<(u8, u64, usize)> {
    if uid.len() > 8 {
        return None;
    }
    let number = uid.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    Some((kind as u8 * 16 + uid.len() as u8, number / PAGE as u64, number as usize % PAGE))
}

/// Spreads neighbouring pages over all 64 bits, of which the table uses both ends.
#[inline]
fn hash(group: u8, number: u64) -> u64 {
    let product = u128::from(number ^ u64::from(group) << 58) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_of_another_length_is_another_uid() {
        let mut names = UidNames::new();
        names.insert(UidKind::Metric, &[0, 0, 1], "sys.cpu");
        names.insert(UidKind::Metric, &[0, 1], "old.other");
        assert_eq!(names.get(UidKind::Metric, &[0, 0, 1]), Some("sys.cpu"));
        assert_eq!(names.get(UidKind::Metric, &[0, 1]), Some("old.other"));
        assert_eq!(names.get(UidKind::Metric, &[1]), None);
        assert_eq!(names.get(UidKind::Metric, &[0; 9]), None);
        assert_eq!(names.count(UidKind::Metric), 2);
        let mut all = Vec::new();
        let collect = |kind, uid: &[u8], name: &str| {
            all.push((kind, uid.to_vec(), name.to_owned()));
            Ok::<(), ()>(())
        };
        names.each(collect).unwrap();
        all.sort();
        let wanted = [(vec![0, 0, 1], "sys.cpu"), (vec![0, 1], "old.other")];
        assert!(all == wanted.map(|(uid, name)| (UidKind::Metric, uid, name.to_owned())), "{all:?}");
    }

    #[test]
    fn names_of_any_length_come_back() {
        let mut names = UidNames::new();
        let name = |n: usize| "né".repeat(n * n / 3);
        for n in 0..200_usize {
            names.insert(UidKind::Tagv, &[((n * 7) >> 8) as u8, (n * 7) as u8], &name(n));
        }
        for n in 0..200_usize {
            assert_eq!(names.get(UidKind::Tagv, &[((n * 7) >> 8) as u8, (n * 7) as u8]), Some(name(n).as_str()), "{n}");
        }
        assert_eq!(names.count(UidKind::Tagv), 200);
        names.mark_nameless(UidKind::Tagv, &[9, 9]);
        assert!(names.is_nameless(UidKind::Tagv, &[9, 9]) && !names.is_nameless(UidKind::Tagv, &[9, 8]));
        assert_eq!((names.get(UidKind::Tagv, &[9, 9]), names.count(UidKind::Tagv)), (None, 200));
        let slot = names.slot(UidKind::Tagv, &[0, 0]).unwrap();
        names.unset(UidKind::Tagv, slot);
        assert_eq!((names.get(UidKind::Tagv, &[0, 0]), names.count(UidKind::Tagv)), (None, 199));
    }

    #[test]
    fn no_two_names_become_one() {
        let text = "温度.água";
        assert_eq!(NameCharset::Utf8.decode(text.as_bytes()), text);
        assert_eq!(NameCharset::Utf8.decode(b"caf\xe9"), "café");
        assert_eq!(NameCharset::Latin1.decode("é".as_bytes()), "Ã©");
    }

    #[test]
    #[ignore = "takes half a GiB: by hand, with --ignored"]
    fn sixteen_million_names_fit_the_default_memory() {
        let mut names = UidNames::new();
        for uid in 0..16_000_000_u32 {
            names.insert(UidKind::Tagv, &uid.to_be_bytes()[1..], &format!("host-{uid:08}.example"));
        }
        assert_eq!(names.get(UidKind::Tagv, &[0, 0, 7]), Some("host-00000007.example"));
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find(|line| line.starts_with("VmHWM"));
        eprintln!("16 M names of 21 bytes: {} MiB, {}", names.memory() >> 20, peak.unwrap());
        assert!(names.memory() <= 512 << 20);
    }
}
