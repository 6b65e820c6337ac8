//! `hbase:meta`: the list of all regions, which gateways before HBase 2.2 let everybody scan, and know no other way to.
//!
//! A row per region: key `TABLE,START,ID.HASH.`, in family `info` the columns `regioninfo`, `server` (`HOST:PORT`) and
//! `serverstartcode` (8 bytes). `regioninfo` is `PBUF` and this message of protocol buffers:
//!
//! ```text
//! 1 id | 2 { 1 namespace, 2 name } | 3 start key | 4 end key | 5 offline | 6 split | 7 replica
//! ```
//!
//! A region that was split stays beside its halves for minutes.

use crate::cluster::error::{Call, hex};
use crate::cluster::{Client, ClusterError, PageRequest};
use crate::model::{CellBlock, KeyRange, Region, RowView};

const TABLE: &str = "hbase:meta";
const FAMILY: &[u8] = b"info";
/// In front of every message of protocol buffers that HBase stores.
const MAGIC: &[u8] = b"PBUF";
/// Rows of a page: some 300 bytes each.
const ROWS: u32 = 500;

/// What `regioninfo` says, without its id.
#[derive(Debug, Default, PartialEq, Eq)]
struct RegionInfo {
    start: Vec<u8>,
    stop: Vec<u8>,
    split: bool,
    replica: u64,
}

