//! Thrift's strict binary protocol, written and skipped by hand and apart from the library's, so that what is measured
//! is not measured against itself.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::mix::{FAMILY, Row};

const STOP: u8 = 0;
const BOOL: u8 = 2;
const I8: u8 = 3;
const DOUBLE: u8 = 4;
const I16: u8 = 6;
const I32: u8 = 8;
const I64: u8 = 10;
const BINARY: u8 = 11;
const STRUCT: u8 = 12;
const LIST: u8 = 15;

/// The method that reads a page.
const SCAN: &str = "getScannerResults";
/// The method that writes a batch.
const PUT: &str = "putMultiple";
/// `TDurability.ASYNC_WAL`, which a restore uses as well.
const ASYNC_WAL: i32 = 2;

fn head(out: &mut Vec<u8>, kind: u8, id: i16) {
    out.push(kind);
    out.extend(id.to_be_bytes());
}

fn binary(out: &mut Vec<u8>, id: i16, bytes: &[u8]) {
    head(out, BINARY, id);
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn int(out: &mut Vec<u8>, id: i16, value: i32) {
    head(out, I32, id);
    out.extend(value.to_be_bytes());
}

fn list(out: &mut Vec<u8>, id: i16, count: u32) {
    head(out, LIST, id);
    out.push(STRUCT);
    out.extend(count.to_be_bytes());
}

/// A message of kind 1 (call) or 2 (reply), with sequence id 1.
fn message(out: &mut Vec<u8>, kind: u32, method: &str) {
    out.extend((0x8001_0000 | kind).to_be_bytes());
    out.extend((method.len() as u32).to_be_bytes());
    out.extend_from_slice(method.as_bytes());
    out.extend(1_u32.to_be_bytes());
}

/// The reply that a gateway gives to `getScannerResults`, in the making.
#[derive(Debug, Default)]
pub struct PageReply {
    body: Vec<u8>,
    rows: u32,
}

impl PageReply {
    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Adds a `TResult`.
    pub fn push(&mut self, row: &Row) {
        let out = &mut self.body;
        binary(out, 1, &row.key);
        list(out, 2, row.len() as u32);
        for (qualifier, value, written) in row.cells() {
            binary(out, 1, FAMILY);
            binary(out, 2, qualifier);
            binary(out, 3, value);
            head(out, I64, 4);
            out.extend(written.to_be_bytes());
            head(out, I8, 6);
            out.extend([4, STOP]);
        }
        // `stale` and `partial`.
        for id in [3, 4] {
            head(out, BOOL, id);
            out.push(0);
        }
        out.push(STOP);
        self.rows += 1;
    }

    /// The whole message; nothing is left.
    pub fn take(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 64);
        message(&mut out, 2, SCAN);
        list(&mut out, 0, std::mem::take(&mut self.rows));
        out.append(&mut self.body);
        out.push(STOP);
        out
    }
}

/// The arguments of `putMultiple`, in the making.
#[derive(Debug, Default)]
pub struct PutBatch {
    body: Vec<u8>,
    rows: u32,
    key: Vec<u8>,
    /// Where the number of the last row's cells is to be written, and the number.
    count: Option<(usize, u32)>,
}

impl PutBatch {
    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Rows so far.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Adds a cell; neighbours with one row key share a `TPut`.
    pub fn push(&mut self, key: &[u8], family: &[u8], qualifier: &[u8], written: i64, value: &[u8]) {
        if self.count.is_none() || self.key != key {
            self.close_row();
            self.key = key.to_vec();
            self.rows += 1;
            binary(&mut self.body, 1, key);
            list(&mut self.body, 2, 0);
            self.count = Some((self.body.len() - 4, 0));
        }
        let out = &mut self.body;
        binary(out, 1, family);
        binary(out, 2, qualifier);
        binary(out, 3, value);
        head(out, I64, 4);
        out.extend(written.to_be_bytes());
        out.push(STOP);
        if let Some((_, cells)) = &mut self.count {
            *cells += 1;
        }
    }

    fn close_row(&mut self) {
        if let Some((at, cells)) = self.count.take() {
            self.body[at..at + 4].copy_from_slice(&cells.to_be_bytes());
            int(&mut self.body, 6, ASYNC_WAL);
            self.body.push(STOP);
        }
    }

    /// The whole message for a table; nothing is left.
    pub fn take(&mut self, table: &str) -> Vec<u8> {
        self.close_row();
        let mut out = Vec::with_capacity(self.body.len() + 64);
        message(&mut out, 1, PUT);
        binary(&mut out, 1, table.as_bytes());
        list(&mut out, 2, std::mem::take(&mut self.rows));
        out.append(&mut self.body);
        out.push(STOP);
        out
    }
}

/// What a page that was skipped through held.
#[derive(Debug, Default)]
pub struct Skipped {
    /// Rows.
    pub rows: u64,
    /// Cells.
    pub cells: u64,
    /// Bytes of the reply.
    pub bytes: u64,
    /// The last row's key.
    pub last: Vec<u8>,
}

