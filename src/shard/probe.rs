//! What a few cheap calls tell about a key range.

use crate::cluster::{Client, ClusterError, PageRequest};
use crate::model::{CellBlock, KeyRange};

/// A region with fewer rows is joined with its neighbours.
pub const SMALL_REGION_ROWS: usize = 500;

/// What [`probe`] found in a key range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionProbe {
    /// Rows, counted up to [`SMALL_REGION_ROWS`].
    pub rows: usize,
    /// First and last row; `None` when the range is small.
    pub ends: Option<(Vec<u8>, Vec<u8>)>,
}

/// Counts rows up to the limit, and finds the ends of a range that has more.
///
/// # Errors
/// The gateway's.
pub fn probe(client: &mut Client, table: &str, range: &KeyRange) -> Result<RegionProbe, ClusterError> {
    let mut page = CellBlock::new();
    let request = PageRequest {
        filter: Some(PageRequest::KEYS_ONLY),
        ..PageRequest::new(table, &range.start, &range.stop, SMALL_REGION_ROWS as u32)
    };
    client.scan_page(&request, &mut page)?;
    let rows = page.row_count();
    if rows < SMALL_REGION_ROWS {
        return Ok(RegionProbe { rows, ends: None });
    }
    let first = page.row(0).map(|row| row.key.to_vec());
    let last = last_row(client, table, range)?;
    Ok(RegionProbe { rows, ends: first.zip(last) })
}

/// The last row of a range; `None` when it is empty.
///
/// # Errors
/// The gateway's.
pub fn last_row(client: &mut Client, table: &str, range: &KeyRange) -> Result<Option<Vec<u8>>, ClusterError> {
    let mut page = CellBlock::new();
    // A reversed scan begins with its greater bound, which it includes, and ends before the smaller one.
    let request = PageRequest {
        filter: Some(PageRequest::KEYS_ONLY),
        reversed: true,
        ..PageRequest::new(table, &range.stop, &range.start, 2)
    };
    client.scan_page(&request, &mut page)?;
    Ok(page.rows().map(|row| row.key).find(|key| range.is_before_stop(key)).map(<[u8]>::to_vec))
}
