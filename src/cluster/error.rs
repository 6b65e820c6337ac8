//! What can go wrong between us and HBase, and how the texts of the gateway are read.
//!
//! The flag `canRetry` of the gateway cannot be trusted alone: it is true for a missing family and a dropped table, false
//! for a disabled table that comes back. Nor can texts: remote exceptions start with the Java class name, a missing table
//! is an error whose whole text is the name of the table. So both are looked at.

mod judgement;
mod stack;
mod texts;
mod unreadable;

use std::borrow::Cow;
use std::time::Duration;

use data_encoding::HEXLOWER;

use crate::cluster::throttle;
use crate::model::{OutOfSpace, Retry};

/// Number of the Thrift application exception of a gateway that does not know the method.
pub(crate) const UNKNOWN_METHOD: i32 = 1;

/// An error of the cluster layer. `gateway` is `HOST:PORT`, `method` the Thrift method.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Text that is no gateway address.
    #[error("{text:?} is not a gateway address; write HOST:PORT, thrift2://HOST:PORT or thrift1://HOST:PORT")]
    BadAddress {
        /// The text.
        text: String,
    },
    /// An address of Thrift over HTTP.
    #[error(
        "{text}: Thrift over HTTP is not supported; write HOST:PORT of a gateway with \
         hbase.regionserver.thrift.http = false"
    )]
    HttpAddress {
        /// The text.
        text: String,
    },
    /// No gateway was given.
    #[error("no gateway was given")]
    NoGateway,
    /// An argument that HBase would refuse with an internal error.
    #[error("{method}: {reason}")]
    BadArgument {
        /// Method it was meant for.
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No TCP connection.
    #[error("cannot connect to gateway {gateway}: {reason}; is the HBase Thrift server running there?")]
    Connect {
        /// Gateway.
        gateway: String,
        /// Error of the operating system.
        reason: String,
    },
    /// No answer in time. The connection is given up, because a late answer would be taken for that of the next call.
    #[error("gateway {gateway} did not answer {method} within {seconds} s")]
    TimedOut {
        /// Gateway.
        gateway: String,
        /// Method.
        method: &'static str,
        /// Time-out in seconds.
        seconds: u64,
    },
    /// The connection ended: gateway restarted, request too long for its frames, or no worker free.
    #[error("gateway {gateway} closed the connection during {method} ({reason})")]
    Lost {
        /// Gateway.
        gateway: String,
        /// Method.
        method: &'static str,
        /// Error of the operating system, or `end of file`.
        reason: String,
        /// The request was sent, and not a byte of the answer came. A gateway that does this again and again to the same
        /// request cannot carry it out.
        unanswered: bool,
    },
    /// The same request ended several connections without an answer.
    #[error(
        "gateway {gateway} closes the connection whenever it gets this {method} ({reason}): it cannot carry the call out; \
         its log says why"
    )]
    Rejected {
        /// Gateway.
        gateway: String,
        /// Method.
        method: &'static str,
        /// How the last connection ended.
        reason: String,
    },
    /// Bytes that are no answer to what was asked.
    #[error("gateway {gateway} sent an unreadable answer to {method}: {reason}")]
    Protocol {
        /// Gateway.
        gateway: String,
        /// Method.
        method: &'static str,
        /// What is wrong, and at which byte.
        reason: String,
    },
    /// A reply above the limit.
    #[error("gateway {gateway} answers {method} with more than {limit} bytes, the most that is read at once")]
    ReplyTooLong {
        /// Gateway.
        gateway: String,
        /// Method.
        method: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The port speaks HTTP.
    #[error(
        "{gateway} speaks HTTP, which is not supported: give the address of a gateway with \
         hbase.regionserver.thrift.http = false"
    )]
    Http {
        /// Gateway.
        gateway: String,
    },
    /// The port speaks TLS.
    #[error(
        "{gateway} speaks TLS, which is not supported: give the address of a gateway without TLS, or of a local tunnel to it \
         (stunnel, for example)"
    )]
    Tls {
        /// Gateway.
        gateway: String,
    },
    /// The port wants a SASL negotiation.
    #[error(
        "{gateway} asks for SASL (Kerberos), which is not supported: give the address of a gateway without \
         hbase.thrift.security.qop. It says: {text}"
    )]
    Sasl {
        /// Gateway.
        gateway: String,
        /// Its words.
        text: String,
    },
    /// The port accepts connections and stays silent.
    #[error(
        "{gateway} accepts connections but does not answer: it has no free worker thread \
         (hbase.thrift.maxWorkerThreads), hangs, or is not an HBase Thrift gateway"
    )]
    Silent {
        /// Gateway.
        gateway: String,
    },
    /// A gateway that answered before accepts connections and stays silent.
    #[error(
        "gateway {gateway} no longer answers new connections: it hangs or has no free worker thread \
         (hbase.thrift.maxWorkerThreads); if this persists, use fewer --connections"
    )]
    Busy {
        /// Gateway.
        gateway: String,
    },
    /// The port closes every connection whatever is said.
    #[error(
        "{gateway} closes every connection, whichever Thrift transport is tried (unframed or framed, binary or compact): it \
         is overloaded, or not an HBase Thrift gateway"
    )]
    NoTransport {
        /// Gateway.
        gateway: String,
    },
    /// The port is no gateway: it answers with something else, or reads what it is sent and hangs up.
    #[error(
        "{gateway} is not an HBase Thrift gateway: {reason}; give the address of one (hbase thrift2 start, port 9090 by default)"
    )]
    NotThrift {
        /// Gateway.
        gateway: String,
        /// How it gave itself away.
        reason: &'static str,
    },
    /// The gateway speaks another transport than the flags say.
    #[error(
        "gateway {gateway} uses the {found} transport, not {asked} as the flags say: leave out --framed, --unframed, --compact \
         and --binary, the transport is detected"
    )]
    WrongTransport {
        /// Gateway.
        gateway: String,
        /// What it speaks.
        found: crate::cluster::Transport,
        /// What it was spoken to in.
        asked: crate::cluster::Transport,
    },
    /// The gateway is of the other service than needed.
    #[error("{gateway} speaks {found}, not {needed}: give the address of a {needed} gateway")]
    WrongApi {
        /// Gateway.
        gateway: String,
        /// What it speaks.
        found: crate::cluster::Api,
        /// What is needed.
        needed: crate::cluster::Api,
    },
    /// The gateway serves another cluster than those before it.
    #[error(
        "gateway {gateway} serves cluster {found}, but {first} serves cluster {expected}: name gateways of one cluster \
         only"
    )]
    OtherCluster {
        /// Gateway.
        gateway: String,
        /// Its cluster's id.
        found: String,
        /// The gateway that was asked first.
        first: String,
        /// That one's cluster id.
        expected: String,
    },
    /// A Thrift1 gateway cannot do it.
    #[error("{gateway} speaks Thrift1, which cannot {what}; use a Thrift2 gateway (hbase thrift2 start)")]
    NotInThrift1 {
        /// Gateway.
        gateway: String,
        /// What was asked for.
        what: Cow<'static, str>,
    },
    /// A raw scan was answered with cells that have no type.
    #[error(
        "gateway {gateway} does not distinguish delete markers from cells (HBase before 2.2), so they would be taken for cells \
             with empty values; back up without --raw"
    )]
    Untyped {
        /// Gateway.
        gateway: String,
    },
    /// The gateway does not know the calls for tables, or answers them with nothing.
    #[error("{gateway} cannot {what} (HBase before 2.2)")]
    NotBefore22 {
        /// Gateway.
        gateway: String,
        /// What was asked for.
        what: Cow<'static, str>,
    },
    /// An answer without a result, as a gateway gives that cannot reach its cluster.
    #[error("gateway {gateway} answered {method} without a result: {reason}")]
    NoResult {
        /// Gateway.
        gateway: String,
        /// Method.
        method: &'static str,
        /// The client's own text.
        reason: String,
    },
    /// Tables cannot be created through a framed gateway.
    #[error(
        "{gateway} is a framed gateway: it would take whole requests for split keys and family attributes and \
             create a different table; create tables through an unframed gateway"
    )]
    FramedCreate {
        /// Gateway.
        gateway: String,
    },
    /// The table does not exist.
    #[error("table {table} does not exist")]
    TableMissing {
        /// Table.
        table: String,
    },
    /// The table exists already.
    #[error("table {table} already exists")]
    TableExists {
        /// Table.
        table: String,
    },
    /// The table is disabled.
    #[error("table {table} is disabled; enable it in the HBase shell: enable '{table}'")]
    TableDisabled {
        /// Table.
        table: String,
    },
    /// The table lacks a family.
    #[error("table {table} has no such column family: {message}")]
    FamilyMissing {
        /// Table.
        table: String,
        /// First line of the gateway's text.
        message: String,
        /// The table's descriptor, which HBase puts into the text.
        descriptor: Option<String>,
    },
    /// A text that is no output of the HBase shell's `describe`.
    #[error("line {line}: {reason}; expected the output of the HBase shell for `describe 'TABLE'`")]
    BadDescription {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The gateway's user may not do this.
    #[error("the gateway's user has no permission for {method} on {table}: {message}")]
    AccessDenied {
        /// Method.
        method: &'static str,
        /// Table.
        table: String,
        /// First line of the gateway's text.
        message: String,
    },
    /// HBase is overloaded, or throttles the gateway's user.
    #[error("HBase is overloaded or throttles its users ({method} on {table}): {message}")]
    Overloaded {
        /// Method.
        method: &'static str,
        /// Table.
        table: String,
        /// First line of the gateway's text.
        message: String,
        /// How long HBase asks to wait.
        wait: Option<Duration>,
    },
    /// A quota of space, tables or regions is used up; waiting does not help.
    #[error(
        "a quota of HBase does not allow {method} on {table}: {message}; free some space or raise the quota (set_quota in the \
         HBase shell)"
    )]
    QuotaExceeded {
        /// Method.
        method: &'static str,
        /// Table.
        table: String,
        /// First line of the gateway's text.
        message: String,
    },
    /// Any other error that HBase reports (`TIOError`).
    #[error("HBase refused {method} on {table} through {gateway}: {message}")]
    Refused {
        /// Gateway.
        gateway: String,
        /// Method.
        method: &'static str,
        /// Table.
        table: String,
        /// First line of the gateway's text.
        message: String,
        /// Whether another try may help.
        retry: Retry,
    },
    /// The gateway itself failed (`TApplicationException`).
    #[error("gateway {gateway} failed in {method} on {table}: {message} (Thrift error {kind})")]
    Application {
        /// Gateway.
        gateway: String,
        /// Method.
        method: &'static str,
        /// Table.
        table: String,
        /// Text.
        message: String,
        /// Number of the Thrift application exception: 1 unknown method, 6 internal error.
        kind: i32,
    },
    /// HBase fails at the rows themselves: a damaged file, or a cell that it cannot read.
    #[error("HBase cannot read table {table} here ({method} through {gateway}): {message}")]
    Unreadable {
        /// Gateway.
        gateway: String,
        /// Method.
        method: &'static str,
        /// Table.
        table: String,
        /// HBase's reason.
        message: String,
        /// Whether another try may help.
        retry: Retry,
    },
    /// A list of regions with a hole, an overlap or nothing.
    #[error("the regions of table {table} do not cover its keys: {reason}")]
    Regions {
        /// Table.
        table: String,
        /// What is wrong.
        reason: String,
    },
    /// A row that does not fit the limits even when it is read alone and in pieces.
    #[error("row {row} of table {table} has more than {cells} cells, the most that are read of one row")]
    RowTooWide {
        /// Table.
        table: String,
        /// Row key in hex.
        row: String,
        /// Cells that were read without reaching its end.
        cells: usize,
    },
    /// The block of cells is full.
    #[error(transparent)]
    Space(#[from] OutOfSpace),
    /// The stop flag was raised.
    #[error("interrupted")]
    Interrupted,
    /// The retry budget is used up.
    #[error("gave up after {attempts} attempts: {source}")]
    Exhausted {
        /// Attempts made.
        attempts: u32,
        /// The last error.
        source: Box<ClusterError>,
    },
}

