//! UID widths and salt: taken from the configuration, from flags, or found out, and in each case held against the data.
//!
//! Nothing in HBase records them. Widths are the lengths of the UIDs in `tsdb-uid`. The salt is found by recomputing:
//! for each possible salt width the sampled keys must fall apart into known metric, base time and known tags, and a
//! number of buckets must give every key the salt that it has.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::cluster::Client;
use crate::codec::row_key::RowKey;
use crate::flow::names::UidFacts;
use crate::flow::tables::SourceTable;
use crate::flow::{FlowError, LayoutFlags, OpentsdbConf};
use crate::manifest::LayoutSource;
use crate::model::{CellBlock, KeyLayout, KeyRange, UidKind, UidNames};
use crate::scan::{ScanOptions, ShardScan};

/// Salt widths that detection tries; OpenTSDB allows 8, nobody needs more than 2.
const SALT_WIDTHS: std::ops::RangeInclusive<u8> = 0..=2;
/// Bucket counts that detection tries.
const MAX_BUCKETS: u32 = 4096;
/// Row keys that a sample holds at most.
const SAMPLE: usize = 2_000;
/// Rows from each place that a sample looks at.
const ROWS_PER_PLACE: u32 = 16;

/// The layout and how sure it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Detection {
    /// The layout to use.
    pub layout: KeyLayout,
    /// Where it comes from.
    pub source: LayoutSource,
    /// Keys sampled.
    pub sampled: u64,
    /// Of them, how many fit the layout.
    pub fitting: u64,
    /// What is sure.
    pub sure: Vec<String>,
    /// What is not.
    pub warnings: Vec<String>,
}

