//! What a backup knows before its first shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::{Api, Client};
use crate::flow::engine::pace::Pace;
use crate::flow::plan::Source;
use crate::flow::source::by_time::new_version_behavior;
use crate::flow::source::descriptions::not_carried;
use crate::flow::source::detect::{Detection, decide, sample_keys};
use crate::flow::source::gaps::AtDamage;
use crate::flow::source::names::{NameSource, Names};
use crate::flow::source::table::SourceTable;
use crate::flow::source::tables::SourceTables;
use crate::flow::source::uid_read::{name_warnings, read_names};
use crate::flow::source::window::{DataWindow, NameOf, Window, record_of, selection_of};
use crate::flow::{BackupPlan, FlowError, OpentsdbConf, Progress};
use crate::manifest::{BackupKind, IncrementBy, PlanRecord, PlannedTable, ServerFacts};
use crate::model::{NameCharset, TableKind, UidNames, time};

/// The cluster that a command line leads to.
#[derive(Debug)]
pub struct Reached {
    /// Its id, when the gateway says it.
    pub cluster_id: Option<String>,
    /// `thrift2` or `thrift1`.
    pub api: String,
}

/// The source, looked at.
pub struct Survey {
    /// Tables.
    pub found: SourceTables,
    /// Names of UIDs.
    pub names: Arc<Names>,
    /// UID widths and salt.
    pub detection: Detection,
    /// The TSD's configuration.
    pub conf: Option<OpentsdbConf>,
    /// How the bytes of names are read.
    pub charset: NameCharset,
    /// Delete markers and overwritten versions are asked for.
    pub raw: bool,
    /// Cluster and gateways.
    pub server: ServerFacts,
    /// No gateway speaks Thrift2.
    pub thrift1: bool,
    /// Row keys from all over each data table; none where an earlier run has decided on the layout.
    pub keys: Vec<Vec<Vec<u8>>>,
    /// The selection of a window and the tables that it leaves out; `None`: everything is asked for.
    pub window: Option<(Window, Vec<String>)>,
    /// When the read of the names began, ms UTC.
    names_read_ms: i64,
    /// Versions by table, where an earlier run has decided.
    versions: BTreeMap<String, i32>,
}

impl Survey {
    /// Looks at the source. What decoding depends on comes from the plan of the backup that was begun, where there is one,
    /// and with it the names that were read for it.
    ///
    /// # Errors
    /// The gateway's; [`FlowError::Input`] for tables that are missing.
    pub fn make(
        plan: &BackupPlan,
        begun: Option<&PlanRecord>,
        kept: Option<UidNames>,
        progress: &Progress,
        pace: &Pace,
    ) -> Result<Self, FlowError> {
        progress.stage("inspecting tables", 0);
        let (source, at_damage) = (&plan.source, AtDamage::of(plan));
        let mut client = source.gateways.client();
        let conf = match begun {
            None => source.conf.clone(),
            Some(begun) => {
                let recorded = |values| OpentsdbConf::recorded(values, begun.rollup_config.clone());
                begun.opentsdb_conf.clone().map(recorded).transpose()?
            }
        };
        let found = match begun {
            None => SourceTables::find(&mut client, &source.names, conf.as_ref(), &source.descriptions, at_damage)?,
            Some(begun) => {
                SourceTables::planned(&mut client, &begun.tables, conf.as_ref(), &source.descriptions, at_damage)?
            }
        };
        let charset = begun.map(|begun| begun.name_charset).or(source.charset).unwrap_or_default();
        progress.stage("reading UIDs", 0);
        let kept = kept.zip(begun.map(|begun| begun.names_read_ms));
        let read_ms = kept.as_ref().map_or_else(time::now_ms, |(_, read_ms)| *read_ms);
        let (names, facts) = match (kept, found.uid()) {
            (Some((names, _)), _) => (names, Default::default()),
            (None, Some(uid)) => read_names(&mut client, uid, charset, at_damage, plan.resources.for_names(), pace)?,
            (None, None) => Default::default(),
        };
        let mut keys = Vec::new();
        // A catch-up pass goes by the write times of cells, whenever its full backup was begun.
        if begun.is_none() || plan.catch_up.is_some() {
            for data in found.data() {
                keys.push(sample_keys(&mut client, data, at_damage)?);
            }
        }
        let mut detection = match begun {
            Some(begun) => Detection::recorded(begun.layouts(), begun.layout_source),
            None => decide(conf.as_ref(), &source.layout, &facts, &names, &keys.concat())?,
        };
        detection.warnings.extend(name_warnings(&facts));
        detection.warnings.extend(found.left_out_warning());
        let server = server_facts(&mut client, source)?;
        let thrift1 = client.gateway()?.api == Api::Thrift1;
        client.disconnect();
        let uid_table = found.uid().map(|table| table.name.clone());
        let name_source =
            NameSource { gateways: source.gateways.clone(), uid_table, charset, pace: pace.clone(), at_damage };
        let names = Arc::new(Names::new(names, read_ms, name_source, *detection.layouts.main()));
        let by = begun.and_then(|begun| begun.increment.as_ref().map(|increment| increment.by));
        let by = by.or(plan.increment.as_ref().map(|increment| increment.by));
        let raw = match by {
            // What is there now is compared; what is written down are changes.
            Some(IncrementBy::Compare) => false,
            Some(IncrementBy::Time) => true,
            None => begun.map_or(plan.raw, |begun| begun.raw),
        };
        let decided = begun.iter().flat_map(|begun| &begun.tables);
        let versions = decided.map(|table| (table.name.clone(), table.versions)).collect();
        let window = None;
        let survey = Self {
            found,
            names,
            detection,
            conf,
            charset,
            raw,
            server,
            thrift1,
            keys,
            window,
            names_read_ms: read_ms,
            versions,
        };
        survey.select(plan, begun)
    }

