//! The preflight: everything that a backup would find out in its first second, and nothing written.

mod increments;

use crate::cluster::{Api, Client};
use crate::flow::engine::pace::Pace;
use crate::flow::engine::threads::Threads;
use crate::flow::plan::Source;
use crate::flow::source::descriptions::{few_attributes, unknown_attributes};
use crate::flow::source::detect::{decide, sample_keys};
use crate::flow::source::gaps::AtDamage;
use crate::flow::source::preflight::{self, ClusterSection};
use crate::flow::source::section::Section;
use crate::flow::source::table::SourceTable;
use crate::flow::source::tables::SourceTables;
use crate::flow::source::uid_read::{name_warnings, read_names, uid_warnings};
use crate::flow::{Cancel, CheckReport, CheckedFamily, CheckedTable, FlowError, Progress, RepositorySettings};
use crate::model::Gap;

/// What somebody with an old cluster should know before relying on a backup.
const BEFORE_2_2: &str = "the gateway is one of HBase before 2.2: everything that the tables show is read and restored exactly; \
                          delete markers and overwritten versions cannot be read (--raw), and a restore does not create \
                          tables, it prints the statements for the HBase shell that do";

/// Looks at gateways, tables, layout and rights, and at the repository when one is given.
///
/// # Errors
/// What keeps it from finding out: no gateway answers, a table is missing, a layout that contradicts the data, a repository that is
/// none.
pub fn check(
    source: &Source,
    repository: Option<&RepositorySettings>,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<CheckReport, FlowError> {
    progress.stage("connecting", 0);
    let ClusterSection { section, cluster_id, thrift1, .. } = ClusterSection::ask(&source.gateways)?;
    let Section { facts: gateways, mut warnings, mut stops } = section;
    warnings.extend(thrift1.iter().map(|address| {
        format!(
            "{address} speaks Thrift1: only the latest version of a cell can be read, and a restore through it is slow"
        )
    }));
    let mut store = Vec::new();
    if let Some(repository) = repository {
        progress.stage("checking the repository", 0);
        let found = preflight::check_store(&Threads::new(1)?, repository, cluster_id.as_deref())?;
        store = found.facts;
        warnings.extend(found.warnings);
        stops.extend(found.stops);
    }
    let mut client = source.gateways.client();
    progress.stage("inspecting tables", 0);
    let found =
        SourceTables::find(&mut client, &source.names, source.conf.as_ref(), &source.descriptions, AtDamage::Skip)?;
    let lost = lost(&mut client, &found.tables, &mut warnings)?;
    let charset = source.charset.unwrap_or_default();
    let (names, facts) = match found.uid() {
        Some(uid) => read_names(&mut client, uid, charset, AtDamage::Fail, u64::MAX, &Pace::free(cancel))?,
        None => Default::default(),
    };
    let keys = sampled(&mut client, &found)?;
    let detection = decide(source.conf.as_ref(), &source.layout, &facts, &names, &keys.concat())?;
    let advice = increments::advise(
        &mut client,
        (source, repository),
        (&found.tables, &keys, &detection.layouts),
        &mut warnings,
    )?;
    let mut sure = detection.sure;
    sure.push(format!("row keys are read with {}", detection.layouts.main()));
    warnings.extend(detection.warnings);
    warnings.extend(name_warnings(&facts));
    warnings.extend(uid_warnings(&facts, detection.layouts.main(), charset));
    warnings.extend(unusual(&found.tables));
    warnings.extend(found.left_out_warning());
    stops.extend(found.tables.iter().flat_map(unreadable));
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
        store,
        tables: found.tables.iter().map(checked).collect(),
        absent_tables: found.absent,
        layout: *detection.layouts.main(),
        older_layouts: detection.layouts.older().to_vec(),
        layout_from: detection.source.name().into(),
        keys_sampled: detection.sampled,
        keys_fitting: detection.fitting,
        sure,
        guessed: detection.guessed,
        warnings,
        stops_a_backup: stops,
        would_be_lost: lost,
        increments: advice,
    })
}

/// Row keys from all over each data table.
fn sampled(client: &mut Client, found: &SourceTables) -> Result<Vec<Vec<Vec<u8>>>, FlowError> {
    let at_damage = |table: &SourceTable| if table.gaps.is_empty() { AtDamage::Fail } else { AtDamage::Skip };
    found.data().map(|data| sample_keys(client, data, at_damage(data))).collect()
}

/// What the tables have and a backup through this gateway would not hold; what it makes no difference to comes as a
/// warning.
fn lost(client: &mut Client, tables: &[SourceTable], warnings: &mut Vec<String>) -> Result<Vec<String>, FlowError> {
    let mut lost: Vec<String> = unknown_attributes(tables).into_iter().collect();
    warnings.extend(few_attributes(tables).map(|few| format!("a backup would not hold {few}")));
    match client.gateway()?.api {
        Api::Thrift2 if !client.manages_tables()? => warnings.push(BEFORE_2_2.into()),
        Api::Thrift2 => {}
        Api::Thrift1 => {
            let older = tables.iter().filter_map(SourceTable::older_versions);
            lost.extend(older.map(|older| format!("{older}; only a Thrift2 gateway (hbase thrift2 start) reads them")));
        }
    }
    Ok(lost)
}

/// Keys of a table that a backup will not be able to read.
fn unreadable(table: &SourceTable) -> Vec<String> {
    let words = |Gap { range, reason, message }: &Gap| {
        format!(
            "{} {range} cannot be read ({}: {message}): backup fails there; with --skip-unreadable it leaves it out",
            table.name,
            reason.words()
        )
    };
    table.gaps.iter().map(words).collect()
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
