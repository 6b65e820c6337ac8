//! UID widths and salt: taken from the configuration, from flags, or found out, and in each case held against the data.
//!
//! Nothing in HBase records them. Widths are the lengths of the UIDs in `tsdb-uid`. The salt is found by recomputing:
//! for each possible salt width the sampled keys must fall apart into metric, base time and tags, and a number of buckets
//! must give every key the salt that it has. What was given is obeyed. Keys that it does not explain are tried under other
//! salts, because salting can be switched on and its buckets changed while old rows stay.

mod salts;

use std::collections::BTreeSet;

use crate::cluster::{Client, PageRequest};
use crate::codec::row_key::{RowKey, find};
use crate::flow::source::gaps::{AtDamage, readable};
use crate::flow::source::table::SourceTable;
use crate::flow::source::uid_read::UidFacts;
use crate::flow::{FlowError, LayoutFlags, OpentsdbConf};
use crate::manifest::LayoutSource;
use crate::model::{CellBlock, KeyLayout, KeyLayouts, KeyRange, UidKind, UidNames, hex};
use crate::scan::{ScanOptions, ShardScan};
use crate::shard::clip;

/// Row keys that a sample holds at most.
const SAMPLE: usize = 2_000;
/// Rows from each place that a sample looks at.
const ROWS_PER_PLACE: u32 = 16;

/// The layouts and how sure they are.
#[derive(Debug, Clone)]
pub struct Detection {
    /// The layouts to use.
    pub layouts: KeyLayouts,
    /// Where the main one comes from.
    pub source: LayoutSource,
    /// Keys sampled.
    pub sampled: u64,
    /// Of them, how many one of the layouts explains.
    pub fitting: u64,
    /// What is sure.
    pub sure: Vec<String>,
    /// What was assumed, because nothing contradicts it.
    pub guessed: Vec<String>,
    /// What somebody should look at.
    pub warnings: Vec<String>,
}

impl Detection {
    /// What an earlier run has decided.
    pub fn recorded(layouts: KeyLayouts, source: LayoutSource) -> Self {
        let (sure, guessed, warnings) = (Vec::new(), Vec::new(), Vec::new());
        Self { layouts, source, sampled: 0, fitting: 0, sure, guessed, warnings }
    }
}

/// Row keys from all over a table: the first rows of up to 64 regions and of each first byte that occurs.
///
/// # Errors
/// The scan's.
pub fn sample_keys(client: &mut Client, table: &SourceTable, at_damage: AtDamage) -> Result<Vec<Vec<u8>>, FlowError> {
    let mut keys = BTreeSet::new();
    let step = table.regions.len().div_ceil(64).max(1);
    let regions: Vec<KeyRange> = table.regions.iter().step_by(step).map(|region| region.range.clone()).collect();
    if at_damage == AtDamage::Skip {
        probe_keys(client, table, &regions, &mut keys)?;
        return Ok(keys.into_iter().collect());
    }
    for range in regions {
        first_keys(client, &table.name, range, &mut keys)?;
    }
    let mut next = Some(Vec::new());
    while let Some(start) = next.take().filter(|_| keys.len() < SAMPLE) {
        let Some(first) = first_keys(client, &table.name, KeyRange::new(start, Vec::new()), &mut keys)? else { break };
        // Salted keys differ in the first byte: the next place is behind all keys that begin like this one.
        next = first.first().and_then(|byte| byte.checked_add(1)).map(|byte| vec![byte]);
    }
    Ok(keys.into_iter().collect())
}

