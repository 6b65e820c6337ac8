//! TSUIDs of many series in one buffer.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// TSUIDs (metric UID and sorted tag UIDs, without salt and time) by index, each once. A batch can name hundreds of
/// thousands of series, and each row of a scan asks for one.
#[derive(Debug, Clone, Default)]
pub struct SeriesTable {
    bytes: Vec<u8>,
    /// Where each TSUID ends in `bytes`.
    ends: Vec<usize>,
    indexes: HashTable<u32>,
    /// The index that was asked for last.
    last: usize,
}

impl SeriesTable {
    /// Without series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True without series.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets the series, keeps capacity.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.indexes.clear();
        self.last = 0;
    }

    /// Bytes of memory in use.
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.ends.len() * (size_of::<usize>() + 2 * size_of::<u32>())
    }

    /// The TSUID with this index.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        get(&self.bytes, &self.ends, index)
    }

    /// All TSUIDs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// The index of a series, adding it when it is new. There is room for 2^32 of them.
    #[inline]
    pub fn index_of(&mut self, tsuid: &[u8]) -> u32 {
        // The rows of an hour mostly name the series in the order of the hour before.
        let next = self.last + 1;
        if self.get(next) == Some(tsuid) {
            self.last = next;
            return next as u32;
        }
        self.look_up(tsuid)
    }

    fn look_up(&mut self, tsuid: &[u8]) -> u32 {
        let Self { bytes, ends, indexes, last } = self;
        let of = |index: u32| get(bytes, ends, index as usize).unwrap_or_default();
        let hash = xxh3_64(tsuid);
        if let Some(index) = indexes.find(hash, |index| of(*index) == tsuid) {
            *last = *index as usize;
            return *index;
        }
        let index = ends.len() as u32;
        indexes.insert_unique(hash, index, |index| xxh3_64(of(*index)));
        bytes.extend_from_slice(tsuid);
        ends.push(bytes.len());
        *last = index as usize;
        index
    }
}

#[inline]
fn get<'a>(bytes: &'a [u8], ends: &[usize], index: usize) -> Option<&'a [u8]> {
    let end = *ends.get(index)?;
    let start = index.checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |end| *end);
    bytes.get(start..end)
}

impl PartialEq for SeriesTable {
    fn eq(&self, other: &Self) -> bool {
        (&self.bytes, &self.ends) == (&other.bytes, &other.ends)
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for SeriesTable {
    fn from_iter<I: IntoIterator<Item = T>>(tsuids: I) -> Self {
        let mut table = Self::new();
        tsuids.into_iter().for_each(|tsuid| {
            table.index_of(tsuid.as_ref());
        });
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_one_index() {
        let mut table = SeriesTable::new();
        let names: Vec<Vec<u8>> = (0..1000_u32).map(|n| n.to_be_bytes()[4 - (1 + n as usize % 4)..].to_vec()).collect();
        for round in 0..3 {
            for name in &names {
                let index = table.index_of(name);
                assert_eq!(table.get(index as usize), Some(name.as_slice()), "{round}");
            }
        }
        let distinct: std::collections::BTreeSet<&Vec<u8>> = names.iter().collect();
        assert_eq!(table.len(), distinct.len());
        assert_eq!(table.iter().collect::<std::collections::BTreeSet<_>>().len(), distinct.len());
        assert_eq!(table.get(table.len()), None);
        table.clear();
        assert_eq!((table.index_of(b"b"), table.index_of(b"a"), table.index_of(b"b")), (0, 1, 0));
    }
}
