//! The calls about tables: which there are, what they are like, where their regions are, and how they come and go.

use crate::cluster::client::Patience;
use crate::cluster::connection::Generated;
use crate::cluster::description::parse_descriptions;
use crate::cluster::error::UNKNOWN_METHOD;
use crate::cluster::generated::hbase2::{TNamespaceDescriptor, TTHBaseServiceSyncClient};
use crate::cluster::tables::{descriptor, full_name, table_name, wire_descriptor};
use crate::cluster::{Api, Client, ClusterError, Framing, PageRequest, regions, thrift1};
use crate::model::{CellBlock, DescriptorSource, Gap, Region, Retry, TableDescriptor};

/// Something went wrong in the gateway.
const INTERNAL_ERROR: i32 = 6;
/// There in every cluster.
const META_TABLE: &str = "hbase:meta";
/// There in no table of OpenTSDB.
const NO_FAMILY: &[u8] = b"no-such-family";

impl Client {
    /// One call of the generated client, without retry; `otherwise` stands in for it with a gateway that does not know
    /// the method, or fails in it as HBase 1.7 does.
    fn once_or<T>(
        &mut self,
        method: &'static str,
        table: &str,
        run: impl FnOnce(&mut Generated<'_>) -> thrift::Result<T>,
        otherwise: impl FnOnce(&mut Self) -> Result<T, ClusterError>,
    ) -> Result<T, ClusterError> {
        self.thrift2(method)?;
        if self.gateways().lacks(self.slot(), method) {
            return otherwise(self);
        }
        match self.once(method, table, Patience::Call, run) {
            Err(ClusterError::Application { kind: UNKNOWN_METHOD, .. }) => {
                self.gateways().note_lack(self.slot(), method);
                otherwise(self)
            }
            Err(error @ ClusterError::Application { kind: INTERNAL_ERROR, .. }) => otherwise(self).map_err(|other| {
                self.note(&other);
                error
            }),
            other => other,
        }
    }

    /// Whether the gateway knows the calls for tables, which came with HBase 2.2: descriptors, creation, deletion. HBase
    /// 1.7 answers them with nothing.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn manages_tables(&mut self) -> Result<bool, ClusterError> {
        self.retried(|client, _| client.manages_tables_once())
    }

    pub(crate) fn manages_tables_once(&mut self) -> Result<bool, ClusterError> {
        if self.api()? == Api::Thrift1 {
            return Ok(false);
        }
        if let Some(known) = self.gateways().manages_tables(self.slot()) {
            return Ok(known);
        }
        // A table that is always there. To be denied its descriptor is an answer too.
        let does = match self.descriptor_once(META_TABLE) {
            Err(ClusterError::NotBefore22 { .. }) => false,
            Err(error) if error.blames_gateway() || error.retry() != Retry::Permanent => return Err(error),
            _ => true,
        };
        self.gateways().note_manages_tables(self.slot(), does);
        Ok(does)
    }

