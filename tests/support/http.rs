//! As much HTTP as a TSD on loopback needs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// Status and body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200, 204, 400, …
    pub status: u16,
    /// Text behind the headers, put together when it came in chunks.
    pub body: String,
}

impl Reply {
    /// The reply itself, when the server was content.
    ///
    /// # Panics
    /// With status and body otherwise.
    pub fn ok(self) -> Reply {
        assert!((200..300).contains(&self.status), "HTTP {}: {}", self.status, self.body);
        self
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.body))
    }
}

/// Sends one request on a connection of its own. `path` may hold characters that a URL may not: they are escaped.
///
/// # Errors
/// Those of the connection, and `InvalidData` for an answer that is no HTTP.
pub fn call(address: &str, method: &str, path: &str, body: Option<&str>) -> std::io::Result<Reply> {
    call_with(address, method, path, "", body)
}

/// The same with more lines in the head, each ended by CR and LF.
///
/// # Errors
/// As [`call`].
pub fn call_with(address: &str, method: &str, path: &str, more: &str, body: Option<&str>) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let body = body.unwrap_or("");
    write!(
        stream,
        "{method} {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json; charset=UTF-8\r\n\
         Content-Length: {}\r\n{more}\r\n{body}",
        escaped(path),
        body.len()
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| {
        std::io::Error::new(std::io::ErrorKind::InvalidData, format!("{method} {path}: {} bytes, no HTTP", bytes.len()))
    })
}

fn escaped(path: &str) -> String {
    path.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'!'..=b'~' if !b"{}|\"<>\\^`".contains(&byte) => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

fn parse(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.lines().any(|line| line.to_ascii_lowercase().replace(' ', "") == "transfer-encoding:chunked");
    let rest = &bytes[end + 4..];
    let body = if chunked { joined(rest)? } else { rest.to_vec() };
    Some(Reply { status, body: String::from_utf8(body).ok()? })
}

fn joined(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.trim(), 16).ok()?;
        rest = rest.get(line + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
