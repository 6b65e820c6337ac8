//! The compact protocol: varints, field ids as differences, booleans inside their field header.

use crate::cluster::reply::{Fault, Input, Kind, MessageKind, Protocol};
use crate::model::Span;

/// First byte of every message.
const PROTOCOL_ID: u8 = 0x82;
/// Version in the lower five bits of the second byte.
const VERSION: u8 = 1;

/// Thrift's compact protocol.
pub(crate) struct Compact;

/// `in_field`: whether a boolean's value is part of its code.
fn kind(input: &Input<'_>, code: u8, in_field: bool) -> Result<Kind, Fault> {
    Ok(match code {
        1 | 2 if !in_field => Kind::Bool,
        1 => Kind::Flag(true),
        2 => Kind::Flag(false),
        3 => Kind::I8,
        4 => Kind::I16,
        5 => Kind::I32,
        6 => Kind::I64,
        7 => Kind::Double,
        8 => Kind::Binary,
        9 | 10 => Kind::List,
        11 => Kind::Map,
        12 => Kind::Struct,
        _ => return Err(input.bad("unknown type")),
    })
}

#[inline]
fn varint(input: &mut Input<'_>) -> Result<u64, Fault> {
    let first = input.byte()?;
    if first < 0x80 {
        return Ok(u64::from(first));
    }
    let mut value = u64::from(first & 0x7f);
    for shift in (7..64).step_by(7) {
        let byte = input.byte()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(input.bad("a varint without end"))
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn length(input: &mut Input<'_>) -> Result<u64, Fault> {
    let length = varint(input)?;
    // The peer writes lengths as 32-bit numbers; a negative one shows up as a great one.
    if length > i32::MAX as u64 { Err(input.bad("a length is too great")) } else { Ok(length) }
}

impl Protocol for Compact {
    fn message(input: &mut Input<'_>) -> Result<(MessageKind, Span, i32), Fault> {
        let [id, version] = input.array()?;
        if id != PROTOCOL_ID || version & 0x1f != VERSION {
            return Err(input.bad("no message of the compact protocol"));
        }
        let kind = match version >> 5 {
            2 => MessageKind::Reply,
            3 => MessageKind::Exception,
            _ => return Err(input.bad("no reply")),
        };
        let sequence = u32::try_from(varint(input)?).map_err(|_| input.bad("a sequence id is too great"))?;
        Ok((kind, Self::binary(input)?, sequence.cast_signed()))
    }

    #[inline]
    fn field(input: &mut Input<'_>, last: i16) -> Result<Option<(Kind, i16)>, Fault> {
        let header = input.byte()?;
        if header == 0 {
            return Ok(None);
        }
        let kind = kind(input, header & 0x0f, true)?;
        let id = match header >> 4 {
            0 => Self::i16(input)?,
            delta => last.checked_add(i16::from(delta)).ok_or(input.bad("a field id is too great"))?,
        };
        Ok(Some((kind, id)))
    }

    fn list(input: &mut Input<'_>) -> Result<(Kind, usize), Fault> {
        let header = input.byte()?;
        let count = match header >> 4 {
            15 => length(input)?,
            count => u64::from(count),
        };
        let element = if count == 0 { Kind::I8 } else { kind(input, header & 0x0f, false)? };
        Ok((element, input.count(count, 1)?))
    }

    fn map(input: &mut Input<'_>) -> Result<(Kind, Kind, usize), Fault> {
        let count = length(input)?;
        if count == 0 {
            return Ok((Kind::I8, Kind::I8, 0));
        }
        let kinds = input.byte()?;
        let count = input.count(count, 2)?;
        Ok((kind(input, kinds >> 4, false)?, kind(input, kinds & 0x0f, false)?, count))
    }

    #[inline]
    fn binary(input: &mut Input<'_>) -> Result<Span, Fault> {
        let length = length(input)?;
        input.span(usize::try_from(length).map_err(|_| Fault::Space)?)
    }

    #[inline]
    fn i16(input: &mut Input<'_>) -> Result<i16, Fault> {
        i16::try_from(Self::i64(input)?).map_err(|_| input.bad("a number is too great"))
    }

    #[inline]
    fn i32(input: &mut Input<'_>) -> Result<i32, Fault> {
        i32::try_from(Self::i64(input)?).map_err(|_| input.bad("a number is too great"))
    }

    #[inline]
    fn i64(input: &mut Input<'_>) -> Result<i64, Fault> {
        varint(input).map(zigzag)
    }

    fn bool(input: &mut Input<'_>) -> Result<bool, Fault> {
        input.byte().map(|byte| byte == 1)
    }
}
