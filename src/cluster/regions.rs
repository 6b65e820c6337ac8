//! The regions of a table, from the gateway's list of locations.

use crate::cluster::ClusterError;
use crate::cluster::error::hex;
use crate::cluster::generated::hbase2::THRegionLocation;
use crate::model::{Gap, GapReason, KeyRange, Region};

/// The regions of these locations; replicas other than the first are left out.
pub(crate) fn first_replicas(locations: Vec<THRegionLocation>) -> Vec<Region> {
    let first = |location: &THRegionLocation| location.region_info.replica_id.unwrap_or(0) == 0;
    locations.into_iter().filter(first).map(region).collect()
}

/// Sorts the regions and checks that they cover all keys once.
pub(crate) fn in_order(table: &str, mut regions: Vec<Region>) -> Result<Vec<Region>, ClusterError> {
    regions.sort_by(|a, b| a.range.start.cmp(&b.range.start));
    check(table, &regions)?;
    Ok(regions)
}

/// The keys that no region of a sorted list covers, and those that two of them claim.
pub(crate) fn faults(table: &str, regions: &[Region]) -> Vec<Gap> {
    let mut faults = Vec::new();
    // The first key behind everything so far; `None` behind a region without an end.
    let mut next = Some(Vec::new());
    let mut push = |range: KeyRange, reason, what: &str| {
        faults.push(Gap { range, reason, message: format!("the list of regions of {table} has {what}") });
    };
    for Region { range, .. } in regions {
        match &next {
            Some(end) if range.start > *end => {
                push(KeyRange::new(end.clone(), range.start.clone()), GapReason::NoRegion, "none for these keys");
            }
            Some(end) if range.start == *end => {}
            end => {
                let stop = match end {
                    Some(end) if range.stop.is_empty() || *end < range.stop => end,
                    _ => &range.stop,
                };
                push(KeyRange::new(range.start.clone(), stop.clone()), GapReason::RegionsOverlap, "two for these keys");
            }
        }
        next = match next {
            Some(end) if !range.stop.is_empty() => Some(end.max(range.stop.clone())),
            _ => None,
        };
    }
    if let Some(end) = next {
        push(KeyRange::new(end, Vec::new()), GapReason::NoRegion, "none for these keys");
    }
    faults
}

fn region(location: THRegionLocation) -> Region {
    let info = location.region_info;
    Region {
        range: KeyRange::new(info.start_key.unwrap_or_default(), info.end_key.unwrap_or_default()),
        host: location.server_name.host_name,
        port: location.server_name.port.unwrap_or(0),
        start_code: location.server_name.start_code.unwrap_or(0),
    }
}

fn check(table: &str, regions: &[Region]) -> Result<(), ClusterError> {
    let bad = |reason: String| Err(ClusterError::Regions { table: table.to_owned(), reason });
    let (Some(first), Some(last)) = (regions.first(), regions.last()) else {
        return bad("the gateway lists none".into());
    };
    if !first.range.start.is_empty() {
        return bad(format!("the first one starts at {}", hex(&first.range.start)));
    }
    if !last.range.stop.is_empty() {
        return bad(format!("the last one ends at {}", hex(&last.range.stop)));
    }
    for pair in regions.windows(2) {
        if let [left, right] = pair
            && left.range.stop != right.range.start
        {
            let (end, start) = (hex(&left.range.stop), hex(&right.range.start));
            return bad(format!("one ends at {end}, the next one starts at {start}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::generated::hbase2::{THRegionInfo, TServerName};

    fn regions(table: &str, locations: Vec<THRegionLocation>) -> Result<Vec<Region>, ClusterError> {
        in_order(table, first_replicas(locations))
    }

    fn location(start: &[u8], end: &[u8], replica: i32) -> THRegionLocation {
        let info = THRegionInfo::new(0, b"t".to_vec(), start.to_vec(), end.to_vec(), false, false, replica);
        THRegionLocation::new(TServerName::new("h".to_owned(), 1, 2), info)
    }

    #[test]
    fn sorts_and_leaves_replicas_out() {
        let list = vec![location(b"m", b"", 0), location(b"", b"m", 1), location(b"", b"m", 0)];
        let found = regions("t", list).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].range, KeyRange::new("", "m"));
        assert_eq!((found[1].host.as_str(), found[1].port, found[1].start_code), ("h", 1, 2));
    }

    #[test]
    fn faults_are_named_by_their_keys() {
        let found = |list: Vec<THRegionLocation>| {
            let mut regions = first_replicas(list);
            regions.sort_by(|a, b| a.range.start.cmp(&b.range.start));
            faults("t", &regions).into_iter().map(|gap| (gap.range, gap.reason)).collect::<Vec<_>>()
        };
        use GapReason::{NoRegion, RegionsOverlap};
        assert_eq!(found(vec![]), [(KeyRange::all(), NoRegion)]);
        assert_eq!(found(vec![location(b"", b"c", 0), location(b"c", b"", 0)]), []);
        let hole = vec![location(b"", b"c", 0), location(b"d", b"f", 0)];
        assert_eq!(found(hole), [(KeyRange::new("c", "d"), NoRegion), (KeyRange::new("f", ""), NoRegion)]);
        assert_eq!(found(vec![location(b"a", b"", 0)]), [(KeyRange::new("", "a"), NoRegion)]);
        let overlap = vec![location(b"", b"e", 0), location(b"d", b"", 0)];
        assert_eq!(found(overlap), [(KeyRange::new("d", "e"), RegionsOverlap)]);
        let inside = vec![location(b"", b"", 0), location(b"c", b"d", 0)];
        assert_eq!(found(inside), [(KeyRange::new("c", "d"), RegionsOverlap)]);
    }

    #[test]
    fn finds_holes_overlaps_and_nothing() {
        let broken = [
            vec![],
            vec![location(b"", b"c", 0), location(b"d", b"", 0)],
            vec![location(b"", b"e", 0), location(b"d", b"", 0)],
            vec![location(b"a", b"", 0)],
            vec![location(b"", b"z", 0)],
            vec![location(b"", b"", 1)],
        ];
        for list in broken {
            assert!(matches!(regions("t", list), Err(ClusterError::Regions { .. })));
        }
    }
}
