//! `putMultiple` and `deleteMultiple`, from a block of cells.

use crate::cluster::request::{Kind, Writer};
use crate::model::{Cell, CellBlock, RowView, kind};

/// When HBase's write-ahead log must have a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// Never: what is in memory dies with the region server. Fastest, and there is no flush call.
    SkipWal,
    /// Soon: a crashing region server may lose the last moments. The right one for bulk loads.
    #[default]
    AsyncWal,
    /// Before the put is answered.
    SyncWal,
    /// On the disk before the put is answered.
    FsyncWal,
}

impl Durability {
    fn code(self) -> i32 {
        match self {
            Self::SkipWal => 1,
            Self::AsyncWal => 2,
            Self::SyncWal => 3,
            Self::FsyncWal => 4,
        }
    }
}

/// Bytes of a put's row in the binary protocol, the longer of the two.
pub(crate) fn encoded_row_len(row: &[u8]) -> usize {
    23 + row.len()
}

/// Bytes of a put's cell in the binary protocol.
pub(crate) fn encoded_cell_len(family: &[u8], qualifier: &[u8], value: &[u8]) -> usize {
    33 + family.len() + qualifier.len() + value.len()
}

/// Writes the arguments of `putMultiple`: one `TPut` per row. The block holds puts only, and no row without a cell.
pub(crate) fn puts(writer: &mut Writer<'_>, table: &str, cells: &CellBlock, durability: Durability) {
    writer.binary(1, table.as_bytes());
    writer.list(2, Kind::Struct, cells.row_count());
    for row in cells.rows() {
        writer.begin();
        writer.binary(1, row.key);
        writer.list(2, Kind::Struct, row.cells.len());
        for cell in row.iter() {
            writer.begin();
            writer.binary(1, cell.family);
            writer.binary(2, cell.qualifier);
            writer.binary(3, cell.value);
            writer.i64(4, cell.timestamp);
            writer.end();
        }
        writer.i32(6, durability.code());
        writer.end();
    }
}

/// Markers and their `TDeleteType`.
const DELETES: [(u8, i32); 4] =
    [(kind::DELETE, 0), (kind::DELETE_COLUMN, 1), (kind::DELETE_FAMILY, 2), (kind::DELETE_FAMILY_VERSION, 3)];

/// The markers of a row that one `TDelete` can carry. All its columns share its type, and HBase's `Delete.addFamily` forgets
/// what the delete held of that family before, so each marker of a whole family goes by itself.
fn groups<'a>(row: RowView<'a>) -> impl Iterator<Item = (i32, Vec<Cell<'a>>)> {
    DELETES.into_iter().flat_map(move |(code, delete_type)| {
        let cells: Vec<Cell<'_>> = row.iter().filter(|cell| cell.kind == code).collect();
        let most = if code == kind::DELETE_FAMILY { 1 } else { cells.len().max(1) };
        let groups: Vec<Vec<Cell<'_>>> = cells.chunks(most).map(<[_]>::to_vec).collect();
        groups.into_iter().map(move |group| (delete_type, group))
    })
}

/// Writes the arguments of `deleteMultiple`. The block holds delete markers only.
pub(crate) fn deletes(writer: &mut Writer<'_>, table: &str, cells: &CellBlock, durability: Durability) {
    let count = cells.rows().map(|row| groups(row).count()).sum();
    writer.binary(1, table.as_bytes());
    writer.list(2, Kind::Struct, count);
    for row in cells.rows() {
        for (delete_type, cells) in groups(row) {
            writer.begin();
            writer.binary(1, row.key);
            writer.list(2, Kind::Struct, cells.len());
            for cell in cells {
                writer.begin();
                writer.binary(1, cell.family);
                if matches!(cell.kind, kind::DELETE | kind::DELETE_COLUMN) {
                    writer.binary(2, cell.qualifier);
                }
                writer.i64(3, cell.timestamp);
                writer.end();
            }
            writer.i32(4, delete_type);
            writer.i32(7, durability.code());
            writer.end();
        }
    }
}
