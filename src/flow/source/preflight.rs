//! The preflight: what `check` reports, and what a backup and a restore ask before they begin. Nothing is written to the
//! cluster. The cluster's clock cannot be read through a gateway without writing a cell, so it is not compared.

use std::num::NonZero;

use crate::cluster::{Api, ClusterError, Framing, GatewayInfo, Gateways};
use crate::flow::engine::threads::Threads;
use crate::flow::open::nothing_yet;
use crate::flow::source::section::Section;
use crate::flow::source::store_check::{store_warnings, try_store};
use crate::flow::{FlowError, RepositorySettings, open_store_to_look};
use crate::manifest::Repository;
use crate::manifest::layout::REPOSITORY;

/// Gateways that are asked at the same time.
const AT_ONCE: NonZero<usize> = NonZero::<usize>::MIN.saturating_add(15);
/// Backups of a repository that are looked at for their cluster.
const RECENT: usize = 20;

/// What was found out about the gateways.
#[derive(Debug, Clone, Default)]
pub struct ClusterSection {
    /// One fact for each gateway that answered.
    pub section: Section,
    /// The cluster's id, or what serves as one before HBase 2.5.
    pub cluster_id: Option<String>,
    /// At least one gateway speaks Thrift2.
    pub thrift2: bool,
    /// Gateways that speak Thrift1 and are used.
    pub thrift1: Vec<String>,
}

impl ClusterSection {
    /// Asks every gateway. One that cannot be reached is named and does not matter while another one answers; where none
    /// does, one is waited for as the retry policy says.
    ///
    /// # Errors
    /// [`FlowError::Input`] for gateways of several clusters; the gateway's error when none answers, or for a port that
    /// speaks another protocol.
    pub fn ask(gateways: &Gateways) -> Result<Self, FlowError> {
        let found = Self::ask_once(gateways)?;
        if !found.section.facts.is_empty() {
            return Ok(found);
        }
        gateways.client().gateway()?;
        Self::ask_once(gateways)
    }

    fn ask_once(gateways: &Gateways) -> Result<Self, FlowError> {
        let answers = ask_all(gateways);
        let mut found = Self::default();
        let mut known: Vec<GatewayInfo> = Vec::new();
        for (address, answer) in gateways.addresses().into_iter().zip(answers) {
            match answer {
                Ok(info) => known.push(info),
                Err(error @ ClusterError::OtherCluster { .. }) => return Err(FlowError::input(error.to_string())),
                Err(error) if error.is_wrong_protocol() => return Err(error.into()),
                Err(error) => found.section.warnings.push(format!("gateway {address} is not used for now: {error}")),
            }
        }
        found.thrift2 = known.iter().any(|info| info.api == Api::Thrift2);
        found.cluster_id = known.iter().find_map(|info| info.cluster.name()).map(str::to_owned);
        for info in &known {
            found.section.facts.push(info.to_string());
            found.remark(info);
        }
        found.compare(&known);
        Ok(found)
    }

    fn remark(&mut self, info: &GatewayInfo) {
        let address = &info.address;
        match info.api {
            Api::Thrift1 if self.thrift2 => {
                self.section.warnings.push(format!("{address} speaks Thrift1 and is not used: others speak Thrift2"));
            }
            Api::Thrift1 => self.thrift1.push(address.clone()),
            Api::Thrift2 => {}
        }
        if info.transport.framing == Framing::Framed {
            self.section.warnings.push(format!("{address} is framed: tables cannot be created through it on restore"));
        }
    }

    /// Names the gateways of which it is not known whether they serve the same cluster as the others.
    fn compare(&mut self, known: &[GatewayInfo]) {
        let Some((first, others)) = known.split_first() else { return };
        let doubtful = others.iter().filter(|info| info.cluster.is_incomparable(&first.cluster));
        let names: Vec<&str> = doubtful.map(|info| info.address.as_str()).collect();
        if !names.is_empty() {
            self.section.warnings.push(format!(
                "whether {} and {} serve the same cluster cannot be checked: HBase before 2.5 does not give its cluster id; \
                 make sure that they do",
                first.address,
                names.join(", ")
            ));
        }
    }
}

/// One try at every gateway, several at a time: one that is silent takes seconds.
fn ask_all(gateways: &Gateways) -> Vec<Result<GatewayInfo, ClusterError>> {
    let numbers: Vec<usize> = (0..gateways.len()).collect();
    let mut answers = Vec::new();
    for some in numbers.chunks(AT_ONCE.get()) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = some.iter().map(|&number| scope.spawn(move || gateways.look_at(number))).collect();
            // A thread that panicked takes the command with it.
            answers.extend(asked.into_iter().map(|asked| match asked.join() {
                Ok(answer) => answer,
                Err(panic) => std::panic::resume_unwind(panic),
            }));
        });
    }
    answers
}

/// What there is to say about a repository and its store. `backups_of` is the cluster whose backups are to go there;
/// `None` where nothing is written.
///
/// # Errors
/// The repository's.
pub fn store_section(
    threads: &Threads,
    repository: &Repository,
    backups_of: Option<&str>,
) -> Result<Section, FlowError> {
    let mut section = Section::default();
    if repository.was_created() {
        let place = repository.store().place();
        section.warnings.push(format!("created a new repository at {place}: there was none; is this the right place?"));
    }
    if let Some(cluster) = backups_of {
        section.warnings.extend(other_cluster(threads, repository, cluster)?);
    }
    section.warnings.extend(store_warnings(repository.store()));
    Ok(section)
}

/// The store's section of `check`, where a repository need not exist yet.
///
/// # Errors
/// The store's and the repository's.
pub fn check_store(
    threads: &Threads,
    settings: &RepositorySettings,
    cluster_id: Option<&str>,
) -> Result<Section, FlowError> {
    let (store, missing) = open_store_to_look(settings)?;
    if let Some(nothing) = missing {
        return Ok(Section { facts: vec![nothing], ..Section::default() });
    }
    let mut section = try_store(threads, &store)?;
    if threads.wait(store.size(REPOSITORY))?.is_none() && threads.wait(store.folders(""))?.is_empty() {
        section.facts.insert(0, nothing_yet(settings));
        return Ok(section);
    }
    let repository = threads.wait(Repository::open(store))?;
    if let Some(cluster) = cluster_id {
        section.warnings.extend(other_cluster(threads, &repository, cluster)?);
    }
    section.facts.insert(0, format!("{}: a repository of tsdb-ark", settings.url));
    Ok(section)
}

/// Warns of backups of another cluster in the repository, by the plans of the newest ones.
fn other_cluster(threads: &Threads, repository: &Repository, ours: &str) -> Result<Option<String>, FlowError> {
    let plans = threads.wait(repository.newest_plans(RECENT))?;
    let other = plans.into_iter().find_map(|plan| Some((plan.server.cluster_id.filter(|id| id != ours)?, plan.backup)));
    Ok(other.map(|(id, backup)| {
        format!(
            "the repository holds backups of another cluster: {backup} is of cluster {id}, this is cluster {ours}; `latest` is the \
             newest of all of them, so keep a repository for each cluster"
        )
    }))
}