/// A connection to an unframed binary gateway.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    taken: u64,
}

impl Wire {
    /// Connects.
    pub fn open(address: &str) -> Wire {
        let stream = TcpStream::connect(address).expect("the gateway takes a connection");
        stream.set_nodelay(true).expect("a socket option");
        Wire { stream, buffer: vec![0; 256 << 10], at: 0, filled: 0, taken: 0 }
    }

    /// Sends a message of [`PutBatch`] and reads the answer.
    pub fn put(&mut self, message: &[u8]) {
        self.stream.write_all(message).expect("the gateway reads");
        self.answer(PUT);
        let field = self.byte();
        assert_eq!(field, STOP, "the gateway refused a batch");
    }

    /// Reads a page of the table and keeps nothing but the last key.
    pub fn page(&mut self, table: &str, start: &[u8], stop: &[u8], rows: u32) -> Skipped {
        let mut out = Vec::new();
        message(&mut out, 1, SCAN);
        binary(&mut out, 1, table.as_bytes());
        head(&mut out, STRUCT, 2);
        if !start.is_empty() {
            binary(&mut out, 1, start);
        }
        if !stop.is_empty() {
            binary(&mut out, 2, stop);
        }
        int(&mut out, 4, rows as i32);
        int(&mut out, 5, 1);
        head(&mut out, BOOL, 12);
        out.push(0);
        int(&mut out, 15, rows as i32);
        out.push(STOP);
        int(&mut out, 3, rows as i32);
        out.push(STOP);
        self.stream.write_all(&out).expect("the gateway reads");
        let begin = self.taken;
        self.answer(SCAN);
        let mut page = Skipped::default();
        assert_eq!((self.byte(), self.number::<2>()), (LIST, 0), "the gateway refused a page");
        self.skip(1);
        let results = self.number::<4>();
        for _ in 0..results {
            self.result(&mut page);
        }
        assert_eq!(self.byte(), STOP, "something follows the results");
        page.bytes = self.taken - begin;
        page
    }

    fn answer(&mut self, method: &str) {
        assert_eq!(self.number::<4>(), 0x8001_0002, "no reply to {method}");
        let name = self.number::<4>() as usize;
        self.skip(name + 4);
    }

    fn result(&mut self, page: &mut Skipped) {
        page.rows += 1;
        loop {
            let kind = self.byte();
            if kind == STOP {
                return;
            }
            match (kind, self.number::<2>()) {
                (BINARY, 1) => {
                    let len = self.number::<4>() as usize;
                    self.need(len);
                    page.last.clear();
                    page.last.extend_from_slice(&self.buffer[self.at..self.at + len]);
                    self.skip(len);
                }
                (LIST, 2) => {
                    self.skip(1);
                    let cells = self.number::<4>();
                    page.cells += u64::from(cells);
                    (0..cells).for_each(|_| self.skip_struct());
                }
                _ => self.skip_value(kind),
            }
        }
    }

    fn skip_struct(&mut self) {
        loop {
            let kind = self.byte();
            if kind == STOP {
                return;
            }
            self.skip(2);
            self.skip_value(kind);
        }
    }

    #[inline]
    fn skip_value(&mut self, kind: u8) {
        match kind {
            BOOL | I8 => self.skip(1),
            I16 => self.skip(2),
            I32 => self.skip(4),
            I64 | DOUBLE => self.skip(8),
            BINARY => {
                let len = self.number::<4>() as usize;
                self.skip(len);
            }
            STRUCT => self.skip_struct(),
            _ => panic!("a value of type {kind} in a reply"),
        }
    }

    #[inline]
    fn byte(&mut self) -> u8 {
        self.number::<1>() as u8
    }

    #[inline]
    fn number<const N: usize>(&mut self) -> u32 {
        self.need(N);
        let number = self.buffer[self.at..self.at + N].iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        self.at += N;
        self.taken += N as u64;
        number
    }

    #[inline]
    fn skip(&mut self, mut count: usize) {
        self.taken += count as u64;
        while count > self.filled - self.at {
            count -= self.filled - self.at;
            self.at = self.filled;
            self.need(1);
        }
        self.at += count;
    }

    /// Makes `count` bytes stand in the buffer.
    #[inline]
    fn need(&mut self, count: usize) {
        if self.filled - self.at < count {
            self.fill(count);
        }
    }

    #[cold]
    fn fill(&mut self, count: usize) {
        self.buffer.copy_within(self.at..self.filled, 0);
        self.filled -= self.at;
        self.at = 0;
        while self.filled < count {
            let read = self.stream.read(&mut self.buffer[self.filled..]).expect("the gateway answers");
            assert!(read > 0, "the gateway closed the connection");
            self.filled += read;
        }
    }
}
