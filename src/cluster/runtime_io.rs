//! A wire lent to a client of a Thrift runtime, which reads and writes by itself: one message each way.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Write};

use crate::cluster::transport::Framing;
use crate::cluster::wire::{FRAME_HEADER, Wire};

/// Buffer for what is read.
const BUFFER: usize = 64 << 10;

/// What was seen while the wire was lent; the runtimes turn errors into text.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Bytes of the request.
    pub sent: Cell<usize>,
    /// Bytes of the reply so far.
    pub taken: Cell<usize>,
    /// Bytes that came and were not asked for.
    pub behind: Cell<usize>,
    /// Why reading or writing failed.
    pub fault: Cell<Option<io::ErrorKind>>,
}

impl Wire {
    /// Lends the wire for one message each way. `out` collects the request.
    pub fn lend<'a>(&'a self, out: &'a mut Vec<u8>, seen: &'a Seen) -> (MessageReader<'a>, MessageWriter<'a>) {
        out.clear();
        out.extend_from_slice(&[0; FRAME_HEADER]);
        let stream = BufReader::with_capacity(BUFFER, self);
        (MessageReader { stream, left: 0, seen }, MessageWriter { wire: self, out, seen })
    }
}

/// Collects a request and sends it at the flush that ends it.
pub(crate) struct MessageWriter<'a> {
    wire: &'a Wire,
    out: &'a mut Vec<u8>,
    seen: &'a Seen,
}

impl Write for MessageWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.seen.sent.set(self.out.len());
        let written = self.wire.send(self.out);
        self.out.truncate(FRAME_HEADER);
        written.inspect_err(|error| self.seen.fault.set(Some(error.kind())))
    }
}

/// Reads one reply up to the limit.
pub(crate) struct MessageReader<'a> {
    stream: BufReader<&'a Wire>,
    /// Bytes left of the frame.
    left: usize,
    seen: &'a Seen,
}

impl MessageReader<'_> {
    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.seen.taken.get() > self.stream.get_ref().max_reply {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = self.read_piece(buffer)?;
        self.seen.taken.set(self.seen.taken.get() + count);
        self.seen.behind.set(self.stream.buffer().len().max(self.left));
        Ok(count)
    }

    fn read_piece(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stream.get_ref().framing() == Framing::Unframed {
            return self.stream.read(buffer);
        }
        if self.left == 0 {
            let mut head = [0; FRAME_HEADER];
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
                self.seen.fault.set(Some(io::ErrorKind::UnexpectedEof));
                Ok(0)
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.seen.fault.set(Some(error.kind()));
                Err(error)
            }
            other => other,
        }
    }
}
