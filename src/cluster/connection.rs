//! One TCP connection to one gateway: requests out, replies in, one at a time.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TInputProtocol,
    TOutputProtocol,
};
use thrift::{TConfiguration, TThriftClient};

use crate::cluster::error::Call;
use crate::cluster::generated::hbase2::{THBaseServiceSyncClient, TIOError};
use crate::cluster::reply::Fault;
use crate::cluster::reply::simple::{Expected, ServerType, server_type};
use crate::cluster::request::{Writer, message};
use crate::cluster::slot::Slot;
use crate::cluster::{ClusterError, GatewayOptions, Transport};

/// What is read at once when the length of a reply is unknown.
const PIECE: usize = 256 << 10;
/// How far the buffer of a framed reply grows ahead of the bytes that have come.
const STEP: usize = 4 << 20;
/// Sequence ids go from 1 to this. Only neighbours have to differ, and the generated client counts up to each.
const SEQUENCES: i32 = 4096;
/// Buffer for the calls of the generated client.
const BUFFER: usize = 64 << 10;

/// The generated client over either protocol.
pub(crate) type Generated<'a> = THBaseServiceSyncClient<Box<dyn TInputProtocol + 'a>, Box<dyn TOutputProtocol + 'a>>;

/// Takes the bytes of a reply.
pub(crate) trait Sink {
    /// Where the bytes go.
    fn buffer(&mut self) -> &mut Vec<u8>;
    /// Reads on, given how many bytes of the buffer are there. `Ok` means that the reply is complete.
    fn advance(&mut self, filled: usize) -> Result<(), Fault>;
    /// Where the complete reply ends.
    fn end(&self) -> usize;
    /// True when what has come is of use by itself and the rest is not wanted. The connection is of no use then.
    fn enough(&self, filled: usize) -> bool {
        let _ = filled;
        false
    }
}

/// How the first question on a connection was answered, when it was not answered well.
#[derive(Debug)]
pub(crate) enum Opening {
    /// No connection, or another final error.
    Failed(ClusterError),
    /// Closed without an answer: another transport, or no room.
    Closed,
    /// No answer at all.
    Silent,
    /// An HTTP server.
    Http,
    /// Some other bytes.
    Garbage(String),
}

