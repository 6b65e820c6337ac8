//! Which increments fit the cluster and, where a repository is given, the newest backup of it there.

use crate::cluster::Client;
use crate::flow::engine::threads::Threads;
use crate::flow::increments::{AgainstTime, ClusterFacts};
use crate::flow::plan::Source;
use crate::flow::source::table::SourceTable;
use crate::flow::stored::chain::Chain;
use crate::flow::stored::parent::{self, Now};
use crate::flow::{FlowError, IncrementAdvice, IncrementPlan, OpentsdbConf, RepositorySettings, open_store_to_look};
use crate::manifest::layout::REPOSITORY;
use crate::manifest::{IncrementBy, Manifest, Repository};
use crate::model::{KeyLayouts, TableKind};
use crate::store::Store;

/// Advises by what a backup would refuse.
///
/// # Errors
/// The gateway's. What is wrong with the parent is part of the advice.
pub fn advise(
    client: &mut Client,
    (source, repository): (&Source, Option<&RepositorySettings>),
    (tables, keys, layouts): (&[SourceTable], &[Vec<Vec<u8>>], &KeyLayouts),
    warnings: &mut Vec<String>,
) -> Result<IncrementAdvice, FlowError> {
    let mut advice = IncrementAdvice::default();
    let mut found = AgainstTime::of_markers(client, tables)?;
    let conf = source.conf.as_ref().map(OpentsdbConf::kept);
    found.add_cluster(client, &ClusterFacts { tables, keys, layouts, conf: conf.as_ref() })?;
    if let Some(settings) = repository {
        let cluster_id = Some(client.cluster_id()?).filter(|id| !id.is_empty());
        let names: Vec<(&str, TableKind)> = tables.iter().map(|table| (table.name.as_str(), table.kind)).collect();
        let now = Now {
            cluster_id: cluster_id.as_deref(),
            layout: layouts.main(),
            older_layouts: layouts.older(),
            name_charset: source.charset.unwrap_or_default(),
            tables: &names,
        };
        let threads = Threads::new(1)?;
        match parent_of(&threads, settings, now) {
            Ok(None) => {}
            Ok(Some((store, manifest, chain))) => {
                advice.parent = Some(manifest.backup.clone());
                match chain {
                    Ok(chain) => {
                        let horizon = IncrementPlan::HORIZON;
                        match found.add_parent((&threads, &store), client, tables, (&manifest, &chain), horizon) {
                            Err(error @ (FlowError::Interrupted | FlowError::Cluster(_))) => return Err(error),
                            // A file of the chain: either way reads it.
                            Err(error) => advice.against_any.push(error.to_string()),
                            Ok(()) => {}
                        }
                    }
                    Err(why) => advice.against_any.push(why),
                }
            }
            Err(FlowError::Interrupted) => return Err(FlowError::Interrupted),
            Err(error) => advice.against_any.push(error.to_string()),
        }
    }
    warnings.extend(found.warnings);
    advice.against_time = found.reasons;
    let by = if advice.against_time.is_empty() { IncrementBy::Time } else { IncrementBy::Compare };
    advice.fits = advice.against_any.is_empty().then_some(by);
    Ok(advice)
}

/// A parent, and its chain or why it can be none.
type Parent = (Store, Manifest, Result<Chain, String>);

/// The newest backup of the cluster; `None` where there is no repository or no such backup.
fn parent_of(threads: &Threads, settings: &RepositorySettings, now: Now<'_>) -> Result<Option<Parent>, FlowError> {
    let (store, missing) = open_store_to_look(settings)?;
    if missing.is_some() || threads.wait(store.size(REPOSITORY))?.is_none() {
        return Ok(None);
    }
    let repository = threads.wait(Repository::open(store.clone()))?;
    let Some(manifest) = parent::latest(threads, &repository, now.cluster_id)? else { return Ok(None) };
    let chain = match parent::no_parent(&manifest, now) {
        Some(why) => Err(why),
        None => Chain::open(threads, &store, manifest.clone()).map_err(|error| error.to_string()),
    };
    Ok(Some((store, manifest, chain)))
}
