//! Scans that hand out a part of the rows.

use std::fmt;
use std::sync::Arc;

use crate::model::{CellBlock, KeyRange};

/// What a scan hands out of a table.
pub trait Wanted: fmt::Debug + Send + Sync {
    /// The first range of wanted keys in `left`, no longer than it; `None`: nothing there is wanted. Other keys are not
    /// read at all.
    fn next(&self, left: &KeyRange) -> Option<KeyRange>;

    /// Takes out of a page what lies in wanted ranges and is not wanted itself.
    fn filter(&self, page: &mut CellBlock);
}

/// [`Wanted`] as an option of a scan; clones share it.
#[derive(Debug, Clone)]
pub struct WantedRows(pub Arc<dyn Wanted>);

impl PartialEq for WantedRows {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for WantedRows {}