/// Row keys from all over a table: the first rows of up to 64 regions and of each first byte that occurs.
///
/// # Errors
/// The scan's.
pub fn sample_keys(client: &mut Client, table: &SourceTable) -> Result<Vec<Vec<u8>>, FlowError> {
    let mut keys = BTreeSet::new();
    let step = table.regions.len().div_ceil(64).max(1);
    for region in table.regions.iter().step_by(step) {
        first_keys(client, &table.name, region.range.clone(), &mut keys)?;
    }
    let mut next = Some(Vec::new());
    while let Some(start) = next.take().filter(|_| keys.len() < SAMPLE) {
        let Some(first) = first_keys(client, &table.name, KeyRange::new(start, Vec::new()), &mut keys)? else { break };
        // Salted keys differ in the first byte: the next place is behind all keys that begin like this one.
        next = first.first().and_then(|byte| byte.checked_add(1)).map(|byte| vec![byte]);
    }
    Ok(keys.into_iter().collect())
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

/// Decides on the layout.
///
/// # Errors
/// [`FlowError::Input`] for a configuration out of range, or when a layout that was given contradicts the data.
pub fn decide(
    conf: Option<&OpentsdbConf>,
    flags: &LayoutFlags,
    facts: &UidFacts,
    names: &UidNames,
    keys: &[Vec<u8>],
) -> Result<Detection, FlowError> {
    let mut sure = Vec::new();
    let mut warnings = Vec::new();
    let detected = detect(facts, names, keys, &mut sure, &mut warnings);
    let (base, mut source) = match conf {
        Some(conf) => (conf.layout()?, LayoutSource::Conf),
        None => (detected, LayoutSource::Detected),
    };
    if flags.any() {
        source = LayoutSource::Flags;
    }
    let layout = flags.over(base).checked().map_err(|e| FlowError::input(e.to_string()))?;
    if source != LayoutSource::Detected {
        sure.clear();
        warnings.clear();
        check_widths(&layout, facts)?;
        sure.push("UID widths agree with tsdb-uid".into());
    }
    let keys: Vec<&Vec<u8>> = keys.iter().filter(|key| !is_global(key, &layout)).collect();
    let fitting = keys.iter().filter(|key| fits(key, &layout, names) && has_salt(key, &layout)).count();
    if !keys.is_empty() && fitting * 2 < keys.len() {
        let text = format!(
            "only {fitting} of {} sampled row keys fit {}: check UID widths and salt (--opentsdb-conf gives them)",
            keys.len(),
            words(&layout)
        );
        if source != LayoutSource::Detected && fitting * 10 < keys.len() {
            return Err(FlowError::input(text));
        }
        warnings.push(text);
    }
    Ok(Detection { layout, source, sampled: keys.len() as u64, fitting: fitting as u64, sure, warnings })
}

fn check_widths(layout: &KeyLayout, facts: &UidFacts) -> Result<(), FlowError> {
    let given = [layout.metric_width, layout.tagk_width, layout.tagv_width];
    for kind in UidKind::ALL {
        let given = usize::from(given[kind as usize]);
        if let Some(found) = facts.width(kind).filter(|found| *found != given) {
            return Err(FlowError::input(format!(
                "the configuration says that UIDs of {} have {given} bytes, tsdb-uid holds UIDs of {found} bytes",
                kind.qualifier()
            )));
        }
    }
    Ok(())
}

fn detect(
    facts: &UidFacts,
    names: &UidNames,
    keys: &[Vec<u8>],
    sure: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> KeyLayout {
    let mut layout = KeyLayout::default();
    for kind in UidKind::ALL {
        let found = facts.width(kind).and_then(|width| u8::try_from(width).ok()).filter(|w| (1..=8).contains(w));
        let place = match kind {
            UidKind::Metric => &mut layout.metric_width,
            UidKind::Tagk => &mut layout.tagk_width,
            UidKind::Tagv => &mut layout.tagv_width,
        };
        match found {
            Some(width) => {
                *place = width;
                sure.push(format!("UIDs of {} have {width} bytes (seen in tsdb-uid)", kind.qualifier()));
            }
            None => warnings.push(format!("tsdb-uid holds no UID of {}: 3 bytes are assumed", kind.qualifier())),
        }
    }
    let fitting = |salt_width: u8| {
        let tried = KeyLayout { salt_width, ..layout };
        keys.iter().filter(|key| !is_global(key, &tried) && fits(key, &tried, names)).count()
    };
    let best = SALT_WIDTHS.max_by_key(|width| (fitting(*width), std::cmp::Reverse(*width))).unwrap_or(0);
    layout.salt_width = best;
    match (fitting(best), best) {
        (0, _) => {
            layout.salt_width = 0;
            warnings.push("no row key could be read: the data table is empty, or its keys are not OpenTSDB's".into());
        }
        (count, 0) => sure.push(format!("row keys are not salted ({count} of {} sampled keys fit)", keys.len())),
        (count, _) => detect_buckets(&mut layout, names, keys, count, sure, warnings),
    }
    layout
}

fn detect_buckets(
    layout: &mut KeyLayout,
    names: &UidNames,
    keys: &[Vec<u8>],
    count: usize,
    sure: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    let salted: Vec<&Vec<u8>> = keys.iter().filter(|key| !is_global(key, layout) && fits(key, layout, names)).collect();
    let agreeing = |buckets: u32| {
        let tried = KeyLayout { salt_buckets: buckets, ..*layout };
        salted.iter().filter(|key| has_salt(key, &tried)).count()
    };
    let best = (1..=MAX_BUCKETS).max_by_key(|buckets| (agreeing(*buckets), std::cmp::Reverse(*buckets))).unwrap_or(20);
    let agree = agreeing(best);
    layout.salt_buckets = best;
    let text =
        format!("row keys have {} salt byte(s) of {best} buckets ({agree} of {count} keys agree)", layout.salt_width);
    if agree == count && count >= 16 { sure.push(text) } else { warnings.push(text) }
}

fn is_global(key: &[u8], layout: &KeyLayout) -> bool {
    RowKey::parse(key, layout).is_some_and(|key| key.is_global() && key.tags.is_empty())
}

/// A key of known metric, whole hour (rollup rows begin on one too) and known tags.
fn fits(key: &[u8], layout: &KeyLayout, names: &UidNames) -> bool {
    let Some(key) = RowKey::parse(key, layout) else { return false };
    let known = |pair: &[u8]| {
        let (tagk, tagv) = pair.split_at(usize::from(layout.tagk_width));
        names.get(UidKind::Tagk, tagk).is_some() && names.get(UidKind::Tagv, tagv).is_some()
    };
    key.base.is_multiple_of(3600)
        && !key.tags.is_empty()
        && names.get(UidKind::Metric, key.metric).is_some()
        && key.tags.chunks_exact(layout.tag_width()).all(known)
}

fn has_salt(key: &[u8], layout: &KeyLayout) -> bool {
    RowKey::parse(key, layout).is_some_and(|key| key.has_own_salt(layout))
}

/// The layout for a sentence.
pub fn words(layout: &KeyLayout) -> String {
    let KeyLayout { metric_width, tagk_width, tagv_width, salt_width, salt_buckets } = layout;
    let salt =
        if *salt_width == 0 { "no salt".into() } else { format!("{salt_width} salt byte(s), {salt_buckets} buckets") };
    format!("UID widths {metric_width}/{tagk_width}/{tagv_width} and {salt}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::row_key::build;

    fn sample(layout: &KeyLayout) -> (UidFacts, UidNames, Vec<Vec<u8>>) {
        let (mut facts, mut names, mut keys) = (UidFacts::default(), UidNames::new(), Vec::new());
        let widths = [layout.metric_width, layout.tagk_width, layout.tagv_width].map(usize::from);
        let uid = |n: u8, width: usize| [vec![0; width - 1], vec![n]].concat();
        for n in 1..=60 {
            for kind in UidKind::ALL {
                let width = widths[kind as usize];
                names.insert(kind, &uid(n, width), &format!("n{n}"));
                *facts.widths[kind as usize].entry(width).or_default() += 1;
            }
            let tsuid = [uid(n, widths[0]), uid(n % 7 + 1, widths[1]), uid(n, widths[2])].concat();
            let mut key = Vec::new();
            assert!(build(&tsuid, 1_356_998_400 + u32::from(n) * 3600, layout, &mut key));
            keys.push(key);
        }
        (facts, names, keys)
    }

    #[test]
    fn layouts_are_found_out() {
        let layouts = [
            KeyLayout::default(),
            KeyLayout { metric_width: 4, tagk_width: 2, tagv_width: 5, ..KeyLayout::default() },
            KeyLayout { salt_width: 1, salt_buckets: 8, ..KeyLayout::default() },
            KeyLayout { salt_width: 1, salt_buckets: 20, ..KeyLayout::default() },
            KeyLayout { salt_width: 2, salt_buckets: 300, ..KeyLayout::default() },
        ];
        for wanted in layouts {
            let (facts, names, keys) = sample(&wanted);
            let found = decide(None, &LayoutFlags::default(), &facts, &names, &keys).unwrap();
            let buckets = if wanted.salt_width == 0 { found.layout.salt_buckets } else { wanted.salt_buckets };
            assert_eq!(found.layout, KeyLayout { salt_buckets: buckets, ..wanted });
            assert_eq!((found.fitting, found.warnings.len()), (60, 0));
        }
    }

    #[test]
    fn flags_that_contradict_the_data_are_refused() {
        let (facts, names, keys) = sample(&KeyLayout::default());
        let wrong = LayoutFlags { tagv_width: Some(4), ..LayoutFlags::default() };
        assert!(decide(None, &wrong, &facts, &names, &keys).is_err());
        let salted = LayoutFlags { salt_width: Some(1), ..LayoutFlags::default() };
        assert!(decide(None, &salted, &facts, &names, &keys).is_err());
    }

    #[test]
    fn an_empty_table_is_no_error() {
        let found = decide(None, &LayoutFlags::default(), &UidFacts::default(), &UidNames::new(), &[]).unwrap();
        assert_eq!(found.layout, KeyLayout::default());
        assert!(!found.warnings.is_empty());
    }
}
