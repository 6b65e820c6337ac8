//! The UIDs that rows of a backup use.

use std::collections::HashMap;

use crate::model::KeyLayout;

/// Columns of the maps, in the order in which a TSUID has its UIDs.
pub const COLUMNS: [&[u8]; 3] = [b"metrics", b"tagk", b"tagv"];

/// The UIDs that data uses: by column, width and number, 64 numbers to an entry, because most are given out in a row.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Used(HashMap<(usize, usize, u64), u64>);

impl Used {
    fn add(&mut self, column: usize, uid: &[u8]) {
        if let Some(number) = number_of(uid) {
            *self.0.entry((column, uid.len(), number / 64)).or_default() |= 1 << (number % 64);
        }
    }

    /// True for a UID that was added: its column in the maps and its bytes.
    pub fn contains(&self, column: &[u8], uid: &[u8]) -> bool {
        let column = COLUMNS.iter().position(|known| *known == column);
        let (Some(column), Some(number)) = (column, number_of(uid)) else { return false };
        self.0.get(&(column, uid.len(), number / 64)).is_some_and(|bits| bits >> (number % 64) & 1 == 1)
    }

    /// Adds the UIDs of a series.
    pub fn add_series(&mut self, metric: &[u8], mut tags: &[u8], layout: &KeyLayout) {
        self.add(0, metric);
        for (column, width) in [(1, layout.tagk_width), (2, layout.tagv_width)].into_iter().cycle() {
            let Some((uid, others)) = tags.split_at_checked(usize::from(width)).filter(|(uid, _)| !uid.is_empty())
            else {
                return;
            };
            self.add(column, uid);
            tags = others;
        }
    }

    /// Adds the UIDs of another set.
    pub fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|(page, bits)| *self.0.entry(*page).or_default() |= bits);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.values().map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// Adds the UIDs of a TSUID in hex.
    pub fn add_tsuid(&mut self, tsuid: &str, layout: &KeyLayout) {
        let digits = |at: usize| tsuid.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Vec<u8> = (0..tsuid.len()).step_by(2).map_while(digits).collect();
        let (metric, tags) = bytes.split_at(bytes.len().min(usize::from(layout.metric_width)));
        self.add_series(metric, tags, layout);
    }
}

/// The number of a UID of up to 8 bytes; there are no others.
fn number_of(uid: &[u8]) -> Option<u64> {
    (uid.len() <= 8).then(|| uid.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_of_a_series() {
        let layout = KeyLayout { metric_width: 3, tagk_width: 2, tagv_width: 1, ..KeyLayout::default() };
        let mut used = Used::default();
        used.add_tsuid("000001", &layout);
        used.add_tsuid("0000020001FF0002FE", &layout);
        let uids = [
            (&b"metrics"[..], &[0, 0, 1][..]),
            (b"metrics", &[0, 0, 2]),
            (b"tagk", &[0, 1]),
            (b"tagk", &[0, 2]),
            (b"tagv", &[0xff]),
            (b"tagv", &[0xfe]),
        ];
        assert!(uids.iter().all(|(column, uid)| used.contains(column, uid)));
        let others =
            [(&b"tagv"[..], &[0, 1][..]), (b"tagk", &[1]), (b"metrics", &[0, 0, 3]), (b"metrics", &[0, 0, 0x41])];
        assert!(others.iter().all(|(column, uid)| !used.contains(column, uid)), "another column, width or number");
        assert_eq!(used.count(), 6);
        let mut both = Used::default();
        both.add_all(&used);
        assert_eq!(both, used);
        assert!(!used.contains(b"metrics", &[0; 9]));
    }
}
