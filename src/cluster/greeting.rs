//! The first words on a connection: a question that every Thrift gateway answers at once, and what servers of other kinds
//! make of it.
//!
//! | behind the port | answer to the greeting | found out by |
//! |---|---|---|
//! | a gateway of another transport | none, closed at once | greeting it in the other ways |
//! | HTTP | `HTTP/1.1 400`, or a page | the greeting, whose sequence id is an empty line to a server that waits for one |
//! | SASL | an error in words, or none | its status byte, or the answer to a [`sasl_start`] |
//! | TLS | an alert, or closed at once | its record type, or the answer to a [`client_hello`] |

use std::io;
use std::time::Duration;

use crate::cluster::reply::Fault;
use crate::cluster::reply::simple::{Expected, ServerType, server_type};
use crate::cluster::request::message;
use crate::cluster::slot::Slot;
use crate::cluster::transport::Framing;
use crate::cluster::wire::Wire;
use crate::cluster::{ClusterError, GatewayOptions};

/// Asked first; gateways before HBase 2.3 answer that they do not know it, which serves as well.
pub(super) const METHOD: &str = "getThriftServerType";
/// CR LF CR LF, the end of a head of HTTP. Servers that read a whole line first answer it instead of waiting for ever.
const SEQUENCE: i32 = 0x0d0a_0d0a;
/// No answer to the greeting is longer.
const LONGEST: usize = 64 << 10;
/// For the answer to a question in another protocol than Thrift.
const ASIDE_TIMEOUT: Duration = Duration::from_secs(2);
/// The statuses of a SASL negotiation: START, OK, BAD, ERROR, COMPLETE.
const SASL_STATUS: std::ops::RangeInclusive<u8> = 1..=5;

/// How the first question on a connection was answered, when it was not answered well.
#[derive(Debug)]
pub(crate) enum Opening {
    /// No connection, or another final error.
    Failed(ClusterError),
    /// Closed without an answer: another transport, or no room.
    Closed,
    /// No answer at all.
    Silent,
    /// A server of another protocol.
    Foreign(Foreign),
    /// Some other bytes.
    Garbage(String),
}

/// A protocol that is not Thrift over plain TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// HTTP.
    Http,
    /// TLS.
    Tls,
    /// A SASL negotiation, and what the server says.
    Sasl(String),
}

impl Foreign {
    /// The error for the caller.
    pub fn into_error(self, gateway: String) -> ClusterError {
        match self {
            Self::Http => ClusterError::Http { gateway },
            Self::Tls => ClusterError::Tls { gateway },
            Self::Sasl(text) => ClusterError::Sasl { gateway, text },
        }
    }
}

/// Asks for the server type, which proves that the transport is right and a worker is free.
pub(crate) fn greet(wire: &Wire, compact: bool, timeout: Duration) -> Result<ServerType, Opening> {
    let expected = Expected { method: METHOD, sequence: SEQUENCE };
    let mut request = Vec::new();
    message(&mut request, compact, METHOD, expected.sequence, |_| ());
    wire.set_read_timeout(timeout).map_err(opening)?;
    wire.send(&mut request).map_err(opening)?;
    let (mut reply, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = wire.read_raw(&mut piece).map_err(opening)?;
        reply.extend_from_slice(piece.get(..count).unwrap_or_default());
        if let Some(foreign) = foreign(&reply, count == 0) {
            return Err(Opening::Foreign(foreign));
        }
        if count == 0 {
            let cut = || Opening::Garbage("an answer cut short".to_owned());
            return Err(if reply.is_empty() { Opening::Closed } else { cut() });
        }
        match server_type(wire.body(&reply), compact, expected) {
            Ok(found) => return Ok(found),
            Err(Fault::Short) if reply.len() < LONGEST => {}
            // The words of a SASL server are still to come.
            Err(_) if reply.len() < LONGEST && sasl_text(&reply).is_some() => {}
            Err(fault) => return Err(Opening::Garbage(format!("{fault:?}"))),
        }
    }
}

fn opening(error: io::Error) -> Opening {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Opening::Silent,
        _ => Opening::Closed,
    }
}

