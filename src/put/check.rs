//! Cells that must not be sent: HBase answers some of them with a bare internal error, and accepts some that damage it.

use crate::model::{Cell, kind};

/// Longest row key (`HConstants.MAX_ROW_LENGTH`).
const MAX_ROW: usize = 32_767;

/// Why a cell cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// HBase stores it, cannot read the row any more, and cannot replay its log after a crash.
    #[error("its timestamp is negative, which would make the row unreadable in HBase")]
    NegativeTimestamp,
    /// 2^63-1 means "now" to HBase.
    #[error("its timestamp is 2^63-1, which HBase replaces by the current time")]
    EndlessTimestamp,
    /// No row key.
    #[error("its row key is empty")]
    EmptyRow,
    /// Row key above 32767 bytes.
    #[error("its row key is longer than 32767 bytes")]
    LongRow,
    /// More bytes than the cluster takes; found by trying, because no gateway says where its limits are.
    #[error(
        "it has {0} bytes, more than this cluster takes: raise hbase.client.keyvalue.maxsize of the gateway, \
         hbase.server.keyvalue.maxsize of the region servers (or of the table, as an attribute) and, where the gateway is \
         framed, hbase.regionserver.thrift.framed.max_frame_size_in_mb"
    )]
    TooLarge(usize),
    /// Not a family of the table.
    #[error("the table has no such family")]
    UnknownFamily,
    /// A kind of cell that HBase does not have.
    #[error("its type code is unknown")]
    UnknownKind,
    /// A delete marker with a value, or a family marker with a qualifier.
    #[error("it is a delete marker with a value, or a family marker with a qualifier")]
    OddMarker,
}

/// Checks one cell.
pub(super) fn check(cell: &Cell<'_>, families: &[Vec<u8>]) -> Result<(), Refusal> {
    if cell.timestamp < 0 {
        return Err(Refusal::NegativeTimestamp);
    }
    if cell.timestamp == i64::MAX {
        return Err(Refusal::EndlessTimestamp);
    }
    if cell.row.is_empty() {
        return Err(Refusal::EmptyRow);
    }
    if cell.row.len() > MAX_ROW {
        return Err(Refusal::LongRow);
    }
    if !families.iter().any(|family| family == cell.family) {
        return Err(Refusal::UnknownFamily);
    }
    match cell.kind {
        kind::PUT => Ok(()),
        kind::DELETE | kind::DELETE_COLUMN if cell.value.is_empty() => Ok(()),
        kind::DELETE_FAMILY | kind::DELETE_FAMILY_VERSION if cell.value.is_empty() && cell.qualifier.is_empty() => {
            Ok(())
        }
        kind::DELETE | kind::DELETE_COLUMN | kind::DELETE_FAMILY | kind::DELETE_FAMILY_VERSION => {
            Err(Refusal::OddMarker)
        }
        _ => Err(Refusal::UnknownKind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Cell<'_> = Cell { row: b"r", family: b"t", qualifier: b"", timestamp: 0, kind: kind::PUT, value: b"" };

    #[test]
    fn names_what_is_wrong() {
        let (long, great) = (vec![0; MAX_ROW + 1], vec![0; 11 << 20]);
        let cases = [
            (GOOD, Ok(())),
            (Cell { timestamp: i64::MAX - 1, ..GOOD }, Ok(())),
            (Cell { timestamp: -1, ..GOOD }, Err(Refusal::NegativeTimestamp)),
            (Cell { timestamp: i64::MAX, ..GOOD }, Err(Refusal::EndlessTimestamp)),
            (Cell { row: b"", ..GOOD }, Err(Refusal::EmptyRow)),
            (Cell { row: &long, ..GOOD }, Err(Refusal::LongRow)),
            (Cell { row: &long[1..], ..GOOD }, Ok(())),
            (Cell { value: &great, ..GOOD }, Ok(())),
            (Cell { family: b"x", ..GOOD }, Err(Refusal::UnknownFamily)),
            (Cell { family: b"", ..GOOD }, Err(Refusal::UnknownFamily)),
            (Cell { kind: 5, ..GOOD }, Err(Refusal::UnknownKind)),
            (Cell { kind: kind::DELETE, value: b"v", ..GOOD }, Err(Refusal::OddMarker)),
            (Cell { kind: kind::DELETE_FAMILY, qualifier: b"q", ..GOOD }, Err(Refusal::OddMarker)),
            (Cell { kind: kind::DELETE_COLUMN, qualifier: b"q", ..GOOD }, Ok(())),
        ];
        for (cell, expected) in cases {
            assert_eq!(check(&cell, &[b"t".to_vec()]), expected);
        }
    }
}
