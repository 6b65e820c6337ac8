//! What both Thrift protocols have in common: a cursor over the bytes, kinds of values, and skipping.

use crate::model::{OutOfSpace, Span};

/// Deepest nesting that is skipped; HBase's structs nest four deep.
const MAX_DEPTH: usize = 16;

/// Why parsing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The input ends before the message does.
    Short,
    /// The bytes are no such message.
    Bad {
        /// Offset of the byte where it was noticed.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The block of cells is full.
    Space,
}

impl From<OutOfSpace> for Fault {
    fn from(_: OutOfSpace) -> Self {
        Fault::Space
    }
}

/// A value's type, the same for both protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A boolean that takes a byte.
    Bool,
    /// A boolean whose value is in its field header (compact protocol).
    Flag(bool),
    I8,
    I16,
    I32,
    I64,
    Double,
    Binary,
    Struct,
    Map,
    /// Set or list: they look alike.
    List,
}

/// Types of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Reply,
    Exception,
}

/// A cursor over bytes of which more may come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Most bytes that the whole message can have; counts above it are lies.
    limit: usize,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8], at: usize, limit: usize) -> Self {
        Self { bytes, at, limit }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// What is left to read.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// What is left to read of a message that is no longer than the limit.
    #[inline]
    pub fn within(&self) -> &'a [u8] {
        self.bytes.get(self.at..self.bytes.len().min(self.limit)).unwrap_or_default()
    }

    /// Steps over bytes that were read through [`within`](Self::within).
    #[inline]
    pub fn advance(&mut self, count: usize) {
        self.at += count;
    }

    pub fn bad(&self, what: &'static str) -> Fault {
        Fault::Bad { at: self.at, what }
    }

    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.limit);
        let end = end.ok_or(self.beyond(count, "a length is too great"))?;
        let bytes = self.bytes.get(self.at..end).ok_or(Fault::Short)?;
        self.at = end;
        Ok(bytes)
    }

    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.rest().first_chunk().copied().ok_or(Fault::Short)?;
        self.at += N;
        Ok(bytes)
    }

    #[inline]
    pub fn byte(&mut self) -> Result<u8, Fault> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Steps over `len` bytes and says where they are.
    #[inline]
    pub fn span(&mut self, len: usize) -> Result<Span, Fault> {
        let offset = u32::try_from(self.at).map_err(|_| Fault::Space)?;
        let len = u32::try_from(self.take(len)?.len()).map_err(|_| Fault::Space)?;
        Ok(Span { offset, len })
    }

    /// The bytes of a span that this input handed out.
    #[inline]
    pub fn slice(&self, span: Span) -> &'a [u8] {
        let from = span.offset as usize;
        self.bytes.get(from..from + span.len as usize).unwrap_or_default()
    }

    /// A count of elements that take at least `least` bytes each.
    pub fn count(&self, count: u64, least: usize) -> Result<usize, Fault> {
        let count = usize::try_from(count).map_err(|_| self.bad("a count is too great"))?;
        let room = self.limit.saturating_sub(self.at) / least.max(1);
        if count > room { Err(self.beyond(count.saturating_mul(least), "a count is too great")) } else { Ok(count) }
    }

    /// For so many bytes more than there is room for. A message of which they may be a part is read on, until it is
    /// longer than the limit.
    fn beyond(&self, bytes: usize, what: &'static str) -> Fault {
        if bytes <= self.limit { Fault::Short } else { self.bad(what) }
    }
}

/// A cell as it lies in the reply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WireCell {
    pub family: Span,
    pub qualifier: Span,
    pub value: Span,
    pub timestamp: i64,
    /// `None` from a gateway before HBase 2.2, which does not distinguish delete markers from cells.
    pub kind: Option<u8>,
}

/// How a Thrift protocol writes values.
pub(crate) trait Protocol {
    /// Kind, span of the method name, sequence id.
    fn message(input: &mut Input<'_>) -> Result<(MessageKind, Span, i32), Fault>;
    /// The next field's kind and id, given the id before; `None` at the end of the struct.
    fn field(input: &mut Input<'_>, last: i16) -> Result<Option<(Kind, i16)>, Fault>;
    /// Element kind and count of a list or set.
    fn list(input: &mut Input<'_>) -> Result<(Kind, usize), Fault>;
    /// Key kind, value kind and count of a map.
    fn map(input: &mut Input<'_>) -> Result<(Kind, Kind, usize), Fault>;
    fn binary(input: &mut Input<'_>) -> Result<Span, Fault>;
    fn i16(input: &mut Input<'_>) -> Result<i16, Fault>;
    fn i32(input: &mut Input<'_>) -> Result<i32, Fault>;
    fn i64(input: &mut Input<'_>) -> Result<i64, Fault>;
    /// A boolean that takes a byte.
    fn bool(input: &mut Input<'_>) -> Result<bool, Fault>;

    /// A cell written the way the gateway writes it, read at one go; `None` when it looks any different.
    #[inline]
    fn usual_cell(_input: &mut Input<'_>) -> Option<WireCell> {
        None
    }

    /// Steps over a value.
    fn skip(input: &mut Input<'_>, kind: Kind, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(input.bad("nested too deeply"));
        }
        match kind {
            Kind::Flag(_) => {}
            Kind::Bool | Kind::I8 => drop(input.byte()?),
            Kind::I16 => drop(Self::i16(input)?),
            Kind::I32 => drop(Self::i32(input)?),
            Kind::I64 => drop(Self::i64(input)?),
            Kind::Double => drop(input.array::<8>()?),
            Kind::Binary => drop(Self::binary(input)?),
            Kind::Struct => {
                let mut last = 0;
                while let Some((kind, id)) = Self::field(input, last)? {
                    Self::skip(input, kind, depth + 1)?;
                    last = id;
                }
            }
            Kind::List => {
                let (element, count) = Self::list(input)?;
                for _ in 0..count {
                    Self::skip(input, element, depth + 1)?;
                }
            }
            Kind::Map => {
                let (key, value, count) = Self::map(input)?;
                for _ in 0..count {
                    Self::skip(input, key, depth + 1)?;
                    Self::skip(input, value, depth + 1)?;
                }
            }
        }
        Ok(())
    }
}
