//! The salts of a sample of row keys.

use std::cmp::Reverse;

use crate::codec::row_key::{RowKey, find};
use crate::codec::salt;
use crate::model::{KeyLayout, KeyLayouts, UidKind, UidNames};

/// Salt widths that detection tries; OpenTSDB allows 8, nobody needs more than 2.
const WIDTHS: std::ops::RangeInclusive<u8> = 0..=2;
/// Bucket counts that detection tries.
const MAX_BUCKETS: u32 = 4096;
/// Keys that must agree on an older salt.
const LEAST_KEYS: usize = 3;

/// The salt width under which the keys look most like OpenTSDB's.
pub fn width(layout: &KeyLayout, names: &UidNames, keys: &[Vec<u8>]) -> u8 {
    let likeness = |width: u8| {
        let tried = KeyLayout { salt_width: width, ..*layout };
        keys.iter().map(|key| likeness(key, &tried, names)).sum::<usize>()
    };
    WIDTHS.max_by_key(|width| (likeness(*width), Reverse(*width))).unwrap_or(0)
}

/// How much a key looks like one of this layout: tags that divide into pairs, a whole hour (rollup rows begin on one
/// too), and names for its UIDs, not all of which need have one.
fn likeness(key: &[u8], layout: &KeyLayout, names: &UidNames) -> usize {
    let Some(key) = RowKey::parse(key, layout).filter(|key| !key.tags.is_empty()) else { return 0 };
    let pairs = || key.tags.chunks_exact(layout.tag_width()).map(|pair| pair.split_at(usize::from(layout.tagk_width)));
    let tagks = pairs().all(|(tagk, _)| names.get(UidKind::Tagk, tagk).is_some());
    let tagvs = pairs().all(|(_, tagv)| names.get(UidKind::Tagv, tagv).is_some());
    1 + 2 * usize::from(key.base.is_multiple_of(3600))
        + 2 * usize::from(names.get(UidKind::Metric, key.metric).is_some())
        + 2 * usize::from(tagks)
        + usize::from(tagvs)
}

/// The number of buckets that gives most keys the salt that they have, and how many those are.
pub fn buckets(layout: &KeyLayout, keys: &[&Vec<u8>]) -> (u32, usize) {
    let hashes: Vec<(u32, u64)> = keys
        .iter()
        .filter_map(|key| RowKey::parse(key, layout).filter(is_plausible))
        .map(|key| (salt::hash([key.metric, key.tags]).unsigned_abs(), number(key.salt)))
        .collect();
    let mask = if layout.salt_width >= 4 { u32::MAX } else { (1 << (8 * u32::from(layout.salt_width))) - 1 };
    let agreeing =
        |buckets: u32| hashes.iter().filter(|(hash, salt)| u64::from((hash % buckets) & mask) == *salt).count();
    let best = (1..=MAX_BUCKETS).max_by_key(|buckets| (agreeing(*buckets), Reverse(*buckets)));
    match best.map(|best| (best, agreeing(best))) {
        Some((best, count)) if count > 0 => (best, count),
        _ => (layout.salt_buckets, 0),
    }
}

fn number(salt: &[u8]) -> u64 {
    salt.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn is_plausible(key: &RowKey<'_>) -> bool {
    key.base.is_multiple_of(3600) && !key.tags.is_empty()
}

/// All layouts: the main one, those that were told, rows without salt in a salted table, which their length alone tells,
/// and the salts on which keys agree that none of these explains.
pub fn older(main: &KeyLayout, mut told: Vec<KeyLayout>, keys: &[&Vec<u8>]) -> KeyLayouts {
    if main.salt_width > 0 {
        told.push(KeyLayout { salt_width: 0, ..*main });
    }
    let mut layouts = KeyLayouts::new(*main, told.iter().copied());
    for _ in 0..KeyLayouts::MAX_OLDER {
        let unexplained: Vec<&Vec<u8>> = keys
            .iter()
            .copied()
            .filter(|key| find(key, &layouts).is_none_or(|found| found.problem.is_some()))
            .collect();
        let candidates = WIDTHS.map(|salt_width| {
            let tried = KeyLayout { salt_width, ..*main };
            let plausible =
                unexplained.iter().filter(|key| RowKey::parse(key, &tried).as_ref().is_some_and(is_plausible));
            let (salt_buckets, agreeing) = match salt_width {
                0 => (main.salt_buckets, plausible.clone().count()),
                _ => buckets(&tried, &unexplained),
            };
            (agreeing, plausible.count(), KeyLayout { salt_buckets, ..tried })
        });
        let best = candidates.max_by_key(|(agreeing, _, layout)| (*agreeing, Reverse(layout.salt_width)));
        match best {
            Some((agreeing, plausible, layout)) if agreeing >= LEAST_KEYS && agreeing * 3 >= plausible => {
                told.push(layout);
                layouts = KeyLayouts::new(*main, told.iter().copied());
            }
            _ => break,
        }
    }
    layouts
}
