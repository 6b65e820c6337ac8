//! Which service a gateway offers that does not say so, as those before HBase 2.3.

use std::time::Duration;

use crate::cluster::connection::Connection;
use crate::cluster::error::{Call, UNKNOWN_METHOD};
use crate::cluster::exchange::NothingSink;
use crate::cluster::reply::simple::Exception;
use crate::cluster::{Api, ClusterError};

/// A call of Thrift1 alone. With an id that no scanner has it does nothing, and does not ask HBase.
const METHOD: &str = "scannerClose";

impl Connection {
    /// Asks for the service: Thrift1 knows a scanner's id to be wrong, Thrift2 does not know the method.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call, another error of the gateway included.
    pub fn ask_service(&mut self, timeout: Duration) -> Result<Api, ClusterError> {
        let gateway = self.gateway.clone();
        let call = Call { gateway: &gateway, method: METHOD, table: "" };
        let compact = self.transport.compact;
        let sink = |expected| NothingSink::new(compact, 64 << 10, expected);
        let (sink, _) = self.exchange(&call, timeout, |writer| writer.i32(1, -1), sink)?;
        // Asked before the first call, as the question for the server type is.
        self.fresh = true;
        match sink.exception {
            Some(Exception::Application { kind: UNKNOWN_METHOD, .. }) => Ok(Api::Thrift2),
            Some(exception @ Exception::Application { .. }) => Err(exception.into_error(&call)),
            Some(Exception::Io { .. }) | None => Ok(Api::Thrift1),
        }
    }
}
