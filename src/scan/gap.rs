//! Where the rows that HBase cannot read begin and end.
//!
//! A probe is one attempt at a page. From the position of a scan that failed, ever shorter probes find the last row in
//! front that can be read. What lies behind is harder: the row key is unknown, because the row cannot be read. A keys-only
//! scan shows it where only a value is too large, a raw one where a cell has a negative timestamp (it leaves that cell
//! out, so it shows the row by another cell of it, or the next row). Where neither does, as in a damaged block of a file,
//! keys between the last good row and the end of the region are bisected. All of it is bounded by [`PROBES`] and
//! [`FAILURES`]; what is not found out within them belongs to the gap.

use crate::cluster::{Client, ClusterError, PageRequest};
use crate::model::{CellBlock, Gap, GapReason, KeyRange, Retry, successor};
use crate::scan::{ScanError, ScanOptions};

/// Rows beside one another whose keys are asked for one by one before keys are bisected.
const NEIGHBOURS: u32 = 16;
/// Probes of a bisection at most.
const PROBES: u32 = 64;
/// Probes of a bisection that may fail: the gateway repeats each for up to a minute before it answers.
const FAILURES: u32 = 16;

/// Whether the rows may be to blame for a failed page, rather than the gateway or the cluster as a whole.
pub(super) fn reason(error: &ClusterError) -> Option<GapReason> {
    let given_up = matches!(error, ClusterError::Exhausted { .. });
    match error.cause() {
        ClusterError::Unreadable { .. } => Some(GapReason::Unreadable),
        ClusterError::RowTooWide { .. } | ClusterError::ReplyTooLong { .. } | ClusterError::Space(_) => {
            Some(GapReason::RowTooLarge)
        }
        _ if error.is_not_serving() && given_up => Some(GapReason::RegionNotOpen),
        ClusterError::Refused { retry: Retry::Permanent, .. } => Some(GapReason::Unreadable),
        ClusterError::Refused { .. } | ClusterError::TimedOut { .. } if given_up => Some(GapReason::Unreadable),
        // A worker that ran out of memory ends its connection.
        ClusterError::Rejected { .. } => Some(GapReason::RowTooLarge),
        ClusterError::Lost { .. } if given_up => Some(GapReason::RowTooLarge),
        _ => None,
    }
}

/// Why a page failed.
#[derive(Debug)]
pub enum Blame {
    /// Rows that cannot be read.
    Gap(Gap),
    /// Nothing that is there any more: the rows can be read.
    Nobody,
    /// The gateway or the cluster: nothing else can be read either.
    Cluster,
}

/// A search for the gap at the beginning of a range.
pub(super) struct Search<'a> {
    pub client: &'a mut Client,
    pub table: &'a str,
    pub options: &'a ScanOptions,
}

/// What a probe shows.
enum Probe {
    /// Rows, and the key of the last one.
    Rows(usize, Option<Vec<u8>>),
    Fails,
}

