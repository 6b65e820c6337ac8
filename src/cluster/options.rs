//! Time-outs and limits of the connections to gateways.

use std::time::Duration;

use crate::cluster::{Resolver, RetryPolicy, Transport, Waits};

/// Settings shared by all connections of one [`Gateways`](crate::cluster::Gateways).
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// For the TCP connection.
    pub connect_timeout: Duration,
    /// For the first answer on a connection; a gateway without a free worker accepts and stays silent.
    pub probe_timeout: Duration,
    /// For the answer of a scan page. A killed region server delays it by the ZooKeeper session time-out (90 s by
    /// default), which the gateway sits out by itself.
    pub scan_timeout: Duration,
    /// For the answer of a put or delete batch and of DDL calls. A batch to a disabled table takes 170 s to fail.
    pub put_timeout: Duration,
    /// For every other answer.
    pub call_timeout: Duration,
    /// For writing a request.
    pub write_timeout: Duration,
    /// A connection unused for this long is opened anew: gateways close idle ones after 60 s without a word.
    pub idle_limit: Duration,
    /// How long a gateway that failed is left alone while another one is left.
    pub rest: Duration,
    /// The transport, when it should not be probed.
    pub transport: Option<Transport>,
    /// The longest reply that is read, in bytes; at most 4 GiB.
    pub max_reply_bytes: usize,
    /// Who knows the addresses of names.
    pub resolver: Resolver,
    /// How failed calls are repeated.
    pub retry: RetryPolicy,
    /// Where clients say what they wait for.
    pub waits: Waits,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            probe_timeout: Duration::from_secs(3),
            scan_timeout: Duration::from_secs(180),
            put_timeout: Duration::from_secs(300),
            call_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(60),
            idle_limit: Duration::from_secs(45),
            rest: Duration::from_secs(15),
            transport: None,
            max_reply_bytes: 1 << 30,
            resolver: Resolver::default(),
            retry: RetryPolicy::default(),
            waits: Waits::default(),
        }
    }
}