    /// Names of all tables that are not HBase's own, `ns:name` outside the default namespace; sorted.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn table_names(&mut self) -> Result<Vec<String>, ClusterError> {
        let mut names = self.retried(|client, _| match client.api()? {
            Api::Thrift1 => client.table_names_thrift1(),
            Api::Thrift2 => {
                let list = |wire: &mut Generated<'_>| {
                    let names = wire.get_table_names_by_pattern(".*".into(), false)?;
                    Ok(names.iter().map(full_name).collect())
                };
                client.once_or("getTableNamesByPattern", "", list, Self::table_names_from_meta)
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
                let ask = |wire: &mut Generated<'_>| wire.table_exists(table_name(table));
                self.once_or("tableExists", table, ask, |client| client.exists_in_meta(table))
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
                let ask = |wire: &mut Generated<'_>| wire.is_table_enabled(table_name(table));
                self.once_or("isTableEnabled", table, ask, |client| client.enabled_by_scan(table))
            }
            Api::Thrift1 => self.enabled_thrift1(table),
        }
    }

    /// A row is asked for: HBase reads none of a table that is disabled.
    fn enabled_by_scan(&mut self, table: &str) -> Result<bool, ClusterError> {
        let request = PageRequest { filter: Some(PageRequest::KEYS_ONLY), ..PageRequest::new(table, b"", b"", 1) };
        match self.page_once(&request, &mut CellBlock::new()) {
            Ok(_) => Ok(true),
            Err(ClusterError::TableDisabled { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The table's descriptor: names, attributes and configuration as stored. Through Thrift1 it has six attributes per
    /// family and nothing else.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`], [`ClusterError::NotBefore22`] and any other [`ClusterError`] of a call.
    pub fn table_descriptor(&mut self, table: &str) -> Result<TableDescriptor, ClusterError> {
        self.retried(|client, _| match client.api()? {
            Api::Thrift1 => client.descriptor_thrift1(table),
            Api::Thrift2 => client.descriptor_once(table),
        })
    }

    fn descriptor_once(&mut self, table: &str) -> Result<TableDescriptor, ClusterError> {
        const METHOD: &str = "getTableDescriptor";
        let gateway = self.connection()?.gateway.to_string();
        let unknown =
            |_: &mut Self| Err(ClusterError::NotBefore22 { gateway, what: "report table descriptors".into() });
        let get = |wire: &mut Generated<'_>| wire.get_table_descriptor(table_name(table)).map(descriptor);
        match self.once_or(METHOD, table, get, unknown.clone()) {
            Err(error @ ClusterError::NoResult { .. }) => {
                // A gateway that cannot reach its cluster answers this way too, but then to all calls.
                self.note(&error);
                let slot = self.slot();
                if self.exists_in_meta(META_TABLE).is_err() || self.slot() != slot {
                    return Err(error);
                }
                self.gateways().note_lack(slot, METHOD);
                unknown(self)
            }
            other => other,
        }
    }

    /// The table's descriptor and who told it: the gateway; else a region server, in the error for a family that is not
    /// there; else, of the few attributes that it knows, a Thrift1 gateway. `None` when nobody tells.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`] and any other [`ClusterError`] of a call.
    pub fn describe(&mut self, table: &str) -> Result<Option<(TableDescriptor, DescriptorSource)>, ClusterError> {
        let api = self.gateway()?.api;
        if api == Api::Thrift2 {
            match self.table_descriptor(table) {
                Err(ClusterError::NotBefore22 { .. }) => {}
                told => return told.map(|descriptor| Some((descriptor, DescriptorSource::Gateway))),
            }
        }
        if let Some(descriptor) = self.described_by_error(table)? {
            return Ok(Some((descriptor, DescriptorSource::Region)));
        }
        match api {
            Api::Thrift1 => Ok(Some((self.table_descriptor(table)?, DescriptorSource::Thrift1))),
            Api::Thrift2 => Ok(None),
        }
    }

    /// The descriptor out of the error that a region server gives for a family that is not there. HBase up to 2.x at least
    /// quotes all of it there.
    fn described_by_error(&mut self, table: &str) -> Result<Option<TableDescriptor>, ClusterError> {
        let request = PageRequest { families: &[NO_FAMILY], ..PageRequest::new(table, b"", b"", 1) };
        let text = match self.scan_page(&request, &mut CellBlock::new()) {
            Err(ClusterError::FamilyMissing { descriptor: Some(text), .. }) => text,
            // A disabled table has no region that could answer.
            Ok(_) | Err(ClusterError::FamilyMissing { .. } | ClusterError::TableDisabled { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let name = table.strip_prefix("default:").unwrap_or(table);
        let mut told = parse_descriptions(&text).unwrap_or_else(|error| {
            tracing::debug!(%error, table, "the descriptor in an error text cannot be read");
            Vec::new()
        });
        told.retain(|descriptor| descriptor.name == name);
        Ok(told.pop().filter(|_| told.is_empty()))
    }

    /// Whether the table has the family.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`], [`ClusterError::TableDisabled`] and any other [`ClusterError`] of a call.
    pub fn has_family(&mut self, table: &str, family: &[u8]) -> Result<bool, ClusterError> {
        let families = [family];
        let filter = Some(PageRequest::KEYS_ONLY);
        let request = PageRequest { filter, families: &families, ..PageRequest::new(table, b"", b"", 1) };
        match self.scan_page(&request, &mut CellBlock::new()) {
            Ok(_) => Ok(true),
            Err(ClusterError::FamilyMissing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The table's regions in key order, which cover all keys without hole or overlap. A list that does not is asked
    /// for again, because a split or merge may run. Thrift1 reports no start codes; they are 0 there.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`], [`ClusterError::Regions`] and any other [`ClusterError`] of a call.
    pub fn regions(&mut self, table: &str) -> Result<Vec<Region>, ClusterError> {
        self.retried(|client, _| regions::in_order(table, client.regions_once(table)?))
    }

    /// The table's regions in key order, and what is wrong with them: keys that no region covers, or two. A list with
    /// such faults is asked for several times before they are believed.
    ///
    /// # Errors
    /// [`ClusterError::TableMissing`] and any other [`ClusterError`] of a call.
    pub fn regions_and_faults(&mut self, table: &str) -> Result<(Vec<Region>, Vec<Gap>), ClusterError> {
        match self.regions(table) {
            Err(error) if matches!(error.cause(), ClusterError::Regions { .. }) => {
                let mut regions = self.retried(|client, _| client.regions_once(table))?;
                regions.sort_by(|a, b| a.range.start.cmp(&b.range.start));
                let faults = regions::faults(table, &regions);
                Ok((regions, faults))
            }
            other => Ok((other?, Vec::new())),
        }
    }

    /// The regions in any order.
    fn regions_once(&mut self, table: &str) -> Result<Vec<Region>, ClusterError> {
        let list = match self.api()? {
            Api::Thrift1 => self.regions_thrift1(table)?,
            Api::Thrift2 => {
                let name = table.as_bytes().to_vec();
                let list = |wire: &mut Generated<'_>| wire.get_all_region_locations(name).map(regions::first_replicas);
                self.once_or("getAllRegionLocations", table, list, |client| client.regions_from_meta(table))?
            }
        };
        // A missing table has an empty list, without an error.
        if list.is_empty() && !self.exists_once(table)? {
            return Err(ClusterError::TableMissing { table: table.to_owned() });
        }
        Ok(list)
    }

    /// Creates a table with these split keys (the start keys of all regions but the first).
    ///
    /// Only the attribute and configuration maps are sent, never the typed fields, which know fewer codecs. Thrift1 can
    /// create a table without splits whose other settings are HBase's defaults.
    ///
    /// True when the gateway answered that it made the table; false when a table of this name was there after an attempt
    /// whose answer was lost.
    ///
    /// # Errors
    /// [`ClusterError::FramedCreate`] on a framed gateway, [`ClusterError::TableExists`],
    /// [`ClusterError::NotInThrift1`] naming what would be lost, [`ClusterError::NotBefore22`] from a gateway that
    /// cannot, any other of a call. Gateways of HBase 1.7 do nothing and say that all is well.
    pub fn create_table(&mut self, table: &TableDescriptor, splits: &[Vec<u8>]) -> Result<bool, ClusterError> {
        let exists = |error: &ClusterError| matches!(error, ClusterError::TableExists { .. });
        self.retried(|client, failures| {
            let connection = client.connection()?;
            if connection.transport.framing == Framing::Framed {
                return Err(ClusterError::FramedCreate { gateway: connection.gateway.to_string() });
            }
            let created = match client.api()? {
                Api::Thrift1 => client.create_thrift1(table, splits),
                Api::Thrift2 => client.once("createTable", &table.name, Patience::Put, |wire| {
                    wire.create_table(wire_descriptor(table), splits.to_vec())
                }),
            };
            match created {
                Err(error) if failures > 0 && exists(&error) => Ok(false),
                Err(ClusterError::Application { kind: UNKNOWN_METHOD, .. }) => {
                    let gateway = client.connection()?.gateway.to_string();
                    Err(ClusterError::NotBefore22 { gateway, what: format!("create table {}", table.name).into() })
                }
                other => other.map(|()| true),
            }
        })
    }

    /// Why a table like this cannot be created through the gateway, in words; `None` when it can.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn cannot_create(&mut self, table: &TableDescriptor, splits: usize) -> Result<Option<String>, ClusterError> {
        let info = self.gateway()?;
        if info.transport.framing == Framing::Framed {
            return Ok(Some(format!(
                "{} is a framed gateway, which would create tables with other settings",
                info.address
            )));
        }
        let lost = match info.api {
            Api::Thrift1 => thrift1::lost(table, splits),
            Api::Thrift2 if self.manages_tables()? => return Ok(None),
            Api::Thrift2 => {
                return Ok(Some(format!("{} cannot create tables (HBase before 2.2)", info.address)));
            }
        };
        let words =
            || format!("{} speaks Thrift1, through which {} would lose {}", info.address, table.name, lost.join(", "));
        Ok((!lost.is_empty()).then(words))
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
            if connection.transport.framing == Framing::Framed {
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

    /// Names of all namespaces, HBase's own included; of gateways before HBase 2.3 and of Thrift1 those alone that hold
    /// tables.
    ///
    /// # Errors
    /// Any [`ClusterError`] of a call.
    pub fn namespaces(&mut self) -> Result<Vec<String>, ClusterError> {
        let of = |names: Vec<String>| {
            let others = names.iter().filter_map(|name| name.split_once(':')).map(|(namespace, _)| namespace);
            let mut found: Vec<String> = others.chain(["default", "hbase"]).map(str::to_owned).collect();
            found.sort();
            found.dedup();
            found
        };
        if self.gateway()?.api == Api::Thrift1 {
            return self.table_names().map(of);
        }
        let of_tables = |client: &mut Self| client.table_names_from_meta().map(of);
        self.retried(|client, _| client.once_or("listNamespaces", "", |wire| wire.list_namespaces(), of_tables))
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
        match error {
            ClusterError::Refused { retry: Retry::Transient, .. } => {}
            // HBase 1.x tries for nine minutes to write to a disabled table. The late answer must not meet the next call.
            ClusterError::TimedOut { .. } => self.note(&error),
            _ => return error,
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
