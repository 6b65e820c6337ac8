//! The strict binary protocol: big-endian, fixed width, type bytes in front of every field.

use crate::cluster::reply::protocol::WireCell;
use crate::cluster::reply::{Fault, Input, Kind, MessageKind, Protocol};
use crate::model::Span;

/// `0x8001` in the upper half of a message's first word.
const VERSION: u32 = 0x8001_0000;

/// Thrift's binary protocol.
pub(crate) struct Binary;

fn kind(input: &Input<'_>, code: u8) -> Result<Kind, Fault> {
    Ok(match code {
        2 => Kind::Bool,
        3 => Kind::I8,
        4 => Kind::Double,
        6 => Kind::I16,
        8 => Kind::I32,
        10 => Kind::I64,
        11 => Kind::Binary,
        12 => Kind::Struct,
        13 => Kind::Map,
        14 | 15 => Kind::List,
        _ => return Err(input.bad("unknown type")),
    })
}

fn length(input: &mut Input<'_>) -> Result<u64, Fault> {
    let length = i32::from_be_bytes(input.array()?);
    u64::try_from(length).map_err(|_| input.bad("a negative length"))
}

impl Protocol for Binary {
    fn message(input: &mut Input<'_>) -> Result<(MessageKind, Span, i32), Fault> {
        let word = u32::from_be_bytes(input.array()?);
        let kind = match word ^ VERSION {
            2 => MessageKind::Reply,
            3 => MessageKind::Exception,
            _ => return Err(input.bad("no reply of the binary protocol")),
        };
        Ok((kind, Self::binary(input)?, Self::i32(input)?))
    }

    #[inline]
    fn field(input: &mut Input<'_>, _last: i16) -> Result<Option<(Kind, i16)>, Fault> {
        match input.byte()? {
            0 => Ok(None),
            code => Ok(Some((kind(input, code)?, Self::i16(input)?))),
        }
    }

    fn list(input: &mut Input<'_>) -> Result<(Kind, usize), Fault> {
        let code = input.byte()?;
        let count = length(input)?;
        // An empty list may name any element type.
        let element = if count == 0 { Kind::I8 } else { kind(input, code)? };
        Ok((element, input.count(count, 1)?))
    }

    fn map(input: &mut Input<'_>) -> Result<(Kind, Kind, usize), Fault> {
        let [key, value] = input.array()?;
        let count = length(input)?;
        if count == 0 {
            return Ok((Kind::I8, Kind::I8, 0));
        }
        Ok((kind(input, key)?, kind(input, value)?, input.count(count, 2)?))
    }

    #[inline]
    fn binary(input: &mut Input<'_>) -> Result<Span, Fault> {
        let length = length(input)?;
        input.span(usize::try_from(length).map_err(|_| Fault::Space)?)
    }

    #[inline]
    fn i16(input: &mut Input<'_>) -> Result<i16, Fault> {
        input.array().map(i16::from_be_bytes)
    }

    #[inline]
    fn i32(input: &mut Input<'_>) -> Result<i32, Fault> {
        input.array().map(i32::from_be_bytes)
    }

    #[inline]
    fn i64(input: &mut Input<'_>) -> Result<i64, Fault> {
        input.array().map(i64::from_be_bytes)
    }

    fn bool(input: &mut Input<'_>) -> Result<bool, Fault> {
        input.byte().map(|byte| byte != 0)
    }

    #[inline]
    fn usual_cell(input: &mut Input<'_>) -> Option<WireCell> {
        let (bytes, base) = (input.within(), u32::try_from(input.at()).ok()?);
        let (family, at) = usual_bytes(bytes, 0, 1, base)?;
        let (qualifier, at) = usual_bytes(bytes, at, 2, base)?;
        let (value, at) = usual_bytes(bytes, at, 3, base)?;
        let (timestamp, kind, length) = match *bytes.get(at..)?.first_chunk::<16>()? {
            [10, 0, 4, a, b, c, d, e, f, g, h, 3, 0, 6, kind, 0] => ([a, b, c, d, e, f, g, h], Some(kind), 16),
            // Before HBase 2.2 cells have no type.
            [10, 0, 4, a, b, c, d, e, f, g, h, 0, ..] => ([a, b, c, d, e, f, g, h], None, 12),
            _ => return None,
        };
        input.advance(at + length);
        Some(WireCell { family, qualifier, value, timestamp: i64::from_be_bytes(timestamp), kind })
    }
}

/// A binary with this field id, and its end.
#[inline]
fn usual_bytes(bytes: &[u8], at: usize, id: u8, base: u32) -> Option<(Span, usize)> {
    // Type and id, four bytes of length, and one of what follows.
    let word = u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
    if word >> 40 != 0x0b_0000 | u64::from(id) {
        return None;
    }
    let (start, len) = (at + 7, (word >> 8) as u32);
    let end = start + len as usize;
    let span = Span { offset: base.checked_add(u32::try_from(start).ok()?)?, len };
    (end <= bytes.len()).then_some((span, end))
}
