//! What a gateway speaks.

use std::fmt;

/// The two Thrift services of HBase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// Service `Hbase`: latest versions only, one timestamp per put call.
    Thrift1,
    /// Service `THBaseService`: versions, raw scans, per-cell timestamps, descriptors.
    Thrift2,
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Api::Thrift1 => "Thrift1",
            Api::Thrift2 => "Thrift2",
        })
    }
}

/// How messages are told apart on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Framing {
    /// They are not: the message itself says where it ends.
    #[default]
    Unframed,
    /// By a length in front of each.
    Framed,
}

/// How messages are put on the wire; a setting of the gateway's (`-f`, `-c` and the non-blocking server types).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Transport {
    /// How messages are told apart.
    pub framing: Framing,
    /// The compact protocol instead of the binary one.
    pub compact: bool,
}

impl Transport {
    /// The four kinds that the flags of a gateway make.
    pub const fn new(framed: bool, compact: bool) -> Self {
        Self { framing: if framed { Framing::Framed } else { Framing::Unframed }, compact }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.framing {
            Framing::Unframed => "unframed ",
            Framing::Framed => "framed ",
        })?;
        f.write_str(if self.compact { "compact" } else { "binary" })
    }
}
