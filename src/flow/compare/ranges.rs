//! Key ranges of a shard with a tally each, and groups of them that fit into memory.

use crate::model::{CellBlock, CellHasher, KeyRange, Tally};

/// Cells of a key range at most before it is divided further: what one comparison holds in memory.
pub const RANGE_CELLS: u64 = 200_000;

/// Ascending first keys of the ranges that divide a shard, and the tally of each.
pub struct Ranges {
    /// First keys.
    pub starts: Vec<Vec<u8>>,
    /// Tallies.
    pub tallies: Vec<Tally>,
}

impl Ranges {
    /// Ranges without cells.
    pub fn new(starts: Vec<Vec<u8>>) -> Self {
        let tallies = vec![Tally::default(); starts.len()];
        Self { starts, tallies }
    }

    /// The range that a row belongs to.
    pub fn of(&self, row: &[u8]) -> usize {
        self.starts.partition_point(|start| start.as_slice() <= row).saturating_sub(1)
    }

    /// The keys of a range of a shard.
    pub fn keys(&self, at: usize, shard: &KeyRange) -> KeyRange {
        let stop = self.starts.get(at + 1).unwrap_or(&shard.stop).clone();
        KeyRange::new(self.starts[at].clone(), stop)
    }

    /// The tally of all of them.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.tallies.iter().for_each(|tally| total.add(tally));
        total
    }

    /// Adds the tally of a page; it begins a range of its own unless there was nothing before it.
    pub fn add_page(&mut self, first: &[u8], tally: &Tally) {
        let starts_range = self.starts.last().is_some_and(|start| first > start.as_slice());
        if starts_range && self.tallies.iter().any(|tally| tally.cells > 0) {
            self.starts.push(first.to_vec());
            self.tallies.push(Tally::default());
        }
        if let Some(last) = self.tallies.last_mut() {
            last.add(tally);
        }
    }

    /// Adds cells to the ranges of their rows.
    pub fn add_block(&mut self, block: &CellBlock, hasher: &mut CellHasher) {
        for row in block.rows() {
            let at = self.of(row.key);
            hasher.row(row.key);
            for cell in row.iter() {
                let hash = hasher.cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value);
                if let Some(tally) = self.tallies.get_mut(at) {
                    tally.add_cell(&cell, hash);
                }
            }
        }
    }
}

/// Ranges in groups of at most `limit` cells by `cells`; each group is ascending.
pub fn grouped(ranges: &[usize], limit: u64, cells: impl Fn(usize) -> u64) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut weight = 0;
    for at in ranges {
        let more = cells(*at);
        match groups.last_mut().filter(|_| weight + more <= limit) {
            Some(group) => {
                group.push(*at);
                weight += more;
            }
            None => {
                groups.push(vec![*at]);
                weight = more;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_as_large_as_they_may_be() {
        let cells = [5, 5, 1, 20, 3, 7];
        assert_eq!(
            grouped(&[0, 1, 2, 3, 4, 5], 10, |at| cells[at]),
            [vec![0, 1], vec![2], vec![3], vec![4, 5]],
            "one that is too large is alone"
        );
    }
}
