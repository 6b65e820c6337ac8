//! A full backup that ends with a catch-up pass: an increment by write time on it, made in the same run.
//!
//! A full backup reads each shard at another moment, hours apart: what is written to a shard that was read already is in no
//! file of it. The pass reads what was written since the full backup began, so that both together are the tables as of the
//! pass. It is a backup of its own, because delete markers have to apply to what was read before: inside one backup, whose
//! shards are proven one by one against what they returned, there is no before. So nothing about the format is special to
//! it, and restore, verify, merge and prune know such a pair as the chain that it is.

use crate::cluster::Client;
use crate::flow::backup::increment;
use crate::flow::increments::AgainstTime;
use crate::flow::source::survey::Survey;
use crate::flow::{BackupPlan, BackupReport, CatchUpPlan, FlowError, IncrementPlan};
use crate::manifest::IncrementBy;

/// Refuses a catch-up pass that would be refused when its full backup is made.
///
/// # Errors
/// [`FlowError::Refused`] with the reasons; the gateway's.
pub fn require(client: &mut Client, survey: &Survey) -> Result<(), FlowError> {
    let mut found = AgainstTime::of_markers(client, &survey.found.tables)?;
    increment::add_cluster(&mut found, client, survey)?;
    found.refuse_as(
        FlowError::Refused,
        "--catch-up",
        "leave it out, and let an increment by comparison follow (backup --incremental)",
    )
}

/// Makes the pass after a full backup; `make` makes a backup. A run that resumed the pass itself has nothing to add.
///
/// # Errors
/// What stops the pass. The full backup is committed all the same, and the error says so.
pub fn follow(
    plan: &BackupPlan,
    asked: &CatchUpPlan,
    full: &mut BackupReport,
    make: impl FnOnce(&BackupPlan) -> Result<BackupReport, FlowError>,
) -> Result<(), FlowError> {
    let Some(parent) = full.backup.clone().filter(|_| full.kind == "full") else { return Ok(()) };
    let CatchUpPlan { overlap, horizon } = *asked;
    let increment = IncrementPlan { parent: parent.clone(), by: IncrementBy::Time, overlap, horizon };
    let pass = BackupPlan { increment: Some(increment), catch_up: None, resume: false, ..plan.clone() };
    let made = make(&pass).map_err(|error| {
        let how = match &error {
            FlowError::Unfinished { .. } => "run backup with --catch-up --resume".to_owned(),
            FlowError::Refused(_) => format!("run backup --incremental --parent {parent} --by compare"),
            _ => format!("run backup --incremental --parent {parent} --by time"),
        };
        let advice =
            format!("the full backup {parent} is committed, without what was written while it ran: for that, {how}");
        FlowError::unfinished(advice, error)
    })?;
    full.catch_up = Some(Box::new(made));
    Ok(())
}
