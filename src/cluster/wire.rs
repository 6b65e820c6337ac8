//! The way to a gateway: messages out and in, cut as its transport cuts them, and how long its silence is borne.
//!
//! What carries the bytes ([`Socket`]) and how messages are told apart ([`Framing`]) are chosen here and nowhere else; the
//! protocol inside a message is the caller's. A message that goes out begins behind [`HEAD`] bytes of room, so that what a
//! transport puts in front of it costs no copy.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::cluster::GatewayOptions;
use crate::cluster::reply::Fault;
use crate::cluster::slot::Slot;
use crate::cluster::transport::Framing;

/// Room in front of a message that goes out.
pub(crate) const HEAD: usize = 4;
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
pub(crate) enum Broken {
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
    pub most: usize,
}

impl Wire {
    /// Connects.
    pub fn open(slot: &Slot, framing: Framing, options: &GatewayOptions) -> io::Result<Self> {
        Ok(Self { socket: Socket(slot.connect(options)?), framing, most: options.max_reply_bytes })
    }

    /// How messages are told apart.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// How long a read waits while nothing comes.
    pub fn bear_silence(&self, limit: Duration) -> io::Result<()> {
        self.socket.0.set_read_timeout(Some(limit))
    }

    /// Sends a message that begins behind [`HEAD`] bytes of room.
    pub fn send(&self, message: &mut [u8]) -> io::Result<()> {
        let bytes = match self.framing {
            Framing::Unframed => message.get(HEAD..).unwrap_or_default(),
            Framing::Framed => {
                let length = u32::try_from(message.len().saturating_sub(HEAD)).map_err(io::Error::other)?;
                if let Some(head) = message.first_chunk_mut::<HEAD>() {
                    *head = length.to_be_bytes();
                }
                message
            }
        };
        (&self.socket).write_all(bytes)
    }

    /// Sends bytes that are no message.
    pub fn send_bare(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.socket).write_all(bytes)
    }

    /// Reads what has come, as it is on the wire.
    pub fn read_bare(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(buffer)
    }

    /// The message in bytes as they are on the wire, as far as it is there.
    pub fn body<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match self.framing {
            Framing::Unframed => bytes,
            Framing::Framed => bytes.get(HEAD..).unwrap_or_default(),
        }
    }

    /// Receives one reply. Returns its bytes, its frame included.
    pub fn receive(&self, sink: &mut impl Sink) -> Result<usize, Broken> {
        sink.buffer().clear();
        match self.framing {
            Framing::Unframed => self.receive_stream(sink),
            Framing::Framed => self.receive_frame(sink),
        }
    }

    fn receive_frame(&self, sink: &mut impl Sink) -> Result<usize, Broken> {
        let mut head = [0; HEAD];
        (&self.socket).read_exact(&mut head).map_err(|error| Broken::Io(error, 0))?;
        let length = u32::from_be_bytes(head) as usize;
        if length > self.most {
            return Err(Broken::TooLong);
        }
        while sink.buffer().len() < length {
            let buffer = sink.buffer();
            let from = buffer.len();
            buffer.resize(length.min(from + STEP), 0);
            let free = buffer.get_mut(from..).unwrap_or_default();
            (&self.socket).read_exact(free).map_err(|error| Broken::Io(error, HEAD))?;
            let filled = buffer.len();
            if filled < length {
                match sink.advance(filled) {
                    Err(Fault::Short) if sink.enough(filled) => return Ok(filled),
                    Err(Fault::Short) => {}
                    Ok(()) => return Err(Broken::Frame("a frame longer than its message")),
                    Err(fault) => return Err(Broken::Parse(fault)),
                }
            }
        }
        match sink.advance(length) {
            Ok(()) if sink.end() == length => Ok(length + HEAD),
            Ok(()) => Err(Broken::Frame("a frame longer than its message")),
            Err(Fault::Short) => Err(Broken::Frame("a frame shorter than its message")),
            Err(fault) => Err(Broken::Parse(fault)),
        }
    }

    fn receive_stream(&self, sink: &mut impl Sink) -> Result<usize, Broken> {
        let mut filled = 0;
        loop {
            let buffer = sink.buffer();
            if buffer.len() - filled < PIECE / 4 {
                buffer.resize(filled + PIECE.max(filled / 4), 0);
            }
            let count = match (&self.socket).read(buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => return Err(Broken::Io(io::ErrorKind::UnexpectedEof.into(), filled)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Broken::Io(error, filled)),
            };
            filled += count;
            if filled > self.most {
                return Err(Broken::TooLong);
            }
            match sink.advance(filled) {
                Ok(()) if sink.end() == filled => {
                    sink.buffer().truncate(filled);
                    return Ok(filled);
                }
                Ok(()) => return Err(Broken::Frame("bytes behind the message")),
                Err(Fault::Short) if sink.enough(filled) => {
                    sink.buffer().truncate(filled);
                    return Ok(filled);
                }
                Err(Fault::Short) => {}
                Err(fault) => return Err(Broken::Parse(fault)),
            }
        }
    }
}

impl Read for &Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_bare(buffer)
    }
}
