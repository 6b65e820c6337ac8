//! What a restore decides before it writes anything.

use crate::cluster::Client;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::source::preflight::{self, ClusterSection};
use crate::flow::stored::backup_files::{BackupContents, ReadTools, load_backup};
use crate::flow::stored::chain;
use crate::flow::stored::gaps;
use crate::flow::{FlowError, RestorePlan};
use crate::manifest::{LockKind, Repository};

use super::create::missing_namespaces;
use super::fit::{Fit, unproven};
use super::log::{self, Earlier};
use super::markers::{self, Coverage};
use super::sanity::refused_values;
use super::scene::Scene;
use super::target::Target;
use super::targets::plan_targets;
use super::uids;

/// A restore that has found its backup and its cluster.
pub struct Opened {
    /// The backup.
    pub contents: BackupContents,
    /// The run that is resumed.
    pub earlier: Option<Earlier>,
    /// Where the log is kept.
    pub repository: Repository,
    /// Held until the end.
    pub lock: RepositoryLock,
    /// The cluster, where it was asked for.
    pub cluster_id: Option<String>,
    /// What somebody should know.
    pub warnings: Vec<String>,
}

/// What will be written, and where.
pub struct Planned<'a> {
    /// The tables, in the order of the backup.
    pub targets: Vec<Target<'a>>,
    /// What delete markers cover, for each of them.
    pub coverage: Vec<Coverage>,
    /// Namespaces to create.
    pub namespaces: Vec<String>,
    /// What needs attention.
    pub attention: Vec<String>,
}

/// Finds the backup, or the restore to resume, locks it and looks at both ends.
///
/// # Errors
/// [`FlowError::Input`] where there is no such backup or restore; the store's and the gateway's.
pub fn open(plan: &RestorePlan, tools: ReadTools<'_>, client: &mut Client) -> Result<Opened, FlowError> {
    let ReadTools { threads, progress, .. } = tools;
    let repository = threads.wait(Repository::open(plan.store.clone()))?;
    let store = preflight::store_section(threads, &repository, None)?;
    progress.stage("reading the manifest", 0);
    let lock = RepositoryLock::shared(threads, &repository, LockKind::Restore, None)?;
    let mut cluster_id = None;
    let (contents, earlier) = if plan.resume {
        cluster_id = Some(client.cluster_id()?).filter(|id| !id.is_empty());
        let (contents, earlier) = log::find(threads, &repository, plan, cluster_id.as_deref())?;
        (contents, Some(earlier))
    } else {
        (load_backup(threads, &plan.store, &plan.backup)?, None)
    };
    progress.stage("connecting", 0);
    let cluster = ClusterSection::ask(&plan.gateways)?;
    lock.works_on(&contents.manifest.backup)?;
    let contents = chain::whole(tools, contents, (&plan.tables, &plan.selection), plan.resources.connections)?;
    let mut warnings = [cluster.section.warnings, store.warnings].concat();
    warnings.extend(lock.warning().map(str::to_owned));
    Ok(Opened { contents, earlier, repository, lock, cluster_id, warnings })
}

/// Decides where everything goes.
///
/// # Errors
/// [`FlowError::Input`] for what does not fit the backup, [`FlowError::Refused`] for what must not be written to; the
/// store's and the gateway's.
pub fn plan<'a>(
    scene: &Scene<'a>,
    client: &mut Client,
    earlier: Option<&Earlier>,
    warnings: &mut Vec<String>,
) -> Result<Planned<'a>, FlowError> {
    let Scene { plan, contents, .. } = *scene;
    let fit = Fit { plan, tools: scene.tools(), contents };
    let mut less = Vec::new();
    let targets = plan_targets(client, &fit, earlier, warnings, &mut less)?;
    let mut attention = uids::check(scene, client, &targets, warnings)?;
    let coverage = markers::survey(scene, client, &targets, warnings)?;
    if plan.dry_run {
        // Whether it comes to that shows in the real run.
        attention.extend(unproven(client, &targets)?);
        attention.extend(
            targets.iter().filter(|target| target.create).flat_map(|target| refused_values(&target.wanted.descriptor)),
        );
        attention.append(&mut less);
    }
    warnings.append(&mut less);
    attention.extend(gaps::not_restored(targets.iter().map(|target| target.table)));
    let unseen = if plan.dry_run { &mut attention } else { &mut *warnings };
    let namespaces = missing_namespaces(client, &targets, unseen)?;
    warnings.extend(namespaces.iter().map(|name| format!("namespace {name} does not exist and is to be created")));
    Ok(Planned { targets, coverage, namespaces, attention })
}
