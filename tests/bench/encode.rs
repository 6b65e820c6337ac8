//! From the bytes of replies to a points file, without a gateway and on one thread: what the library alone can do, and
//! how large its files are.

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use tsdb_ark::cluster::parse_page;
use tsdb_ark::codec::{Decoder, Scratch, SeriesNamer, prove, rebuild_segment};
use tsdb_ark::columnar::{TableRows, sort_points};
use tsdb_ark::model::{
    Cell, CellBlock, FileKind, KeyLayout, LabelTable, PointBatch, SeriesRows, SeriesTable, TableKind, Tally, TypedRows,
    UidNames,
};
use tsdb_ark::parquet_file::{PointsReader, PointsWriter, TableWriter};

use crate::mix::{Mix, Row, uid_names};
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
    let mut pages = Pages::of(mix);
    let points = mix.points() as f64;
    let runs = (0..RUNS).map(|_| {
        let run = Run::of(&mut pages, mix);
        let (all, write_times) = run.sizes();
        Encoded {
            mpoints_per_core: points / 1e6 / run.seconds(),
            bytes_per_point: all as f64 / points,
            bytes_without: (all - write_times) as f64 / points,
            stages: run.stages.map(|seconds| seconds / (points / 1e6)),
        }
    });
    runs.max_by(|a, b| a.mpoints_per_core.total_cmp(&b.mpoints_per_core)).expect("there are runs")
}

/// The replies of a gateway that is asked for the whole table, and the names of its UIDs.
pub struct Pages {
    replies: Vec<Vec<u8>>,
    names: UidNames,
}

impl Pages {
    /// Makes the replies.
    pub fn of(mix: &Mix) -> Pages {
        let (mut replies, mut reply, mut row) = (Vec::new(), PageReply::default(), Row::default());
        for metric in 0..mix.metrics {
            let mut rows = mix.metric(metric);
            while rows.next(&mut row) {
                reply.push(&row);
                if reply.len() >= PAGE_BYTES {
                    replies.push(reply.take());
                }
            }
        }
        replies.push(reply.take());
        Pages { replies, names: uid_names(mix) }
    }
}

/// One pass over all pages.
pub struct Run<'a> {
    names: &'a UidNames,
    clock: f64,
    stages: [f64; 5],
    points: Vec<u8>,
    series: SeriesTable,
}

impl<'a> Run<'a> {
    /// Encodes all pages.
    pub fn of(pages: &'a mut Pages, mix: &Mix) -> Run<'a> {
        let Pages { replies, names } = pages;
        let layout = KeyLayout::default();
        let mut run =
            Run { names, clock: cpu_seconds(), stages: [0.0; 5], points: Vec::new(), series: SeriesTable::new() };
        let mut writer = PointsWriter::new(Vec::new(), layout.metric_width, "tsdb", Vec::new()).expect("a points file");
        let mut decoder = Decoder::new(TableKind::Data, layout, None);
        let (mut block, mut rows, mut tally) = (CellBlock::new(), TypedRows::default(), Tally::default());
        for page in replies {
            block.clear();
            std::mem::swap(block.bytes_mut(), page);
            assert!(parse_page(&mut block), "a page is not what a gateway would send");
            run.lap(0);
            block.rows().for_each(|row| decoder.row(row, &mut rows, &mut tally));
            std::mem::swap(block.bytes_mut(), page);
            run.lap(1);
            if rows.points.len() >= BATCH_POINTS {
                let batch = decoder.take_points(&mut rows);
                run.batch(batch, &mut writer);
            }
        }
        let batch = decoder.take_points(&mut rows);
        run.batch(batch, &mut writer);
        assert_eq!((tally.cells, tally.points), (mix.cells(), mix.points()), "cells or points are missing");
        assert!(rows.raw.is_empty(), "a cell was not understood");
        let (bytes, summary) = writer.finish().expect("a points file");
        assert_eq!(summary.rows, mix.points(), "points are missing in the file");
        run.lap(4);
        run.points = bytes;
        run
    }

    fn batch(&mut self, batch: PointBatch, writer: &mut PointsWriter<Vec<u8>>) {
        let layout = KeyLayout::default();
        let batch = sort_points(batch);
        self.lap(2);
        prove(&batch, &layout.into()).expect("the points rebuild");
        self.lap(3);
        let labels = self.labels(&batch.series);
        let ids: Vec<i64> = batch.series.iter().map(|tsuid| i64::from(self.series.index_of(tsuid))).collect();
        writer.write(&batch, &labels, &ids).expect("a points file");
        self.lap(4);
    }

    fn labels(&self, series: &SeriesTable) -> LabelTable {
        let (mut labels, layout) = (LabelTable::new(), KeyLayout::default());
        let mut namer = SeriesNamer::new(&layout, self.names);
        series.iter().for_each(|tsuid| assert!(namer.name(tsuid, &mut labels), "a UID has no name"));
        labels
    }

    /// The points file.
    pub fn into_points(self) -> Vec<u8> {
        self.points
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
        let (chosen, ids): (Vec<u32>, Vec<i64>) = (0..self.series.len() as u32).map(|id| (id, i64::from(id))).unzip();
        let labels = &self.labels(&self.series);
        let rows = SeriesRows { chosen: &chosen, ids: &ids, series: &self.series, labels };
        table.write(TableRows::Series(rows)).expect("a series table");
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

/// Reads a points file back into cells, as restore and verify do. Returns how many there are.
pub fn read(points: Vec<u8>) -> u64 {
    let (mut block, mut scratch, mut cells) = (CellBlock::new(), Scratch::default(), 0);
    let mut reader = PointsReader::open(Bytes::from(points)).expect("a points file");
    while let Some(batch) = reader.next_group().expect("a points file") {
        for segment in &batch.segments {
            let mut begun = false;
            let collect = &mut |cell: Cell<'_>| {
                if !std::mem::replace(&mut begun, true) {
                    block.push_row(cell.row).expect("there is room");
                }
                block.push_cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value).expect("room");
                cells += 1;
            };
            rebuild_segment(&batch, segment, &KeyLayout::default().into(), &mut scratch, collect).expect("it rebuilds");
            if block.bytes().len() >= PAGE_BYTES {
                block.clear();
            }
        }
    }
    cells
}

/// Seconds for which this thread had a core.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts the time of threads");
    let nanoseconds: u64 = text.split(' ').next().and_then(|text| text.parse().ok()).expect("nanoseconds come first");
    nanoseconds as f64 / 1e9
}
