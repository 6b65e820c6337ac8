//! One connection to one gateway: calls out, answers in, one at a time.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TInputProtocol,
    TOutputProtocol,
};
use thrift::{TConfiguration, TThriftClient};

use crate::cluster::error::Call;
use crate::cluster::generated::hbase2::{THBaseServiceSyncClient, TIOError};
use crate::cluster::greeting::{Opening, greet};
use crate::cluster::reply::Fault;
use crate::cluster::reply::simple::{Expected, ServerType};
use crate::cluster::request::{Writer, message};
use crate::cluster::runtime_io::{MessageReader, MessageWriter, Seen};
use crate::cluster::slot::Slot;
use crate::cluster::transport::Framing;
use crate::cluster::wire::{ReceiveError, Sink, Wire};
use crate::cluster::{ClusterError, GatewayOptions, Transport};

/// Sequence ids go from 1 to this. Only neighbours have to differ, and the generated client counts up to each.
const SEQUENCES: i32 = 4096;
/// A framed gateway ends the connection at a request of more than 2 MiB, unless it was told to take more.
const FRAMED_LIMIT: usize = 2_000_000;

/// The generated client over either protocol.
pub(crate) type Generated<'a> = THBaseServiceSyncClient<Box<dyn TInputProtocol + 'a>, Box<dyn TOutputProtocol + 'a>>;

/// A connection whose transport is known.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire,
    pub gateway: Arc<str>,
    pub transport: Transport,
    out: Vec<u8>,
    sequence: i32,
    used: Instant,
    /// No call but the first question was answered on it yet.
    pub fresh: bool,
    /// Part of a reply was left unread.
    pub spent: bool,
}

impl Connection {
    /// Connects and asks for the server type, which proves that the transport is right and a worker is free.
    pub fn open(slot: &Slot, transport: Transport, options: &GatewayOptions) -> Result<(Self, ServerType), Opening> {
        let gateway: Arc<str> = slot.to_string().into();
        let wire = Wire::open(slot, transport.framing, options).map_err(|reason| {
            Opening::Failed(ClusterError::Connect { gateway: gateway.to_string(), reason: reason.to_string() })
        })?;
        let found = greet(&wire, transport.compact, options.probe_timeout)?;
        let connection = Self {
            wire,
            gateway,
            transport,
            out: Vec::new(),
            sequence: 0,
            used: Instant::now(),
            fresh: true,
            spent: false,
        };
        Ok((connection, found))
    }

    /// How long nothing was said.
    pub fn idle(&self) -> Duration {
        self.used.elapsed()
    }

    fn next_sequence(&mut self) -> i32 {
        self.sequence = self.sequence % SEQUENCES + 1;
        self.sequence
    }

    /// The length of a request, when it is more than a framed gateway takes that was not told otherwise.
    fn oversize(&self, bytes: usize) -> Option<usize> {
        Some(bytes).filter(|bytes| self.transport.framing == Framing::Framed && *bytes > FRAMED_LIMIT)
    }

