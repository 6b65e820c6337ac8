//! Cells that come from files instead of a cluster.

use std::sync::Arc;

use super::*;
use crate::codec::Decoder;
use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::flow::stored::contents::cells_of;
use crate::manifest::BackupPaths;
use crate::model::{
    CellBlock, CellHasher, FileKind, FileRow, KeyLayout, LabelTable, PointBatch, SeriesTable, TableKind, Tally,
};
use crate::store::Store;

const LAYOUT: KeyLayout = KeyLayout { metric_width: 3, tagk_width: 3, tagv_width: 3, salt_width: 0, salt_buckets: 20 };

/// Knows no names.
struct Nameless;

impl Labels for Nameless {
    fn labels(&self, series: &SeriesTable) -> Result<LabelTable, FlowError> {
        Ok(series.iter().map(|_| Default::default()).collect())
    }
}

/// Rows of two series: single points, a compacted cell, and a qualifier that no point has.
fn cells() -> CellBlock {
    let mut block = CellBlock::new();
    for (series, hour) in (0..40u32).map(|row| ((row / 20) as u8, row % 20)) {
        let base = 1_600_002_000 / 3600 * 3600 + hour * 3600;
        block.push_row(&[&[0, 0, 1][..], &base.to_be_bytes(), &[0, 0, 1, 0, 0, series]].concat()).unwrap();
        let mut cell = |qualifier: &[u8], value: &[u8]| {
            block.push_cell(b"t", qualifier, i64::from(base) * 1000, 4, value).unwrap();
        };
        let qualifier = |second: u16| (second << 4 | 1).to_be_bytes();
        match hour % 3 {
            0 => (0..9).for_each(|point| cell(&qualifier(point * 300), &point.to_be_bytes())),
            1 => cell(&[qualifier(7), qualifier(9)].concat(), &[0, 1, 0, 2, 0]),
            _ => cell(&[9, 9, 9], b"odd"),
        }
    }
    block
}

/// Encodes the blocks as one shard and gives the files and what went in.
fn encoded(threads: &Threads, store: &Store, blocks: &[CellBlock]) -> (Vec<FileRow>, Tally) {
    let context = EncodeContext {
        threads: threads.clone(),
        store: store.clone(),
        paths: BackupPaths::new("20260101T000000Z-00000000"),
        table: "tsdb".into(),
        layouts: LAYOUT.into(),
        names: Arc::new(Nameless),
        footer: Vec::new(),
        read_back: Arc::new(ReadBack::new(true)),
    };
    let decoder = Decoder::new(TableKind::Data, LAYOUT, None);
    let mut decoder = ShardDecoder::new(decoder, 50, PointBatch::default());
    let attempt = Attempts::beside(std::iter::empty()).next();
    let mut encoder = ShardEncoder::new(Arc::new(context), attempt, PointBatch::default());
    for block in blocks {
        while !decoder.page(block) {
            let batch = decoder.take(encoder.take_used());
            encoder.encode(batch, None).unwrap();
        }
    }
    let batch = decoder.take(encoder.take_used());
    encoder.encode(batch, None).unwrap();
    (encoder.finish().unwrap().files, decoder.tally())
}

#[test]
fn cells_of_files_are_encoded_without_a_cluster() {
    let (threads, store) = (Threads::new(1).unwrap(), Store::in_memory());
    let (files, scanned) = encoded(&threads, &store, &[cells()]);
    let mut hasher = CellHasher::new();
    assert!(scanned.same_cells(&hasher.block(&cells())));
    let mut stored = Vec::new();
    for file in files.iter().filter(|file| !file.kind.is_catalogue()) {
        let bytes = threads.wait(store.get(&file.path)).unwrap();
        cells_of(bytes, file.kind, file.rows, &LAYOUT.into(), &mut |block| {
            stored.push(block.clone());
            Ok(())
        })
        .unwrap();
    }
    let (again, fed) = encoded(&threads, &Store::in_memory(), &stored);
    assert!(fed.same_cells(&scanned));
    let of = |files: &[FileRow], kind: FileKind| {
        let mut sum = Tally::default();
        files.iter().filter(|file| file.kind == kind).for_each(|file| sum.add(&file.tally));
        sum
    };
    for kind in [FileKind::Points, FileKind::Cells] {
        assert!(of(&files, kind).cells > 0, "{kind:?}");
        assert!(of(&again, kind).same_cells(&of(&files, kind)), "{kind:?}");
    }
}
