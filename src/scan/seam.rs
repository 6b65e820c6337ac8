//! The seam between two regions, where HBase can show a row too early.
//!
//! After a split each half of a region reads the files of the whole through references until a compaction has rewritten
//! them. A scan of the lower half may then end with a row of the upper one: where its first key lies between the index
//! entry of a file's block and the first row of that block, the block is entered without a look at the split key
//! (`HalfStoreFileReader` of HBase 2.5.8 and 2.6.1). Such a row holds the cells of one file only, and the rows of the
//! upper half that are smaller come after it. A page that ends with it looks right, and what follows it in the next page
//! is not what follows it in the table: without a check rows are lost without an error.
//!
//! So the last row of a page counts only once its follower is known: a greater row, or none. Long pages leave their last
//! row to the next one; after short ones the keys of the last row and its follower are asked for once more. A page in
//! disorder is read again up to the end of its region, which HBase keeps to when it is the end of the scan as well.
//!
//! What cannot be seen: such a row that the upper half holds as deleted, with no row in front of it there.

use crate::cluster::{Client, ClusterError, PageRequest, hex};
use crate::model::{CellBlock, KeyRange, successor};

/// How often the follower of a row is asked for while the gateway answers with the row alone.
const LOOKS: u32 = 5;

/// Asks once more for the keys of the last row of a page and of its follower, and says when they do not fit.
///
/// # Errors
/// The gateway's.
pub(super) fn check(
    client: &mut Client,
    page: &PageRequest<'_>,
    block: &CellBlock,
) -> Result<Result<(), String>, ClusterError> {
    let key = |back: usize| block.row_count().checked_sub(back).and_then(|at| block.row(at)).map(|row| row.key);
    let Some(last) = key(1) else { return Ok(Ok(())) };
    let start = key(2).and_then(successor).unwrap_or_else(|| page.start.to_vec());
    let filter = Some(PageRequest::KEYS_ONLY);
    let mut keys = CellBlock::new();
    let question = PageRequest { start: &start, rows: 2, filter, max_versions: 1, ..*page };
    for _ in 0..LOOKS {
        let asked = client.scan_page(&question, &mut keys)?.asked_rows;
        let mut found = keys.rows().map(|row| row.key);
        match (found.next(), found.next()) {
            // After a failure the client asks for fewer rows: one alone does not say what follows it.
            (Some(first), None) if first == last && asked < question.rows => {}
            (Some(first), follower) if first == last && follower.is_none_or(|follower| follower > last) => {
                return Ok(Ok(()));
            }
            _ => return Ok(Err(format!("row {} is not what a second look finds there", hex(last)))),
        }
    }
    Ok(Err(format!("what follows row {} could not be read", hex(last))))
}

/// The first boundary of a region inside the range.
///
/// # Errors
/// The gateway's.
pub(super) fn find(client: &mut Client, table: &str, range: &KeyRange) -> Result<Option<Vec<u8>>, ClusterError> {
    let regions = client.regions(table)?;
    Ok(regions.into_iter().map(|region| region.range.start).find(|key| *key > range.start && range.is_before_stop(key)))
}