    /// Leaves out what a window does not hold.
    fn select(mut self, plan: &BackupPlan, begun: Option<&PlanRecord>) -> Result<Self, FlowError> {
        let window = |selection| {
            let names: Arc<dyn NameOf> = Arc::<Names>::clone(&self.names);
            Window::new(selection, self.detection.layouts.clone(), names)
        };
        self.window = match (begun, &plan.window) {
            (Some(begun), _) => match &begun.window {
                Some(record) => Some((window(selection_of(record)?), record.left_out.clone())),
                None => None,
            },
            (None, Some(selection)) => {
                let window = window(selection.clone());
                if self.found.uid().is_none() {
                    return Err(FlowError::input(
                        "the rows of a window are found by the names of metrics: leave out --no-uid-table, or --metric, \
                         --tag, --from, --to and --since",
                    ));
                }
                window.require_matches()?;
                let holds = |kind| matches!(kind, TableKind::Data | TableKind::Rollup | TableKind::Uid);
                let (kept, left_out) = self.found.tables.into_iter().partition(|table| holds(table.kind));
                self.found.tables = kept;
                let left_out: Vec<SourceTable> = left_out;
                Some((window, left_out.into_iter().map(|table| table.name).collect()))
            }
            (None, None) => None,
        };
        Ok(self)
    }

    /// Refuses a raw backup of tables in which a delete hides what was written before it: no gateway says in which order
    /// cells were written, so that no restore could bring back the same cells. `instead`: what to do, for the message.
    ///
    /// # Errors
    /// [`FlowError::Input`] with the first such table.
    pub fn refuse_new_version_behavior(&self, instead: &str) -> Result<(), FlowError> {
        match new_version_behavior(&self.found.tables) {
            None => Ok(()),
            Some(why) => Err(FlowError::input(format!("{why}; {instead}"))),
        }
    }

    /// Versions per column that a scan of the table asks for. Through Thrift1 there is one, and the manifest says so.
    pub fn versions(&self, plan: &BackupPlan, table: &SourceTable) -> i32 {
        match (self.versions.get(&table.name), self.raw) {
            (Some(versions), _) => *versions,
            (None, true) => plan.max_versions,
            (None, false) if self.thrift1 => 1,
            (None, false) => table.versions(),
        }
    }

