//! Where a gateway is.

use std::fmt;
use std::str::FromStr;

use crate::cluster::{Api, ClusterError};

/// Host and port of one gateway, and the service when it is forced by a `thrift1://` or `thrift2://` prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GatewayAddress {
    /// Host name or address; IPv6 addresses without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The service to speak; `None` asks the gateway.
    pub api: Option<Api>,
}

impl GatewayAddress {
    /// Reads `HOST:PORT`, `thrift1://HOST:PORT` or `thrift2://HOST:PORT`.
    ///
    /// # Errors
    /// [`ClusterError::BadAddress`] when the text has another shape or the port is not 1..=65535,
    /// [`ClusterError::HttpAddress`] for a URL of HTTP.
    pub fn parse(text: &str) -> Result<Self, ClusterError> {
        let bad = || ClusterError::BadAddress { text: text.to_owned() };
        let (api, rest) = match text.split_once("://") {
            Some(("thrift1", rest)) => (Some(Api::Thrift1), rest),
            Some(("thrift2", rest)) => (Some(Api::Thrift2), rest),
            Some(("http" | "https", _)) => return Err(ClusterError::HttpAddress { text: text.to_owned() }),
            Some(_) => return Err(bad()),
            None => (None, text),
        };
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let port: u16 = port.parse().ok().filter(|p| *p > 0).ok_or_else(bad)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let ambiguous = bare == host && host.contains(':');
        let odd = |c: char| c.is_whitespace() || matches!(c, '/' | '@' | '[' | ']');
        if bare.is_empty() || ambiguous || bare.contains(odd) {
            return Err(bad());
        }
        Ok(Self { host: bare.to_owned(), port, api })
    }
}

impl FromStr for GatewayAddress {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        Self::parse(text)
    }
}

impl fmt::Display for GatewayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        let plain = GatewayAddress::parse("gw.example:9090").unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.api), ("gw.example", 9090, None));
        assert_eq!(GatewayAddress::parse("thrift1://h:1").unwrap().api, Some(Api::Thrift1));
        assert_eq!(GatewayAddress::parse("thrift2://h:1").unwrap().api, Some(Api::Thrift2));
        let six = GatewayAddress::parse("[::1]:9090").unwrap();
        assert_eq!(six.host, "::1");
        assert_eq!(six.to_string(), "[::1]:9090");
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["http://h:9090", "https://h:9090/hbase"] {
            assert!(matches!(GatewayAddress::parse(text), Err(ClusterError::HttpAddress { .. })), "{text}");
        }
        for text in ["", "h", "h:", ":1", "h:0", "h:65536", "http://h:1", "h:1/x", "::1:9090", "[]:1", "a b:1"] {
            assert!(GatewayAddress::parse(text).is_err(), "{text}");
        }
    }
}