/// A connection whose transport is known.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    pub gateway: Arc<str>,
    pub transport: Transport,
    pub max_reply: usize,
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
        let stream = slot.connect(options).map_err(|reason| {
            Opening::Failed(ClusterError::Connect { gateway: gateway.to_string(), reason: reason.to_string() })
        })?;
        let mut connection = Self {
            stream,
            gateway,
            transport,
            max_reply: options.max_reply_bytes,
            out: Vec::new(),
            sequence: 0,
            used: Instant::now(),
            fresh: true,
            spent: false,
        };
        let found = connection.greet(options.probe_timeout)?;
        Ok((connection, found))
    }

    /// How long nothing was said.
    pub fn idle(&self) -> Duration {
        self.used.elapsed()
    }

    fn greet(&mut self, timeout: Duration) -> Result<ServerType, Opening> {
        const METHOD: &str = "getThriftServerType";
        let expected = Expected { method: METHOD, sequence: self.next_sequence() };
        message(&mut self.out, self.transport, METHOD, expected.sequence, |_| ());
        let opening = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Opening::Silent,
            _ => Opening::Closed,
        };
        self.stream.set_read_timeout(Some(timeout)).map_err(opening)?;
        (&self.stream).write_all(&self.out).map_err(opening)?;
        let (mut reply, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let count = (&self.stream).read(&mut piece).map_err(opening)?;
            reply.extend_from_slice(piece.get(..count).unwrap_or_default());
            if reply.starts_with(b"HTTP/") {
                return Err(Opening::Http);
            }
            if count == 0 {
                return Err(if reply.is_empty() { Opening::Closed } else { garbage("an answer cut short") });
            }
            let body = reply.get(if self.transport.framed { 4 } else { 0 }..).unwrap_or_default();
            match server_type(body, self.transport.compact, expected) {
                Ok(found) => return Ok(found),
                Err(Fault::Short) if reply.len() < 64 << 10 => {}
                Err(fault) => return Err(garbage(&format!("{fault:?}"))),
            }
        }
    }

    fn next_sequence(&mut self) -> i32 {
        self.sequence = self.sequence % SEQUENCES + 1;
        self.sequence
    }

    /// One call written and read by hand. Returns the bytes of the reply.
    pub fn exchange<S: Sink>(
        &mut self,
        call: &Call<'_>,
        timeout: Duration,
        arguments: impl FnOnce(&mut Writer<'_>),
        sink: impl FnOnce(Expected) -> S,
    ) -> Result<(S, usize), ClusterError> {
        self.exchange_up_to(call, timeout, usize::MAX, arguments, sink)
    }

    /// Like [`exchange`](Self::exchange), refusing to send a request of more than `most` bytes.
    pub fn exchange_up_to<S: Sink>(
        &mut self,
        call: &Call<'_>,
        timeout: Duration,
        most: usize,
        arguments: impl FnOnce(&mut Writer<'_>),
        sink: impl FnOnce(Expected) -> S,
    ) -> Result<(S, usize), ClusterError> {
        let expected = Expected { method: call.method, sequence: self.next_sequence() };
        message(&mut self.out, self.transport, call.method, expected.sequence, arguments);
        if self.out.len() > most {
            let reason = format!(
                "a request of {} bytes; {} is a framed gateway and drops connections above {most}, use an unframed one",
                self.out.len(),
                self.gateway
            );
            return Err(ClusterError::BadArgument { method: call.method, reason });
        }
        let failed = |error: io::Error| io_fault(call, error.kind(), &error.to_string(), timeout);
        self.stream.set_read_timeout(Some(timeout)).map_err(failed)?;
        (&self.stream).write_all(&self.out).map_err(failed)?;
        let mut sink = sink(expected);
        let bytes = if self.transport.framed {
            self.receive_frame(call, &mut sink, failed)?
        } else {
            self.receive_stream(call, &mut sink, failed)?
        };
        self.used = Instant::now();
        self.fresh = false;
        let filled = sink.buffer().len();
        self.spent = sink.enough(filled);
        Ok((sink, bytes))
    }

    fn too_long(&self, call: &Call<'_>) -> ClusterError {
        ClusterError::ReplyTooLong { gateway: call.gateway.into(), method: call.method, limit: self.max_reply }
    }

    fn receive_frame(
        &self,
        call: &Call<'_>,
        sink: &mut impl Sink,
        failed: impl Fn(io::Error) -> ClusterError + Copy,
    ) -> Result<usize, ClusterError> {
        let mut head = [0; 4];
        (&self.stream).read_exact(&mut head).map_err(failed)?;
        let length = u32::from_be_bytes(head) as usize;
        if length > self.max_reply {
            return Err(self.too_long(call));
        }
        sink.buffer().clear();
        while sink.buffer().len() < length {
            let buffer = sink.buffer();
            let from = buffer.len();
            buffer.resize(length.min(from + STEP), 0);
            (&self.stream).read_exact(buffer.get_mut(from..).unwrap_or_default()).map_err(failed)?;
            let filled = buffer.len();
            if filled < length {
                match sink.advance(filled) {
                    Err(Fault::Short) if sink.enough(filled) => return Ok(filled),
                    Err(Fault::Short) => {}
                    Ok(()) => return Err(call.unreadable("a frame longer than its message")),
                    Err(fault) => return Err(unreadable(call, fault)),
                }
            }
        }
        match sink.advance(length) {
            Ok(()) if sink.end() == length => Ok(length + 4),
            Ok(()) => Err(call.unreadable("a frame longer than its message")),
            Err(Fault::Short) => Err(call.unreadable("a frame shorter than its message")),
            Err(fault) => Err(unreadable(call, fault)),
        }
    }

    fn receive_stream(
        &self,
        call: &Call<'_>,
        sink: &mut impl Sink,
        failed: impl Fn(io::Error) -> ClusterError,
    ) -> Result<usize, ClusterError> {
        let mut filled = 0;
        sink.buffer().clear();
        loop {
            let buffer = sink.buffer();
            if buffer.len() - filled < PIECE / 4 {
                buffer.resize(filled + PIECE.max(filled / 4), 0);
            }
            let count = match (&self.stream).read(buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            filled += count;
            if filled > self.max_reply {
                return Err(self.too_long(call));
            }
            match sink.advance(filled) {
                Ok(()) if sink.end() == filled => {
                    sink.buffer().truncate(filled);
                    return Ok(filled);
                }
                Ok(()) => return Err(call.unreadable("bytes behind the message")),
                Err(Fault::Short) if sink.enough(filled) => {
                    sink.buffer().truncate(filled);
                    return Ok(filled);
                }
                Err(Fault::Short) => {}
                Err(fault) => return Err(unreadable(call, fault)),
            }
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
        let (trouble, taken) = (Cell::new(None), Cell::new(0));
        let failed = |error: io::Error| io_fault(call, error.kind(), &error.to_string(), timeout);
        self.stream.set_read_timeout(Some(timeout)).map_err(failed)?;
        self.out.clear();
        let framed = self.transport.framed;
        let stream = BufReader::with_capacity(BUFFER, &self.stream);
        let (most, behind) = (self.max_reply, Cell::new(0));
        let reader = MessageReader { stream, framed, left: 0, most, taken: &taken, behind: &behind, fault: &trouble };
        let writer = MessageWriter { stream: &self.stream, framed, out: &mut self.out, fault: &trouble };
        match talk(reader, writer) {
            Ok(_) if behind.get() > 0 => Err(call.unreadable("bytes behind the message")),
            Ok(value) => {
                self.used = Instant::now();
                self.fresh = false;
                Ok((value, taken.get()))
            }
            Err(error) => Err(match trouble.get() {
                Some(io::ErrorKind::FileTooLarge) => self.too_long(call),
                Some(kind) => io_fault(call, kind, &io::Error::from(kind).to_string(), timeout),
                None => fault(call, error),
            }),
        }
    }
}

fn garbage(what: &str) -> Opening {
    Opening::Garbage(what.to_owned())
}

fn io_fault(call: &Call<'_>, kind: io::ErrorKind, reason: &str, timeout: Duration) -> ClusterError {
    let gateway = call.gateway.to_owned();
    match kind {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            ClusterError::TimedOut { gateway, method: call.method, seconds: timeout.as_secs() }
        }
        _ => ClusterError::Lost { gateway, method: call.method, reason: reason.to_owned() },
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

/// Collects a request and sends it, framed or not, at the flush that ends it.
pub(crate) struct MessageWriter<'a> {
    stream: &'a TcpStream,
    framed: bool,
    out: &'a mut Vec<u8>,
    fault: &'a Cell<Option<io::ErrorKind>>,
}

impl Write for MessageWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.framed && self.out.is_empty() {
            self.out.extend_from_slice(&[0; 4]);
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.framed {
            let length = u32::try_from(self.out.len().saturating_sub(4)).map_err(io::Error::other)?;
            if let Some(head) = self.out.first_chunk_mut::<4>() {
                *head = length.to_be_bytes();
            }
        }
        let sent = (&mut self.stream).write_all(self.out);
        self.out.clear();
        sent.inspect_err(|error| self.fault.set(Some(error.kind())))
    }
}

/// Reads one reply, framed or not, up to the limit, and remembers why reading failed, which the Thrift runtime turns
/// into text.
pub(crate) struct MessageReader<'a> {
    stream: BufReader<&'a TcpStream>,
    framed: bool,
    /// Bytes left of the frame.
    left: usize,
    /// The longest reply that is read.
    most: usize,
    /// Bytes of the reply so far.
    taken: &'a Cell<usize>,
    /// Bytes that came and were not asked for yet.
    behind: &'a Cell<usize>,
    fault: &'a Cell<Option<io::ErrorKind>>,
}

impl MessageReader<'_> {
    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken.get() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = self.read_piece(buffer)?;
        self.taken.set(self.taken.get() + count);
        self.behind.set(self.stream.buffer().len());
        Ok(count)
    }

    fn read_piece(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.framed {
            return self.stream.read(buffer);
        }
        if self.left == 0 {
            let mut head = [0; 4];
            self.stream.read_exact(&mut head)?;
            self.left = u32::from_be_bytes(head) as usize;
        }
        let ready = self.stream.fill_buf()?.len().min(self.left).min(buffer.len());
        let count = self.stream.read(buffer.get_mut(..ready).unwrap_or_default())?;
        self.left -= count;
        Ok(count)
    }
}

impl Read for MessageReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.read_on(buffer) {
            Ok(0) if !buffer.is_empty() => {
                self.fault.set(Some(io::ErrorKind::UnexpectedEof));
                Ok(0)
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.fault.set(Some(error.kind()));
                Err(error)
            }
            other => other,
        }
    }
}