    /// Versions that tables keep and this backup does not read, in words, a line for each such table: through Thrift1
    /// there is one of each cell.
    pub fn older_versions(&self, plan: &BackupPlan) -> Vec<String> {
        let fewer = |table: &&SourceTable| !self.raw && self.versions(plan, table) < table.versions();
        let mut lacking: Vec<String> =
            self.found.tables.iter().filter(fewer).filter_map(SourceTable::older_versions).collect();
        if self.raw && plan.max_versions < i32::MAX {
            lacking.push(format!(
                "more than the {} newest versions of a cell, of which HBase counts deleted and overwritten ones too: some \
                 that readers see may be missing; leave --max-versions out",
                plan.max_versions
            ));
        }
        lacking
    }

    /// The rows of a table that a window takes; `None`: all of them, or those of the UID table, which depend on the others.
    pub fn rows_of(&self, table: &SourceTable) -> Option<DataWindow> {
        let span = table.rollups.as_ref().and_then(|rollups| rollups.row_span.as_deref());
        self.window.as_ref()?.0.of_table(table.kind, span)
    }

    /// What somebody should read about the source.
    fn warnings(&self, plan: &BackupPlan) -> Vec<String> {
        let lost = not_carried(&self.found.tables).into_iter();
        let mut warnings: Vec<String> = lost.map(|lost| format!("the backup does not hold {lost}")).collect();
        warnings.extend(self.detection.warnings.iter().chain(&self.detection.guessed).cloned());
        if self.window.as_ref().is_some_and(|(window, _)| window.selection().metrics.is_empty()) {
            warnings.push(
                "the rows of a window are found by the UIDs of metrics that have a name: rows of others, if there are any, \
                 are not in it; a full backup holds them"
                    .into(),
            );
        }
        if self.raw && plan.increment.is_none() && plan.max_versions == i32::MAX {
            warnings.push(
                "a raw backup of all versions: live append and counter rows hold every overwritten version until HBase \
                 flushes them, which can be many times the table; --max-versions sets a limit"
                    .into(),
            );
        }
        warnings
    }

    /// What is asked for, for a run that may have to resume it; without its jobs.
    pub fn plan_record(&self, plan: &BackupPlan, started_ms: i64) -> PlanRecord {
        let table = |table: &SourceTable| PlannedTable {
            name: table.name.clone(),
            kind: table.kind,
            versions: self.versions(plan, table),
            descriptor: (&table.descriptor).into(),
            described_by: table.described_by,
            split_keys: table.split_keys().into_iter().map(Into::into).collect(),
            since_ms: None,
            jobs: Vec::new(),
        };
        let window = self.window.as_ref().map(|(window, left_out)| record_of(window.selection(), left_out.clone()));
        PlanRecord {
            kind: if window.is_some() { BackupKind::Window } else { BackupKind::Full },
            window,
            started_ms,
            raw: self.raw,
            layout: *self.detection.layouts.main(),
            older_layouts: self.detection.layouts.older().to_vec(),
            layout_source: self.detection.source,
            name_charset: self.charset,
            opentsdb_conf: self.conf.as_ref().map(OpentsdbConf::kept),
            rollup_config: self.conf.as_ref().and_then(OpentsdbConf::rollup_text).map(str::to_string),
            server: self.server.clone(),
            names_read_ms: self.names_read_ms,
            tables: self.found.tables.iter().map(table).collect(),
            absent_tables: self.found.absent.clone(),
            not_held: self.older_versions(plan),
            warnings: self.warnings(plan),
            ..PlanRecord::default()
        }
    }
}

fn server_facts(client: &mut Client, source: &Source) -> Result<ServerFacts, FlowError> {
    let info = client.gateway()?;
    Ok(ServerFacts {
        cluster_id: Some(client.cluster_id()?).filter(|id| !id.is_empty()),
        api: info.api.to_string().to_lowercase(),
        transport: info.transport.to_string(),
        addresses: source.gateways.addresses(),
        ..ServerFacts::default()
    })
}

/// The cluster behind the gateways, for a run that resumes.
///
/// # Errors
/// The gateway's.
pub fn reach(source: &Source) -> Result<Reached, FlowError> {
    let mut client = source.gateways.client();
    let api = client.gateway()?.api.to_string().to_lowercase();
    Ok(Reached { cluster_id: Some(client.cluster_id()?).filter(|id| !id.is_empty()), api })
}
