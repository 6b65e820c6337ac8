//! Cells that a family's time to live would take at once.
//!
//! HBase goes by the timestamp of a cell, which OpenTSDB sets when it writes; no record of a backup holds the oldest
//! one. So the files of a table are read before anything is written, until a cell is found that would expire: where none
//! does, that is one more reading of the tables with a time to live, and only of these.

use std::collections::BTreeMap;

use crate::flow::FlowError;
use crate::flow::stored::backup_files::{BackupContents, ReadTools};
use crate::flow::stored::contents::cells_of_file;
use crate::model::{CellBlock, TableDescriptor, kind, time};

/// What would expire in one family.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// Its time to live in seconds.
    pub ttl: i64,
    /// Cells, of the files that were read.
    pub cells: u64,
    /// Timestamp of the oldest.
    pub oldest: i64,
}

/// By family, what of the table's cells would expire at once in a table like this.
///
/// # Errors
/// The store's, or of a damaged file.
pub fn expired(
    tools: ReadTools<'_>,
    contents: &BackupContents,
    table: &str,
    there: &TableDescriptor,
) -> Result<BTreeMap<String, Expired>, FlowError> {
    let mut limits = Vec::new();
    for family in &there.families {
        if let Some(ttl) = family.ttl_seconds() {
            limits.push(Limit { family: family.name.clone(), ttl, kept: family.min_versions() });
        }
    }
    let mut found = BTreeMap::new();
    if limits.is_empty() {
        return Ok(found);
    }
    let files: Vec<_> = contents.files_of(table).filter(|file| !file.kind.is_catalogue()).collect();
    tools.progress.stage(format!("looking for cells of {table} that would expire"), files.len() as u64);
    let now = time::now_ms();
    for file in files {
        cells_of_file(tools, contents, file, &mut |block| {
            count(block, &limits, now, &mut found);
            Ok(())
        })?;
        // One is enough to refuse, and a backup may be long.
        if !found.is_empty() {
            break;
        }
    }
    Ok(found)
}

struct Limit {
    family: Vec<u8>,
    ttl: i64,
    /// Versions of a column that stay however old they are.
    kept: usize,
}

fn count(block: &CellBlock, limits: &[Limit], now: i64, found: &mut BTreeMap<String, Expired>) {
    for row in block.rows() {
        let (mut column, mut version) = (None, 0);
        for cell in row.iter().filter(|cell| cell.kind == kind::PUT) {
            let this = Some((cell.family, cell.qualifier));
            version = if this == column { version + 1 } else { 0 };
            column = this;
            let Some(limit) = limits.iter().find(|limit| limit.family == cell.family) else { continue };
            if version < limit.kept || cell.timestamp > now.saturating_sub(limit.ttl.saturating_mul(1000)) {
                continue;
            }
            let family = String::from_utf8_lossy(cell.family).into_owned();
            let expired = found.entry(family).or_insert(Expired { ttl: limit.ttl, cells: 0, oldest: i64::MAX });
            expired.cells += 1;
            expired.oldest = expired.oldest.min(cell.timestamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kept: usize) -> BTreeMap<String, Expired> {
        let mut block = CellBlock::new();
        block.push_row(b"r").unwrap();
        for (qualifier, timestamp, kind) in
            [(b"a", 900_001, kind::PUT), (b"a", 900_000, kind::PUT), (b"a", 5, kind::DELETE), (b"b", 7, kind::PUT)]
        {
            block.push_cell(b"t", qualifier, timestamp, kind, b"").unwrap();
        }
        block.push_cell(b"u", b"", 1, kind::PUT, b"").unwrap();
        let mut found = BTreeMap::new();
        count(&block, &[Limit { family: b"t".to_vec(), ttl: 100, kept }], 1_000_000, &mut found);
        found
    }

    #[test]
    fn old_cells_expire_and_kept_versions_do_not() {
        assert_eq!(found(0)["t"], Expired { ttl: 100, cells: 2, oldest: 7 });
        assert_eq!(found(1)["t"], Expired { ttl: 100, cells: 1, oldest: 900_000 });
        assert!(found(2).is_empty());
    }
}
