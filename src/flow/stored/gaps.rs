//! What a backup's gaps mean for whoever reads it, in words.

use crate::manifest::{GapRecord, Manifest, TableRecord};
use crate::model::{GapReason, KeyRange};

/// What somebody can do about the gaps of a new backup, kind by kind.
pub fn remedies(manifest: &Manifest) -> Vec<String> {
    let found =
        |reason: GapReason| manifest.tables.iter().any(|table| table.gaps.iter().any(|gap| gap.reason == reason));
    let mut remedies = Vec::new();
    let mut add = |reason: GapReason, text: &str| {
        if found(reason) {
            remedies.push(text.to_string());
        }
    };
    add(
        GapReason::NoRegion,
        "keys without a region: files of the region may lie in HDFS still; HBase's HBCK2 tool reports and repairs such holes",
    );
    add(
        GapReason::RegionsOverlap,
        "regions overlap: a scan shows the rows of one of them only; fixMeta of HBase's HBCK2 tool merges them",
    );
    add(
        GapReason::RegionNotOpen,
        "a region is not open: the log of its region server says why; assigns of HBase's HBCK2 tool opens it again",
    );
    add(
        GapReason::Unreadable,
        "rows cannot be read: a damaged file (hbase hfile -v -f FILE checks one), or a cell with a negative timestamp. HBase leaves such a \
         cell out of raw scans and of scans of a time range without a word, so neither shows all that is there",
    );
    add(GapReason::RowTooLarge, "a row is larger than one reply may be; HBase's own export tools read it");
    remedies
}

/// Every gap of a backup in words, and what that means for whoever reads the backup.
pub fn warnings(manifest: &Manifest) -> Vec<String> {
    let tables = manifest.tables.iter().filter(|table| !table.gaps.is_empty());
    let all = tables.flat_map(|table| table.gaps.iter().map(|gap| gap_words(&table.name, gap)));
    all.map(|gap| format!("the backup has a gap: {gap}")).collect()
}

/// What a restore of these tables cannot bring back.
pub fn not_restored<'a>(tables: impl Iterator<Item = &'a TableRecord>) -> Vec<String> {
    let all = tables.flat_map(|table| table.gaps.iter().map(|gap| gap_words(&table.name, gap)));
    all.map(|gap| format!("cannot be restored, because the backup has a gap there: {gap}")).collect()
}

fn gap_words(table: &str, gap: &GapRecord) -> String {
    let GapRecord { start, stop, reason, message, .. } = gap;
    let range = KeyRange::new(start.clone(), stop.clone());
    format!("{table} {range}, {}: {message}", reason.words())
}
