//! From the bytes of replies to a points file, without a gateway and on one thread: what the library alone can do, and
//! how large its files are.

use std::collections::HashMap;

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use tsdb_ark::cluster::parse_page;
use tsdb_ark::codec::{Decoder, describe_series, prove};
use tsdb_ark::columnar::{TableRows, sort_points};
use tsdb_ark::model::{
    CellBlock, FileKind, KeyLayout, PointBatch, SeriesRow, TableKind, Tally, TypedRows, UidNames, hex,
};
use tsdb_ark::parquet_file::{PointsWriter, TableWriter};

use crate::mix::{METRICS, Mix, Row, uid_names};
use crate::wire::PageReply;

const PAGE_BYTES: usize = 4 << 20;
const BATCH_POINTS: usize = 1_000_000;
const RUNS: usize = 3;
/// Columns that keep the HBase timestamps.
const WRITE_TIMES: [&str; 2] = ["written", "write_delay"];

/// What an encode came to.
#[derive(Debug, Clone, Copy)]
pub struct Encoded {
    /// Million points per second of CPU time; the best of three.
    pub mpoints_per_core: f64,
    /// Bytes of the points file and its series table per point.
    pub bytes_per_point: f64,
    /// The same without the columns of write times.
    pub bytes_without: f64,
    /// CPU seconds per million points of the best run: parser, decoder with tally, sort, proof, Parquet.
    pub stages: [f64; 5],
}

/// Encodes the points of a mix.
pub fn encode(mix: &Mix) -> Encoded {
    let mut pages = pages(mix);
    let names = uid_names(mix.hosts);
    let mut best: Option<Run> = None;
    for _ in 0..RUNS {
        let run = Run::of(&mut pages, &names, mix);
        if best.as_ref().is_none_or(|best| run.seconds() < best.seconds()) {
            best = Some(run);
        }
    }
    let best = best.expect("there are runs");
    let points = mix.points() as f64;
    let (all, write_times) = best.sizes();
    Encoded {
        mpoints_per_core: points / 1e6 / best.seconds(),
        bytes_per_point: all as f64 / points,
        bytes_without: (all - write_times) as f64 / points,
        stages: best.stages.map(|seconds| seconds / (points / 1e6)),
    }
}

/// The replies of a gateway that is asked for the whole table.
fn pages(mix: &Mix) -> Vec<Vec<u8>> {
    let (mut pages, mut reply, mut row) = (Vec::new(), PageReply::default(), Row::default());
    for metric in 0..METRICS {
        let mut rows = mix.metric(metric);
        while rows.next(&mut row) {
            reply.push(&row);
            if reply.len() >= PAGE_BYTES {
                pages.push(reply.take());
            }
        }
    }
    pages.push(reply.take());
    pages
}

/// One pass over all pages.
struct Run {
    clock: f64,
    stages: [f64; 5],
    points: Vec<u8>,
    series: Vec<SeriesRow>,
}

impl Run {
    fn of(pages: &mut [Vec<u8>], names: &UidNames, mix: &Mix) -> Run {
        let layout = KeyLayout::default();
        let mut run = Run { clock: cpu_seconds(), stages: [0.0; 5], points: Vec::new(), series: Vec::new() };
        let mut writer = PointsWriter::new(Vec::new(), layout.metric_width, "tsdb", Vec::new()).expect("a points file");
        let mut decoder = Decoder::new(TableKind::Data, layout, None);
        let (mut block, mut rows, mut tally) = (CellBlock::new(), TypedRows::default(), Tally::default());
        let mut known = HashMap::new();
        for page in pages {
            block.clear();
            std::mem::swap(block.bytes_mut(), page);
            assert!(parse_page(&mut block), "a page is not what a gateway would send");
            run.lap(0);
            block.rows().for_each(|row| decoder.row(row, &mut rows, &mut tally));
            std::mem::swap(block.bytes_mut(), page);
            run.lap(1);
            if rows.points.len() >= BATCH_POINTS {
                let batch = decoder.take_points(&mut rows);
                run.batch(batch, &mut writer, names, &mut known);
            }
        }
        let batch = decoder.take_points(&mut rows);
        run.batch(batch, &mut writer, names, &mut known);
        assert_eq!((tally.cells, tally.points), (mix.cells(), mix.points()), "cells or points are missing");
        assert!(rows.raw.is_empty(), "a cell was not understood");
        let (bytes, summary) = writer.finish().expect("a points file");
        assert_eq!(summary.rows, mix.points(), "points are missing in the file");
        run.lap(4);
        run.points = bytes;
        run
    }

    fn batch(
        &mut self,
        batch: PointBatch,
        writer: &mut PointsWriter<Vec<u8>>,
        names: &UidNames,
        known: &mut HashMap<Vec<u8>, i64>,
    ) {
        let layout = KeyLayout::default();
        let batch = sort_points(batch, layout.metric_width);
        self.lap(2);
        prove(&batch, &layout.into()).expect("the points rebuild");
        self.lap(3);
        let labels: Vec<_> = batch.series.iter().map(|tsuid| describe_series(tsuid, &layout, names)).collect();
        let mut ids = Vec::with_capacity(labels.len());
        for (tsuid, label) in batch.series.iter().zip(&labels) {
            let next = known.len() as i64;
            let id = *known.entry(tsuid.clone()).or_insert(next);
            if id == next {
                self.series.push(SeriesRow { series_id: id, tsuid: hex(tsuid), label: label.clone() });
            }
            ids.push(id);
        }
        writer.write(&batch, &labels, &ids).expect("a points file");
        self.lap(4);
    }

    /// Adds the CPU time since the last lap to a stage.
    fn lap(&mut self, stage: usize) {
        let now = cpu_seconds();
        self.stages[stage] += now - self.clock;
        self.clock = now;
    }

    fn seconds(&self) -> f64 {
        self.stages.iter().sum()
    }

    /// Bytes of the files, and of them those of the write times.
    fn sizes(&self) -> (u64, u64) {
        let mut table = TableWriter::new(FileKind::Series, Vec::new(), Vec::new()).expect("a series table");
        table.write(TableRows::Series(&self.series)).expect("a series table");
        let (_, summary) = table.finish().expect("a series table");
        let file = SerializedFileReader::new(Bytes::from(self.points.clone())).expect("a points file");
        let chunks = file.metadata().row_groups().iter().flat_map(|group| group.columns());
        let write_times = chunks
            .filter(|chunk| WRITE_TIMES.contains(&chunk.column_path().string().as_str()))
            .map(|chunk| chunk.compressed_size() as u64)
            .sum();
        (self.points.len() as u64 + summary.bytes, write_times)
    }
}

/// Seconds for which this thread had a core.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts the time of threads");
    let nanoseconds: u64 = text.split(' ').next().and_then(|text| text.parse().ok()).expect("nanoseconds come first");
    nanoseconds as f64 / 1e9
}
