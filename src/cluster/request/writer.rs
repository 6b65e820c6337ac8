//! Writes Thrift values in either protocol.

use crate::cluster::wire::FRAME_HEADER;

/// Types of values that requests contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    I32,
    I64,
    Binary,
    Struct,
    Map,
    List,
}

impl Kind {
    fn code(self, compact: bool) -> u8 {
        match (self, compact) {
            (Kind::I32, false) => 8,
            (Kind::I64, false) => 10,
            (Kind::Binary, false) => 11,
            (Kind::Struct, false) => 12,
            (Kind::Map, false) => 13,
            (Kind::List, false) => 15,
            (Kind::I32, true) => 5,
            (Kind::I64, true) => 6,
            (Kind::Binary, true) => 8,
            (Kind::List, true) => 9,
            (Kind::Map, true) => 11,
            (Kind::Struct, true) => 12,
        }
    }
}

/// Appends values to a buffer. Structs nest by [`begin`](Self::begin) and [`end`](Self::end).
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    compact: bool,
    /// Id of the last field, for the differences of the compact protocol.
    last: i16,
    outer: Vec<i16>,
}

impl Writer<'_> {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn zigzag(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn length(&mut self, length: usize) {
        if self.compact {
            self.varint(length as u64);
        } else {
            // Requests are limited far below 2 GiB by the sizes of cells and batches.
            self.out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }

    fn header(&mut self, code: u8, id: i16) {
        if !self.compact {
            self.out.push(code);
            self.out.extend_from_slice(&id.to_be_bytes());
            return;
        }
        match u8::try_from(id - self.last) {
            Ok(delta @ 1..=15) => self.out.push(delta << 4 | code),
            _ => {
                self.out.push(code);
                self.zigzag(id.into());
            }
        }
        self.last = id;
    }

    /// Starts a struct that is not a field: a list element or the arguments.
    pub fn begin(&mut self) {
        self.outer.push(self.last);
        self.last = 0;
    }

    /// Ends a struct.
    pub fn end(&mut self) {
        self.out.push(0);
        self.last = self.outer.pop().unwrap_or(0);
    }

    /// Starts a struct that is a field.
    pub fn begin_field(&mut self, id: i16) {
        self.header(Kind::Struct.code(self.compact), id);
        self.begin();
    }

    pub fn binary(&mut self, id: i16, bytes: &[u8]) {
        self.header(Kind::Binary.code(self.compact), id);
        self.bytes(bytes);
    }

    /// A length and bytes without a field header: a map's key or value.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    pub fn i32(&mut self, id: i16, value: i32) {
        self.header(Kind::I32.code(self.compact), id);
        if self.compact { self.zigzag(value.into()) } else { self.out.extend_from_slice(&value.to_be_bytes()) }
    }

    pub fn i64(&mut self, id: i16, value: i64) {
        self.header(Kind::I64.code(self.compact), id);
        if self.compact { self.zigzag(value) } else { self.out.extend_from_slice(&value.to_be_bytes()) }
    }

    pub fn bool(&mut self, id: i16, value: bool) {
        if self.compact {
            self.header(if value { 1 } else { 2 }, id);
        } else {
            self.header(2, id);
            self.out.push(value.into());
        }
    }

    /// Starts a list; its elements follow without headers.
    pub fn list(&mut self, id: i16, element: Kind, count: usize) {
        self.header(Kind::List.code(self.compact), id);
        let code = element.code(self.compact);
        if !self.compact {
            self.out.push(code);
            self.length(count);
        } else if count < 15 {
            self.out.push((count as u8) << 4 | code);
        } else {
            self.out.push(0xf0 | code);
            self.length(count);
        }
    }

    /// A map of binaries.
    pub fn map(&mut self, id: i16, entries: &[(&[u8], &[u8])]) {
        self.header(Kind::Map.code(self.compact), id);
        let code = Kind::Binary.code(self.compact);
        if !self.compact {
            self.out.extend_from_slice(&[code, code]);
            self.length(entries.len());
        } else {
            self.length(entries.len());
            if !entries.is_empty() {
                self.out.push(code << 4 | code);
            }
        }
        for (key, value) in entries {
            self.bytes(key);
            self.bytes(value);
        }
    }
}

/// Writes a whole call into `out`, behind [`FRAME_HEADER`] bytes of room, replacing what was there.
pub(crate) fn message(
    out: &mut Vec<u8>,
    compact: bool,
    method: &str,
    sequence: i32,
    arguments: impl FnOnce(&mut Writer<'_>),
) {
    out.clear();
    out.extend_from_slice(&[0; FRAME_HEADER]);
    let mut writer = Writer { out, compact, last: 0, outer: Vec::new() };
    if compact {
        writer.out.extend_from_slice(&[0x82, 1 << 5 | 1]);
        writer.varint(sequence.cast_unsigned().into());
        writer.bytes(method.as_bytes());
    } else {
        writer.out.extend_from_slice(&0x8001_0001_u32.to_be_bytes());
        writer.bytes(method.as_bytes());
        writer.out.extend_from_slice(&sequence.to_be_bytes());
    }
    writer.begin();
    arguments(&mut writer);
    writer.end();
}
