//! A page of a scan: a scanner that lives for one page on one connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hbase_thrift::hbase::{TColumn, THbaseSyncClient, TRowResult, TScan};

use crate::cluster::connection::Connection;
use crate::cluster::error::{Call, hex};
use crate::cluster::thrift1::calls::Generated;
use crate::cluster::{Client, ClusterError, PageRequest, PageStats, Pieces};
use crate::model::{CellBlock, kind};

/// Rows of the first fetch of a page; the runtime reads a fetch into memory as a whole.
const FIRST_FETCH: usize = 8;
/// How many times more rows than before the next fetch asks for at most.
const FETCH_GROWTH: usize = 32;

impl Client {
    /// One attempt at a page: the latest version of each cell.
    pub(crate) fn page_thrift1(
        &mut self,
        request: &PageRequest<'_>,
        block: &mut CellBlock,
    ) -> Result<PageStats, ClusterError> {
        let started = Instant::now();
        let timeout = self.page_timeout;
        let connection = self.connection()?;
        if request.raw {
            let what = "read delete markers and hidden versions (--raw)".into();
            return Err(ClusterError::NotInThrift1 { gateway: connection.gateway.to_string(), what });
        }
        let mut scanner = Scanner::open(connection, request, timeout)?;
        let read = match request.pieces {
            None => scanner.rows(request, block).map(|()| request.rows),
            Some(pieces) => scanner.row_in_pieces(pieces, block).map(|()| 1),
        };
        let wire_bytes = scanner.bytes;
        if let Err(error) = scanner.close() {
            // The page is as good without: an unclosed scanner ends by itself after a minute.
            tracing::debug!(%error, "a scanner could not be closed");
            self.note(&error);
        }
        Ok(PageStats { wire_bytes, elapsed: started.elapsed(), asked_rows: read? })
    }
}

/// The arguments of `scannerOpenWithScan`.
fn arguments(request: &PageRequest<'_>) -> TScan {
    let bound = |key: &[u8]| (!key.is_empty()).then(|| key.to_vec());
    let int = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    // A family's name without a colon is the whole family; with one it would be the column without qualifier.
    let families = || request.families.iter().map(|family| family.to_vec()).collect();
    TScan {
        start_row: bound(request.start),
        stop_row: bound(request.stop),
        timestamp: None,
        columns: (!request.families.is_empty()).then(families),
        caching: Some(if request.pieces.is_some() { 1 } else { int(request.rows) }),
        filter_string: request.filter.map(<[u8]>::to_vec),
        batch_size: request.pieces.map(|pieces| int(pieces.cells)),
        // As a map, a row would come in another order than HBase's.
        sort_columns: Some(true),
        reversed: request.reversed.then_some(true),
        // A full scan must not evict what the cluster's users have in the block cache.
        cache_blocks: Some(false),
    }
}

/// An open scanner, bound to the connection that opened it.
struct Scanner<'c> {
    connection: &'c mut Connection,
    gateway: Arc<str>,
    table: &'c str,
    timeout: Duration,
    id: i32,
    /// Bytes of all replies.
    bytes: u64,
    /// A call failed in a way that leaves the connection unusable.
    broken: bool,
}

impl<'c> Scanner<'c> {
    fn open(
        connection: &'c mut Connection,
        request: &PageRequest<'c>,
        timeout: Duration,
    ) -> Result<Self, ClusterError> {
        let gateway = connection.gateway.clone();
        let mut scanner = Self { connection, gateway, table: request.table, timeout, id: 0, bytes: 0, broken: false };
        let table = request.table.as_bytes().to_vec();
        scanner.id = scanner.call("scannerOpenWithScan", |wire, _| {
            wire.scanner_open_with_scan(table, arguments(request), Default::default())
        })?;
        Ok(scanner)
    }

    fn call<T>(
        &mut self,
        method: &'static str,
        run: impl FnOnce(&mut Generated<'_>, i32) -> thrift1_runtime::Result<T>,
    ) -> Result<T, ClusterError> {
        let call = Call { gateway: &self.gateway, method, table: self.table };
        let id = self.id;
        let result = self.connection.call_thrift1(&call, self.timeout, |wire| run(wire, id));
        let (value, bytes) = result.inspect_err(|error| self.broken |= error.ends_connection())?;
        self.bytes += bytes as u64;
        Ok(value)
    }

    fn fetch(&mut self, results: u32) -> Result<Vec<TRowResult>, ClusterError> {
        let results = i32::try_from(results).unwrap_or(i32::MAX);
        self.call("scannerGetList", |wire, id| wire.scanner_get_list(id, results))
    }

    fn misread(&self, reason: &str) -> ClusterError {
        Call { gateway: &self.gateway, method: "scannerGetList", table: self.table }.unreadable(reason)
    }

    /// Fetches a few rows first, and the others by the size of those.
    fn rows(&mut self, request: &PageRequest<'_>, block: &mut CellBlock) -> Result<(), ClusterError> {
        let (mut left, mut step) = (request.rows as usize, FIRST_FETCH);
        while left > 0 {
            let asked = step.min(left);
            let rows = self.fetch(u32::try_from(asked).unwrap_or(u32::MAX))?;
            let got = rows.len();
            for row in rows {
                let key = row.row.as_deref().ok_or_else(|| self.misread("a row without a key"))?;
                block.push_row(key)?;
                self.cells(row.sorted_columns, block)?;
            }
            let bytes = block.bytes().len().max(1);
            if got < asked || bytes >= request.most_bytes / 2 {
                break;
            }
            left -= got;
            let fitting = (request.most_bytes / 2 - bytes) as u128 * block.row_count() as u128 / bytes as u128;
            step = usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, step.saturating_mul(FETCH_GROWTH));
        }
        Ok(())
    }

