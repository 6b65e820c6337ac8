//! Which way to make an increment holds here, by cluster and by parent: what `check` advises and what a backup refuses by.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::Client;
use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::flow::source::by_time;
use crate::flow::source::table::SourceTable;
use crate::flow::stored::chain::Chain;
use crate::flow::stored::parent;
use crate::manifest::Manifest;
use crate::model::{KeyLayouts, TableKind};
use crate::store::Store;

/// The cluster, as far as its write times matter.
pub struct ClusterFacts<'a> {
    /// Its tables.
    pub tables: &'a [SourceTable],
    /// Row keys from all over each data table, in the order of the tables.
    pub keys: &'a [Vec<Vec<u8>>],
    /// UID widths and salt.
    pub layouts: &'a KeyLayouts,
    /// What is known of the TSD's configuration.
    pub conf: Option<&'a BTreeMap<String, String>>,
}

/// What keeps an increment by write time from being exact.
#[derive(Debug, Default)]
pub struct AgainstTime {
    /// Each reason in words; none: it fits.
    pub reasons: Vec<String>,
    /// What somebody should read.
    pub warnings: Vec<String>,
    /// One of the reasons is that cells carry the time of their point: whoever says so, once is enough.
    by_point: bool,
}

impl AgainstTime {
    /// Where delete markers cannot be read, or say nothing.
    ///
    /// # Errors
    /// The gateway's.
    pub fn of_markers(client: &mut Client, tables: &[SourceTable]) -> Result<Self, FlowError> {
        let reasons = by_time::gateway(client, tables)?.into_iter().chain(by_time::new_version_behavior(tables));
        Ok(Self { reasons: reasons.collect(), ..Self::default() })
    }

    /// Adds what the cells of the cluster say of write times.
    ///
    /// # Errors
    /// The gateway's.
    pub fn add_cluster(&mut self, client: &mut Client, cluster: &ClusterFacts<'_>) -> Result<(), FlowError> {
        let data = cluster.tables.iter().filter(|table| table.kind == TableKind::Data);
        let sampled = data.zip(cluster.keys.iter().map(Vec::as_slice));
        let why = match cluster.conf.and_then(by_time::by_point) {
            None => by_time::cells_by_point(client, sampled, cluster.layouts)?,
            why => why,
        };
        self.by_point |= why.is_some();
        self.reasons.extend(why);
        Ok(())
    }

    /// Adds what the parent and its chain say.
    ///
    /// # Errors
    /// The gateway's, the store's; [`FlowError::Damaged`].
    pub fn add_parent(
        &mut self,
        (threads, store): (&Threads, &Store),
        client: &mut Client,
        tables: &[SourceTable],
        (manifest, chain): (&Manifest, &Chain),
        horizon: Duration,
    ) -> Result<(), FlowError> {
        if !self.by_point {
            self.reasons.extend(match by_time::by_point(&manifest.opentsdb_conf) {
                None => parent::cells_by_point(threads, store, chain.members())?,
                why => why,
            });
        }
        self.reasons.extend(parent::beyond_horizon(manifest, horizon));
        self.reasons.extend(parent::lacks_versions(manifest)?);
        let (anew, warnings) = by_time::made_anew(client, tables, manifest)?;
        self.reasons.extend(anew);
        self.warnings.extend(warnings);
        Ok(())
    }

    /// Refuses where there is a reason, with an error of this kind; `option` is what was asked for, `instead` what to do.
    ///
    /// # Errors
    /// One error with all reasons.
    pub fn refuse_as(&self, error: fn(String) -> FlowError, option: &str, instead: &str) -> Result<(), FlowError> {
        if self.reasons.is_empty() {
            return Ok(());
        }
        Err(error(format!("{option} does not work here: {}; {instead}", self.reasons.join("; "))))
    }
}
