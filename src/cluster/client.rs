//! A client: one connection at a time to one of several gateways, every call repeated as the retry policy says.

use std::time::Duration;

use crate::cluster::connection::{Connection, Generated};
use crate::cluster::error::Call;
use crate::cluster::{Api, ClusterError, GatewayInfo, Gateways, retry};

/// Blocking access to a cluster through its gateways. One client per thread; it connects at the first call, and anew
/// after every time-out, lost connection or unreadable answer.
#[derive(Debug)]
pub struct Client {
    gateways: Gateways,
    slot: usize,
    /// The gateway whose turn it was when the client was made.
    home: usize,
    open: Option<(Connection, GatewayInfo)>,
    /// Stays with its gateway, whatever becomes of it.
    pinned: bool,
    /// For the answer of a page.
    pub(crate) page_timeout: Duration,
}

/// Which of the time-outs a call gets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    Call,
    Put,
}

impl Client {
    pub(crate) fn new(gateways: Gateways, slot: usize) -> Self {
        let page_timeout = gateways.options().scan_timeout;
        Self { gateways, slot, home: slot, open: None, pinned: false, page_timeout }
    }

    /// A client of this gateway alone, which neither looks at nor changes what others think of it.
    pub(crate) fn pinned(gateways: Gateways, slot: usize, page_timeout: Duration) -> Self {
        Self { gateways, slot, home: slot, open: None, pinned: true, page_timeout }
    }

    /// Continues with a gateway on this host, where there is one that is not left alone, else with its own in turn. The
    /// host of a region is a good one for calls about that region: what is read goes over one wire less.
    pub fn go_near(&mut self, host: &str) {
        let near = self.gateways.near(host);
        let fit: Vec<usize> = near.iter().copied().filter(|slot| !self.gateways.rests(*slot)).collect();
        let wanted = match fit.len() {
            0 => self.gateways.pick(self.home),
            count => fit.get(self.home % count).copied().unwrap_or(self.home),
        };
        if wanted != self.slot {
            self.slot = wanted;
            self.open = None;
        }
    }

    /// True while its gateway is left alone.
    pub(crate) fn rests(&self) -> bool {
        self.gateways.rests(self.slot)
    }

    /// The number of the gateway that is connected to, or else next.
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    /// Drops the connection, and with it a worker of the gateway; the next call makes a new one.
    pub(crate) fn disconnect(&mut self) {
        self.open = None;
    }

    /// The gateways that this client uses.
    pub fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// Connects if need be, and says to what.
    ///
    /// # Errors
    /// Any [`ClusterError`] of connecting.
    pub fn gateway(&mut self) -> Result<GatewayInfo, ClusterError> {
        self.retried(|client, _| client.connected().map(|(_, info)| info.clone()))
    }

    /// The connection: the one that is open, or a new one.
    fn connected(&mut self) -> Result<(&mut Connection, &GatewayInfo), ClusterError> {
        let idle_limit = self.gateways.options().idle_limit;
        let usable = |(connection, info): &(Connection, GatewayInfo)| {
            !connection.spent && connection.idle() < idle_limit && !self.gateways.passes_over(info.api)
        };
        let opened = match self.open.take().filter(usable) {
            Some(open) => open,
            None => self.connect()?,
        };
        let (connection, info) = self.open.insert(opened);
        Ok((connection, info))
    }

    /// A new connection. Thrift1 carries less, so such a gateway is left for one of the others that speaks Thrift2.
    fn connect(&mut self) -> Result<(Connection, GatewayInfo), ClusterError> {
        if self.pinned {
            let opened = self.gateways.open(self.slot)?;
            return if self.gateways.passes_over(opened.1.api) { Err(ClusterError::NoGateway) } else { Ok(opened) };
        }
        loop {
            self.slot = self.gateways.pick(self.slot);
            let opened = self.gateways.open(self.slot).inspect_err(|_| self.gateways.rest(self.slot))?;
            if opened.1.api == Api::Thrift1 {
                self.gateways.ask_the_unknown();
            }
            if !self.gateways.passes_over(opened.1.api) {
                return Ok(opened);
            }
        }
    }

    /// The service of the gateway that the next call goes to.
    pub(crate) fn api(&mut self) -> Result<Api, ClusterError> {
        self.connected().map(|(_, info)| info.api)
    }

    /// The connection, to a gateway of either service.
    pub(crate) fn connection(&mut self) -> Result<&mut Connection, ClusterError> {
        self.connected().map(|(connection, _)| connection)
    }