    /// One call written and read by hand. Returns the bytes of the reply.
    pub fn exchange<S: Sink>(
        &mut self,
        call: &Call<'_>,
        timeout: Duration,
        arguments: impl FnOnce(&mut Writer<'_>),
        sink: impl FnOnce(Expected) -> S,
    ) -> Result<(S, usize), ClusterError> {
        let expected = Expected { method: call.method, sequence: self.next_sequence() };
        message(&mut self.out, self.transport.compact, call.method, expected.sequence, arguments);
        let trouble = Trouble { call, timeout, oversize: self.oversize(self.out.len()) };
        self.wire.set_read_timeout(timeout).map_err(|error| trouble.sending(&error))?;
        self.wire.send(&mut self.out).map_err(|error| trouble.sending(&error))?;
        let mut sink = sink(expected);
        let bytes = self.wire.receive(&mut sink).map_err(|broken| self.broken(broken, trouble))?;
        self.used = Instant::now();
        self.fresh = false;
        let filled = sink.buffer().len();
        self.spent = sink.enough(filled);
        Ok((sink, bytes))
    }

    /// The longest reply that is read, in bytes.
    pub fn max_reply(&self) -> usize {
        self.wire.max_reply
    }

    fn too_long(&self, call: &Call<'_>) -> ClusterError {
        ClusterError::ReplyTooLong { gateway: call.gateway.into(), method: call.method, limit: self.max_reply() }
    }

    /// The error of a reply that was not received.
    fn broken(&self, broken: ReceiveError, trouble: Trouble<'_>) -> ClusterError {
        match broken {
            ReceiveError::Io(error, bytes) => trouble.reading(&error, bytes),
            ReceiveError::TooLong => self.too_long(trouble.call),
            ReceiveError::Frame(what) => trouble.call.unreadable(what),
            ReceiveError::Parse(fault) => unreadable(trouble.call, fault),
        }
    }

    /// One call through the generated client of Thrift2.
    pub fn call<T>(
        &mut self,
        call: &Call<'_>,
        timeout: Duration,
        run: impl FnOnce(&mut Generated<'_>) -> thrift::Result<T>,
    ) -> Result<T, ClusterError> {
        let compact = self.transport.compact;
        let sequence = self.next_sequence();
        let talk = |reader: MessageReader<'_>, writer: MessageWriter<'_>| {
            let (input, output) = protocols(compact, reader, writer);
            let mut client = THBaseServiceSyncClient::new(input, output);
            // The call itself adds the last one. Were every call the first of its client, the late answer to one would be
            // taken for the answer to the next.
            (1..sequence).for_each(|_| _ = client.increment_sequence_number());
            run(&mut client)
        };
        self.lend(call, timeout, talk, thrift_error).map(|(value, _)| value)
    }

    /// Lends the connection for one message each way to a client of any Thrift runtime, whose errors `fault` reads.
    /// Returns its result and the bytes of the reply.
    pub fn lend<T, E>(
        &mut self,
        call: &Call<'_>,
        timeout: Duration,
        talk: impl FnOnce(MessageReader<'_>, MessageWriter<'_>) -> Result<T, E>,
        fault: impl FnOnce(&Call<'_>, E) -> ClusterError,
    ) -> Result<(T, usize), ClusterError> {
        let unsent = |error| Trouble { call, timeout, oversize: None }.sending(&error);
        self.wire.set_read_timeout(timeout).map_err(unsent)?;
        let seen = Seen::default();
        let (reader, writer) = self.wire.lend(&mut self.out, &seen);
        match talk(reader, writer) {
            Ok(_) if seen.behind.get() > 0 => Err(call.unreadable("bytes behind the message")),
            Ok(value) => {
                self.used = Instant::now();
                self.fresh = false;
                Ok((value, seen.taken.get()))
            }
            Err(error) => Err(match seen.fault.get() {
                Some(io::ErrorKind::FileTooLarge) => self.too_long(call),
                Some(kind) => {
                    let trouble = Trouble { call, timeout, oversize: self.oversize(seen.sent.get()) };
                    trouble.reading(&kind.into(), seen.taken.get())
                }
                None => fault(call, error),
            }),
        }
    }
}

/// A call whose request or reply did not get through.
#[derive(Clone, Copy)]
struct Trouble<'a> {
    call: &'a Call<'a>,
    timeout: Duration,
    /// The bytes of a request that may be too long for a framed gateway.
    oversize: Option<usize>,
}

impl Trouble<'_> {
    /// The error of a request that could not be sent.
    fn sending(self, error: &io::Error) -> ClusterError {
        self.error(error, self.oversize.is_some())
    }

    /// The error of a reply that broke off behind so many bytes.
    fn reading(self, error: &io::Error, bytes: usize) -> ClusterError {
        let closed = error.kind() == io::ErrorKind::UnexpectedEof || self.oversize.is_some();
        self.error(error, closed && bytes == 0)
    }

    fn error(self, error: &io::Error, unanswered: bool) -> ClusterError {
        let Call { gateway, method, .. } = *self.call;
        let gateway = gateway.to_owned();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClusterError::TimedOut { gateway, method, seconds: self.timeout.as_secs() }
            }
            _ => {
                let mut reason = error.to_string();
                if let Some(bytes) = self.oversize {
                    reason += &format!(
                        "; the request has {bytes} bytes, and a framed gateway takes 2 MiB at most unless \
                         hbase.regionserver.thrift.framed.max_frame_size_in_mb says otherwise"
                    );
                }
                ClusterError::Lost { gateway, method, reason, unanswered }
            }
        }
    }
}

fn unreadable(call: &Call<'_>, fault: Fault) -> ClusterError {
    match fault {
        Fault::Space => ClusterError::Space(crate::model::OutOfSpace),
        Fault::Bad { at, what } => call.unreadable(format!("{what} at byte {at}")),
        Fault::Short => call.unreadable("cut short"),
    }
}

fn thrift_error(call: &Call<'_>, error: thrift::Error) -> ClusterError {
    match error {
        thrift::Error::User(error) => match error.downcast::<TIOError>() {
            Ok(error) => call.io_error(error.message.as_deref().unwrap_or_default(), error.can_retry),
            Err(error) => call.unreadable(error.to_string()),
        },
        thrift::Error::Application(error) => call.application(error.kind as i32, &error.message),
        other => call.unreadable(other.to_string()),
    }
}

fn protocols<'a>(
    compact: bool,
    reader: MessageReader<'a>,
    writer: MessageWriter<'a>,
) -> (Box<dyn TInputProtocol + 'a>, Box<dyn TOutputProtocol + 'a>) {
    if compact {
        let input = TCompactInputProtocol::with_config(reader, TConfiguration::default());
        (Box::new(input), Box::new(TCompactOutputProtocol::new(writer)))
    } else {
        let input = TBinaryInputProtocol::with_config(reader, true, TConfiguration::default());
        (Box::new(input), Box::new(TBinaryOutputProtocol::new(writer, true)))
    }
}
