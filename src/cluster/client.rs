//! A client: one connection at a time to one of several gateways, every call repeated as the retry policy says.

use std::time::Duration;

use crate::cluster::connection::{Connection, Generated};
use crate::cluster::error::Call;
use crate::cluster::generated::hbase2::{TNamespaceDescriptor, TTHBaseServiceSyncClient};
use crate::cluster::tables::{descriptor, full_name, table_name, wire_descriptor};
use crate::cluster::{Api, ClusterError, GatewayInfo, Gateways, regions, retry};
use crate::model::{Region, Retry, TableDescriptor};

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
enum Patience {
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

    /// Goes on with a gateway on this host, where there is one that is not left alone, else with its own in turn. The
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

    /// The number of the gateway that is connected to next.
    #[cfg(test)]
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
        retry::run(&gateways.options().retry, gateways.stop(), elsewhere, |failures| {
            attempt(self, failures).inspect_err(|error| self.note(error))
        })
    }

    /// One call of the generated client, without retry.
    fn once<T>(
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
    fn change<T: Default>(
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

    /// Names of all tables that are not HBase's own, `ns:name` outside the default namespace; sorted.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn table_names(&mut self) -> Result<Vec<String>, ClusterError> {
        let mut names = self.retried(|client, _| match client.api()? {
            Api::Thrift1 => client.table_names_thrift1(),
            Api::Thrift2 => {
                let list = |wire: &mut Generated<'_>| wire.get_table_names_by_pattern(".*".into(), false);
                let names = client.once("getTableNamesByPattern", "", Patience::Call, list)?;
                Ok(names.iter().map(full_name).collect())
            }
        })?;
        names.sort();
        Ok(names)
    }

    /// Whether the table exists.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn table_exists(&mut self, table: &str) -> Result<bool, ClusterError> {
        self.retried(|client, _| client.exists_once(table))
    }

    fn exists_once(&mut self, table: &str) -> Result<bool, ClusterError> {
        match self.api()? {
            Api::Thrift2 => {
                self.once("tableExists", table, Patience::Call, |wire| wire.table_exists(table_name(table)))
            }
            Api::Thrift1 => self.exists_thrift1(table),
        }
    }

    /// Whether the table is enabled.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`] and any other [`ClusterError`] of a call.
    pub fn is_table_enabled(&mut self, table: &str) -> Result<bool, ClusterError> {
        self.retried(|client, _| client.enabled_once(table))
    }

    fn enabled_once(&mut self, table: &str) -> Result<bool, ClusterError> {
        match self.api()? {
            Api::Thrift2 => {
                self.once("isTableEnabled", table, Patience::Call, |wire| wire.is_table_enabled(table_name(table)))
            }
            Api::Thrift1 => self.enabled_thrift1(table),
        }
    }

    /// The table's descriptor: names, attributes and configuration as stored. Through Thrift1 it has six attributes per
    /// family and nothing else.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`] and any other [`ClusterError`] of a call.
    pub fn table_descriptor(&mut self, table: &str) -> Result<TableDescriptor, ClusterError> {
        self.retried(|client, _| match client.api()? {
            Api::Thrift1 => client.descriptor_thrift1(table),
            Api::Thrift2 => {
                let get = |wire: &mut Generated<'_>| wire.get_table_descriptor(table_name(table));
                client.once("getTableDescriptor", table, Patience::Call, get).map(descriptor)
            }
        })
    }

    /// The table's regions in key order, which cover all keys without hole or overlap. A list that does not is asked
    /// for again, because a split or merge may run. Thrift1 tells no start codes; they are 0 there.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`], [`ClusterError::Regions`] and any other [`ClusterError`] of a call.
    pub fn regions(&mut self, table: &str) -> Result<Vec<Region>, ClusterError> {
        self.retried(|client, _| {
            let list = match client.api()? {
                Api::Thrift1 => client.regions_thrift1(table)?,
                Api::Thrift2 => {
                    let name = table.as_bytes().to_vec();
                    let list = |wire: &mut Generated<'_>| wire.get_all_region_locations(name);
                    regions::first_replicas(client.once("getAllRegionLocations", table, Patience::Call, list)?)
                }
            };
            // A missing table has an empty list, without an error.
            if list.is_empty() && !client.exists_once(table)? {
                return Err(ClusterError::TableMissing { table: table.to_owned() });
            }
            regions::in_order(table, list)
        })
    }

    /// Creates a table with these split keys (the start keys of all regions but the first).
    ///
    /// Only the attribute and configuration maps are sent, never the typed fields, which know fewer codecs. Thrift1 can
    /// create a table without splits whose other settings are HBase's defaults.
    ///
    /// # Errors
    /// [`ClusterError::FramedCreate`] on a framed gateway, [`ClusterError::TableExists`],
    /// [`ClusterError::NotInThrift1`] naming what would be lost, any other of a call.
    pub fn create_table(&mut self, table: &TableDescriptor, splits: &[Vec<u8>]) -> Result<(), ClusterError> {
        let exists = |error: &ClusterError| matches!(error, ClusterError::TableExists { .. });
        self.retried(|client, failures| {
            let connection = client.connection()?;
            if connection.transport.framed {
                return Err(ClusterError::FramedCreate { gateway: connection.gateway.to_string() });
            }
            let created = match client.api()? {
                Api::Thrift1 => client.create_thrift1(table, splits),
                Api::Thrift2 => client.once("createTable", &table.name, Patience::Put, |wire| {
                    wire.create_table(wire_descriptor(table), splits.to_vec())
                }),
            };
            match created {
                Err(error) if failures > 0 && exists(&error) => Ok(()),
                other => other,
            }
        })
    }

    /// Disables and deletes a table.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`] and any other [`ClusterError`] of a call.
    pub fn drop_table(&mut self, table: &str) -> Result<(), ClusterError> {
        if self.is_table_enabled(table)? {
            let disabled = |error: &ClusterError| matches!(error, ClusterError::TableDisabled { .. });
            self.change("disableTable", table, disabled, |wire| wire.disable_table(table_name(table)))?;
        }
        let gone = |error: &ClusterError| matches!(error, ClusterError::TableMissing { .. });
        self.change("deleteTable", table, gone, |wire| wire.delete_table(table_name(table)))
    }

    /// Gives a table another descriptor. The whole of it is sent: what it does not hold is gone from the table.
    ///
    /// # Errors
    /// [`ClusterError::FramedCreate`] on a framed gateway, [`ClusterError::TableMissing`],
    /// [`ClusterError::NotInThrift1`], any other of a call.
    pub fn modify_table(&mut self, table: &TableDescriptor) -> Result<(), ClusterError> {
        self.retried(|client, _| {
            let connection = client.thrift2("change the attributes of a table")?;
            if connection.transport.framed {
                return Err(ClusterError::FramedCreate { gateway: connection.gateway.to_string() });
            }
            let descriptor = wire_descriptor(table);
            client.once("modifyTable", &table.name, Patience::Put, |wire| wire.modify_table(descriptor))
        })
    }

    /// Disables a table.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`], [`ClusterError::TableDisabled`], any other of a call.
    pub fn disable_table(&mut self, table: &str) -> Result<(), ClusterError> {
        let disabled = |error: &ClusterError| matches!(error, ClusterError::TableDisabled { .. });
        self.change("disableTable", table, disabled, |wire| wire.disable_table(table_name(table)))
    }

    /// Enables a table.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`] and any other [`ClusterError`] of a call.
    pub fn enable_table(&mut self, table: &str) -> Result<(), ClusterError> {
        let enabled = |error: &ClusterError| matches!(error, ClusterError::Refused { message, .. } if message.contains("TableNotDisabledException"));
        self.change("enableTable", table, enabled, |wire| wire.enable_table(table_name(table)))
    }

    /// Names of all namespaces, HBase's own included.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn namespaces(&mut self) -> Result<Vec<String>, ClusterError> {
        self.retried(|client, _| client.once("listNamespaces", "", Patience::Call, |wire| wire.list_namespaces()))
    }

    /// Creates a namespace without settings; does nothing when it exists.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn create_namespace(&mut self, name: &str) -> Result<(), ClusterError> {
        if self.namespaces()?.iter().any(|known| known == name) {
            return Ok(());
        }
        let exists = |error: &ClusterError| matches!(error, ClusterError::Refused { message, .. } if message.contains("NamespaceExistException"));
        self.change("createNamespace", name, exists, |wire| {
            wire.create_namespace(TNamespaceDescriptor::new(name.to_owned(), None))
        })
    }

    /// What a batch that failed as a whole meets: a missing or disabled table is reported by HBase as a fault that
    /// may pass, so the table itself is looked at before trying again.
    pub(crate) fn look_at_table(&mut self, table: &str, error: ClusterError) -> ClusterError {
        if !matches!(error, ClusterError::Refused { retry: Retry::Transient, .. }) {
            return error;
        }
        match self.exists_once(table) {
            Ok(false) => return ClusterError::TableMissing { table: table.to_owned() },
            Ok(true) => {}
            Err(_) => return error,
        }
        match self.enabled_once(table) {
            Ok(false) => ClusterError::TableDisabled { table: table.to_owned() },
            _ => error,
        }
    }
}