/// Whose answer this is, as far as its first bytes say. Answers of gateways begin with 00, 80 or 82.
fn foreign(reply: &[u8], is_all: bool) -> Option<Foreign> {
    let begins = |text: &str| reply.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text.as_bytes()));
    if begins("HTTP/") || begins("<!doctype") || begins("<html") {
        return Some(Foreign::Http);
    }
    // An alert or a handshake of any version.
    if matches!(reply, [0x15 | 0x16, 3, ..]) {
        return Some(Foreign::Tls);
    }
    let (text, length) = sasl_text(reply)?;
    (is_all || text.len() >= length).then(|| Foreign::Sasl(String::from_utf8_lossy(text).trim().to_owned()))
}

/// The text of a SASL message as far as it is there, and its whole length.
fn sasl_text(reply: &[u8]) -> Option<(&[u8], usize)> {
    let (&status, rest) = reply.split_first()?;
    let (length, text) = rest.split_first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    (SASL_STATUS.contains(&status) && length < LONGEST).then(|| (text.get(..length).unwrap_or(text), length))
}

/// Sends `question` over a new connection to a port that did not answer the greeting, and says which protocol answers.
/// Waits 2 s at most for each read; `None` also for any error.
pub(crate) fn ask_aside(slot: &Slot, options: &GatewayOptions, question: &[u8]) -> Option<Foreign> {
    let wire = Wire::open(slot, Framing::Unframed, options).ok()?;
    wire.set_read_timeout(options.probe_timeout.min(ASIDE_TIMEOUT)).ok()?;
    wire.send_raw(question).ok()?;
    let (mut reply, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = wire.read_raw(&mut piece).unwrap_or(0);
        reply.extend_from_slice(piece.get(..count).unwrap_or_default());
        let found = foreign(&reply, count == 0);
        if found.is_some() || count == 0 || reply.len() > LONGEST {
            return found;
        }
    }
}

/// Whether a port leaves a connection open on which nothing was said. A gateway without room for it, or a proxy without a
/// server behind it, closes it at once.
pub(crate) fn waits_to_be_asked(slot: &Slot, options: &GatewayOptions) -> bool {
    let Ok(wire) = Wire::open(slot, Framing::Unframed, options) else { return false };
    let timeout = options.probe_timeout.min(ASIDE_TIMEOUT);
    let read = wire.set_read_timeout(timeout).and_then(|()| wire.read_raw(&mut [0]));
    read.is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
}

/// The start of a SASL negotiation with a mechanism that no server has: each says so, in words, and to whom it matters.
pub(crate) fn sasl_start() -> Vec<u8> {
    const MECHANISM: &[u8] = b"NONE";
    [&[1][..], &(MECHANISM.len() as u32).to_be_bytes(), MECHANISM].concat()
}

/// The shortest ClientHello, of TLS 1.2 with two cipher suites: what takes it and what does not both answer it.
pub(crate) fn client_hello() -> Vec<u8> {
    // Version, 32 bytes that need not be random here, no session, two suites, no compression.
    let mut hello = vec![3, 3];
    hello.extend([0x5a; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x2f, 0, 0x2f, 1, 0]);
    let (length, record) = (hello.len() as u8, hello.len() as u8 + 4);
    [&[0x16, 3, 1, 0, record, 1, 0, 0, length][..], &hello].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_servers_are_known_by_their_first_bytes() {
        assert_eq!(foreign(b"HTTP/1.1 400 Bad Request\r\n", false), Some(Foreign::Http));
        assert_eq!(foreign(b"<!DOCTYPE HTML>", false), Some(Foreign::Http));
        assert_eq!(foreign(&[0x15, 3, 3, 0, 2, 2, 40], false), Some(Foreign::Tls));
        let sasl = b"\x04\0\0\0\x0bInvalid 128";
        assert_eq!(foreign(&sasl[..9], false), None, "the rest is to come");
        for (reply, is_all) in [(&sasl[..], false), (sasl, true)] {
            assert_eq!(foreign(reply, is_all), Some(Foreign::Sasl("Invalid 128".into())));
        }
        for gateways in [&[0, 0, 0, 40, 0x80, 1, 0, 2][..], &[0x80, 1, 0, 2], &[0x82, 0x41, 1], b"", b"SSH-2.0-OpenSSH"]
        {
            assert_eq!(foreign(gateways, true), None, "{gateways:?}");
        }
    }

    #[test]
    fn lengths_fit() {
        let hello = client_hello();
        assert_eq!((hello.len() - 5, hello.len() - 9), (usize::from(hello[4]), usize::from(hello[8])));
        assert_eq!(sasl_text(&sasl_start()), Some((&b"NONE"[..], 4)));
    }
}