impl Client {
    /// Names of all tables that are not HBase's own, from one attempt at the list of regions.
    pub(crate) fn table_names_from_meta(&mut self) -> Result<Vec<String>, ClusterError> {
        let mut names: Vec<String> = Vec::new();
        self.scan_meta(b"", b"", Some(PageRequest::KEYS_ONLY), &mut |row| {
            let name = String::from_utf8_lossy(row.key.split(|byte| *byte == b',').next().unwrap_or_default());
            if names.last().is_none_or(|last| *last != name) && !name.starts_with("hbase:") {
                names.push(name.into_owned());
            }
            Ok(())
        })?;
        // Rows are in HBase's own order, in which the regions of a table may not follow one another.
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// When each region of the table was made, ms by the master's clock, in any order: by creating or truncating the table,
    /// by a split or a merge.
    ///
    /// # Errors
    /// [`ClusterError::AccessDenied`] where not everybody may read `hbase:meta`; any other of a call.
    pub fn regions_made(&mut self, table: &str) -> Result<Vec<i64>, ClusterError> {
        let (start, stop) = bounds(table);
        self.retried(|client, _| {
            let mut made = Vec::new();
            client.scan_meta(&start, &stop, Some(PageRequest::KEYS_ONLY), &mut |row| {
                made.extend(id_of(row.key));
                Ok(())
            })?;
            Ok(made)
        })
    }

    /// Whether the table has a region.
    pub(crate) fn exists_in_meta(&mut self, table: &str) -> Result<bool, ClusterError> {
        let (start, stop) = bounds(table);
        let request = PageRequest {
            families: &[FAMILY],
            filter: Some(PageRequest::KEYS_ONLY),
            ..PageRequest::new(TABLE, &start, &stop, 1)
        };
        let mut page = CellBlock::new();
        self.page_once(&request, &mut page)?;
        Ok(!page.is_empty())
    }

    /// The regions of the table in any order, without those that were split and without replicas; none for a missing
    /// table.
    pub(crate) fn regions_from_meta(&mut self, table: &str) -> Result<Vec<Region>, ClusterError> {
        let (start, stop) = bounds(table);
        let mut regions = Vec::new();
        self.scan_meta(&start, &stop, None, &mut |row| {
            let bad = |what: &str| format!("{what} of region {}", hex(row.key));
            let column = |name: &[u8]| row.iter().find(|cell| cell.qualifier == name).map(|cell| cell.value);
            // A row of something else, or of a region that is just gone.
            let Some(info) = column(b"regioninfo") else { return Ok(()) };
            let info = region_info(info).ok_or_else(|| bad("unreadable regioninfo"))?;
            if info.split || info.replica > 0 {
                return Ok(());
            }
            // Empty while the region is on its way.
            let server = String::from_utf8_lossy(column(b"server").unwrap_or_default()).into_owned();
            let (host, port) = server.rsplit_once(':').unwrap_or(("", "0"));
            let port = port.parse().map_err(|_| bad("unreadable server"))?;
            let code = column(b"serverstartcode").and_then(|code| code.try_into().ok()).map_or(0, i64::from_be_bytes);
            let range = KeyRange::new(info.start, info.stop);
            regions.push(Region { range, host: host.to_owned(), port, start_code: code });
            Ok(())
        })?;
        Ok(regions)
    }

    /// Hands every row between the keys to `each`, which says what is wrong with it.
    fn scan_meta(
        &mut self,
        start: &[u8],
        stop: &[u8],
        filter: Option<&[u8]>,
        each: &mut dyn FnMut(&RowView<'_>) -> Result<(), String>,
    ) -> Result<(), ClusterError> {
        let mut page = CellBlock::new();
        let mut from = start.to_vec();
        loop {
            let request = PageRequest { families: &[FAMILY], filter, ..PageRequest::new(TABLE, &from, stop, ROWS) };
            self.page_once(&request, &mut page)?;
            let Some(last) = page.row_count().checked_sub(1) else { return Ok(()) };
            for row in page.rows() {
                if let Err(what) = each(&row) {
                    let gateway = self.connection()?.gateway.clone();
                    return Err(Call { gateway: &gateway, method: "getScannerResults", table: TABLE }.unreadable(what));
                }
            }
            let key = page.row(last).map(|row| row.key).unwrap_or_default();
            from = [key, &[0]].concat();
        }
    }
}

/// First key of the regions of a table, and first key behind them, as HBase's own client has them. Rows are ordered part by
/// part, the table's name first, so both bounds have all three parts; a blank comes before whatever a name may hold.
fn bounds(table: &str) -> (Vec<u8>, Vec<u8>) {
    let name = table.strip_prefix("default:").unwrap_or(table);
    (format!("{name},,").into_bytes(), format!("{name} ,,").into_bytes())
}

/// The id inside a region's name, `TABLE,START,ID.HASH.`: a start key may hold commas and dots, but nothing follows it but id
/// and hash.
fn id_of(key: &[u8]) -> Option<i64> {
    let id = key.rsplit(|byte| *byte == b',').next()?.split(|byte| *byte == b'.').next()?;
    std::str::from_utf8(id).ok()?.split('_').next()?.parse().ok()
}

/// Reads `info:regioninfo`; `None` when it cannot be read.
fn region_info(bytes: &[u8]) -> Option<RegionInfo> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut info = RegionInfo::default();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match (tag >> 3, tag & 7) {
            (3, 2) => info.start = counted(&mut rest)?.to_vec(),
            (4, 2) => info.stop = counted(&mut rest)?.to_vec(),
            (6, 0) => info.split = varint(&mut rest)? != 0,
            (7, 0) => info.replica = varint(&mut rest)?,
            (_, 0) => _ = varint(&mut rest)?,
            (_, 2) => _ = counted(&mut rest)?,
            (_, 1) => rest = rest.get(8..)?,
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(info)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(rest)?).ok()?;
    let (bytes, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HBase 1.4 wrote it: `tsdb` from 000003 to 000006.
    const STORED: &[u8] =
        b"PBUF\x08\xa1\xd2\xd7\xc1\xa1\x34\x12\x0f\x0a\x07default\x12\x04tsdb\x1a\x03\0\0\x03\x22\x03\0\0\x06\
        \x28\x00\x30\x00\x38\x00";

    #[test]
    fn what_hbase_stored_is_read() {
        let info = region_info(STORED).unwrap();
        assert_eq!((info.start, info.stop), (b"\0\0\x03".to_vec(), b"\0\0\x06".to_vec()));
        assert!(!info.split && info.replica == 0);
        let mut split = STORED.to_vec();
        let at = split.len() - 3;
        (split[at], split[at + 2]) = (1, 2);
        let info = region_info(&split).unwrap();
        assert_eq!((info.split, info.replica), (true, 2));
        let newer = [STORED, b"\x41\0\0\0\0\0\0\0\0\x4d\0\0\0\0\x52\x01x"].concat();
        assert_eq!(region_info(&newer), region_info(STORED), "fields of a later version");
    }

    #[test]
    fn what_is_cut_or_odd_is_not_read() {
        for length in 0..STORED.len() {
            // Behind a whole field the message may end.
            let read = region_info(&STORED[..length]);
            assert!(read.is_none() || length >= 4, "{length}: {read:?}");
        }
        for odd in
            [&b"PBUF\x1b"[..], b"PBUF\x1a\x05abc", b"PBUF\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"xBUF"]
        {
            assert_eq!(region_info(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn the_default_namespace_has_no_name() {
        assert_eq!(bounds("default:tsdb"), (b"tsdb,,".to_vec(), b"tsdb ,,".to_vec()));
        assert_eq!(bounds("ns:tsdb"), (b"ns:tsdb,,".to_vec(), b"ns:tsdb ,,".to_vec()));
    }
}