    /// The connection to a Thrift2 gateway.
    pub(crate) fn thrift2(&mut self, what: &'static str) -> Result<&mut Connection, ClusterError> {
        let (connection, info) = self.connected()?;
        match info.api {
            Api::Thrift2 => Ok(connection),
            Api::Thrift1 => Err(ClusterError::NotInThrift1 { gateway: info.address.clone(), what: what.into() }),
        }
    }

    /// Refuses when only Thrift1 gateways answer.
    ///
    /// # Errors
    /// [`ClusterError::NotInThrift1`] with the gateway and `what` it cannot do; any other of connecting.
    pub fn require_thrift2(&mut self, what: &'static str) -> Result<(), ClusterError> {
        self.retried(|client, _| client.thrift2(what).map(|_| ()))
    }

    /// Draws the consequences of a failed call: a connection out of step is dropped, a failing gateway rests.
    pub(crate) fn note(&mut self, error: &ClusterError) {
        if error.ends_connection()
            && let Some((connection, _)) = self.open.take()
            && connection.fresh
        {
            // Not one call went through: perhaps the gateway speaks another transport by now.
            self.gateways.forget(self.slot);
        }
        if error.blames_gateway() {
            self.gateways.rest(self.slot);
        }
    }

    /// Runs an attempt under the retry policy; it is told how many failures came before.
    pub(crate) fn retried<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self, u32) -> Result<T, ClusterError>,
    ) -> Result<T, ClusterError> {
        let gateways = self.gateways.clone();
        let elsewhere = |error: &ClusterError| error.blames_gateway() && gateways.one_is_rested();
        retry::run(&gateways.options().retry, gateways.stop(), &gateways.options().waits, elsewhere, |failures| {
            attempt(self, failures).inspect_err(|error| self.note(error))
        })
    }

    /// One call of the generated client, without retry.
    pub(crate) fn once<T>(
        &mut self,
        method: &'static str,
        table: &str,
        patience: Patience,
        run: impl FnOnce(&mut Generated<'_>) -> thrift::Result<T>,
    ) -> Result<T, ClusterError> {
        let options = self.gateways.options();
        let timeout = match patience {
            Patience::Call => options.call_timeout,
            Patience::Put => options.put_timeout,
        };
        let connection = self.thrift2(method)?;
        let gateway = connection.gateway.clone();
        connection.call(&Call { gateway: &gateway, method, table }, timeout, run)
    }

    /// A change of tables. A repeated one whose first answer was lost meets its own work: `done` knows that error.
    pub(crate) fn change<T: Default>(
        &mut self,
        method: &'static str,
        table: &str,
        done: impl Fn(&ClusterError) -> bool,
        run: impl Fn(&mut Generated<'_>) -> thrift::Result<T>,
    ) -> Result<T, ClusterError> {
        self.retried(|client, failures| match client.once(method, table, Patience::Put, &run) {
            Err(error) if failures > 0 && done(&error) => Ok(T::default()),
            other => other,
        })
    }

    /// The cluster's id. Gateways before HBase 2.5 do not say it; the name of the region of `hbase:namespace` serves as
    /// one there. Empty when neither is known.
    ///
    /// # Errors
    /// Any [`ClusterError`] of connecting.
    pub fn cluster_id(&mut self) -> Result<String, ClusterError> {
        Ok(self.gateway()?.cluster.name().unwrap_or_default().to_owned())
    }
}

impl Gateways {
    /// A client of its own connection. Clients are spread over the gateways in turn.
    pub fn client(&self) -> Client {
        Client::new(self.clone(), self.turn())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::{GatewayAddress, GatewayOptions};

    #[test]
    fn clients_go_where_the_region_is_and_else_in_turn() {
        let addresses = ["rs1.invalid:1", "rs2.invalid:1", "rs2.invalid:2"];
        let addresses = addresses.iter().map(|text| GatewayAddress::parse(text).unwrap()).collect();
        let gateways = Gateways::new(addresses, GatewayOptions::default(), Arc::default()).unwrap();
        let mut clients: Vec<Client> = (0..6).map(|_| gateways.client()).collect();
        let mut slots = |host: &str| -> Vec<usize> {
            clients
                .iter_mut()
                .map(|client| {
                    client.go_near(host);
                    client.slot()
                })
                .collect()
        };
        assert_eq!(slots("elsewhere.invalid"), [0, 1, 2, 0, 1, 2]);
        assert_eq!(slots("rs1.invalid"), [0; 6]);
        assert_eq!(slots("rs2.invalid"), [1, 2, 1, 1, 2, 1]);
        gateways.rest(1);
        assert_eq!(slots("rs2.invalid"), [2; 6], "one that failed is left alone");
        assert_eq!(slots("rs3.invalid"), [0, 2, 2, 0, 2, 2], "and so it is in turn");
    }
}
