//! A connection to a gateway at the level of messages: framing and read timeout.
//!
//! What carries the bytes ([`Socket`]) and how messages are told apart ([`Framing`]) are chosen here and nowhere else; the
//! protocol inside a message is the caller's. A message that goes out begins behind [`FRAME_HEADER`] bytes of room, so that what a
//! transport puts in front of it costs no copy.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::cluster::GatewayOptions;
use crate::cluster::reply::Fault;
use crate::cluster::slot::Slot;
use crate::cluster::transport::Framing;

/// Room in front of a message that goes out.
pub(crate) const FRAME_HEADER: usize = 4;
/// What is read at once when the length of a reply is unknown.
const PIECE: usize = 256 << 10;
/// How far the buffer of a framed reply grows ahead of the bytes that have come.
const STEP: usize = 4 << 20;

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

/// Why a reply was not received.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    /// The connection failed behind so many bytes of the reply.
    Io(io::Error, usize),
    /// Longer than is read.
    TooLong,
    /// Its frame does not fit its message.
    Frame(&'static str),
    /// It cannot be parsed.
    Parse(Fault),
}

/// What carries the bytes: a TCP connection.
#[derive(Debug)]
struct Socket(TcpStream);

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.0).flush()
    }
}

/// A way to a gateway. Nothing is known of who answers.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    framing: Framing,
    /// The longest reply that is read, in bytes.
    pub max_reply: usize,
}

impl Wire {
    /// Connects.
    pub fn open(slot: &Slot, framing: Framing, options: &GatewayOptions) -> io::Result<Self> {
        Ok(Self { socket: Socket(slot.connect(options)?), framing, max_reply: options.max_reply_bytes })
    }

    /// How messages are told apart.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The longest that a read may block.
    pub fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        self.socket.0.set_read_timeout(Some(limit))
    }

    /// Sends a message that begins behind [`FRAME_HEADER`] bytes of room.
    pub fn send(&self, message: &mut [u8]) -> io::Result<()> {
        let bytes = match self.framing {
            Framing::Unframed => message.get(FRAME_HEADER..).unwrap_or_default(),
            Framing::Framed => {
                let length = u32::try_from(message.len().saturating_sub(FRAME_HEADER)).map_err(io::Error::other)?;
                if let Some(head) = message.first_chunk_mut::<FRAME_HEADER>() {
                    *head = length.to_be_bytes();
                }
                message
            }
        };
        (&self.socket).write_all(bytes)
    }

    /// Sends bytes that are no message.
    pub fn send_raw(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.socket).write_all(bytes)
    }

    /// Reads what has come, as it is on the wire.
    pub fn read_raw(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(buffer)
    }

    /// The message in bytes as they are on the wire, as far as it is there.
    pub fn body<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match self.framing {
            Framing::Unframed => bytes,
            Framing::Framed => bytes.get(FRAME_HEADER..).unwrap_or_default(),
        }
    }

    /// Receives one reply. Returns its bytes, its frame included.
    pub fn receive(&self, sink: &mut impl Sink) -> Result<usize, ReceiveError> {
        sink.buffer().clear();
        match self.framing {
            Framing::Unframed => self.receive_stream(sink),
            Framing::Framed => self.receive_frame(sink),
        }
    }

    fn receive_frame(&self, sink: &mut impl Sink) -> Result<usize, ReceiveError> {
        let mut head = [0; FRAME_HEADER];
        (&self.socket).read_exact(&mut head).map_err(|error| ReceiveError::Io(error, 0))?;
        let length = u32::from_be_bytes(head) as usize;
        if length > self.max_reply {
            return Err(ReceiveError::TooLong);
        }
        while sink.buffer().len() < length {
            let buffer = sink.buffer();
            let from = buffer.len();
            buffer.resize(length.min(from + STEP), 0);
            let free = buffer.get_mut(from..).unwrap_or_default();
            (&self.socket).read_exact(free).map_err(|error| ReceiveError::Io(error, FRAME_HEADER))?;
            let filled = buffer.len();
            if filled < length {
                match sink.advance(filled) {
                    Err(Fault::Short) if sink.enough(filled) => return Ok(filled),
                    Err(Fault::Short) => {}
                    Ok(()) => return Err(ReceiveError::Frame("a frame longer than its message")),
                    Err(fault) => return Err(ReceiveError::Parse(fault)),
                }
            }
        }
        match sink.advance(length) {
            Ok(()) if sink.end() == length => Ok(length + FRAME_HEADER),
            Ok(()) => Err(ReceiveError::Frame("a frame longer than its message")),
            Err(Fault::Short) => Err(ReceiveError::Frame("a frame shorter than its message")),
            Err(fault) => Err(ReceiveError::Parse(fault)),
        }
    }

    fn receive_stream(&self, sink: &mut impl Sink) -> Result<usize, ReceiveError> {
        let mut filled = 0;
        loop {
            let buffer = sink.buffer();
            if buffer.len() - filled < PIECE / 4 {
                buffer.resize(filled + PIECE.max(filled / 4), 0);
            }
            let count = match (&self.socket).read(buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => return Err(ReceiveError::Io(io::ErrorKind::UnexpectedEof.into(), filled)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReceiveError::Io(error, filled)),
            };
            filled += count;
            if filled > self.max_reply {
                return Err(ReceiveError::TooLong);
            }
            match sink.advance(filled) {
                Ok(()) if sink.end() == filled => {
                    sink.buffer().truncate(filled);
                    return Ok(filled);
                }
                Ok(()) => return Err(ReceiveError::Frame("bytes behind the message")),
                Err(Fault::Short) if sink.enough(filled) => {
                    sink.buffer().truncate(filled);
                    return Ok(filled);
                }
                Err(Fault::Short) => {}
                Err(fault) => return Err(ReceiveError::Parse(fault)),
            }
        }
    }
}

impl Read for &Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_raw(buffer)
    }
}
