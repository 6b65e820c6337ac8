//! The preflight: everything that a backup would find out in its first second, and nothing written.

use crate::cluster::Api;
use crate::flow::detect::{decide, sample_keys, words};
use crate::flow::names::read_names;
use crate::flow::pace::Pace;
use crate::flow::plan::Source;
use crate::flow::tables::{SourceTable, SourceTables};
use crate::flow::{Cancel, CheckReport, CheckedFamily, CheckedTable, FlowError, Progress};

/// Looks at gateways, tables, layout and rights.
///
/// # Errors
/// What stops a backup: no gateway answers, a table is missing, a layout that contradicts the data.
pub fn check(source: &Source, progress: &Progress, cancel: &Cancel) -> Result<CheckReport, FlowError> {
    progress.stage("asking the gateways", 0);
    let mut warnings = Vec::new();
    let mut lost = Vec::new();
    let mut gateways = Vec::new();
    let survey = source.gateways.survey();
    let thrift2 = survey.iter().any(|(_, found)| found.as_ref().is_ok_and(|info| info.api == Api::Thrift2));
    for (address, found) in survey {
        match found {
            Ok(info) => {
                if info.api == Api::Thrift1 && thrift2 {
                    warnings.push(format!("{address} speaks Thrift1 and is not used: others speak Thrift2"));
                } else if info.api == Api::Thrift1 {
                    lost.push(format!(
                        "{address} speaks Thrift1: only the latest version of a cell can be read, and table descriptors \
                         lose most attributes; start a Thrift2 gateway (hbase thrift2 start)"
                    ));
                }
                if info.transport.framed {
                    warnings.push(format!("{address} is framed: tables cannot be created through it on restore"));
                }
                gateways.push(info.to_string());
            }
            Err(error) => warnings.push(format!("gateway {address}: {error}")),
        }
    }
    let mut client = source.gateways.client();
    let cluster_id = Some(client.cluster_id()?).filter(|id| !id.is_empty());
    progress.stage("looking at the tables", 0);
    let found = SourceTables::find(&mut client, &source.names, source.conf.as_ref())?;
    let (names, facts) = match found.uid() {
        Some(uid) => read_names(&mut client, &uid.name, &Pace::free(cancel))?,
        None => Default::default(),
    };
    let keys = match found.data() {
        Some(data) => sample_keys(&mut client, data)?,
        None => Vec::new(),
    };
    let detection = decide(source.conf.as_ref(), &source.layout, &facts, &names, &keys)?;
    let mut sure = detection.sure;
    sure.push(format!("the layout is {}", words(&detection.layout)));
    warnings.extend(detection.warnings);
    warnings.extend(unusual(&found.tables));
    if source.conf.is_none() {
        warnings.push(
            "no --opentsdb-conf was given: rollup intervals, histogram codecs and other settings that HBase does not hold \
             will not be in the backup"
                .into(),
        );
    }
    Ok(CheckReport {
        gateways,
        cluster_id,
        tables: found.tables.iter().map(checked).collect(),
        absent_tables: found.absent,
        layout: detection.layout,
        layout_from: detection.source.name().into(),
        keys_sampled: detection.sampled,
        keys_fitting: detection.fitting,
        sure,
        warnings,
        would_be_lost: lost,
    })
}

fn checked(table: &SourceTable) -> CheckedTable {
    let families = table.descriptor.families.iter().map(|family| CheckedFamily {
        family: String::from_utf8_lossy(&family.name).into_owned(),
        versions: family.versions(),
        ttl_seconds: family.ttl_seconds(),
    });
    CheckedTable {
        table: table.name.clone(),
        kind: table.kind,
        regions: table.regions.len() as u64,
        families: families.collect(),
    }
}

/// Settings of tables that somebody should know about before relying on a backup.
fn unusual(tables: &[SourceTable]) -> Vec<String> {
    let mut remarks = Vec::new();
    for table in tables {
        for family in &table.descriptor.families {
            let name = String::from_utf8_lossy(&family.name).into_owned();
            if let Some(seconds) = family.ttl_seconds() {
                remarks.push(format!(
                    "family {name} of {} lives {seconds} s: a restore cannot bring back what is older",
                    table.name
                ));
            }
            if family.attribute("ENCRYPTION").is_some_and(|value| !value.is_empty()) {
                remarks.push(format!("family {name} of {} is encrypted by HBase; its backup is not", table.name));
            }
        }
    }
    remarks
}
