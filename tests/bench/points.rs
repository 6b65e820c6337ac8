//! Size and speed of points files: `cargo bench --bench points`, or with a name for one case.
//!
//! 10 metrics x 400 hosts x 24 rows of 60 points: 2 counters, 3 integer walks, 3 two-decimal gauges, 1 nearly constant
//! integer, 1 full-precision noise. Times are 60 s apart, jittered ones move by up to a second. Times are CPU-bound
//! wall clock of one thread.

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first error")]

use std::time::Instant;

use tsdb_ark::columnar::sort_points;
use tsdb_ark::model::{Form, LabelTable, PointBatch, Segment, SeriesLabel, WriteTime};
use tsdb_ark::parquet_file::{PointsReader, PointsWriter};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> i64 {
        (self.next() % n) as i64
    }
}

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    single: bool,
    jitter: bool,
    hosts: u32,
    hours: u32,
    per_row: u32,
    milliseconds: bool,
    append: bool,
    constant_write: bool,
}

const REGULAR: Case = Case {
    name: "compacted",
    single: false,
    jitter: false,
    hosts: 400,
    hours: 24,
    per_row: 60,
    milliseconds: false,
    append: false,
    constant_write: false,
};

const CASES: &[Case] = &[
    Case { name: "no-write-times", constant_write: true, ..REGULAR },
    REGULAR,
    Case { name: "single", single: true, ..REGULAR },
    Case { name: "no-write-times-jittered", jitter: true, constant_write: true, ..REGULAR },
    Case { name: "compacted-jittered", jitter: true, ..REGULAR },
    Case { name: "single-jittered", single: true, jitter: true, ..REGULAR },
    Case { name: "milliseconds", milliseconds: true, jitter: true, ..REGULAR },
    Case { name: "appends", append: true, ..REGULAR },
    Case { name: "4-points-per-row", per_row: 4, hosts: 1600, ..REGULAR },
    Case { name: "1-point-per-row", per_row: 1, hosts: 4000, single: true, ..REGULAR },
    Case { name: "short-lived-60", hosts: 9600, hours: 1, ..REGULAR },
    Case { name: "short-lived-4", hosts: 96_000, hours: 1, per_row: 4, ..REGULAR },
];

struct Series {
    kind: u32,
    int: i64,
    float: f64,
}

impl Series {
    fn value(&mut self, random: &mut Random, batch: &mut PointBatch) -> u8 {
        match self.kind {
            0 | 1 => self.int += random.below(800),
            2..=4 => self.int = (self.int + random.below(5) - 2).max(0),
            5..=7 => self.float += (random.below(201) - 100) as f64,
            8 => self.int = if random.below(500) == 0 { random.below(4) } else { self.int },
            _ => self.float = random.next() as f64 / 1e15,
        }
        match self.kind {
            5..=7 => batch.floats.push((self.float.abs() % 10_000.0).round() / 100.0),
            9 => batch.floats.push(self.float),
            _ => batch.ints.push(self.int),
        }
        match self.kind {
            5..=7 | 9 => 0x0f,
            _ if (-128..128).contains(&self.int) => 0,
            _ if (-32_768..32_768).contains(&self.int) => 1,
            _ if i32::try_from(self.int).is_ok() => 3,
            _ => 7,
        }
    }
}

/// Batches in scan order: metric, hour, host.
fn batches(case: &Case) -> Vec<(PointBatch, Vec<u32>)> {
    let mut random = Random(7);
    let mut out = Vec::new();
    let mut batch = PointBatch::default();
    let mut ids: Vec<u32> = Vec::new();
    for metric in 0..10u32 {
        let mut series: Vec<Series> = (0..case.hosts)
            .map(|_| Series { kind: metric, int: random.below(5000), float: random.below(10_000) as f64 })
            .collect();
        let mut places: Vec<Option<u32>> = vec![None; case.hosts as usize];
        for hour in 0..case.hours {
            for host in 0..case.hosts {
                let place = *places[host as usize].get_or_insert_with(|| {
                    ids.push(metric * case.hosts + host);
                    batch.series.index_of(&tsuid(metric, host))
                });
                push_row(case, &mut random, &mut series[host as usize], hour, host, place, &mut batch);
                if batch.len() >= 1 << 20 {
                    out.push((std::mem::take(&mut batch), std::mem::take(&mut ids)));
                    places.fill(None);
                }
            }
        }
    }
    out.push((batch, ids));
    out
}

fn tsuid(metric: u32, host: u32) -> Vec<u8> {
    let mut tsuid = metric.to_be_bytes()[1..].to_vec();
    for tag in 0..5u32 {
        tsuid.extend_from_slice(&(tag + 1).to_be_bytes()[1..]);
        tsuid.extend_from_slice(&if tag == 0 { host } else { host % (tag * 7) }.to_be_bytes()[1..]);
    }
    tsuid
}

