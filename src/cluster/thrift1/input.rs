//! Checks lengths before the Thrift runtime believes them.
//!
//! The runtime that the generated Thrift1 client is made for allocates whatever length a reply names, and panics or
//! aborts on a negative or absurd one. Here texts and bytes grow as they come, and collections have a limit.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use thrift1_runtime::protocol::{
    TFieldIdentifier, TInputProtocol, TListIdentifier, TMapIdentifier, TMessageIdentifier, TMessageType,
    TSetIdentifier, TStructIdentifier,
};
use thrift1_runtime::{Error, ProtocolError, ProtocolErrorKind, Result};

/// Elements of one list, set or map at most: above the cells of any row that fits a reply.
const MOST_ELEMENTS: i32 = 1 << 24;
/// Bytes that are made room for before they have come.
const STEP: usize = 64 << 10;
/// First half of the first word of a message in the binary protocol.
const BINARY_VERSION: u32 = 0x8001;
/// First byte of a message in the compact protocol.
const COMPACT_ID: u8 = 0x82;
/// Version of the compact protocol, in the low five bits of the second byte.
const COMPACT_VERSION: u8 = 1;

/// A reader with two users in turn: the protocol, and the checks around it.
#[derive(Debug)]
pub(super) struct Shared<R>(Rc<RefCell<R>>);

impl<R> Shared<R> {
    /// Shares the reader.
    pub fn new(reader: R) -> Self {
        Self(Rc::new(RefCell::new(reader)))
    }
}

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<R: Read> Read for Shared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

/// A protocol whose lengths are checked.
#[derive(Debug)]
pub(super) struct Checked<P, R> {
    inner: P,
    reader: Shared<R>,
    compact: bool,
}

impl<P, R: Read> Checked<P, R> {
    /// Checks `inner`, which reads from the same reader.
    pub fn new(inner: P, reader: Shared<R>, compact: bool) -> Self {
        Self { inner, reader, compact }
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn word(&mut self) -> Result<u32> {
        let mut word = [0; 4];
        self.reader.read_exact(&mut word)?;
        Ok(u32::from_be_bytes(word))
    }

    fn varint(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad(ProtocolErrorKind::InvalidData, "a number of more than five bytes"))
    }

