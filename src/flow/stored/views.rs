//! The views of a backup for DuckDB, from any folder: of an increment, those of the chain that it ends.

use std::collections::BTreeMap;

use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::flow::stored::backup_files::{BackupContents, load_backup, saved_descriptor};
use crate::flow::stored::chain::Chain;
use crate::manifest::{IncrementBy, TableRecord};
use crate::model::{FileKind, RawReason, hex};
use crate::parquet_file::{ChainFile, ChainViews, chain_views_sql, views_sql};
use crate::store::Store;

/// What comes in front of the names of views of an increment alone.
pub const ALONE: &str = "increment_";
/// Why a cell is kept as bytes whose points are shown nevertheless: their columns do not say which cell it is.
const SHOWN: [RawReason; 10] = [
    RawReason::OddBaseTime,
    RawReason::WrongSalt,
    RawReason::OtherSalt,
    RawReason::OffsetOutsideHour,
    RawReason::RepairedFlags,
    RawReason::OddTrailingByte,
    RawReason::UnusedBits,
    RawReason::NanPayload,
    RawReason::OddTimestamp,
    RawReason::NotIdentical,
];

/// Views of a backup for DuckDB; paths are full, below `base` or where the repository is. An increment is read together
/// with the backups that it adds to. Where that cannot be exact, the views are of the increment alone, and their names and
/// the first lines say so.
///
/// # Errors
/// The repository's; [`FlowError::Damaged`] for a broken chain.
pub fn views(store: &Store, backup: &str, base: Option<&str>) -> Result<String, FlowError> {
    let threads = Threads::for_store()?;
    let contents = load_backup(&threads, store, backup)?;
    let place = store.local_path("").map(|path| path.display().to_string());
    let base = base.map(str::to_owned).or(place).unwrap_or_else(|| store.place().to_owned());
    let base = base.trim_end_matches('/');
    let head = head(base);
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    if contents.manifest.increment.is_none() {
        return Ok(views_sql(&files(&contents, base), &head, "")?);
    }
    let chain = Chain::open(&threads, store, contents.manifest.clone())?;
    if let Some(why) = inexact(&chain)? {
        let alone = alone(&contents.manifest.backup);
        let why = format!("Views of the chain would not be exact: {why}.");
        let head: Vec<&str> = alone.iter().map(String::as_str).chain([why.as_str()]).chain(head).collect();
        return Ok(views_sql(&files(&contents, base), &head, ALONE)?);
    }
    let ids: Vec<&str> = chain.members().iter().map(|member| member.manifest.backup.as_str()).collect();
    let of_chain = format!("Of a chain, read as one: {}.", ids.join(", "));
    let names = "Names are those that each backup knew; series are listed once for each file of points.";
    let slow = "Rows that an increment names are recomputed for each query; merge makes a full backup of it.";
    let head: Vec<&str> = [of_chain.as_str(), names, slow].into_iter().chain(head).collect();
    Ok(chain_views_sql(&of_chain_files(&chain, base)?, &head)?)
}

/// What views of an increment alone begin with.
pub fn alone(backup: &str) -> [String; 2] {
    [
        format!("Of increment {backup} ALONE, without the backups that it adds to: what it holds is no table."),
        format!("tsdb-ark merge {backup} makes a full backup of all of them, with its own views."),
    ]
}

fn head(base: &str) -> Vec<String> {
    let mut head = vec!["The committed files of one backup; create the views again after a prune."];
    if base.contains("://") && !base.starts_with("file://") {
        head.push("install httpfs; load httpfs;");
    }
    if base.starts_with("s3://") {
        head.push("create secret (type s3, provider credential_chain);");
        head.push(
            "Another server than AWS: add endpoint 'host:9000', url_style 'path', use_ssl false, region 'us-east-1'.",
        );
    }
    head.into_iter().map(str::to_owned).collect()
}

/// The files of one backup by kind.
fn files(contents: &BackupContents, base: &str) -> BTreeMap<FileKind, Vec<String>> {
    let mut files: BTreeMap<FileKind, Vec<String>> = BTreeMap::new();
    for file in &contents.files {
        files.entry(file.kind).or_default().push(format!("{base}/{}", file.path));
    }
    for kind in [FileKind::Files, FileKind::Shards, FileKind::Metrics] {
        let paths = contents.catalogue_files(kind).map(|file| format!("{base}/{}", file.path));
        files.insert(kind, paths.collect());
    }
    files
}

/// Why views of a chain cannot show what a restore of it gives.
fn inexact(chain: &Chain) -> Result<Option<String>, FlowError> {
    for table in chain.tables() {
        if let Some(family) = saved_descriptor(table)?.families.iter().find(|family| family.versions() > 1) {
            let (name, versions) = (String::from_utf8_lossy(&family.name).into_owned(), family.versions());
            return Ok(Some(format!("family {name} of table {} keeps {versions} versions", table.name)));
        }
    }
    for member in chain.members() {
        for table in &member.manifest.tables {
            let shown = SHOWN.iter().map(|reason| reason.name());
            let found = shown.filter(|name| table.raw_cells.get(*name).is_some_and(|count| *count > 0));
            if let Some(reason) = found.into_iter().next() {
                let backup = &member.manifest.backup;
                return Ok(Some(format!(
                    "table {} of backup {backup} has points of cells kept raw ({reason})",
                    table.name
                )));
            }
            if !table.gaps.is_empty() {
                return Ok(Some(format!("table {} of backup {} has gaps", table.name, member.manifest.backup)));
            }
        }
    }
    Ok(None)
}

fn of_chain_files(chain: &Chain, base: &str) -> Result<ChainViews, FlowError> {
    let mut views = ChainViews::default();
    let first = |table: &str| chain.members().len() - chain.members_of(table).len();
    for (member, contents) in chain.members().iter().enumerate() {
        views.members.push(contents.manifest.backup.clone());
        let counts = contents.files.iter().filter(|file| first(&file.table) <= member);
        views.files.extend(counts.map(|file| ChainFile {
            member,
            table: file.table.clone(),
            kind: file.kind,
            path: format!("{base}/{}", file.path),
        }));
        for kind in [FileKind::Files, FileKind::Shards] {
            views.files.extend(contents.catalogue_files(kind).map(|file| ChainFile {
                member,
                table: String::new(),
                kind,
                path: format!("{base}/{}", file.path),
            }));
        }
    }
    let Some(tip) = chain.members().last().map(|member| &member.manifest) else { return Ok(views) };
    views.layouts = tip.layouts();
    if tip.increment.as_ref().is_some_and(|increment| increment.by == IncrementBy::Time) {
        for table in chain.tables() {
            views.expired.extend(expired(table, tip.started_ms)?);
        }
    }
    Ok(views)
}

/// Until when cells of a table's families had expired.
fn expired(table: &TableRecord, now_ms: i64) -> Result<Vec<(String, String, i64)>, FlowError> {
    let families = saved_descriptor(table)?.families;
    let expiring = families.iter().filter(|family| family.min_versions() == 0);
    let until =
        expiring.filter_map(|family| Some((family, now_ms.saturating_sub(family.ttl_seconds()?.saturating_mul(1000)))));
    Ok(until.map(|(family, until)| (table.name.clone(), hex(&family.name), until)).collect())
}