impl Search<'_> {
    /// The first gap within `left`, where a page of `rows` rows failed with `error`.
    pub fn find(
        &mut self,
        left: &KeyRange,
        rows: u32,
        reason: GapReason,
        error: &ClusterError,
    ) -> Result<Blame, ScanError> {
        if !error.is_unreadable() && !self.reads_elsewhere()? {
            return Ok(Blame::Cluster);
        }
        let found = self.first_unreadable(left, rows, reason)?;
        let Some(KeyRange { start, stop: region_stop }) = found.filter(|range| !range.is_empty()) else {
            return Ok(Blame::Nobody);
        };
        let stop = match reason {
            GapReason::RegionNotOpen => region_stop,
            _ => self.end(&start, &region_stop)?,
        };
        Ok(Blame::Gap(Gap { range: KeyRange::new(start, stop), reason, message: error.hbase_text() }))
    }

    /// Whether the cluster answers a scan at all: of its list of regions, which no table is without.
    fn reads_elsewhere(&mut self) -> Result<bool, ScanError> {
        let mut block = CellBlock::new();
        match self.client.probe_page(&PageRequest::new("hbase:meta", b"", b"", 1), &mut block) {
            Ok(_) | Err(ClusterError::AccessDenied { .. }) => Ok(true),
            Err(error) if error.may_be_rows() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Where reading fails first, and the end of the region there or of the range.
    pub(super) fn first_unreadable(
        &mut self,
        left: &KeyRange,
        rows: u32,
        reason: GapReason,
    ) -> Result<Option<KeyRange>, ScanError> {
        let (regions, _) = self.client.regions_and_faults(self.table)?;
        let (mut start, mut rows) = (left.start.clone(), rows.max(1));
        loop {
            let region = regions.iter().find(|region| region.range.contains(&start));
            let stop = match region.map(|region| &region.range.stop) {
                Some(end) if !end.is_empty() && left.is_before_stop(end) => end.clone(),
                _ => left.stop.clone(),
            };
            // Where the region is not open every probe fails, after as long as the gateway waits for it.
            let size = if reason == GapReason::RegionNotOpen { 1 } else { rows };
            match self.forward(&start, &stop, size)? {
                Probe::Fails => {
                    let start = self.halve(start, &stop, size)?;
                    return Ok(Some(KeyRange::new(start, stop)));
                }
                Probe::Rows(found, Some(last)) if found >= size as usize && reason != GapReason::RegionNotOpen => {
                    rows = rows.saturating_sub(found as u32);
                    match successor(&last) {
                        Some(next) if rows > 0 && left.is_before_stop(&next) => start = next,
                        _ => return Ok(None),
                    }
                }
                Probe::Rows(..) if stop.is_empty() || !left.is_before_stop(&stop) => return Ok(None),
                Probe::Rows(..) => start = stop,
            }
        }
    }

    /// The first key that cannot be read, where `rows` rows from `start` cannot.
    fn halve(&mut self, mut start: Vec<u8>, stop: &[u8], mut rows: u32) -> Result<Vec<u8>, ScanError> {
        // A scan often begins right at the damage, behind the gap before.
        if rows > 1 && matches!(self.forward(&start, stop, 1)?, Probe::Fails) {
            return Ok(start);
        }
        while rows > 1 {
            // Rounded up: of an odd number the greater half holds the row.
            rows = rows.div_ceil(2);
            if let Probe::Rows(_, Some(last)) = self.forward(&start, stop, rows)? {
                match successor(&last) {
                    Some(next) => start = next,
                    None => break,
                }
            }
        }
        Ok(start)
    }

    /// The first key behind `start` from which on rows can be read again; `stop` when none is found.
    fn end(&mut self, start: &[u8], stop: &[u8]) -> Result<Vec<u8>, ScanError> {
        let mut low = start.to_vec();
        for _ in 0..NEIGHBOURS {
            let row = match self.first_key(&low, stop, false)? {
                None => self.first_key(&low, stop, true)?,
                row => row,
            };
            let Some(row) = row else { break };
            // Behind the row that cannot be read, or that row itself.
            if self.reads_at(&row, stop)? {
                return Ok(row);
            }
            match successor(&row) {
                Some(next) if stop.is_empty() || next.as_slice() < stop => low = next,
                _ => return Ok(stop.to_vec()),
            }
            if self.reads_at(&low, stop)? {
                return Ok(low);
            }
        }
        self.bisect(low, stop)
    }

    /// Narrows a gap that begins at `low` by its end.
    fn bisect(&mut self, mut low: Vec<u8>, stop: &[u8]) -> Result<Vec<u8>, ScanError> {
        let mut high = stop.to_vec();
        let mut failures = 0;
        for _ in 0..PROBES {
            let Some(middle) = middle(&low, &high).filter(|_| failures < FAILURES) else { break };
            match self.last_key(&low, &middle)? {
                Some(key) if self.reads_at(&key, stop)? => high = key,
                Some(key) => {
                    failures += 1;
                    match successor(&key) {
                        Some(next) => low = next,
                        None => break,
                    }
                }
                // The row in front of the middle is the damaged one, or there is none.
                None if self.reads_at(&middle, stop)? => return Ok(middle),
                None => {
                    failures += 1;
                    low = middle;
                }
            }
        }
        Ok(high)
    }

    /// Whether the first row at or behind a key can be read, as the scan reads it.
    fn reads_at(&mut self, key: &[u8], stop: &[u8]) -> Result<bool, ScanError> {
        Ok(matches!(self.forward(key, stop, 1)?, Probe::Rows(..)))
    }

    fn forward(&mut self, start: &[u8], stop: &[u8], rows: u32) -> Result<Probe, ScanError> {
        if !stop.is_empty() && start >= stop {
            return Ok(Probe::Rows(0, None));
        }
        let families: Vec<&[u8]> = self.options.families.iter().map(Vec::as_slice).collect();
        let request = PageRequest {
            max_versions: self.options.max_versions,
            raw: self.options.raw,
            families: &families,
            filter: self.options.keys_only.then_some(PageRequest::KEYS_ONLY),
            ..PageRequest::new(self.table, start, stop, rows)
        };
        self.probe(&request)
    }

    /// The first row key that a keys-only scan shows, where it can be read.
    fn first_key(&mut self, start: &[u8], stop: &[u8], raw: bool) -> Result<Option<Vec<u8>>, ScanError> {
        let filter = Some(PageRequest::KEYS_ONLY);
        let request = PageRequest { filter, raw, ..PageRequest::new(self.table, start, stop, 1) };
        match self.probe(&request) {
            Ok(Probe::Rows(_, key)) => Ok(key),
            Ok(Probe::Fails) => Ok(None),
            // Only Thrift2 has raw scans.
            Err(ScanError::Cluster(ClusterError::NotInThrift1 { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The last row key of a range that a reversed scan shows, where it can be read.
    fn last_key(&mut self, start: &[u8], stop: &[u8]) -> Result<Option<Vec<u8>>, ScanError> {
        let filter = Some(PageRequest::KEYS_ONLY);
        let mut block = CellBlock::new();
        // A reversed scan includes its greater bound, which the range does not.
        let request = PageRequest { filter, reversed: true, ..PageRequest::new(self.table, stop, start, 2) };
        match self.client.probe_page(&request, &mut block) {
            Ok(_) => {
                let mut keys = block.rows().map(|row| row.key);
                Ok(keys.find(|key| *key < stop && *key >= start).map(<[u8]>::to_vec))
            }
            Err(error) if error.may_be_rows() => Ok(None),
            Err(ClusterError::NotInThrift1 { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn probe(&mut self, request: &PageRequest<'_>) -> Result<Probe, ScanError> {
        let mut block = CellBlock::new();
        match self.client.probe_page(request, &mut block) {
            Ok(_) => {
                let rows = block.row_count();
                let last = rows.checked_sub(1).and_then(|last| block.row(last)).map(|row| row.key.to_vec());
                tracing::debug!(table = self.table, start = crate::cluster::hex(request.start), rows, "probe");
                Ok(Probe::Rows(rows, last))
            }
            Err(error) if error.may_be_rows() => {
                tracing::debug!(table = self.table, start = crate::cluster::hex(request.start), %error, "probe fails");
                Ok(Probe::Fails)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A key halfway between two keys read as fractions of base 256; an empty `high` is the end of all keys. `None` when
/// there is none of at most a byte more.
fn middle(low: &[u8], high: &[u8]) -> Option<Vec<u8>> {
    let digits = low.len().max(high.len()) + 1;
    let digit = |key: &[u8], at: usize| u32::from(key.get(at).copied().unwrap_or(0));
    let mut sum = vec![0u32; digits];
    let mut carry = 0;
    for at in (0..digits).rev() {
        let total = digit(low, at) + digit(high, at) + carry;
        sum[at] = total & 0xff;
        carry = total >> 8;
    }
    // The end of all keys is 1.0.
    carry += u32::from(high.is_empty());
    let mut key = Vec::with_capacity(digits);
    for digit in sum {
        let value = carry << 8 | digit;
        key.push((value >> 1) as u8);
        carry = value & 1;
    }
    while key.last() == Some(&0) {
        key.pop();
    }
    (key.as_slice() > low && (high.is_empty() || key.as_slice() < high)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_lies_between() {
        assert_eq!(middle(b"", b""), Some(vec![0x80]));
        assert_eq!(middle(&[0x10], &[0x20]), Some(vec![0x18]));
        assert_eq!(middle(&[0xff], b""), Some(vec![0xff, 0x80]));
        assert_eq!(middle(&[1, 255], &[2]), Some(vec![1, 255, 0x80]));
        assert_eq!(middle(&[1], &[1, 0]), None);
        let (mut low, high) = (vec![5], vec![5, 0, 0, 1]);
        let mut steps = 0;
        while let Some(key) = middle(&low, &high) {
            assert!(key > low && key < high);
            low = key;
            steps += 1;
            if steps > 100 {
                break;
            }
        }
        assert!(steps > 20);
    }
}
