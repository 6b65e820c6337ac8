//! `putMultiple` and `deleteMultiple`, from a block of cells.

use crate::cluster::request::{Kind, Writer};
use crate::model::{CellBlock, RowView, kind};

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

fn markers(row: &RowView<'_>, code: u8) -> usize {
    row.cells.iter().filter(|cell| cell.kind == code).count()
}

/// Writes the arguments of `deleteMultiple`: one `TDelete` per row and type of marker, because all columns of a
/// `TDelete` share its type. The block holds delete markers only.
pub(crate) fn deletes(writer: &mut Writer<'_>, table: &str, cells: &CellBlock, durability: Durability) {
    let groups = cells.rows().map(|row| DELETES.iter().filter(|(code, _)| markers(&row, *code) > 0).count()).sum();
    writer.binary(1, table.as_bytes());
    writer.list(2, Kind::Struct, groups);
    for row in cells.rows() {
        for (code, delete_type) in DELETES {
            let count = markers(&row, code);
            if count == 0 {
                continue;
            }
            writer.begin();
            writer.binary(1, row.key);
            writer.list(2, Kind::Struct, count);
            for cell in row.iter().filter(|cell| cell.kind == code) {
                writer.begin();
                writer.binary(1, cell.family);
                if matches!(code, kind::DELETE | kind::DELETE_COLUMN) {
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