/// Who was asked for what; names the place in every error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub gateway: &'a str,
    pub method: &'static str,
    /// Empty for calls without a table.
    pub table: &'a str,
}

impl Call<'_> {
    /// The error for bytes that cannot be understood.
    pub fn unreadable(&self, reason: impl Into<String>) -> ClusterError {
        ClusterError::Protocol { gateway: self.gateway.into(), method: self.method, reason: reason.into() }
    }

    /// The error for a `TApplicationException`, by its number. The clients make some of them themselves: of an answer to
    /// another call (2, 3, 4), and of one without a result (5).
    pub fn application(&self, kind: i32, message: &str) -> ClusterError {
        if kind == 5 {
            let (gateway, reason) = (self.gateway.into(), stack::first_line(message));
            return ClusterError::NoResult { gateway, method: self.method, reason };
        }
        if (2..=4).contains(&kind) {
            return self.unreadable(message);
        }
        ClusterError::Application {
            gateway: self.gateway.into(),
            method: self.method,
            table: self.table.into(),
            message: stack::first_line(message),
            kind,
        }
    }

    /// The error for a `TIOError`.
    pub fn io_error(&self, text: &str, can_retry: Option<bool>) -> ClusterError {
        let (table, message) = (self.table.to_owned(), stack::first_line(text));
        let has = |needle: &str| text.contains(needle);
        if text == self.table
            || has("TableNotFoundException")
            || self.is_missing_in_batch(text)
            || self.is_missing_before_2(text)
        {
            ClusterError::TableMissing { table }
        } else if has("TableExistsException") {
            ClusterError::TableExists { table }
        } else if has("NoSuchColumnFamilyException") {
            let quoted = text.lines().find_map(|line| Some(&line[line.find(" in table '")? + " in table ".len()..]));
            ClusterError::FamilyMissing { table, message, descriptor: quoted.map(str::to_owned) }
        } else if text == format!("{} is disabled.", self.table) || has("TableNotEnabledException") {
            ClusterError::TableDisabled { table }
        } else if has("AccessDeniedException") || has("AccessControlException") {
            ClusterError::AccessDenied { method: self.method, table, message }
        } else if ["RegionTooBusyException", "ThrottlingException", "CallQueueTooBigException"]
            .iter()
            .any(|class| has(class))
        {
            ClusterError::Overloaded { method: self.method, table, message, wait: throttle::wait(text) }
        } else if has("SpaceLimitingException") || has("QuotaExceededException") {
            ClusterError::QuotaExceeded { method: self.method, table, message }
        } else if let Some(retry) = stack::unreadable(text) {
            let (gateway, message) = (self.gateway.into(), stack::reason_line(text));
            ClusterError::Unreadable { gateway, method: self.method, table, message, retry }
        } else {
            let message = stack::reason_line(text);
            let retry = match can_retry {
                _ if texts::is_passing(text) => Retry::Transient,
                Some(false) => Retry::Permanent,
                _ if texts::is_permanent(text) => Retry::Permanent,
                _ => Retry::Transient,
            };
            ClusterError::Refused { gateway: self.gateway.into(), method: self.method, table, message, retry }
        }
    }

    /// HBase 1.x: `Table 'TABLE' was not found, got: OTHER.`, behind `Failed 1 action: ` for a batch.
    fn is_missing_before_2(&self, text: &str) -> bool {
        let (_, name) = self.table.split_once("default:").unwrap_or(("", self.table));
        !name.is_empty() && text.contains(&format!("Table '{name}' was not found"))
    }

    /// A batch for a missing table fails with `Failed 1 action: TABLE: 1 time, servers with issues: null`.
    fn is_missing_in_batch(&self, text: &str) -> bool {
        !self.table.is_empty()
            && text
                .strip_prefix("Failed ")
                .and_then(|rest| rest.split_once(": "))
                .is_some_and(|(_, rest)| rest.strip_prefix(self.table).is_some_and(|rest| rest.starts_with(": ")))
    }
}

/// Bytes as lower-case hex, for messages; long ones are cut.
pub(crate) fn hex(bytes: &[u8]) -> String {
    match bytes.split_at_checked(64) {
        Some((shown, rest)) if !rest.is_empty() => format!("{}... ({} bytes)", HEXLOWER.encode(shown), bytes.len()),
        _ => HEXLOWER.encode(bytes),
    }
}

#[cfg(test)]
mod tests;
