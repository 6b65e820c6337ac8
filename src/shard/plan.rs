//! From probed regions to the first list of shards.

use crate::model::{KeyRange, Region};
use crate::shard::{RegionProbe, SMALL_REGION_ROWS, between, cut};

/// Shards that cover the regions exactly: neighbours that together have less than [`SMALL_REGION_ROWS`] rows are
/// joined, each of the others is cut so that there are about `wanted` pieces in all.
///
/// `regions` are the region ranges in key order and what a probe found in each (`None`: not probed).
pub fn plan(regions: &[(KeyRange, Option<RegionProbe>)], wanted: usize) -> Vec<KeyRange> {
    let large = regions.iter().filter(|(_, probe)| !is_small(probe)).count().max(1);
    let pieces = wanted.div_ceil(large);
    let mut shards: Vec<KeyRange> = Vec::new();
    let mut open: Option<(KeyRange, usize)> = None;
    for (range, probe) in regions {
        match probe {
            Some(found) if is_small(probe) => {
                open = match open {
                    Some((joined, rows)) if rows + found.rows <= SMALL_REGION_ROWS => {
                        Some((KeyRange::new(joined.start, range.stop.clone()), rows + found.rows))
                    }
                    other => {
                        shards.extend(other.map(|(joined, _)| joined));
                        Some((range.clone(), found.rows))
                    }
                };
            }
            _ => {
                shards.extend(open.take().map(|(joined, _)| joined));
                let keys = probe
                    .as_ref()
                    .and_then(|found| found.ends.as_ref())
                    .map(|(first, last)| between(first, last, pieces))
                    .unwrap_or_default();
                shards.extend(cut(range, &keys));
            }
        }
    }
    shards.extend(open.map(|(joined, _)| joined));
    shards
}

/// The host of the region that a key lies in, by a list of regions in key order; empty when there is none.
pub fn host_of<'a>(regions: &'a [Region], key: &[u8]) -> &'a str {
    let behind = regions.partition_point(|region| region.range.start.as_slice() <= key);
    behind.checked_sub(1).and_then(|at| regions.get(at)).map_or("", |region| region.host.as_str())
}

fn is_small(probe: &Option<RegionProbe>) -> bool {
    probe.as_ref().is_some_and(|found| found.rows < SMALL_REGION_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u8, stop: u8) -> KeyRange {
        let key = |k: u8| if k == 0 { Vec::new() } else { vec![k] };
        KeyRange::new(key(start), key(stop))
    }

    fn found(rows: usize, first: u8, last: u8) -> Option<RegionProbe> {
        Some(RegionProbe { rows, ends: Some((vec![first], vec![last, 255])) })
    }

    fn assert_covers(shards: &[KeyRange]) {
        assert!(shards.first().is_some_and(|s| s.start.is_empty()));
        assert!(shards.last().is_some_and(|s| s.stop.is_empty()));
        assert!(shards.windows(2).all(|w| w[0].stop == w[1].start));
    }

    #[test]
    fn small_neighbours_are_joined() {
        let regions: Vec<_> = (0..10)
            .map(|i| {
                let rows = SMALL_REGION_ROWS / 6;
                (range(i * 10, if i == 9 { 0 } else { i * 10 + 10 }), Some(RegionProbe { rows, ends: None }))
            })
            .collect();
        let shards = plan(&regions, 8);
        assert_covers(&shards);
        assert_eq!(shards.len(), 2);
    }

    #[test]
    fn one_large_region_is_cut() {
        let shards = plan(&[(KeyRange::all(), found(SMALL_REGION_ROWS, 1, 200))], 8);
        assert_covers(&shards);
        assert_eq!(shards.len(), 8);
    }

    #[test]
    fn regions_that_were_not_probed_stay_whole() {
        let regions = [(range(0, 50), None), (range(50, 0), None)];
        let shards = plan(&regions, 16);
        assert_eq!(shards, [range(0, 50), range(50, 0)]);
    }

    #[test]
    fn a_key_is_where_its_region_is() {
        let region = |start: u8, stop: u8, host: &str| Region {
            range: range(start, stop),
            host: host.into(),
            port: 16020,
            start_code: 1,
        };
        let regions = [region(0, 50, "rs1"), region(50, 100, "rs2"), region(100, 0, "rs1")];
        for (key, host) in [(&[][..], "rs1"), (&[49, 255], "rs1"), (&[50], "rs2"), (&[100], "rs1"), (&[255; 9], "rs1")]
        {
            assert_eq!(host_of(&regions, key), host, "{key:?}");
        }
        assert_eq!(host_of(&[], &[1]), "");
    }

    #[test]
    fn mixed_sizes_keep_their_order() {
        let small = Some(RegionProbe { rows: 0, ends: None });
        let regions = [
            (range(0, 50), small.clone()),
            (range(50, 100), found(SMALL_REGION_ROWS, 51, 90)),
            (range(100, 120), small.clone()),
            (range(120, 0), small),
        ];
        let shards = plan(&regions, 2);
        assert_covers(&shards);
        assert_eq!(shards.len(), 4);
    }
}
