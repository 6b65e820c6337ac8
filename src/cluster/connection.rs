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
use crate::cluster::greeting::{Opening, greet};
use crate::cluster::reply::Fault;
use crate::cluster::reply::simple::{Expected, ServerType};
use crate::cluster::request::{Writer, message};
use crate::cluster::slot::Slot;
use crate::cluster::{ClusterError, GatewayOptions, Transport};

/// What is read at once when the length of a reply is unknown.
const PIECE: usize = 256 << 10;
/// How far the buffer of a framed reply grows ahead of the bytes that have come.
const STEP: usize = 4 << 20;
/// Sequence ids go from 1 to this. Only neighbours have to differ, and the generated client counts up to each.
const SEQUENCES: i32 = 4096;
/// A framed gateway ends the connection at a request of more than 2 MiB, unless it was told to take more.
const FRAMED_LIMIT: usize = 2_000_000;
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
        let found = greet(&stream, transport, options.probe_timeout)?;
        let connection = Self {
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
        Some(bytes).filter(|bytes| self.transport.framed && *bytes > FRAMED_LIMIT)
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
        message(&mut self.out, self.transport, call.method, expected.sequence, arguments);
        let trouble = Trouble { call, timeout, oversize: self.oversize(self.out.len()) };
        self.stream.set_read_timeout(Some(timeout)).map_err(|error| trouble.sending(&error))?;
        (&self.stream).write_all(&self.out).map_err(|error| trouble.sending(&error))?;
        let mut sink = sink(expected);
        let bytes = if self.transport.framed {
            self.receive_frame(call, &mut sink, trouble)?
        } else {
            self.receive_stream(call, &mut sink, trouble)?
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
        trouble: Trouble<'_>,
    ) -> Result<usize, ClusterError> {
        let mut head = [0; 4];
        (&self.stream).read_exact(&mut head).map_err(|error| trouble.reading(&error, 0))?;
        let length = u32::from_be_bytes(head) as usize;
        if length > self.max_reply {
            return Err(self.too_long(call));
        }
        sink.buffer().clear();
        while sink.buffer().len() < length {
            let buffer = sink.buffer();
            let from = buffer.len();
            buffer.resize(length.min(from + STEP), 0);
            let free = buffer.get_mut(from..).unwrap_or_default();
            (&self.stream).read_exact(free).map_err(|error| trouble.reading(&error, head.len()))?;
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
        trouble: Trouble<'_>,
    ) -> Result<usize, ClusterError> {
        let mut filled = 0;
        sink.buffer().clear();
        loop {
            let buffer = sink.buffer();
            if buffer.len() - filled < PIECE / 4 {
                buffer.resize(filled + PIECE.max(filled / 4), 0);
            }
            let count = match (&self.stream).read(buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => return Err(trouble.reading(&io::ErrorKind::UnexpectedEof.into(), filled)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(trouble.reading(&error, filled)),
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
        let (failed, taken, sent) = (Cell::new(None), Cell::new(0), Cell::new(0));
        let unsent = |error| Trouble { call, timeout, oversize: None }.sending(&error);
        self.stream.set_read_timeout(Some(timeout)).map_err(unsent)?;
        self.out.clear();
        let framed = self.transport.framed;
        let stream = BufReader::with_capacity(BUFFER, &self.stream);
        let (most, behind) = (self.max_reply, Cell::new(0));
        let reader = MessageReader { stream, framed, left: 0, most, taken: &taken, behind: &behind, fault: &failed };
        let writer = MessageWriter { stream: &self.stream, framed, out: &mut self.out, sent: &sent, fault: &failed };
        match talk(reader, writer) {
            Ok(_) if behind.get() > 0 => Err(call.unreadable("bytes behind the message")),
            Ok(value) => {
                self.used = Instant::now();
                self.fresh = false;
                Ok((value, taken.get()))
            }
            Err(error) => Err(match failed.get() {
                Some(io::ErrorKind::FileTooLarge) => self.too_long(call),
                Some(kind) => {
                    let trouble = Trouble { call, timeout, oversize: self.oversize(sent.get()) };
                    trouble.reading(&kind.into(), taken.get())
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

/// Collects a request and sends it, framed or not, at the flush that ends it.
pub(crate) struct MessageWriter<'a> {
    stream: &'a TcpStream,
    framed: bool,
    out: &'a mut Vec<u8>,
    /// Bytes of the request.
    sent: &'a Cell<usize>,
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
        self.sent.set(self.out.len());
        let written = (&mut self.stream).write_all(self.out);
        self.out.clear();
        written.inspect_err(|error| self.fault.set(Some(error.kind())))
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
