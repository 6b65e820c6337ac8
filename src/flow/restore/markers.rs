//! Delete markers of a target, which would hide what is restored below them.

use crate::cluster::{Api, Client};
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
    if client.gateway()?.api == Api::Thrift1 {
        warnings.push(format!(
            "whether table {table} holds delete markers cannot be seen through a Thrift1 gateway: restored cells at or below \
             one stay hidden"
        ));
        return Ok(());
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
