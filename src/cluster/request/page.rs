//! The request for one page of a scan.

use crate::cluster::ClusterError;
use crate::cluster::request::{Kind, Writer};

/// `numRows` above this makes the gateway allocate more than it can; it is a count, not a size, anyway.
const MAX_ROWS: u32 = 1_000_000;

/// One page of a stateless scan: the first rows of a key range.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest<'a> {
    /// Table, `namespace:name` outside the default namespace.
    pub table: &'a str,
    /// First row key; empty is the beginning of the table.
    pub start: &'a [u8],
    /// First row key behind the range; empty is the end of the table. Must be greater than `start`.
    pub stop: &'a [u8],
    /// Rows wanted at most, 1..=1,000,000.
    pub rows: u32,
    /// Versions of each column; `i32::MAX` for all of them.
    pub max_versions: i32,
    /// Delete markers and deleted cells too.
    pub raw: bool,
    /// Only these families; empty is all.
    pub families: &'a [&'a [u8]],
    /// A filter in HBase's filter language.
    pub filter: Option<&'a [u8]>,
    /// Only cells with this timestamp in ms or a later one. Thrift1 cannot say so; there all cells come.
    pub written_since: Option<i64>,
    /// From the end of the range to its beginning (`start` is then the greater key).
    pub reversed: bool,
    /// Of a reply longer than this, the whole rows among its first bytes are enough: how long rows are shows only when
    /// they come. The connection is given up for it, so it should be well above what is expected.
    pub most_bytes: usize,
    /// Read wide rows in pieces; the block still gets whole rows.
    pub pieces: Option<Pieces>,
}

/// How a wide row is cut for the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    /// Cells per piece.
    pub cells: u32,
    /// Pieces at most; a row with more is [`RowTooWide`](ClusterError::RowTooWide).
    pub count: u32,
}

impl<'a> PageRequest<'a> {
    /// A [`filter`](Self::filter) that leaves row keys only: the first cell of each row, its value cut off.
    pub const KEYS_ONLY: &'static [u8] = b"FirstKeyOnlyFilter() AND KeyOnlyFilter()";

    /// A [`filter`](Self::filter) that cuts off the values; the types of the cells stay. It looks at cells alone, so rows
    /// can come in pieces.
    pub const NO_VALUES: &'static [u8] = b"KeyOnlyFilter()";

    /// All cells' latest versions of the range, `rows` rows at most.
    pub fn new(table: &'a str, start: &'a [u8], stop: &'a [u8], rows: u32) -> Self {
        Self {
            table,
            start,
            stop,
            rows,
            max_versions: 1,
            raw: false,
            families: &[],
            filter: None,
            written_since: None,
            reversed: false,
            most_bytes: usize::MAX,
            pieces: None,
        }
    }

    /// Refuses what the gateway would take for something else: zero rows or versions look like the end of the table,
    /// equal bounds return the row of the bound.
    pub(crate) fn check(&self) -> Result<(), ClusterError> {
        let bad = |reason: String| Err(ClusterError::BadArgument { method: "getScannerResults", reason });
        if self.rows == 0 || self.rows > MAX_ROWS {
            return bad(format!("{} rows per page; 1 to {MAX_ROWS} are possible", self.rows));
        }
        if self.max_versions < 1 {
            return bad(format!("{} versions; at least 1 is needed", self.max_versions));
        }
        let (low, high) = if self.reversed { (self.stop, self.start) } else { (self.start, self.stop) };
        if !high.is_empty() && low >= high {
            return bad("an empty key range".into());
        }
        match self.pieces {
            Some(Pieces { cells, count }) if cells == 0 || count == 0 || count > MAX_ROWS => {
                bad(format!("{count} pieces of {cells} cells"))
            }
            Some(_) if self.filter.is_some_and(|filter| filter != Self::NO_VALUES) => {
                bad("a filter together with pieces of rows".into())
            }
            _ => Ok(()),
        }
    }

    /// `numRows`: the most results that may come.
    pub(crate) fn results(&self) -> u32 {
        self.pieces.map_or(self.rows, |pieces| pieces.count)
    }
}

fn int(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Writes the arguments of `getScannerResults`.
pub(crate) fn page(writer: &mut Writer<'_>, request: &PageRequest<'_>) {
    writer.binary(1, request.table.as_bytes());
    writer.begin_field(2);
    if !request.start.is_empty() {
        writer.binary(1, request.start);
    }
    if !request.stop.is_empty() {
        writer.binary(2, request.stop);
    }
    if !request.families.is_empty() {
        writer.list(3, Kind::Struct, request.families.len());
        for family in request.families {
            writer.begin();
            writer.binary(1, family);
            writer.end();
        }
    }
    writer.i32(4, int(request.results()));
    writer.i32(5, request.max_versions);
    if let Some(since) = request.written_since {
        writer.begin_field(6);
        writer.i64(1, since);
        writer.i64(2, i64::MAX);
        writer.end();
    }
    if let Some(filter) = request.filter {
        writer.binary(7, filter);
    }
    if let Some(pieces) = request.pieces {
        writer.i32(8, int(pieces.cells));
    }
    if request.raw {
        // HBase keeps the option as an attribute, and the gateway hands attributes through.
        writer.map(9, &[(b"_raw_", &[0xff])]);
    }
    if request.reversed {
        writer.bool(11, true);
    }
    // A full scan must not evict what the cluster's users have in the block cache.
    writer.bool(12, false);
    // Without a limit the region server reads up to 2 MiB more than is asked for, on every page.
    writer.i32(15, int(request.rows));
    writer.end();
    writer.i32(3, int(request.results()));
}
