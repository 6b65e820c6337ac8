//! What of a cluster keeps write times from saying what has changed in it, each reason in words.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{Client, ClusterError, PageRequest};
use crate::codec::{Decoder, row_key};
use crate::flow::FlowError;
use crate::flow::source::table::SourceTable;
use crate::manifest::Manifest;
use crate::model::{CellBlock, KeyLayouts, PointTimes, TableKind, Tally, TypedRows};

/// Metrics and salts of a table whose newest rows are looked at.
const PLACES: usize = 16;
/// Rows of each.
const ROWS: u32 = 4;
/// Bytes of them.
const BYTES: usize = 1 << 20;

/// Why a gateway cannot read delete markers.
///
/// # Errors
/// The gateway's.
pub fn gateway(client: &mut Client, tables: &[SourceTable]) -> Result<Option<String>, FlowError> {
    // Why the others cannot be read is said elsewhere.
    let mut readable = tables.iter().filter(|table| table.gaps.is_empty());
    let asked = client
        .require_thrift2("read delete markers")
        .and_then(|()| readable.try_for_each(|table| client.require_types(&table.name)));
    match asked {
        Ok(()) => Ok(None),
        Err(error) => match error.cause() {
            cause @ ClusterError::NotInThrift1 { .. } => Ok(Some(cause.to_string())),
            ClusterError::Untyped { gateway } => {
                Ok(Some(format!("gateway {gateway} does not distinguish delete markers from cells (HBase before 2.2)")))
            }
            _ => Err(error.into()),
        },
    }
}

/// The first table in which a delete hides what was written before it, whatever its timestamp.
pub fn new_version_behavior(tables: &[SourceTable]) -> Option<String> {
    let odd = |table: &&SourceTable| table.descriptor.families.iter().any(|family| family.new_version_behavior());
    tables.iter().find(odd).map(|table| {
        format!(
            "table {} has NEW_VERSION_BEHAVIOR, by which a delete hides what was written before it: no gateway says in which \
             order cells were written, so that what is read raw could not be restored",
            table.name
        )
    })
}

/// Whether a TSD with these settings writes cells with the time of their point.
pub fn by_point(conf: &BTreeMap<String, String>) -> Option<String> {
    let set = conf.get("tsd.storage.use_otsdb_timestamp").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    set.then(|| {
        "tsd.storage.use_otsdb_timestamp is true, so that cells carry the time of their point, and late points would be \
         missed"
            .to_owned()
    })
}

/// The first data table whose newest cells carry the time of their point. `keys`: row keys from all over each table.
///
/// # Errors
/// The gateway's; rows that cannot be read are passed over.
pub fn cells_by_point<'a>(
    client: &mut Client,
    sampled: impl Iterator<Item = (&'a SourceTable, &'a [Vec<u8>])>,
    layouts: &KeyLayouts,
) -> Result<Option<String>, FlowError> {
    for (table, keys) in sampled {
        if point_times(client, &table.name, keys, layouts)?.are_carried() {
            return Ok(Some(format!(
                "the newest cells of table {} carry the time of their point and not that of the write, and late points would be \
                 missed",
                table.name
            )));
        }
    }
    Ok(None)
}

/// Looks at the newest rows of some metrics.
fn point_times(
    client: &mut Client,
    table: &str,
    keys: &[Vec<u8>],
    layouts: &KeyLayouts,
) -> Result<PointTimes, FlowError> {
    let (mut times, mut page) = (PointTimes::default(), CellBlock::new());
    let prefixes: BTreeSet<Vec<u8>> = keys.iter().filter_map(|key| metric_prefix(key, layouts)).collect();
    for prefix in prefixes.iter().step_by(prefixes.len().div_ceil(PLACES).max(1)) {
        // Behind the last base time that there can be, and from there backwards.
        let end = [prefix.as_slice(), &[u8::MAX; 4]].concat();
        let request =
            PageRequest { reversed: true, most_bytes: BYTES, ..PageRequest::new(table, &end, prefix.as_slice(), ROWS) };
        match client.probe_page(&request, &mut page) {
            Ok(_) => {}
            Err(error) if error.may_be_rows() => continue,
            Err(error) => return Err(error.into()),
        }
        let mut decoder = Decoder::new(TableKind::Data, layouts.clone(), None);
        let (mut rows, mut tally) = (TypedRows::default(), Tally::default());
        page.rows().for_each(|row| decoder.row(row, &mut rows, &mut tally));
        times.add(&decoder.take_points(&mut rows));
    }
    Ok(times)
}

/// Salt and metric of a key.
fn metric_prefix(key: &[u8], layouts: &KeyLayouts) -> Option<Vec<u8>> {
    let found = row_key::find(key, layouts).filter(|found| !found.key.is_global())?;
    key.get(..found.key.salt.len() + found.key.metric.len()).map(<[u8]>::to_vec)
}

/// Tables of the parent that were made anew since, a reason for each; and, as the second list, what somebody should read.
///
/// # Errors
/// The gateway's.
pub fn made_anew(
    client: &mut Client,
    tables: &[SourceTable],
    parent: &Manifest,
) -> Result<(Vec<String>, Vec<String>), FlowError> {
    let (mut anew, mut warnings) = (Vec::new(), Vec::new());
    for table in tables.iter().filter(|table| parent.tables.iter().any(|known| known.name == table.name)) {
        let made = match client.regions_made(&table.name) {
            Ok(made) => made,
            Err(error) if matches!(error.cause(), ClusterError::AccessDenied { .. }) => {
                warnings.push(format!(
                    "whether table {} was truncated since backup {} cannot be seen without the right to read hbase:meta \
                     ({error}): what was in it before would stay in the chain",
                    table.name, parent.backup
                ));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !made.is_empty() && made.iter().all(|made| *made > parent.started_ms) {
            anew.push(format!(
                "every region of table {} is younger than backup {}: the table was truncated or created again (or all of \
                 its regions were split or merged since), and what is gone cannot be seen",
                table.name, parent.backup
            ));
        }
    }
    Ok((anew, warnings))
}
