//! What a backup knows before its first shard.

use std::sync::Arc;

use crate::cluster::Api;
use crate::flow::detect::{Detection, decide, sample_keys};
use crate::flow::names::{Names, read_names};
use crate::flow::pace::Pace;
use crate::flow::plan::Source;
use crate::flow::tables::{SourceTable, SourceTables};
use crate::flow::{BackupPlan, FlowError, Progress};
use crate::manifest::{PlanRecord, PlannedTable, ServerFacts};

/// The source, looked at.
pub struct Survey {
    /// Tables.
    pub found: SourceTables,
    /// Names of UIDs.
    pub names: Arc<Names>,
    /// UID widths and salt.
    pub detection: Detection,
    /// Cluster and gateways.
    pub server: ServerFacts,
    /// No gateway speaks Thrift2.
    pub thrift1: bool,
}

impl Survey {
    /// Looks at the source.
    ///
    /// # Errors
    /// The gateway's; [`FlowError::Input`] for tables that are missing.
    pub fn make(source: &Source, progress: &Progress, pace: &Pace) -> Result<Self, FlowError> {
        progress.stage("looking at the tables", 0);
        let mut client = source.gateways.client();
        let found = SourceTables::find(&mut client, &source.names, source.conf.as_ref(), &source.descriptions)?;
        progress.stage("reading names", 0);
        let uid_table = found.uid().map_or("", |table| table.name.as_str()).to_string();
        let (names, facts) = read_names(&mut client, &uid_table, pace)?;
        let keys = found.data().map(|data| sample_keys(&mut client, data)).transpose()?.unwrap_or_default();
        let detection = decide(source.conf.as_ref(), &source.layout, &facts, &names, &keys)?;
        let info = client.gateway()?;
        let server = ServerFacts {
            cluster_id: Some(client.cluster_id()?).filter(|id| !id.is_empty()),
            api: info.api.to_string().to_lowercase(),
            transport: info.transport.to_string(),
            addresses: source.gateways.addresses(),
            ..ServerFacts::default()
        };
        let thrift1 = info.api == Api::Thrift1;
        // Look-ups are rare, and a gateway may have few workers.
        client.disconnect();
        let names = Arc::new(Names::new(names, client, &uid_table, detection.layout));
        Ok(Self { found, names, detection, server, thrift1 })
    }

    /// Refuses a raw backup of tables in which a delete hides what was written before it: no gateway says in which order
    /// cells were written, so that no restore could bring back the same cells.
    ///
    /// # Errors
    /// [`FlowError::Input`] with the first such table.
    pub fn refuse_new_version_behavior(&self) -> Result<(), FlowError> {
        let odd = |table: &&SourceTable| table.descriptor.families.iter().any(|family| family.new_version_behavior());
        match self.found.tables.iter().find(odd) {
            None => Ok(()),
            Some(table) => Err(FlowError::input(format!(
                "table {} has NEW_VERSION_BEHAVIOR, by which a delete hides what was written before it: no gateway says \
                 in which order cells were written, so that a raw backup could not be restored; leave out --raw to back up \
                 the cells that are visible",
                table.name
            ))),
        }
    }

    /// Versions per column that a scan of the table asks for. Through Thrift1 there is one, and the manifest says so.
    pub fn versions(&self, plan: &BackupPlan, table: &SourceTable) -> i32 {
        match plan.raw {
            true => plan.max_versions,
            false if self.thrift1 => 1,
            false => table.versions(),
        }
    }

    /// What is asked for, to be compared with what an earlier run was asked for.
    pub fn plan_record(&self, plan: &BackupPlan, started_ms: i64) -> PlanRecord {
        let table = |table: &SourceTable| PlannedTable {
            name: table.name.clone(),
            kind: table.kind,
            versions: self.versions(plan, table),
        };
        PlanRecord {
            started_ms,
            raw: plan.raw,
            layout: self.detection.layout,
            layout_source: self.detection.source,
            cluster_id: self.server.cluster_id.clone(),
            api: self.server.api.clone(),
            tables: self.found.tables.iter().map(table).collect(),
            ..PlanRecord::default()
        }
    }
}
