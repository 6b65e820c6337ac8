//! Finished files, decoded again before their shard is recorded.
//!
//! The proof of the export ends at columns; what follows is an encoder of this program. So a file is read the way a
//! restore will read it, and its cells must add up to those that went into it. That costs about as much as the rest of a
//! backup of compacted points, so one file of every kind in [`EVERY`] is read, the first one of each table among them, or
//! all of them when somebody asks for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::flow::FlowError;
use crate::flow::stored::contents::cells_of;
use crate::model::{CellHasher, FileKind, KeyLayouts, Tally};
use crate::parquet_file::read_series;

/// Of so many files one is read.
const EVERY: u64 = 16;

/// Which files of a backup are read back, and how many were.
pub struct ReadBack {
    every: u64,
    files: Mutex<BTreeMap<(String, FileKind), u64>>,
    read: AtomicU64,
}

/// What a file should say.
pub struct Expected<'a> {
    /// Path, for messages.
    pub path: &'a str,
    /// What is in it.
    pub kind: FileKind,
    /// Rows.
    pub rows: u64,
    /// Cells that restore takes from it.
    pub tally: &'a Tally,
}

impl ReadBack {
    /// All files, or some.
    pub fn new(all: bool) -> Self {
        let every = if all { 1 } else { EVERY };
        Self { every, files: Mutex::default(), read: AtomicU64::new(0) }
    }

    /// True when the next file of this kind is to be read back.
    pub fn chooses(&self, table: &str, kind: FileKind) -> bool {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let number = files.entry((table.to_owned(), kind)).or_default();
        *number += 1;
        (*number - 1).is_multiple_of(self.every)
    }

