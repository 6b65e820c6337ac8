//! HBase over its Thrift gateways. The only door to the Thrift runtime: its types stay in here.
//!
//! [`Gateways`] knows where the gateways are and what they speak, a [`Client`] is one blocking connection to one of
//! them. Every method of the client repeats itself as [`RetryPolicy`] says; the pages of a scan and the batches of
//! puts are idempotent, so repeating them is exact. The two hot messages, the reply of a scan and the request of a
//! put, are read and written by hand (`reply`, `request`); all other calls use the code in `generated`.
//!
//! A Thrift2 gateway before HBase 2.2 moves cells as a later one does and does not know the calls for tables. What these
//! would tell is then read from `hbase:meta` ([`meta_table`]), and descriptors from the text of an error ([`description`]);
//! what a gateway cannot do is [`ClusterError::NotBefore22`]. Which calls a gateway knows is asked, never inferred from a version.
//!
//! Where no gateway speaks Thrift2, one of Thrift1 serves behind the same methods (`thrift1`): latest versions only, one
//! call per timestamp when writing, no delete markers, descriptors of six attributes. What would come out wrong there
//! is refused with [`ClusterError::NotInThrift1`].

mod address;
mod canary;
mod client;
mod connection;
mod data;
mod description;
mod error;
mod exchange;
mod gateways;
mod generated;
mod greeting;
mod identity;
mod meta_table;
mod options;
mod probe;
mod regions;
mod reply;
mod request;
mod resolve;
mod retry;
mod runtime_io;
mod service;
mod slot;
mod table_calls;
mod tables;
mod thrift1;
mod throttle;
mod transport;
mod waits;
mod wire;

pub use address::GatewayAddress;
pub use canary::Canary;
pub use client::Client;
pub use description::parse_descriptions;
pub use error::ClusterError;
pub(crate) use error::hex;
pub use exchange::{PageStats, parse_page};
pub use gateways::{GatewayInfo, Gateways};
pub use identity::ClusterIdentity;
pub use options::GatewayOptions;
pub use request::{Durability, PageRequest, Pieces};
pub(crate) use request::{encoded_cell_len, encoded_row_len};
pub use resolve::Resolver;
pub use retry::RetryPolicy;
pub use transport::{Api, Framing, Transport};
pub use waits::{Wait, Waits};
