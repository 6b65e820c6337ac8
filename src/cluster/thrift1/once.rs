//! One call of a client to a Thrift1 gateway, without retry.

use std::time::Duration;

use crate::cluster::error::Call;
use crate::cluster::thrift1::calls::Generated;
use crate::cluster::{Client, ClusterError};

impl Client {
    /// One call, without retry.
    pub(super) fn once_thrift1<T>(
        &mut self,
        method: &'static str,
        table: &str,
        timeout: Duration,
        run: impl FnOnce(&mut Generated<'_>) -> thrift1_runtime::Result<T>,
    ) -> Result<T, ClusterError> {
        let connection = self.connection()?;
        let gateway = connection.gateway.clone();
        connection.call_thrift1(&Call { gateway: &gateway, method, table }, timeout, run).map(|(value, _)| value)
    }
}
