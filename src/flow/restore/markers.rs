//! Delete markers of a target, which would hide what is restored below them.

use crate::cluster::{Client, ClusterError};
use crate::flow::FlowError;
use crate::model::{CellBlock, KeyRange, kind};
use crate::scan::{ScanOptions, ShardScan};

/// Pages of an existing target that are looked at for delete markers.
const MARKER_PAGES: usize = 4;

/// Warns of delete markers in the first pages of a table.
///
/// # Errors
/// The gateway's.
pub fn warn(client: &mut Client, table: &str, warnings: &mut Vec<String>) -> Result<(), FlowError> {
    match client.require_types(table) {
        Ok(()) => {}
        Err(ClusterError::Untyped { .. } | ClusterError::NotInThrift1 { .. }) => {
            warnings.push(format!(
                "whether table {table} holds delete markers cannot be seen through this gateway (Thrift1, or HBase before \
                 2.2): restored cells at or below one stay hidden, and are lost with it; if rows were deleted from the table, \
                 flush and major-compact it before the restore"
            ));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    }
    let raw = ScanOptions { max_versions: 3, raw: true, ..ScanOptions::default() };
    let mut page = CellBlock::new();
    let mut scan = ShardScan::new(client, table, KeyRange::all(), raw);
    for _ in 0..MARKER_PAGES {
        if scan.next_page(&mut page)?.is_none() {
            break;
        }
        if page.iter().any(|cell| cell.kind != kind::PUT) {
            warnings.push(format!("table {table} holds delete markers: restored cells at or below them stay hidden"));
            break;
        }
    }
    Ok(())
}
