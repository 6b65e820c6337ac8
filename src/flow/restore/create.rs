//! Making what the target lacks: namespaces, tables, and at the end what would have stood in the way.
//!
//! That a gateway says "done" proves nothing: gateways of HBase 1.x do nothing and say so, and after a lost answer the
//! table that exists may be somebody else's. So every table is looked at before the first cell goes into it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cluster::{Api, Client, ClusterError};
use crate::flow::FlowError;
use crate::model::{CellBlock, KeyRange, Retry};
use crate::scan::{ScanError, ScanOptions, ShardScan};

use super::descriptors::{blamed, differences};
use super::target::Target;

/// How often a table that was just created is looked at again when its owner may not read it yet.
const RIGHTS_LOOKS: u32 = 20;
/// Pause between two such looks.
const RIGHTS_PAUSE: Duration = Duration::from_millis(250);

/// The namespace of a table's name; `None` for the default one.
fn namespace(table: &str) -> Option<&str> {
    table.split_once(':').map(|(namespace, _)| namespace).filter(|namespace| *namespace != "default")
}

/// The namespaces that tables to be created need and that do not exist.
///
/// # Errors
/// The gateway's.
pub fn missing_namespaces(
    client: &mut Client,
    targets: &[Target<'_>],
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, FlowError> {
    let created = targets.iter().filter(|target| target.create);
    let mut needed: BTreeSet<String> =
        created.filter_map(|target| namespace(&target.name).map(str::to_owned)).collect();
    if needed.is_empty() {
        return Ok(Vec::new());
    }
    if client.gateway()?.api == Api::Thrift1 {
        let lines: Vec<String> = needed.iter().map(|name| format!("create_namespace '{name}'")).collect();
        warnings.push(format!(
            "a Thrift1 gateway can neither see nor create namespaces; where one is missing, create it in the HBase shell \
             first: {}",
            lines.join("; ")
        ));
        return Ok(Vec::new());
    }
    for name in client.namespaces()? {
        needed.remove(&name);
    }
    Ok(needed.into_iter().collect())
}

/// Creates namespaces, without properties.
///
/// # Errors
/// The gateway's, with the line for the HBase shell.
pub fn make_namespaces(client: &mut Client, names: &[String]) -> Result<(), FlowError> {
    for name in names {
        match client.create_namespace(name) {
            // HBase lists namespaces to those only who have some right on them.
            Err(ClusterError::Refused { message, .. }) if message.contains("NamespaceExistException") => {}
            Ok(()) => {}
            Err(error) => {
                let advice = no_namespace(name);
                let error = FlowError::from(error).at(format!("creating namespace {name}"));
                return Err(match error {
                    FlowError::Interrupted => error,
                    error => FlowError::unfinished(advice, error),
                });
            }
        }
    }
    Ok(())
}

/// What to do where a namespace cannot be created.
fn no_namespace(name: &str) -> String {
    format!(
        "create it in the HBase shell (create_namespace '{name}') and run the restore again, or restore into another \
         namespace with --rename-namespace {name}=OTHER"
    )
}

impl Target<'_> {
    fn splits(&self) -> Vec<Vec<u8>> {
        self.table.split_keys.iter().map(|key| key.clone().into()).collect()
    }

    /// Creates the table as it is wanted, split at the saved boundaries, and looks at what there is then.
    ///
    /// # Errors
    /// The gateway's, a refusal with the attribute that it is most likely about; [`FlowError::Refused`] when the table
    /// that exists then is not the one that was asked for.
    pub fn make(&self, client: &mut Client, warnings: &mut Vec<String>) -> Result<(), FlowError> {
        let name = &self.name;
        let ours = match client.create_table(&self.wanted.descriptor, &self.splits()) {
            Ok(ours) => ours,
            // An earlier run of this restore had asked for it.
            Err(ClusterError::TableExists { .. }) if self.in_the_making => false,
            Err(ClusterError::TableExists { .. }) => {
                return Err(FlowError::refused(format!(
                    "table {name} was created by somebody else while this restore began; see what it is, and run the \
                     restore again"
                )));
            }
            Err(error) => {
                let certain = error.retry() == Retry::Permanent || error.is_interrupted() || is_answer(&error);
                // Where the answer was lost, the table may be there all the same.
                if certain || !self.may_exist(client) {
                    return Err(self.refusal(error));
                }
                false
            }
        };
        self.look_at_made(client, ours, warnings)
    }

    /// Whether the table is there, as far as the cluster says. The first error is the one to report.
    fn may_exist(&self, client: &mut Client) -> bool {
        client.table_exists(&self.name).unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot tell whether the table exists");
            false
        })
    }

    /// The error of a table that was not created, with what to do.
    fn refusal(&self, error: ClusterError) -> FlowError {
        let message = match error.cause() {
            ClusterError::Refused { message, .. } => Some(message.clone()),
            _ => None,
        };
        let failed = FlowError::from(error).at(format!("creating {}", self.name));
        let Some(message) = message else { return failed };
        let table = &self.table.name;
        if let Some(namespace) = namespace(&self.name).filter(|_| message.contains("NamespaceNotFoundException")) {
            return FlowError::unfinished(no_namespace(namespace), failed);
        }
        let by_hand = "create the empty table in the HBase shell; then run the restore again";
        FlowError::unfinished(
            match blamed(&self.wanted.descriptor, &message) {
                Some((place, value)) => format!(
                    "most likely this is about {place}={value}: give it another value with --attribute \
                     '{table}:{place}=VALUE', leave it out with --drop-attribute '{table}:{place}', or {by_hand}"
                ),
                None => format!(
                    "change what HBase names with --attribute '{table}:[FAMILY:]NAME=VALUE' or --drop-attribute \
                     '{table}:[FAMILY:]NAME', or {by_hand}"
                ),
            },
            failed,
        )
    }

    /// Compares the table that exists with the one that was asked for. One that is surely `ours` had the boundaries that
    /// were asked for; HBase may have split it since.
    fn look_at_made(&self, client: &mut Client, ours: bool, warnings: &mut Vec<String>) -> Result<(), FlowError> {
        let name = &self.name;
        let at = |error: ClusterError| FlowError::from(error).at(format!("looking at {name}, which was just created"));
        if !client.table_exists(name).map_err(at)? {
            return Err(FlowError::refused(format!(
                "the gateway says that table {name} was created, and it does not exist (gateways of HBase 1.x answer so): \
                 create it in the HBase shell, then run the restore again"
            )));
        }
        let partial = client.gateway().map_err(at)?.api == Api::Thrift1;
        let there = client.table_descriptor(name).map_err(at)?;
        let (mut grave, slight) = differences(&self.wanted.descriptor, &there, partial);
        let regions = client.regions(name).map_err(at)?;
        let starts: Vec<Vec<u8>> = regions.into_iter().skip(1).map(|region| region.range.start).collect();
        let splits = self.splits();
        if !ours && starts != splits {
            grave.push(format!(
                "it has {} regions with other boundaries than the {} asked for",
                starts.len() + 1,
                splits.len() + 1
            ));
        }
        if self.holds_rows(client)? {
            grave.push("it holds rows".to_owned());
        }
        if !grave.is_empty() {
            return Err(FlowError::refused(format!(
                "table {name} is not the one that was asked for, perhaps somebody else created it: {}; nothing was \
                 written into it. Drop it in the HBase shell if nobody needs it, and run the restore again, or restore \
                 under another name with --rename-table {}=NEW",
                grave.join(", "),
                self.table.name
            )));
        }
        warnings.extend(slight.into_iter().map(|text| format!("table {name}: {text}, so this cluster made it")));
        Ok(())
    }

    /// Whether a table that was just created has rows. Region servers hear of its owner's rights a moment after the table
    /// is there.
    fn holds_rows(&self, client: &mut Client) -> Result<bool, FlowError> {
        let mut page = CellBlock::new();
        let mut looks = 0;
        loop {
            let options = ScanOptions { max_versions: 1, ..ScanOptions::default() };
            match ShardScan::new(client, &self.name, KeyRange::all(), options).next_page(&mut page) {
                Err(ScanError::Cluster(error))
                    if looks < RIGHTS_LOOKS && matches!(error.cause(), ClusterError::AccessDenied { .. }) =>
                {
                    looks += 1;
                    std::thread::sleep(RIGHTS_PAUSE);
                }
                found => return Ok(found?.is_some()),
            }
        }
    }

    /// Sets what would have kept cells out. Returns what is left to do by hand.
    ///
    /// # Errors
    /// [`FlowError::Interrupted`].
    pub fn finish(&self, client: &mut Client) -> Result<Option<String>, FlowError> {
        if !self.wanted.read_only || !self.made() {
            return Ok(None);
        }
        let mut read_only = || {
            let mut descriptor = client.table_descriptor(&self.name)?;
            if descriptor.is_read_only() {
                return Ok(());
            }
            descriptor.set_read_only();
            client.modify_table(&descriptor)
        };
        let line = format!("alter '{}', READONLY => 'true'", self.name);
        match read_only().map_err(FlowError::from) {
            Ok(()) => Ok(None),
            Err(FlowError::Interrupted) => Err(FlowError::Interrupted),
            Err(error) => Ok(Some(format!(
                "table {} was READONLY and is not now ({error}); set it in the HBase shell: {line}",
                self.name
            ))),
        }
    }

    /// This restore makes the table, or an earlier run of it did.
    fn made(&self) -> bool {
        self.create || self.in_the_making
    }
}

/// HBase has answered, and will answer the same.
fn is_answer(error: &ClusterError) -> bool {
    matches!(error.cause(), ClusterError::Refused { .. })
}