    /// Files that were read back.
    pub fn files_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Reads the bytes of a finished file.
    ///
    /// # Errors
    /// [`FlowError::Damaged`] when they are not what went into it.
    pub fn check(&self, file: Bytes, layouts: &KeyLayouts, expected: &Expected<'_>) -> Result<(), FlowError> {
        let wrong = |what: String| {
            FlowError::damaged(format!(
                "{} was written and does not read back: {what}; its shard is not recorded; this is a defect or bad memory, \
                 please report it",
                expected.path
            ))
        };
        let read = decode(file, layouts, expected).map_err(|error| wrong(error.to_string()))?;
        if !read.same_cells(expected.tally) {
            let Tally { cells, bytes, checksum, .. } = expected.tally;
            return Err(wrong(format!(
                "it decodes to {} cells ({} bytes, checksum {:016x}), not to the {cells} ({bytes} bytes, {checksum:016x}) that \
                 went into it",
                read.cells, read.bytes, read.checksum
            )));
        }
        self.read.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn decode(file: Bytes, layouts: &KeyLayouts, expected: &Expected<'_>) -> Result<Tally, FlowError> {
    let mut tally = Tally::default();
    if expected.kind == FileKind::Series {
        let found = read_series(file)?.len() as u64;
        if found != expected.rows {
            return Err(FlowError::damaged(format!("it has {found} rows instead of {}", expected.rows)));
        }
        return Ok(tally);
    }
    let mut hasher = CellHasher::new();
    cells_of(file, expected.kind, expected.rows, layouts, &mut |block| {
        tally.add(&hasher.block(block));
        Ok(())
    })?;
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Decoder;
    use crate::columnar::sort_points;
    use crate::flow::encode::points_tally::tally_of_points;
    use crate::model::{CellBlock, KeyLayout, PointBatch, SeriesLabel, TableKind, TypedRows};
    use crate::parquet_file::{PointsReader, PointsWriter};

    const LAYOUT: KeyLayout =
        KeyLayout { metric_width: 3, tagk_width: 3, tagv_width: 3, salt_width: 0, salt_buckets: 20 };

    /// Single cells of two series, 300 points each, whose values vary.
    fn file() -> (Bytes, u64, Tally) {
        let mut block = CellBlock::new();
        for series in [1u8, 2] {
            for hour in 0..5u32 {
                let base = (1_600_002_000 / 3600 + hour) * 3600;
                let key = [&[0, 0, 1][..], &base.to_be_bytes(), &[0, 0, 1, 0, 0, series]].concat();
                block.push_row(&key).unwrap();
                for point in 0..60u16 {
                    let qualifier = ((point * 60) << 4 | 1).to_be_bytes();
                    let value = (i16::from_be_bytes(qualifier) ^ i16::from(series)).to_be_bytes();
                    let written = i64::from(base) * 1000 + i64::from(point) * 61_003;
                    block.push_cell(b"t", &qualifier, written, 4, &value).unwrap();
                }
            }
        }
        let mut decoder = Decoder::new(TableKind::Data, LAYOUT, None);
        let (mut rows, mut scanned) = (TypedRows::default(), Tally::default());
        for row in block.rows() {
            decoder.row_from(row, 0, &mut rows, &mut scanned, &|_, _| false);
        }
        let points = sort_points(decoder.take_points_into(&mut rows, Default::default()));
        let tally = tally_of_points(&points, &LAYOUT.into());
        assert!(tally.same_cells(&scanned) && tally.cells == 600);
        let label = |id: usize| SeriesLabel { tags_json: format!("{{\"host\":\"{id}\"}}"), ..SeriesLabel::default() };
        let mut writer = PointsWriter::new(Vec::new(), 3, "tsdb", Vec::new()).unwrap();
        writer.write(&points, &[1, 2].map(label).into_iter().collect(), &[1, 2]).unwrap();
        let (bytes, summary) = writer.finish().unwrap();
        (Bytes::from(bytes), summary.rows, tally)
    }

    /// What the file decodes to; `None` when it does not.
    fn points(file: &[u8]) -> Option<Vec<PointBatch>> {
        let mut reader = PointsReader::open(Bytes::from(file.to_vec())).ok()?;
        let mut groups = Vec::new();
        while let Some(group) = reader.next_group().ok()? {
            groups.push(group);
        }
        Some(groups)
    }

    #[test]
    fn a_flipped_byte_in_a_page_is_found() {
        let (file, rows, tally) = file();
        let read_back = ReadBack::new(true);
        let check = |bytes: Vec<u8>| {
            let expected = Expected { path: "points/x.parquet", kind: FileKind::Points, rows, tally: &tally };
            read_back.check(Bytes::from(bytes), &LAYOUT.into(), &expected)
        };
        check(file.to_vec()).unwrap();
        std::panic::set_hook(Box::new(|_| ()));
        let (mut pages, mut flips, mut missed) = (0, 0, Vec::new());
        for (column, body) in crate::parquet_file::page_bodies(&file) {
            // For readers; the cells do not need them.
            if ["table", "metric", "tags", "series_id", "superseded"].contains(&column.as_str()) {
                continue;
            }
            pages += 1;
            for at in body {
                let mut bytes = file.to_vec();
                bytes[at] ^= 0x10;
                // Some bits stand for nothing: padding, the end of a run that is longer than its page.
                if points(&bytes) == points(&file) {
                    check(bytes).unwrap();
                    continue;
                }
                flips += 1;
                match check(bytes) {
                    Err(error) => assert!(error.to_string().contains("does not read back"), "{error}"),
                    Ok(()) => missed.push((column.clone(), at)),
                }
            }
        }
        let _ = std::panic::take_hook();
        assert!(pages >= 10 && flips > 200, "{pages} pages, {flips} flips");
        assert!(missed.is_empty(), "{missed:?}");
        assert!(read_back.files_read() >= 1);
        let other = Tally { cells: tally.cells + 1, ..tally };
        let expected = Expected { path: "x", kind: FileKind::Points, rows, tally: &other };
        assert_eq!(read_back.check(file, &LAYOUT.into(), &expected).unwrap_err().exit_code(), 1);
    }

    #[test]
    fn one_file_in_sixteen_is_read_and_the_first_of_all() {
        let some = ReadBack::new(false);
        let chosen: Vec<bool> = (0..33).map(|_| some.chooses("t", FileKind::Points)).collect();
        assert_eq!(chosen.iter().filter(|chosen| **chosen).count(), 3);
        assert!(chosen[0] && chosen[16] && some.chooses("t", FileKind::Cells) && some.chooses("u", FileKind::Points));
        let all = ReadBack::new(true);
        assert!((0..5).all(|_| all.chooses("t", FileKind::Points)));
    }
}
