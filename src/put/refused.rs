//! Cells that the cluster does not take. They are named and counted, and all others are written.

use std::collections::HashSet;

use super::PutError;
use crate::model::{Cell, CellHasher, Tally};

/// Cells that are named one by one.
const MOST_NAMED: usize = 5;

/// The cells that were not written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// What they add up to.
    pub tally: Tally,
    /// The first of them, each with its reason.
    pub named: Vec<String>,
    hashes: HashSet<u64>,
}

impl Refused {
    /// Adds a cell. `reason` names it.
    pub fn push(&mut self, cell: &Cell<'_>, reason: &PutError) {
        self.add(cell);
        if self.named.len() < MOST_NAMED {
            self.named.push(reason.to_string());
        }
    }

    /// Adds a cell without naming it; returns what it adds up to.
    pub fn add(&mut self, cell: &Cell<'_>) -> Tally {
        let hash = CellHasher::new().whole(cell);
        let mut one = Tally::default();
        one.add_cell(cell, hash);
        self.tally.add(&one);
        self.hashes.insert(hash);
        one
    }

    /// Adds others.
    pub fn append(&mut self, other: Refused) {
        self.tally.add(&other.tally);
        let room = MOST_NAMED.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
        self.hashes.extend(other.hashes);
    }

    /// True when no cell was refused.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// True for a cell that was added.
    pub fn contains(&self, cell: &Cell<'_>) -> bool {
        !self.is_empty() && self.hashes.contains(&CellHasher::new().whole(cell))
    }
}
