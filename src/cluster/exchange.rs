//! The hot calls over one connection to a Thrift2 gateway: the page of a scan, and batches that answer with nothing.

use std::time::Duration;

use crate::cluster::connection::Connection;
use crate::cluster::error::{Call, hex};
use crate::cluster::reply::scan::{ScanOutcome, ScanReply};
use crate::cluster::reply::simple::{Exception, Expected, nothing};
use crate::cluster::reply::{Binary, Compact, Fault, Protocol};
use crate::cluster::request::page;
use crate::cluster::wire::Sink;
use crate::cluster::{ClusterError, PageRequest};
use crate::model::CellBlock;

/// What a page cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageStats {
    /// Bytes of the reply.
    pub wire_bytes: u64,
    /// From the request to the parsed reply, failed attempts not included.
    pub elapsed: Duration,
    /// Rows that were asked for in the end: fewer than wanted when the gateway could not deliver them.
    pub asked_rows: u32,
}

/// A page that lands in a block of cells.
struct PageSink<'a, P> {
    block: &'a mut CellBlock,
    reply: ScanReply<P>,
    /// Bytes after which whole rows are enough.
    most: usize,
}

impl<P: Protocol> Sink for PageSink<'_, P> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.block.bytes_mut()
    }

    fn advance(&mut self, filled: usize) -> Result<(), Fault> {
        self.reply.advance(self.block, filled)
    }

    fn end(&self) -> usize {
        self.reply.end()
    }

    fn enough(&self, filled: usize) -> bool {
        filled > self.most && self.reply.end() < filled && !self.block.is_empty()
    }
}

/// A reply that says at most that something went wrong.
pub(super) struct NothingSink {
    bytes: Vec<u8>,
    compact: bool,
    limit: usize,
    expected: Expected,
    end: usize,
    /// Sent instead of a result.
    pub exception: Option<Exception>,
}

impl NothingSink {
    /// For a reply of `limit` bytes at most.
    pub fn new(compact: bool, limit: usize, expected: Expected) -> Self {
        Self { bytes: Vec::new(), compact, limit, expected, end: 0, exception: None }
    }
}

impl Sink for NothingSink {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn advance(&mut self, filled: usize) -> Result<(), Fault> {
        let bytes = self.bytes.get(..filled).unwrap_or_default();
        let parse = if self.compact { nothing::<Compact> } else { nothing::<Binary> };
        (self.exception, self.end) = parse(bytes, self.limit, self.expected)?;
        Ok(())
    }

    fn end(&self) -> usize {
        self.end
    }
}

/// Reads the reply that lies in the block's buffer (`getScannerResults`, binary protocol, sequence id 1), as a client does
/// with what comes over a connection. True when the buffer is one whole reply without an exception.
///
/// For `tests/bench` alone: through a connection the speed of the parser cannot be told from that of the gateway.
#[doc(hidden)]
pub fn parse_page(block: &mut CellBlock) -> bool {
    let filled = block.bytes().len();
    let expected = Expected { method: "getScannerResults", sequence: 1 };
    let mut reply = ScanReply::<Binary>::new(expected, filled, false);
    let parsed = reply.advance(block, filled).is_ok() && reply.end() == filled;
    parsed && reply.finish().exception.is_none()
}

/// One attempt at a page over a connection to a Thrift2 gateway. Returns the bytes of the reply.
pub(super) fn page_over(
    connection: &mut Connection,
    request: &PageRequest<'_>,
    timeout: Duration,
    block: &mut CellBlock,
) -> Result<usize, ClusterError> {
    let gateway = connection.gateway.clone();
    let call = Call { gateway: &gateway, method: "getScannerResults", table: request.table };
    let read = if connection.transport.compact { read_page::<Compact> } else { read_page::<Binary> };
    let limit = connection.max_reply();
    let (outcome, bytes) = read(connection, &call, timeout, limit, request, block)?;
    if let Some(exception) = outcome.exception {
        return Err(exception.into_error(&call));
    }
    if request.raw && outcome.untyped {
        block.clear();
        return Err(ClusterError::Untyped { gateway: gateway.to_string() });
    }
    check_whole(request, &outcome, block)?;
    Ok(bytes)
}

/// Asks for a page and parses it into the block. Returns what the reply said and its bytes.
fn read_page<P: Protocol>(
    connection: &mut Connection,
    call: &Call<'_>,
    timeout: Duration,
    limit: usize,
    request: &PageRequest<'_>,
    block: &mut CellBlock,
) -> Result<(ScanOutcome, usize), ClusterError> {
    let join = request.pieces.is_some();
    // The last of joined rows may lack cells that are still to come.
    let most = if join { usize::MAX } else { request.most_bytes };
    let (sink, bytes) = connection.exchange(
        call,
        timeout,
        |writer| page(writer, request),
        |expected| PageSink { block, reply: ScanReply::<P>::new(expected, limit, join), most },
    )?;
    Ok((sink.reply.finish(), bytes))
}

/// A row that was cut must have come to its end.
fn check_whole(request: &PageRequest<'_>, outcome: &ScanOutcome, block: &mut CellBlock) -> Result<(), ClusterError> {
    let cut = request.pieces.is_some_and(|pieces| outcome.results >= pieces.count as usize);
    if !cut && (request.pieces.is_some() || !outcome.last_partial) {
        return Ok(());
    }
    // Rows before the cut one are whole and a good page by themselves.
    let last = block.row_count().saturating_sub(1);
    if last > 0 {
        block.truncate_rows(last);
        return Ok(());
    }
    let (row, cells) = block.row(0).map_or_else(Default::default, |row| (hex(row.key), row.cells.len()));
    Err(ClusterError::RowTooWide { table: request.table.to_owned(), row, cells })
}
