//! What a command line asks for, held against the plan of a backup that was begun.
//!
//! A run that resumes a backup takes from its plan all that decoding depends on. What the command line says besides must
//! agree: to leave a flag away is no contradiction, to give another value is one.

use crate::flow::source::survey::Reached;
use crate::flow::source::window::record_of;
use crate::flow::{BackupPlan, OpentsdbConf, TableNames};
use crate::manifest::{IncrementBy, PlanRecord, PlannedTable};
use crate::model::TableKind;

/// Why a backup that was begun cannot be resumed by this command, in words; `None` when it can.
pub fn contradiction(begun: &PlanRecord, asked: &BackupPlan, reached: &Reached) -> Option<String> {
    let charset = begun.name_charset;
    if let Some(other) = another_source(begun, reached) {
        return Some(other);
    }
    if let Some(other) = another_selection(begun, asked) {
        return Some(other);
    }
    if asked.raw && !begun.raw {
        return Some("it was started without --raw".into());
    }
    if !begun.merged.is_empty() {
        return Some("it is a merge, which merge --resume completes".into());
    }
    if let Some(increment) = &asked.increment {
        match &begun.increment {
            None => return Some("it was started without --incremental".into()),
            Some(recorded) if recorded.by != increment.by => {
                return Some(format!("it was started with --by {}", recorded.by.name()));
            }
            Some(_) => {}
        }
        let parent = begun.parent.as_deref().unwrap_or_default();
        if increment.parent != "latest" && !parent.starts_with(&increment.parent) {
            return Some(format!("its parent is {parent}"));
        }
    }
    if let Some(other) = asked.catch_up.and_then(|_| no_catch_up(begun)) {
        return Some(other.into());
    }
    if asked.max_versions != i32::MAX && begun.tables.iter().any(|table| table.versions != asked.max_versions) {
        return Some("it was started with another --max-versions".into());
    }
    let source = &asked.source;
    if source.charset.is_some_and(|given| given != charset) {
        return Some(format!("it was started with --name-charset {}", charset.name()));
    }
    let layouts = begun.layouts();
    let other_counts = source.layout.salt_buckets.iter().skip(1);
    let unknown = |buckets: &u32| !layouts.older().iter().any(|layout| layout.salt_buckets == *buckets);
    if source.layout.over(begun.layout) != begun.layout || other_counts.into_iter().any(unknown) {
        return Some(format!("it was started with {}", begun.layout));
    }
    let mut names = source.names.clone();
    if let Some(window) = &begun.window {
        // Whoever names a table that a window leaves out asks for the same as before.
        let left_out = |name: &String| window.left_out.contains(name);
        names.meta = names.meta.filter(|name| !left_out(name));
        names.tree = names.tree.filter(|name| !left_out(name));
        names.extra.retain(|name| !left_out(name));
    }
    tables(&begun.tables, &names).or_else(|| source.conf.as_ref().and_then(|conf| configuration(begun, conf)))
}

/// How the cluster behind the gateways differs from the one that the backup reads; `None` when it does not.
pub fn another_source(begun: &PlanRecord, reached: &Reached) -> Option<String> {
    if begun.server.cluster_id != reached.cluster_id {
        let id = |id: &Option<String>| id.clone().unwrap_or_else(|| "unknown".into());
        let (theirs, ours) = (id(&begun.server.cluster_id), id(&reached.cluster_id));
        return Some(format!("it reads cluster {theirs}, this is cluster {ours}"));
    }
    let same = begun.server.api == reached.api;
    (!same).then(|| format!("it was started through a gateway of {}", begun.server.api))
}

/// How the selection differs; times that are left open are taken from the plan.
fn another_selection(begun: &PlanRecord, asked: &BackupPlan) -> Option<String> {
    let (begun, selection) = match (&begun.window, &asked.window) {
        (None, None) => return None,
        (Some(_), None) => return Some("it is of a window: give the flags of its selection".into()),
        (None, Some(_)) => return Some("it is not of a window".into()),
        (Some(begun), Some(selection)) => (begun, selection),
    };
    let asked = record_of(selection, Vec::new());
    let same_time = |asked: Option<i64>, begun: Option<i64>| asked.is_none() || asked == begun;
    if asked.metrics != begun.metrics || asked.tags != begun.tags {
        return Some("it has another selection of metrics or tags".into());
    }
    let same = same_time(asked.from_ms, begun.from_ms) && same_time(asked.to_ms, begun.to_ms);
    (!same).then(|| "it has another --from or --to".into())
}

/// Why a backup that was begun is neither a full one that an increment can follow nor that increment.
fn no_catch_up(begun: &PlanRecord) -> Option<&'static str> {
    match &begun.increment {
        Some(increment) if increment.by != IncrementBy::Time => Some("it is an increment by comparison"),
        None if begun.raw => Some("it was started with --raw"),
        _ => None,
    }
}

fn tables(begun: &[PlannedTable], names: &TableNames) -> Option<String> {
    let of =
        |kind: TableKind| begun.iter().filter(|table| table.kind == kind).map(|table| table.name.as_str()).collect();
    let data: Vec<&str> = of(TableKind::Data);
    if !names.data.is_empty() && data != names.data {
        return Some(format!("its data tables are {}", data.join(", ")));
    }
    let one = [(&names.uid, TableKind::Uid), (&names.meta, TableKind::Meta), (&names.tree, TableKind::Tree)];
    let other = one.into_iter().find_map(|(given, kind)| given.as_deref().filter(|name| of(kind) != [*name]));
    let further = names.extra.iter().find(|name| begun.iter().all(|table| table.name != **name));
    if let Some(name) = other.or(further.map(String::as_str)) {
        let all: Vec<&str> = begun.iter().map(|table| table.name.as_str()).collect();
        return Some(format!(
            "{name} is not among its tables, or not as a table of that kind; they are {}",
            all.join(", ")
        ));
    }
    (names.no_uid && !of(TableKind::Uid).is_empty()).then(|| "it was started without --no-uid-table".into())
}

fn configuration(begun: &PlanRecord, conf: &OpentsdbConf) -> Option<String> {
    let Some(recorded) = &begun.opentsdb_conf else {
        return Some("it was started without --opentsdb-conf".into());
    };
    let given = conf.kept();
    let keys = recorded.keys().chain(given.keys());
    if let Some(key) = keys.into_iter().find(|key| recorded.get(*key) != given.get(*key)) {
        let value = recorded.get(key).map_or("not set", String::as_str);
        return Some(format!("its OpenTSDB configuration had {key} = {value}; leave --opentsdb-conf out to keep that"));
    }
    let same = begun.rollup_config.as_deref() == conf.rollup_text();
    (!same).then(|| "it was started with another rollup configuration; leave the flag out to keep that".into())
}