    fn counted(&mut self) -> Result<Vec<u8>> {
        let length = if self.compact { self.varint()? } else { self.word()? };
        if length > i32::MAX as u32 {
            return Err(bad(ProtocolErrorKind::NegativeSize, "a negative length"));
        }
        let length = length as usize;
        let mut bytes = vec![0; length.min(STEP)];
        self.reader.read_exact(&mut bytes)?;
        if length > STEP {
            let rest = (length - STEP) as u64;
            let came = (&mut self.reader).take(rest).read_to_end(&mut bytes)?;
            if (came as u64) < rest {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(bytes)
    }
}

fn bad(kind: ProtocolErrorKind, message: &str) -> Error {
    Error::Protocol(ProtocolError::new(kind, message))
}

fn size(count: i32) -> Result<()> {
    if (0..=MOST_ELEMENTS).contains(&count) {
        return Ok(());
    }
    Err(bad(ProtocolErrorKind::SizeLimit, &format!("a collection of {count} elements")))
}

macro_rules! handed_on {
    ($($method:ident -> $result:ty,)*) => {
        $(fn $method(&mut self) -> Result<$result> { self.inner.$method() })*
    };
}

impl<P: TInputProtocol, R: Read> TInputProtocol for Checked<P, R> {
    fn read_message_begin(&mut self) -> Result<TMessageIdentifier> {
        let (kind, sequence, name);
        if self.compact {
            let (id, second) = (self.byte()?, self.byte()?);
            if id != COMPACT_ID || second & 0x1f != COMPACT_VERSION {
                return Err(bad(ProtocolErrorKind::BadVersion, "no message of the compact protocol"));
            }
            (kind, sequence, name) = (second >> 5, self.varint()?.cast_signed(), self.read_string()?);
        } else {
            let first = self.word()?;
            if first >> 16 != BINARY_VERSION {
                return Err(bad(ProtocolErrorKind::BadVersion, "no message of the binary protocol"));
            }
            kind = first as u8;
            name = self.read_string()?;
            sequence = self.inner.read_i32()?;
        }
        Ok(TMessageIdentifier::new(name, TMessageType::try_from(kind)?, sequence))
    }

    fn read_bytes(&mut self) -> Result<Vec<u8>> {
        self.counted()
    }

    fn read_string(&mut self) -> Result<String> {
        // Texts are error messages; a byte that is no UTF-8 must not hide them.
        Ok(String::from_utf8_lossy(&self.counted()?).into_owned())
    }

    fn read_list_begin(&mut self) -> Result<TListIdentifier> {
        let list = self.inner.read_list_begin()?;
        size(list.size).map(|()| list)
    }

    fn read_set_begin(&mut self) -> Result<TSetIdentifier> {
        let set = self.inner.read_set_begin()?;
        size(set.size).map(|()| set)
    }

    fn read_map_begin(&mut self) -> Result<TMapIdentifier> {
        let map = self.inner.read_map_begin()?;
        size(map.size).map(|()| map)
    }

    handed_on! {
        read_message_end -> (),
        read_struct_begin -> Option<TStructIdentifier>,
        read_struct_end -> (),
        read_field_begin -> TFieldIdentifier,
        read_field_end -> (),
        read_bool -> bool,
        read_i8 -> i8,
        read_i16 -> i16,
        read_i32 -> i32,
        read_i64 -> i64,
        read_double -> f64,
        read_list_end -> (),
        read_set_end -> (),
        read_map_end -> (),
        read_byte -> u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use thrift1_runtime::protocol::{
        TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TOutputProtocol,
    };

    type Input = Box<dyn TInputProtocol>;

    fn input(compact: bool, bytes: &[u8]) -> Input {
        let reader = Shared::new(Cursor::new(bytes.to_vec()));
        if compact {
            Box::new(Checked::new(TCompactInputProtocol::new(reader.clone()), reader, true))
        } else {
            Box::new(Checked::new(TBinaryInputProtocol::new(reader.clone(), true), reader, false))
        }
    }

    fn written(compact: bool, write: impl FnOnce(&mut dyn TOutputProtocol)) -> Vec<u8> {
        let mut bytes = Vec::new();
        if compact {
            write(&mut TCompactOutputProtocol::new(&mut bytes));
        } else {
            write(&mut TBinaryOutputProtocol::new(&mut bytes, true));
        }
        bytes
    }

    #[test]
    fn reads_what_the_runtime_writes() {
        let long = vec![7; 3 * STEP + 1];
        for compact in [false, true] {
            let bytes = written(compact, |output| {
                let message = TMessageIdentifier::new("scannerGetList", TMessageType::Reply, 300);
                output.write_message_begin(&message).unwrap();
                output.write_bytes(&long).unwrap();
                output.write_bytes(b"").unwrap();
                output.write_bytes(b"a\xffb").unwrap();
                output.write_i64(-5).unwrap();
            });
            let mut input = input(compact, &bytes);
            let message = input.read_message_begin().unwrap();
            assert_eq!((message.name.as_str(), message.sequence_number), ("scannerGetList", 300));
            assert_eq!(message.message_type, TMessageType::Reply);
            assert_eq!(input.read_bytes().unwrap(), long);
            assert_eq!(input.read_bytes().unwrap(), b"");
            assert_eq!(input.read_string().unwrap(), "a\u{fffd}b");
            assert_eq!(input.read_i64().unwrap(), -5);
            assert!(input.read_byte().is_err(), "all was read");
        }
    }

    #[test]
    fn believes_no_absurd_length() {
        assert!(input(false, &[0xff; 8]).read_bytes().is_err());
        assert!(input(false, &[0x7f, 0xff, 0xff, 0xff, 1, 2]).read_bytes().is_err());
        assert!(input(true, &[0xff; 8]).read_bytes().is_err());
        assert!(input(true, &[0xff, 0xff, 0xff, 0xff, 0x07, 1]).read_bytes().is_err());
        for count in [-1, MOST_ELEMENTS + 1] {
            let [a, b, c, d] = count.to_be_bytes();
            assert!(input(false, &[12, a, b, c, d]).read_list_begin().is_err());
            assert!(input(false, &[11, 12, a, b, c, d]).read_map_begin().is_err());
        }
    }

    #[test]
    fn refuses_other_protocols() {
        assert!(input(false, b"HTTP/1.1 400 Bad").read_message_begin().is_err());
        assert!(input(true, b"HTTP/1.1 400 Bad").read_message_begin().is_err());
    }
}
