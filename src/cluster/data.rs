//! The calls that move cells: pages of scans, batches of puts and deletes.

use std::time::{Duration, Instant};

use crate::cluster::error::{Call, UNKNOWN_METHOD};
use crate::cluster::exchange::{NothingSink, PageStats, page_over};
use crate::cluster::reply::simple::Exception;
use crate::cluster::request::{Writer, deletes, puts};
use crate::cluster::{Api, Client, ClusterError, Durability, PageRequest, Pieces, Transport, thrift1};
use crate::model::{CellBlock, Retry, kind};

/// Failures with a single row after which the row itself is thought to be the cause.
const SUSPICIOUS: u32 = 2;
/// For the answer to a probe: rows that HBase does not answer for are probed many times.
const PROBE: Duration = Duration::from_secs(60);
/// How a row that could not be read at one go is cut: ten million cells at most.
const RESCUE: Pieces = Pieces { cells: 10_000, count: 1_000 };

impl Client {
    /// Reads one page into `block`, replacing what was there. An empty block means that the range has no more rows.
    ///
    /// After failures that a page's size may have caused, fewer rows are asked for, and at last a single row in
    /// pieces: fewer rows are always a right answer to a stateless request.
    ///
    /// Through Thrift1 a page holds the latest version of each cell however many are asked for; a raw one is refused.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`], [`ClusterError::FamilyMissing`], [`ClusterError::RowTooWide`],
    /// [`ClusterError::NotInThrift1`], for a raw one [`ClusterError::Untyped`], and any other [`ClusterError`] of a call.
    /// The block is then empty.
    pub fn scan_page(&mut self, request: &PageRequest<'_>, block: &mut CellBlock) -> Result<PageStats, ClusterError> {
        request.check()?;
        let mut asked = *request;
        let mut alone = 0;
        let result = self.retried(|client, _| {
            loop {
                let result = client.page_once(&asked, block);
                let Err(error) = &result else { return result };
                if !may_be_size(error) {
                    return result;
                }
                let at_once = matches!(error, ClusterError::ReplyTooLong { .. } | ClusterError::Space(_));
                let single = asked.rows == 1;
                let whole_rows = asked.filter.is_none_or(|filter| filter == PageRequest::NO_VALUES);
                let may_shrink = !single || asked.pieces.is_none() && whole_rows;
                if single && asked.pieces.is_none() && whole_rows {
                    alone += 1;
                    asked.pieces = (alone >= SUSPICIOUS).then_some(RESCUE);
                }
                asked.rows = (asked.rows / 4).max(1);
                if !at_once || single {
                    return if may_shrink { result.map_err(ClusterError::of_a_part) } else { result };
                }
                client.note(error);
            }
        });
        result.inspect_err(|_| block.clear())
    }

    /// Refuses a gateway that does not distinguish delete markers from cells, as far as the first row of the table shows it.
    ///
    /// # Errors
    /// [`ClusterError::Untyped`], [`ClusterError::NotInThrift1`] and any other [`ClusterError`] of a call.
    pub fn require_types(&mut self, table: &str) -> Result<(), ClusterError> {
        let filter = Some(PageRequest::KEYS_ONLY);
        let request = PageRequest { raw: true, filter, ..PageRequest::new(table, b"", b"", 1) };
        self.scan_page(&request, &mut CellBlock::new()).map(|_| ())
    }

