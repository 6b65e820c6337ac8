//! The tables on a real HBase, and the two loops that do nothing but talk to its gateway: the raw drain and the bare put
//! loop.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tsdb_ark::codec::{Scratch, rebuild_segment};
use tsdb_ark::model::{Cell, KeyLayout};
use tsdb_ark::parquet_file::PointsReader;

use crate::bed::Bed;
use crate::mix::{FAMILY, Mix, Row, names, region_splits};
use crate::wire::{PutBatch, Skipped, Wire};

/// Bytes and rows of a batch and bytes of a page, as backup and restore have them.
const BATCH_BYTES: usize = 1_500_000;
const BATCH_ROWS: u32 = 5_000;
const PAGE_BYTES: u64 = 4 << 20;
const FIRST_ROWS: u64 = 200;
const MOST_ROWS: u64 = 20_000;
/// Pieces of each metric that the connections of a drain share.
const PIECES: u32 = 4;

/// A test bed with a gateway in a process of its own.
pub struct Cluster {
    bed: Bed,
    /// `HOST:PORT` of the gateway.
    pub gateway: String,
    /// Connections of every loop and command.
    pub connections: usize,
}

impl Cluster {
    /// Starts both.
    pub fn start(connections: usize) -> Cluster {
        let bed = Bed::own(&["t1=none"]);
        let gateway = bed.listener("spawn bench 2 0");
        Cluster { bed, gateway, connections }
    }

    /// The version of HBase.
    pub fn version(&self) -> &str {
        self.bed.hbase_version()
    }

    /// Makes an empty data table with the regions of all data tables here.
    pub fn create_data(&self, table: &str) {
        let splits: Vec<String> = region_splits().iter().map(|key| hex(key)).collect();
        self.bed.must(&format!("create {table} t - {}", splits.join(",")));
    }

    /// Removes a table.
    pub fn drop_table(&self, table: &str) {
        self.bed.must(&format!("drop {table}"));
    }

    /// Makes the tables and fills them; afterwards each region is one file.
    pub fn fill(&self, mix: &Mix, data: &str, uids: &str) {
        self.create_data(data);
        self.bed.must(&format!("create {uids} id,name"));
        let next = AtomicUsize::new(0);
        self.on_connections(|wire| {
            loop {
                let metric = next.fetch_add(1, Ordering::Relaxed) as u32;
                if metric >= mix.metrics {
                    return;
                }
                let (mut rows, mut row, mut batch) = (mix.metric(metric), Row::default(), PutBatch::default());
                while rows.next(&mut row) {
                    for (qualifier, value, written) in row.cells() {
                        batch.push(&row.key, FAMILY, qualifier, written, value);
                    }
                    if batch.len() >= BATCH_BYTES {
                        wire.put(&batch.take(data));
                    }
                }
                if batch.rows() > 0 {
                    wire.put(&batch.take(data));
                }
            }
        });
        self.fill_uids(mix, uids);
        for table in [data, uids] {
            self.bed.must(&format!("major {table}"));
        }
    }

    fn fill_uids(&self, mix: &Mix, uids: &str) {
        let (mut batch, written) = (PutBatch::default(), 1_700_000_000_000);
        let mut wire = Wire::open(&self.gateway);
        for (kind, uid, name) in names(mix) {
            let qualifier = kind.qualifier().as_bytes();
            batch.push(name.as_bytes(), b"id", qualifier, written, &uid);
            batch.push(&uid, b"name", qualifier, written, name.as_bytes());
            if batch.rows() >= BATCH_ROWS {
                wire.put(&batch.take(uids));
            }
        }
        if batch.rows() > 0 {
            wire.put(&batch.take(uids));
        }
    }

    /// Runs the same work on a thread per connection.
    fn on_connections(&self, work: impl Fn(&mut Wire) + Sync) {
        std::thread::scope(|scope| {
            for _ in 0..self.connections {
                scope.spawn(|| work(&mut Wire::open(&self.gateway)));
            }
        });
    }

    /// Reads the tables and skips through the replies. Returns seconds and bytes.
    ///
    /// # Panics
    /// When it did not see all cells of the data table.
    pub fn drain(&self, mix: &Mix, data: &str, uids: &str) -> (f64, u64) {
        let begin = Instant::now();
        let cuts = mix.cuts(PIECES);
        let stops = cuts.iter().skip(1).cloned().chain([Vec::new()]);
        let mut pieces: Vec<_> = cuts.iter().cloned().zip(stops).map(|(start, stop)| (data, start, stop)).collect();
        pieces.push((uids, Vec::new(), Vec::new()));
        let (next, sum) = (AtomicUsize::new(0), Mutex::new((0, 0)));
        self.on_connections(|wire| {
            while let Some((table, start, stop)) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (cells, bytes) = drain_range(wire, table, start, stop);
                let mut sum = sum.lock().expect("no thread failed");
                sum.0 += if *table == data { cells } else { 0 };
                sum.1 += bytes;
            }
        });
        let (cells, bytes) = sum.into_inner().expect("no thread failed");
        assert_eq!(cells, mix.cells(), "the drain of {data} did not see every cell");
        (begin.elapsed().as_secs_f64(), bytes)
    }

    /// Sends prepared batches over all connections. Returns seconds.
    pub fn put_all(&self, batches: &[Vec<u8>]) -> f64 {
        let begin = Instant::now();
        let next = AtomicUsize::new(0);
        self.on_connections(|wire| {
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                wire.put(batch);
            }
        });
        begin.elapsed().as_secs_f64()
    }
}

/// Cells and bytes of a key range.
fn drain_range(wire: &mut Wire, table: &str, start: &[u8], stop: &[u8]) -> (u64, u64) {
    let (mut start, mut rows) = (start.to_vec(), FIRST_ROWS);
    let (mut cells, mut bytes) = (0, 0);
    loop {
        let Skipped { rows: got, cells: more, bytes: read, last } = wire.page(table, &start, stop, rows as u32);
        cells += more;
        bytes += read;
        if got == 0 {
            return (cells, bytes);
        }
        start = last;
        start.push(0);
        rows = (PAGE_BYTES * got / read).clamp(1, MOST_ROWS.min(rows * 2));
    }
}

/// The batches that a restore of the backup's points sends, ready for the wire: every points file by itself, cells in
/// the order of the file, collected per region.
pub fn batches(backup: &Path, table: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(backup.join("points"))
        .expect("the backup has points")
        .map(|entry| entry.expect("the folder is readable").path())
        // Beside the files lies the folder of the Delta log.
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .collect();
    files.sort();
    let splits = region_splits();
    let mut out = Vec::new();
    for file in files {
        let mut open: HashMap<usize, PutBatch> = HashMap::new();
        let mut reader =
            PointsReader::open(Bytes::from(std::fs::read(file).expect("a file of the backup"))).expect("a points file");
        let mut scratch = Scratch::default();
        while let Some(points) = reader.next_group().expect("a row group") {
            for segment in &points.segments {
                let push = &mut |cell: Cell<'_>| {
                    let region = splits.partition_point(|split| split.as_slice() <= cell.row);
                    let batch = open.entry(region).or_default();
                    batch.push(cell.row, cell.family, cell.qualifier, cell.timestamp, cell.value);
                    if batch.len() >= BATCH_BYTES || batch.rows() >= BATCH_ROWS {
                        out.push(batch.take(table));
                    }
                };
                rebuild_segment(&points, segment, &KeyLayout::default().into(), &mut scratch, push).expect("a segment");
            }
        }
        out.extend(open.values_mut().filter(|batch| batch.rows() > 0).map(|batch| batch.take(table)));
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