    /// The first row, fetched piece by piece until another one begins, so that the gateway never holds all of it.
    fn row_in_pieces(&mut self, pieces: Pieces, block: &mut CellBlock) -> Result<(), ClusterError> {
        let mut first: Option<Vec<u8>> = None;
        for _ in 0..pieces.count {
            let Some(piece) = self.fetch(1)?.into_iter().next() else { return Ok(()) };
            let key = piece.row.ok_or_else(|| self.misread("a row without a key"))?;
            match &first {
                None => block.push_row(&key)?,
                Some(first) if *first != key => return Ok(()),
                Some(_) => {}
            }
            first.get_or_insert(key);
            self.cells(piece.sorted_columns, block)?;
        }
        let (row, cells) = (first.as_deref().map(hex).unwrap_or_default(), block.cell_count());
        Err(ClusterError::RowTooWide { table: self.table.to_owned(), row, cells })
    }

    /// Adds cells to the last row of the block.
    fn cells(&self, columns: Option<Vec<TColumn>>, block: &mut CellBlock) -> Result<(), ClusterError> {
        let columns = columns.ok_or_else(|| self.misread("a row without sorted columns"))?;
        for column in &columns {
            let Some((family, qualifier, timestamp, value)) = parts(column) else {
                return Err(self.misread("a cell without column or timestamp"));
            };
            block.push_cell(family, qualifier, timestamp, kind::PUT, value)?;
        }
        Ok(())
    }

    /// Closes the scanner, unless the connection is out of step; the gateway then forgets it after a while.
    fn close(mut self) -> Result<(), ClusterError> {
        if self.broken {
            return Ok(());
        }
        self.call("scannerClose", |wire, id| wire.scanner_close(id))
    }
}

/// Family, qualifier, timestamp and value.
type Parts<'a> = (&'a [u8], &'a [u8], i64, &'a [u8]);

/// Takes a cell apart. A family has no colon, a qualifier may have any number of them.
fn parts(column: &TColumn) -> Option<Parts<'_>> {
    let name = column.column_name.as_deref()?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let (family, rest) = name.split_at(colon);
    let cell = column.cell.as_ref()?;
    Some((family, rest.get(1..)?, cell.timestamp?, cell.value.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hbase_thrift::hbase::TCell;

    #[test]
    fn columns_are_split_at_the_first_colon() {
        let column = |name: &[u8]| TColumn::new(name.to_vec(), TCell::new(b"v".to_vec(), 7));
        for (name, family, qualifier) in
            [(&b"t:q"[..], &b"t"[..], &b"q"[..]), (b"t:", b"t", b""), (b"t::\x3a\0", b"t", b":\x3a\0")]
        {
            assert_eq!(parts(&column(name)), Some((family, qualifier, 7, &b"v"[..])));
        }
        assert_eq!(parts(&column(b"t")), None);
        assert_eq!(parts(&TColumn::new(b"t:q".to_vec(), TCell::new(b"v".to_vec(), None))), None);
        let empty = TColumn::new(b"t:q".to_vec(), TCell::new(None, 7));
        assert_eq!(parts(&empty), Some((&b"t"[..], &b"q"[..], 7, &b""[..])));
    }

    #[test]
    fn arguments_leave_open_bounds_out() {
        let families: [&[u8]; 1] = [b"t"];
        let request = PageRequest { families: &families, filter: Some(b"F()"), ..PageRequest::new("x", b"", b"z", 5) };
        let scan = arguments(&request);
        assert_eq!((scan.start_row, scan.stop_row, scan.caching), (None, Some(b"z".to_vec()), Some(5)));
        assert_eq!((scan.columns, scan.filter_string), (Some(vec![b"t".to_vec()]), Some(b"F()".to_vec())));
        assert_eq!((scan.batch_size, scan.reversed, scan.sort_columns), (None, None, Some(true)));
        assert_eq!((scan.timestamp, scan.cache_blocks), (None, Some(false)));
        let pieces = Some(Pieces { cells: 9, count: 3 });
        let scan = arguments(&PageRequest { pieces, reversed: true, ..PageRequest::new("x", b"a", b"", 5) });
        assert_eq!((scan.batch_size, scan.caching, scan.reversed), (Some(9), Some(1), Some(true)));
        assert_eq!((scan.columns, scan.filter_string), (None, None));
    }
}
