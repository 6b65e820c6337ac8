//! The stage between the decoded cells of a backup and the put: what becomes of a cell on its way into a table.
//!
//! A transform sees every cell as the backup holds it, in the order of its file, and passes on what is to be written. Cells
//! are counted before it changes them, so that a restore adds up to the backup; behind [`Unchanged`] the count of what was
//! written is the same.

use crate::flow::FlowError;
use crate::model::Cell;

/// Takes a cell that is to be written.
pub type Take<'a> = dyn FnMut(&Cell<'_>) -> Result<(), FlowError> + 'a;

/// Changes cells.
pub trait Transform {
    /// Passes on what becomes of a cell: itself, others, or nothing.
    ///
    /// # Errors
    /// For a cell that cannot be carried; those of `take`.
    fn cell(&self, cell: &Cell<'_>, take: &mut Take<'_>) -> Result<(), FlowError>;
}

/// Every cell as it is.
#[derive(Debug, Clone, Copy)]
pub struct Unchanged;

impl Transform for Unchanged {
    fn cell(&self, cell: &Cell<'_>, take: &mut Take<'_>) -> Result<(), FlowError> {
        take(cell)
    }
}