fn push_row(
    case: &Case,
    random: &mut Random,
    series: &mut Series,
    hour: u32,
    host: u32,
    place: u32,
    batch: &mut PointBatch,
) {
    let base = 1_700_002_800 + hour * 3600;
    let (start, int_start, float_start, delay_start) =
        (batch.timestamps.len(), batch.ints.len(), batch.floats.len(), batch.delays.len());
    for point in 0..case.per_row {
        let mut ms = i64::from(base) * 1000 + i64::from(point * (3600 / case.per_row) + host % 50 + 2) * 1000;
        if case.milliseconds {
            ms += random.below(1000);
        } else if case.jitter {
            ms += (random.below(3) - 1) * 1000;
        }
        let flags = series.value(random, batch);
        batch.timestamps.push(ms);
        batch.flags.push(flags | if case.milliseconds { 0x10 } else { 0 });
        if case.single {
            batch.delays.push(if case.constant_write { 0 } else { 50 + random.below(1950) });
        }
    }
    let written = if case.constant_write { 0 } else { (i64::from(base) + 3600) * 1000 + random.below(900_000) };
    batch.segments.push(Segment {
        series: place,
        base,
        start,
        len: case.per_row as usize,
        int_start,
        float_start,
        form: match (case.single, case.append) {
            (true, _) => Form::Single,
            (_, true) => Form::Appended,
            _ => Form::Compacted,
        },
        layout: 0,
        exact: true,
        write_time: if case.single { WriteTime::Delays(delay_start) } else { WriteTime::Shared(written) },
        checksum: 0,
    });
}

fn label(id: u32, hosts: u32) -> SeriesLabel {
    let (metric, host) = (id / hosts, id % hosts);
    let tags_json = format!(
        "{{\"dc\":\"dc-{}\",\"env\":\"prod\",\"host\":\"web-{host:04}\",\"rack\":\"r{}\",\"role\":\"role{}\"}}",
        host % 7,
        host % 21,
        host % 14
    );
    SeriesLabel { metric: Some(format!("sys.metric.{metric}")), tags: Vec::new(), tags_json, complete: true }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("case                       points  groups    B/pt   sort s/M  encode s/M  read s/M");
    for case in CASES.iter().filter(|case| wanted.is_empty() || wanted.iter().any(|name| name == case.name)) {
        let (mut best, mut report) = ((f64::MAX, f64::MAX, f64::MAX), (0, 0, 0));
        for _ in 0..3 {
            let (seconds, numbers) = run(case);
            best = (best.0.min(seconds.0), best.1.min(seconds.1), best.2.min(seconds.2));
            report = numbers;
        }
        let (points, groups, bytes) = report;
        let million = points as f64 / 1e6;
        println!(
            "{:<24} {points:>8} {groups:>6} {:>8.4} {:>9.4} {:>10.4} {:>10.4}",
            case.name,
            bytes as f64 / points as f64,
            best.0 / million,
            best.1 / million,
            best.2 / million
        );
    }
}

fn run(case: &Case) -> ((f64, f64, f64), (u64, u64, u64)) {
    let mut writer = PointsWriter::new(Vec::new(), 3, "tsdb", Vec::new()).unwrap();
    let (mut sort, mut encode) = (0.0, 0.0);
    for (batch, ids) in batches(case) {
        let labels: LabelTable = ids.iter().map(|id| label(*id, case.hosts)).collect();
        // As a backup numbers them: 37 random bits of the attempt, then the number.
        let numbers: Vec<i64> = ids.iter().map(|id| 0x12_3456_789a << 26 | i64::from(*id)).collect();
        let start = Instant::now();
        let batch = sort_points(batch);
        sort += start.elapsed().as_secs_f64();
        let start = Instant::now();
        writer.write(&batch, &labels, &numbers).unwrap();
        encode += start.elapsed().as_secs_f64();
    }
    let (bytes, summary) = writer.finish().unwrap();
    if let Ok(path) = std::env::var("POINTS_FILE") {
        std::fs::write(path, &bytes).unwrap();
    }
    let start = Instant::now();
    let mut reader = PointsReader::open(bytes::Bytes::from(bytes)).unwrap();
    let mut read = 0;
    while let Some(batch) = reader.next_group().unwrap() {
        read += batch.len() as u64;
    }
    assert_eq!(read, summary.rows);
    ((sort, encode, start.elapsed().as_secs_f64()), (summary.rows, summary.row_groups, summary.bytes))
}
