//! A client: one connection at a time to one of several gateways, every call repeated as the retry policy says.

use crate::cluster::connection::{Connection, Generated};
use crate::cluster::error::Call;
use crate::cluster::generated::hbase2::{TNamespaceDescriptor, TTHBaseServiceSyncClient, TTableName};
use crate::cluster::tables::{descriptor, full_name, table_name, wire_descriptor};
use crate::cluster::{Api, ClusterError, GatewayInfo, Gateways, regions, retry};
use crate::model::{Region, Retry, TableDescriptor};

/// Blocking access to a cluster through its gateways. One client per thread; it connects at the first call, and anew
/// after every time-out, lost connection or unreadable answer.
#[derive(Debug)]
pub struct Client {
    gateways: Gateways,
    slot: usize,
    open: Option<(Connection, GatewayInfo)>,
}

/// Which of the time-outs a call gets.
#[derive(Debug, Clone, Copy)]
enum Patience {
    Call,
    Put,
}

impl Client {
    pub(crate) fn new(gateways: Gateways, slot: usize) -> Self {
        Self { gateways, slot, open: None }
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
        let opened = match self.open.take().filter(|(connection, _)| connection.idle() < idle_limit) {
            Some(open) => open,
            None => {
                self.slot = self.gateways.pick(self.slot);
                self.gateways.open(self.slot).inspect_err(|_| self.gateways.rest(self.slot))?
            }
        };
        let (connection, info) = self.open.insert(opened);
        Ok((connection, info))
    }

    /// The connection to a Thrift2 gateway; among several gateways those of the old API are passed over.
    pub(crate) fn thrift2(&mut self, what: &'static str) -> Result<&mut Connection, ClusterError> {
        for _ in 1..self.gateways.len() {
            if self.connected()?.1.api == Api::Thrift2 {
                break;
            }
            self.open = None;
            self.gateways.rest(self.slot);
        }
        let (connection, info) = self.connected()?;
        match info.api {
            Api::Thrift2 => Ok(connection),
            Api::Thrift1 => Err(ClusterError::NotInThrift1 { gateway: info.address.clone(), what }),
        }
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
        retry::run(&gateways.options().retry, gateways.stop(), |failures| {
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

    /// A call about a table.
    fn of_table<T>(
        &mut self,
        method: &'static str,
        table: &str,
        run: impl Fn(&mut Generated<'_>, TTableName) -> thrift::Result<T>,
    ) -> Result<T, ClusterError> {
        self.retried(|client, _| client.once(method, table, Patience::Call, |wire| run(wire, table_name(table))))
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

    /// The cluster's id, or an empty text from gateways before HBase 2.5.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn cluster_id(&mut self) -> Result<String, ClusterError> {
        self.retried(|client, _| match client.once("getClusterId", "", Patience::Call, |wire| wire.get_cluster_id()) {
            Err(ClusterError::Application { kind: 1, .. }) => Ok(String::new()),
            other => other,
        })
    }

    /// Names of all tables that are not HBase's own, `ns:name` outside the default namespace; sorted.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn table_names(&mut self) -> Result<Vec<String>, ClusterError> {
        let names = self.retried(|client, _| {
            client.once("getTableNamesByPattern", "", Patience::Call, |wire| {
                wire.get_table_names_by_pattern(".*".into(), false)
            })
        })?;
        let mut names: Vec<String> = names.iter().map(full_name).collect();
        names.sort();
        Ok(names)
    }

    /// Whether the table exists.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn table_exists(&mut self, table: &str) -> Result<bool, ClusterError> {
        self.of_table("tableExists", table, |wire, name| wire.table_exists(name))
    }

    /// Whether the table is enabled.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`] and any other [`ClusterError`] of a call.
    pub fn is_table_enabled(&mut self, table: &str) -> Result<bool, ClusterError> {
        self.of_table("isTableEnabled", table, |wire, name| wire.is_table_enabled(name))
    }

    /// The table's descriptor: names, attributes and configuration as stored.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`] and any other [`ClusterError`] of a call.
    pub fn table_descriptor(&mut self, table: &str) -> Result<TableDescriptor, ClusterError> {
        self.of_table("getTableDescriptor", table, |wire, name| wire.get_table_descriptor(name)).map(descriptor)
    }

    /// The table's regions in key order, which cover all keys without hole or overlap. A list that does not is asked
    /// for again, because a split or merge may run.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`], [`ClusterError::Regions`] and any other [`ClusterError`] of a call.
    pub fn regions(&mut self, table: &str) -> Result<Vec<Region>, ClusterError> {
        self.retried(|client, _| {
            let list = client.once("getAllRegionLocations", table, Patience::Call, |wire| {
                wire.get_all_region_locations(table.as_bytes().to_vec())
            })?;
            // A missing table has an empty list, without an error.
            if list.is_empty()
                && !client.once("tableExists", table, Patience::Call, |wire| wire.table_exists(table_name(table)))?
            {
                return Err(ClusterError::TableMissing { table: table.to_owned() });
            }
            regions::regions(table, list)
        })
    }

    /// Creates a table with these split keys (the start keys of all regions but the first).
    ///
    /// Only the attribute and configuration maps are sent, never the typed fields, which know fewer codecs.
    ///
    /// # Errors
    /// [`ClusterError::FramedCreate`] on a framed gateway, [`ClusterError::TableExists`], any other of a call.
    pub fn create_table(&mut self, table: &TableDescriptor, splits: &[Vec<u8>]) -> Result<(), ClusterError> {
        let exists = |error: &ClusterError| matches!(error, ClusterError::TableExists { .. });
        self.retried(|client, failures| {
            let connection = client.thrift2("create tables as they were")?;
            if connection.transport.framed {
                return Err(ClusterError::FramedCreate { gateway: connection.gateway.to_string() });
            }
            let created = client.once("createTable", &table.name, Patience::Put, |wire| {
                wire.create_table(wire_descriptor(table), splits.to_vec())
            });
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
        let exists = |wire: &mut Generated<'_>| wire.table_exists(table_name(table));
        match self.once("tableExists", table, Patience::Call, exists) {
            Ok(false) => return ClusterError::TableMissing { table: table.to_owned() },
            Ok(true) => {}
            Err(_) => return error,
        }
        let enabled = |wire: &mut Generated<'_>| wire.is_table_enabled(table_name(table));
        match self.once("isTableEnabled", table, Patience::Call, enabled) {
            Ok(false) => ClusterError::TableDisabled { table: table.to_owned() },
            _ => error,
        }
    }
}