    /// Whether every read goes into the block cache of the region servers, as through a Thrift2 gateway before HBase 1.3.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn fills_block_cache(&mut self) -> Result<bool, ClusterError> {
        // Came with HBase 1.3, as the field did that spares the cache. Without arguments it does nothing.
        const METHOD: &str = "checkAndMutate";
        let (timeout, limit) = (self.gateways().options().call_timeout, self.gateways().options().max_reply_bytes);
        self.retried(|client, _| {
            if client.api()? == Api::Thrift1 || client.manages_tables_once()? {
                return Ok(false);
            }
            let connection = client.thrift2(METHOD)?;
            let (gateway, compact) = (connection.gateway.clone(), connection.transport.compact);
            let call = Call { gateway: &gateway, method: METHOD, table: "" };
            let sink = |expected| NothingSink::new(compact, limit, expected);
            let (sink, _) = connection.exchange(&call, timeout, |_| (), sink)?;
            Ok(matches!(sink.exception, Some(Exception::Application { kind: UNKNOWN_METHOD, .. })))
        })
    }

    /// One attempt at a page whose rows may not be readable: repeated only where the connection is to blame. Waits for
    /// the answer no longer than [`PROBE`].
    ///
    /// # Errors
    /// As [`scan_page`](Self::scan_page). The block is then empty.
    pub fn probe_page(&mut self, request: &PageRequest<'_>, block: &mut CellBlock) -> Result<PageStats, ClusterError> {
        request.check()?;
        let patient = self.page_timeout;
        self.page_timeout = patient.min(PROBE);
        // What a probe finds out ends it, failure or not.
        let result = self.retried(|client, failures| match client.page_once(request, block) {
            Err(error) if error.blames_gateway() && !matches!(error, ClusterError::TimedOut { .. }) && failures < 3 => {
                Err(error)
            }
            found => Ok(found.inspect_err(|error| client.note(error))),
        });
        self.page_timeout = patient;
        result.and_then(|found| found).inspect_err(|_| block.clear())
    }

    /// One attempt at a page.
    pub(crate) fn page_once(
        &mut self,
        request: &PageRequest<'_>,
        block: &mut CellBlock,
    ) -> Result<PageStats, ClusterError> {
        let timeout = self.page_timeout;
        let started = Instant::now();
        block.clear();
        if self.api()? == Api::Thrift1 {
            return self.page_thrift1(request, block);
        }
        let bytes = page_over(self.thrift2("scan statelessly")?, request, timeout, block)?;
        Ok(PageStats { wire_bytes: bytes as u64, elapsed: started.elapsed(), asked_rows: request.rows })
    }

    /// Writes all cells of the block with their own timestamps. The block holds puts only, every row has a cell.
    ///
    /// Through Thrift1 this takes one call per timestamp, so nearly one per cell where each point is a cell of its own:
    /// right, and slower by orders of magnitude.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`], [`ClusterError::TableDisabled`], [`ClusterError::FamilyMissing`] and any other
    /// [`ClusterError`] of a call. Any part of the batch may have been written; writing it again changes nothing.
    pub fn put_multiple(&mut self, table: &str, cells: &CellBlock, durability: Durability) -> Result<(), ClusterError> {
        let mut waiting = None;
        self.retried(|client, _| {
            let sent = match client.api()? {
                Api::Thrift2 => {
                    client.batch_once("putMultiple", table, |writer| puts(writer, table, cells, durability))
                }
                Api::Thrift1 => {
                    client.put_thrift1(table, waiting.get_or_insert_with(|| thrift1::by_timestamp(cells)), durability)
                }
            };
            sent.map_err(|error| client.look_at_table(table, error))
        })
    }

    /// Writes all delete markers of the block with their own timestamps and types. The block holds markers only.
    ///
    /// # Errors
    /// As [`put_multiple`](Self::put_multiple), [`ClusterError::NotInThrift1`], and [`ClusterError::NotBefore22`] for a
    /// marker of one version of a family.
    pub fn delete_multiple(
        &mut self,
        table: &str,
        cells: &CellBlock,
        durability: Durability,
    ) -> Result<(), ClusterError> {
        let delete = |client: &mut Self| {
            if cells.iter().any(|cell| cell.kind == kind::DELETE_FAMILY_VERSION) && !client.manages_tables_once()? {
                let gateway = client.connection()?.gateway.to_string();
                let what = "write a marker that deletes one version of a family: it would delete all older ones".into();
                return Err(ClusterError::NotBefore22 { gateway, what });
            }
            client.batch_once("deleteMultiple", table, |writer| deletes(writer, table, cells, durability))
        };
        self.retried(|client, _| delete(client).map_err(|error| client.look_at_table(table, error)))
    }

    fn batch_once(
        &mut self,
        method: &'static str,
        table: &str,
        arguments: impl Fn(&mut Writer<'_>),
    ) -> Result<(), ClusterError> {
        let (timeout, limit) = (self.gateways().options().put_timeout, self.gateways().options().max_reply_bytes);
        let connection = self.thrift2("write delete markers as they were")?;
        let gateway = connection.gateway.clone();
        let call = Call { gateway: &gateway, method, table };
        let Transport { compact, .. } = connection.transport;
        let sink = |expected| NothingSink::new(compact, limit, expected);
        let (sink, _) = connection.exchange(&call, timeout, arguments, sink)?;
        match sink.exception {
            Some(exception) => Err(exception.into_error(&call)),
            None => Ok(()),
        }
    }
}

/// Failures that too great a page may have caused: the gateway or its worker ran out of memory, or out of time.
fn may_be_size(error: &ClusterError) -> bool {
    matches!(
        error,
        ClusterError::Lost { .. }
            | ClusterError::TimedOut { .. }
            | ClusterError::ReplyTooLong { .. }
            | ClusterError::Space(_)
            | ClusterError::Refused { retry: Retry::Transient, .. }
            | ClusterError::Unreadable { retry: Retry::Transient, .. }
    )
}
