//! From a TSUID to names.

use std::collections::BTreeMap;

use crate::model::{KeyLayout, SeriesLabel, UidKind, UidNames, hex};

/// Names the series; UIDs without a name appear in hex and make the label incomplete.
pub fn describe_series(tsuid: &[u8], layout: &KeyLayout, names: &UidNames) -> SeriesLabel {
    let (metric, tags) = tsuid.split_at_checked(usize::from(layout.metric_width)).unwrap_or((tsuid, &[]));
    // `tsdb-uid` may hold UIDs of other widths: a UID cut short would find the name of one of those.
    let whole = |kind: UidKind, uid: &[u8]| match kind {
        UidKind::Metric => uid.len() == usize::from(layout.metric_width),
        UidKind::Tagk => uid.len() == usize::from(layout.tagk_width),
        UidKind::Tagv => uid.len() == usize::from(layout.tagv_width),
    };
    let find =
        |kind: UidKind, uid: &[u8]| if whole(kind, uid) { names.get(kind, uid).map(str::to_owned) } else { None };
    let metric = find(UidKind::Metric, metric);
    let mut complete = metric.is_some();
    let mut name = |kind: UidKind, uid: &[u8]| match find(kind, uid) {
        Some(name) => name,
        None => {
            complete = false;
            hex(uid)
        }
    };
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    for pair in tags.chunks(layout.tag_width().max(1)) {
        let (tagk, tagv) = pair.split_at_checked(usize::from(layout.tagk_width)).unwrap_or((pair, &[]));
        let (mut key, value) = (name(UidKind::Tagk, tagk), name(UidKind::Tagv, tagv));
        // Two UIDs can carry one name (a lost race, characters that became `?`), and a JSON object or a map has a key
        // only once: the second one says which UID it is.
        while pairs.contains_key(&key) {
            key = format!("{key}#{}", hex(tagk));
        }
        pairs.insert(key, value);
    }
    // A map of strings always serialises.
    let tags_json = serde_json::to_string(&pairs).unwrap_or_else(|_| "{}".into());
    SeriesLabel { metric, tags: pairs.into_iter().collect(), tags_json, complete }
}