/// Adds the first keys of those ranges that can be read.
fn probe_keys(
    client: &mut Client,
    table: &SourceTable,
    regions: &[KeyRange],
    keys: &mut BTreeSet<Vec<u8>>,
) -> Result<(), FlowError> {
    let mut page = CellBlock::new();
    let count = SAMPLE.div_ceil(regions.len().max(1)) as u32;
    for range in clip(regions, &readable(&table.gaps)) {
        let filter = Some(PageRequest::KEYS_ONLY);
        let request = PageRequest { filter, ..PageRequest::new(&table.name, &range.start, &range.stop, count) };
        match client.probe_page(&request, &mut page) {
            Ok(_) => keys.extend(page.rows().map(|row| row.key.to_vec())),
            Err(error) if error.may_be_rows() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Adds the first keys of a range; returns the very first.
fn first_keys(
    client: &mut Client,
    table: &str,
    range: KeyRange,
    keys: &mut BTreeSet<Vec<u8>>,
) -> Result<Option<Vec<u8>>, FlowError> {
    let mut page = CellBlock::new();
    let mut scan = ShardScan::new(client, table, range, ScanOptions::keys_only(ROWS_PER_PLACE));
    scan.next_page(&mut page)?;
    keys.extend(page.rows().map(|row| row.key.to_vec()));
    Ok(page.row(0).map(|row| row.key.to_vec()))
}

/// Decides on the layouts.
///
/// # Errors
/// [`FlowError::Input`] for a configuration out of range, and for a UID width that no UID of `tsdb-uid` has.
pub fn decide(
    conf: Option<&OpentsdbConf>,
    flags: &LayoutFlags,
    facts: &UidFacts,
    names: &UidNames,
    keys: &[Vec<u8>],
) -> Result<Detection, FlowError> {
    let source = match conf {
        _ if flags.any() => LayoutSource::Flags,
        Some(_) => LayoutSource::Conf,
        None => LayoutSource::Detected,
    };
    let mut found = Detection::recorded(KeyLayouts::default(), source);
    let base = match conf {
        Some(conf) => conf.layout()?,
        None => widths_of(facts, &mut found),
    };
    let mut main = flags.over(base).checked().map_err(|e| FlowError::input(e.to_string()))?;
    if conf.is_none() && flags.salt_width.is_none() {
        main.salt_width = salts::width(&main, names, keys);
    }
    let keys: Vec<&Vec<u8>> = keys.iter().filter(|key| !is_global(key, &main)).collect();
    if conf.is_none() && flags.salt_buckets.is_empty() && main.salt_width > 0 {
        main.salt_buckets = salts::buckets(&main, &keys).0;
    }
    if source != LayoutSource::Detected {
        check_widths(&main, facts, &mut found)?;
    }
    warn_of_widths(&main, facts, &mut found);
    let told = flags.salt_buckets.iter().skip(1).map(|buckets| KeyLayout { salt_buckets: *buckets, ..main });
    found.layouts = salts::older(&main, told.collect(), &keys);
    judge(&mut found, names, &keys);
    Ok(found)
}

/// Says how the sampled keys fit.
fn judge(found: &mut Detection, names: &UidNames, keys: &[&Vec<u8>]) {
    let layouts = &found.layouts;
    let explained: Vec<_> = keys
        .iter()
        .filter_map(|key| find(key, layouts))
        .filter(|found| found.problem.is_none() && !found.key.tags.is_empty())
        .collect();
    (found.sampled, found.fitting) = (keys.len() as u64, explained.len() as u64);
    let main = layouts.main();
    let in_main = explained.iter().filter(|key| key.layout == 0).count();
    let given = found.source != LayoutSource::Detected;
    if keys.is_empty() {
        found.guessed.push("no row key could be read: the data table is empty".into());
    } else if explained.is_empty() {
        found.warnings.push(format!(
            "none of {} sampled row keys fits {main}: rows that do not are backed up as bytes; check UID widths and salt \
             (--opentsdb-conf gives them), and whether the data table is OpenTSDB's",
            keys.len()
        ));
    } else if explained.len() * 2 < keys.len() {
        found.warnings.push(format!(
            "only {} of {} sampled row keys fit {main}: check UID widths and salt (--opentsdb-conf gives them)",
            explained.len(),
            keys.len()
        ));
    } else if !given {
        let text = format!("row keys have {main} ({in_main} of {} sampled keys)", keys.len());
        let all = in_main == keys.len() && keys.len() >= 16;
        if all { found.sure.push(text) } else { found.guessed.push(text) }
    }
    if given && in_main * 2 < explained.len() {
        found.warnings.push(format!(
            "only {in_main} of {} sampled row keys have the salt that was given ({main}); it is obeyed, and rows under \
             another salt are decoded by their own",
            keys.len()
        ));
    }
    for (layout, number) in found.layouts.older().iter().zip(1..) {
        let count = explained.iter().filter(|key| key.layout == number).count();
        if count > 0 {
            found.warnings.push(format!(
                "{count} of {} sampled row keys were written under another salt: {layout}; their points are in the backup \
                 like all others",
                keys.len()
            ));
        }
    }
    warn_of_names(found, names, keys);
}

/// Says whether the sampled keys name UIDs that `tsdb-uid` holds.
fn warn_of_names(found: &mut Detection, names: &UidNames, keys: &[&Vec<u8>]) {
    if UidKind::ALL.iter().all(|kind| names.count(*kind) == 0) {
        if !keys.is_empty() {
            found.warnings.push(
                "there are no names of UIDs: all rows are backed up, and metrics and tags appear as UIDs in hex".into(),
            );
        }
        return;
    }
    let keys: Vec<RowKey<'_>> = keys.iter().filter_map(|key| Some(find(key, &found.layouts)?.key)).collect();
    let mut nameless = keys.iter().filter_map(|key| nameless(key, found.layouts.main(), names));
    if let Some(first) = nameless.next() {
        found.warnings.push(format!(
            "{} of {} sampled row keys name UIDs that have no name (first: {first}): they appear in hex; is the UID table \
             the one of this data?",
            1 + nameless.count(),
            keys.len()
        ));
    }
}

/// The first UID of a key that has no name.
fn nameless(key: &RowKey<'_>, layout: &KeyLayout, names: &UidNames) -> Option<String> {
    let tags = key.tags.chunks_exact(layout.tag_width()).flat_map(|pair| {
        let (tagk, tagv) = pair.split_at(usize::from(layout.tagk_width));
        [(UidKind::Tagk, tagk), (UidKind::Tagv, tagv)]
    });
    let mut uids = std::iter::once((UidKind::Metric, key.metric)).chain(tags);
    let (kind, uid) = uids.find(|(kind, uid)| names.get(*kind, uid).is_none())?;
    Some(format!("{} {}", kind.qualifier(), hex(uid)))
}

/// The widths that most UIDs have.
fn widths_of(facts: &UidFacts, found: &mut Detection) -> KeyLayout {
    let mut layout = KeyLayout::default();
    for kind in UidKind::ALL {
        let width = facts.width(kind).and_then(|width| u8::try_from(width).ok()).filter(|w| (1..=8).contains(w));
        let place = match kind {
            UidKind::Metric => &mut layout.metric_width,
            UidKind::Tagk => &mut layout.tagk_width,
            UidKind::Tagv => &mut layout.tagv_width,
        };
        match width {
            Some(width) => {
                *place = width;
                found.sure.push(format!("UIDs of {} have {width} bytes (seen in the UID table)", kind.qualifier()));
            }
            None => {
                found.guessed.push(format!("tsdb-uid holds no UID of {}: 3 bytes are assumed", kind.qualifier()));
            }
        }
    }
    layout
}

fn width_in(layout: &KeyLayout, kind: UidKind) -> usize {
    usize::from([layout.metric_width, layout.tagk_width, layout.tagv_width][kind as usize])
}

/// A width that was given must be one that `tsdb-uid` knows, where it knows any: with a wrong one not one row decodes.
fn check_widths(layout: &KeyLayout, facts: &UidFacts, found: &mut Detection) -> Result<(), FlowError> {
    for kind in UidKind::ALL {
        let given = width_in(layout, kind);
        let widths = facts.widths(kind);
        if widths.iter().any(|(width, _)| *width == given) {
            found
                .sure
                .push(format!("UIDs of {} have {given} bytes (given, and seen in the UID table)", kind.qualifier()));
        } else if let Some((seen, _)) = widths.first() {
            return Err(FlowError::input(format!(
                "the configuration says that UIDs of {} have {given} bytes, tsdb-uid holds UIDs of {seen} bytes and none of \
                 {given}; correct the configuration or the flag, or leave it out to have the widths detected",
                kind.qualifier()
            )));
        } else {
            found.guessed.push(format!("tsdb-uid holds no UID of {}: {given} bytes are given", kind.qualifier()));
        }
    }
    Ok(())
}

/// UIDs of other widths than the one that row keys are read with name nothing.
fn warn_of_widths(layout: &KeyLayout, facts: &UidFacts, found: &mut Detection) {
    for kind in UidKind::ALL {
        let widths = facts.widths(kind);
        if widths.len() > 1 {
            let counts: Vec<String> = widths.iter().map(|(width, count)| format!("{count} of {width} bytes")).collect();
            found.warnings.push(format!(
                "tsdb-uid holds UIDs of {} of several widths: {}; row keys are read with {} bytes, and the others name \
                 nothing in them",
                kind.qualifier(),
                counts.join(", "),
                width_in(layout, kind)
            ));
        }
    }
}

fn is_global(key: &[u8], layout: &KeyLayout) -> bool {
    RowKey::parse(key, layout).is_some_and(|key| key.is_global() && key.tags.is_empty())
}

#[cfg(test)]
mod tests;
