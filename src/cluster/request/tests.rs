//! The hand-written requests against the generated readers.

use std::collections::BTreeMap;

use thrift::protocol::{TBinaryInputProtocol, TCompactInputProtocol, TInputProtocol, TSerializable};

use crate::cluster::generated::hbase2::{TDelete, TDeleteType, TDurability, TPut, TScan};
use crate::cluster::request::{deletes, encoded_cell_len, encoded_row_len, message, page, puts};
use crate::cluster::wire::FRAME_HEADER;
use crate::cluster::{Durability, PageRequest, Pieces};
use crate::model::{CellBlock, kind};

/// Reads the head and the first argument, and hands over the rest.
fn open<'a>(out: &'a [u8], compact: bool, method: &str) -> Box<dyn TInputProtocol + 'a> {
    let body = &out[FRAME_HEADER..];
    let mut input: Box<dyn TInputProtocol + 'a> = if compact {
        Box::new(TCompactInputProtocol::new(body))
    } else {
        Box::new(TBinaryInputProtocol::new(body, true))
    };
    let head = input.read_message_begin().unwrap();
    assert_eq!((head.name.as_str(), head.sequence_number), (method, 300));
    input.read_struct_begin().unwrap();
    assert_eq!(input.read_field_begin().unwrap().id, Some(1));
    assert_eq!(input.read_bytes().unwrap(), b"ns:t");
    assert_eq!(input.read_field_begin().unwrap().id, Some(2));
    input
}

fn read_list<T: TSerializable>(input: &mut dyn TInputProtocol) -> Vec<T> {
    let list = input.read_list_begin().unwrap();
    (0..list.size).map(|_| T::read_from_in_protocol(input).unwrap()).collect()
}

#[test]
fn a_page_says_all_it_should() {
    let mut request = PageRequest::new("ns:t", b"\0a", b"b", 70);
    request.families = &[b"t", b"u"];
    request.max_versions = i32::MAX;
    request.raw = true;
    request.pieces = Some(Pieces { cells: 11, count: 500 });
    request.written_since = Some(1_600_000_000_000);
    for compact in [false, true] {
        let mut out = vec![1, 2, 3];
        message(&mut out, compact, "m", 300, |writer| page(writer, &request));
        let mut input = open(&out, compact, "m");
        let scan = TScan::read_from_in_protocol(&mut *input).unwrap();
        assert_eq!((scan.start_row, scan.stop_row), (Some(b"\0a".to_vec()), Some(b"b".to_vec())));
        assert_eq!((scan.caching, scan.limit, scan.batch_size), (Some(500), Some(70), Some(11)));
        assert_eq!((scan.max_versions, scan.cache_blocks, scan.reversed), (Some(i32::MAX), Some(false), None));
        assert_eq!(scan.columns.unwrap().len(), 2);
        assert_eq!(scan.attributes, Some(BTreeMap::from([(b"_raw_".to_vec(), vec![0xff])])));
        assert_eq!(input.read_field_begin().unwrap().id, Some(3));
        assert_eq!(input.read_i32().unwrap(), 500);
    }
}

#[test]
fn arguments_that_mislead_the_gateway_are_refused() {
    let good = PageRequest::new("t", b"a", b"b", 1);
    good.check().unwrap();
    PageRequest { start: b"", stop: b"", ..good }.check().unwrap();
    PageRequest { start: b"b", stop: b"a", reversed: true, ..good }.check().unwrap();
    let pieces = Some(Pieces { cells: 1, count: 1 });
    PageRequest { pieces, filter: Some(PageRequest::NO_VALUES), ..good }.check().unwrap();
    for bad in [
        PageRequest { rows: 0, ..good },
        PageRequest { rows: u32::MAX, ..good },
        PageRequest { max_versions: 0, ..good },
        PageRequest { stop: b"a", ..good },
        PageRequest { pieces: Some(Pieces { cells: 0, count: 1 }), ..good },
        PageRequest { pieces: Some(Pieces { cells: 1, count: 1 }), filter: Some(b"PageFilter(1)"), ..good },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}

#[test]
fn puts_carry_every_timestamp() {
    let mut block = CellBlock::new();
    let mut estimate = 0;
    for row in 0..40u8 {
        block.push_row(&[row; 3]).unwrap();
        estimate += encoded_row_len(&[row; 3]);
        for n in 0..row % 20 + 1 {
            block.push_cell(b"t", &[n, 255], i64::from(n) << 40, kind::PUT, &vec![n; usize::from(n) * 9]).unwrap();
            estimate += encoded_cell_len(b"t", &[n, 255], &vec![n; usize::from(n) * 9]);
        }
    }
    for compact in [false, true] {
        let mut out = Vec::new();
        message(&mut out, compact, "putMultiple", 300, |writer| puts(writer, "ns:t", &block, Durability::SyncWal));
        if !compact {
            assert!(out.len() - estimate < 80, "{} {estimate}", out.len());
        }
        let list: Vec<TPut> = read_list(&mut *open(&out, compact, "putMultiple"));
        assert!(list.iter().all(|put| put.durability == Some(TDurability::SYNC_WAL)));
        let found = list.iter().flat_map(|put| put.column_values.iter().map(|c| (&put.row, c)));
        let found: Vec<_> =
            found.map(|(row, c)| (row.clone(), c.qualifier.clone(), c.timestamp, c.value.clone())).collect();
        let sent = block.iter().map(|c| (c.row.to_vec(), c.qualifier.to_vec(), Some(c.timestamp), c.value.to_vec()));
        assert_eq!(found, sent.collect::<Vec<_>>(), "compact: {compact}");
    }
}

#[test]
fn markers_are_grouped_by_type() {
    let mut block = CellBlock::new();
    block.push_row(b"r").unwrap();
    for (kind, qualifier, at) in [
        (kind::DELETE_FAMILY, "", 9),
        (kind::DELETE_FAMILY, "", 3),
        (kind::DELETE_FAMILY_VERSION, "", 8),
        (kind::DELETE_FAMILY_VERSION, "", 2),
        (kind::DELETE, "a", 7),
        (kind::DELETE_COLUMN, "b", 6),
        (kind::DELETE, "", 5),
    ] {
        block.push_cell(b"t", qualifier.as_bytes(), at, kind, b"").unwrap();
    }
    for compact in [false, true] {
        let mut out = Vec::new();
        message(&mut out, compact, "d", 300, |writer| deletes(writer, "ns:t", &block, Durability::AsyncWal));
        let list: Vec<TDelete> = read_list(&mut *open(&out, compact, "d"));
        let seen: Vec<_> = list
            .into_iter()
            .map(|delete| {
                let columns =
                    delete.columns.unwrap().into_iter().map(|c| (c.qualifier, c.timestamp.unwrap())).collect();
                (delete.delete_type.unwrap(), columns)
            })
            .collect::<Vec<(TDeleteType, Vec<(Option<Vec<u8>>, i64)>)>>();
        let expected = vec![
            (TDeleteType::DELETE_COLUMN, vec![(Some(b"a".to_vec()), 7), (Some(vec![]), 5)]),
            (TDeleteType::DELETE_COLUMNS, vec![(Some(b"b".to_vec()), 6)]),
            (TDeleteType::DELETE_FAMILY, vec![(None, 9)]),
            (TDeleteType::DELETE_FAMILY, vec![(None, 3)]),
            (TDeleteType::DELETE_FAMILY_VERSION, vec![(None, 8), (None, 2)]),
        ];
        assert_eq!(seen, expected, "compact: {compact}");
    }
}
