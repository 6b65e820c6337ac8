//! Small replies, and the exceptions that every reply may carry instead of a result.

use crate::cluster::error::Call;
use crate::cluster::reply::{Binary, Compact, Fault, Input, Kind, MessageKind, Protocol};
use crate::cluster::{Api, ClusterError};

/// What a gateway sends instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exception {
    /// `TIOError`: HBase's own.
    Io { message: String, can_retry: Option<bool> },
    /// `TApplicationException`: the gateway's.
    Application { message: String, kind: i32 },
}

impl Exception {
    /// The error for the caller.
    pub fn into_error(self, call: &Call<'_>) -> ClusterError {
        match self {
            Self::Io { message, can_retry } => call.io_error(&message, can_retry),
            Self::Application { message, kind } => call.application(kind, &message),
        }
    }
}

/// What a reply must answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub method: &'static str,
    pub sequence: i32,
}

/// Reads the head of a message; an exception message is read to its end.
pub(crate) fn head<P: Protocol>(input: &mut Input<'_>, expected: Expected) -> Result<Option<Exception>, Fault> {
    let (kind, name, sequence) = P::message(input)?;
    if input.slice(name) != expected.method.as_bytes() {
        return Err(input.bad("the answer to another method"));
    }
    if sequence != expected.sequence {
        return Err(input.bad("the answer to another call"));
    }
    match kind {
        MessageKind::Reply => Ok(None),
        MessageKind::Exception => application::<P>(input).map(Some),
    }
}

fn text(input: &Input<'_>, span: crate::model::Span) -> String {
    String::from_utf8_lossy(input.slice(span)).into_owned()
}

fn application<P: Protocol>(input: &mut Input<'_>) -> Result<Exception, Fault> {
    let (mut message, mut kind, mut last) = (String::new(), 0, 0);
    while let Some((field, id)) = P::field(input, last)? {
        match (id, field) {
            (1, Kind::Binary) => {
                let span = P::binary(input)?;
                message = text(input, span);
            }
            (2, Kind::I32) => kind = P::i32(input)?,
            _ => P::skip(input, field, 0)?,
        }
        last = id;
    }
    Ok(Exception::Application { message, kind })
}

/// Reads a `TIOError`.
pub(crate) fn io_error<P: Protocol>(input: &mut Input<'_>) -> Result<Exception, Fault> {
    let (mut message, mut can_retry, mut last) = (String::new(), None, 0);
    while let Some((field, id)) = P::field(input, last)? {
        match (id, field) {
            (1, Kind::Binary) => {
                let span = P::binary(input)?;
                message = text(input, span);
            }
            (2, Kind::Bool) => can_retry = Some(P::bool(input)?),
            (2, Kind::Flag(value)) => can_retry = Some(value),
            _ => P::skip(input, field, 0)?,
        }
        last = id;
    }
    Ok(Exception::Io { message, can_retry })
}

/// Reads a reply whose result does not matter (`putMultiple`, `deleteMultiple`). Says where it ends.
pub(crate) fn nothing<P: Protocol>(
    bytes: &[u8],
    limit: usize,
    expected: Expected,
) -> Result<(Option<Exception>, usize), Fault> {
    let mut input = Input::new(bytes, 0, limit);
    let mut exception = head::<P>(&mut input, expected)?;
    if exception.is_none() {
        let mut last = 0;
        while let Some((field, id)) = P::field(&mut input, last)? {
            match (id, field) {
                (1, Kind::Struct) => exception = Some(io_error::<P>(&mut input)?),
                _ => P::skip(&mut input, field, 0)?,
            }
            last = id;
        }
    }
    Ok((exception, input.at()))
}

/// What a gateway answers to `getThriftServerType`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerType {
    Known(Api),
    /// Before HBase 2.3 there is no such method, but the transport is right.
    Unknown,
}

/// Reads the reply to `getThriftServerType`.
pub(crate) fn server_type(bytes: &[u8], compact: bool, expected: Expected) -> Result<ServerType, Fault> {
    if compact { server_type_in::<Compact>(bytes, expected) } else { server_type_in::<Binary>(bytes, expected) }
}

fn server_type_in<P: Protocol>(bytes: &[u8], expected: Expected) -> Result<ServerType, Fault> {
    // The answer has 40 bytes, an exception a line of text.
    let mut input = Input::new(bytes, 0, 64 << 10);
    if head::<P>(&mut input, expected)?.is_some() {
        return Ok(ServerType::Unknown);
    }
    let (mut found, mut last) = (ServerType::Unknown, 0);
    while let Some((field, id)) = P::field(&mut input, last)? {
        match (id, field) {
            (0, Kind::I32) => {
                found = match P::i32(&mut input)? {
                    1 => ServerType::Known(Api::Thrift1),
                    2 => ServerType::Known(Api::Thrift2),
                    _ => ServerType::Unknown,
                }
            }
            _ => P::skip(&mut input, field, 0)?,
        }
        last = id;
    }
    Ok(found)
}
