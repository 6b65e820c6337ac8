//! How a table is divided must not matter: whatever its regions, its key layout and the limits of a run, each cell is read
//! exactly once.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

mod support;

#[path = "shards/layouts.rs"]
mod layouts;
#[path = "shards/preflight.rs"]
mod preflight;
#[path = "shards/workers.rs"]
mod workers;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use support::ark::{Repository, Run};
use support::bed::Bed;
use support::faults::plan::{Fault, Plan, Scripted};
use support::faults::thrift::ThriftProxy;
use support::golden;
use support::synthetic::{Dice, Synthetic, assert_tally, load, table_of, tally};
use support::tsd::Tables;
use tsdb_ark::model::{OwnedCell, Tally, kind};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The shard records of a table: start, stop and cells, by start.
fn shards(repository: &Repository, table: &str) -> Vec<(String, String, u64)> {
    let mut shards = Vec::new();
    for path in repository.files_of("shards") {
        let record: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        if record["table"] == table {
            let text = |field: &str| record[field].as_str().unwrap().to_owned();
            shards.push((text("start"), text("stop"), record["tally"]["cells"].as_u64().unwrap()));
        }
    }
    shards.sort();
    shards
}

/// The shards of a table cover all keys, each once, and hold as many cells as the table. Returns how many they are.
#[track_caller]
fn assert_cover(repository: &Repository, table: &str, cells: u64) -> usize {
    let shards = shards(repository, table);
    assert_eq!(shards.first().map(|shard| shard.0.as_str()), Some(""), "{table} has no shard at its beginning");
    assert_eq!(shards.last().map(|shard| shard.1.as_str()), Some(""), "{table} has no shard at its end");
    for pair in shards.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "a gap or an overlap between the shards of {table}: {shards:?}");
        assert!(pair[0].0 < pair[1].0);
    }
    assert_eq!(shards.iter().map(|shard| shard.2).sum::<u64>(), cells);
    shards.len()
}

/// A backup of a table that nobody changes is the generated cells, however it was divided.
#[track_caller]
fn assert_backup(repository: &Repository, run: &Run, tables: &Tables, wanted: &Tally) -> usize {
    assert_tally(&run.json, &tables.data(), wanted);
    assert_eq!(repository.verify("cells", &[]).expect(0).json["differences"], 0);
    for table in tables.names() {
        assert_cover(repository, &table, table_of(&run.json, &table)["cells"].as_u64().unwrap());
    }
    let count = assert_cover(repository, &tables.data(), wanted.cells);
    assert_eq!(table_of(&run.json, &tables.data())["shards"].as_u64(), Some(count as u64));
    count
}

/// 30 regions: one has nearly all rows, a few have some, the others none.
fn uneven(bed: &Bed) -> (&'static Tables, &'static Tally) {
    static TABLES: OnceLock<(Tables, Tally)> = OnceLock::new();
    let (tables, tally) = TABLES.get_or_init(|| {
        let cells = Synthetic { metrics: 3, series: 120, hours: 40, points: 2, ..Synthetic::default() };
        let mut splits: Vec<String> = (10..33).map(|n| format!("{:06x}", n * 500)).collect();
        splits.extend(["000002", "00000250", "0000025f5e0010", "00000260", "000003", "00000350"].map(String::from));
        splits.sort();
        let splits: Vec<&str> = splits.iter().map(String::as_str).collect();
        let tables = cells.load(bed, &splits);
        assert_eq!(bed.must(&format!("regions {}", tables.data())).len(), 30);
        (tables, tally(&cells.data()))
    });
    (tables, tally)
}

#[test]
fn many_regions_most_of_them_empty() {
    let bed = Bed::shared();
    let (tables, wanted) = uneven(bed);
    let repository = Repository::default();
    let run = repository.backup(bed, tables, &[]).expect(0);
    let shards = assert_backup(&repository, &run, tables, wanted);
    assert!((2..30).contains(&shards), "{shards} shards of 30 regions, 27 of them nearly empty");
    // The saved boundaries come back.
    let target = Tables::named(&format!("{}.", bed.unique("r")), false);
    repository.restore(bed, tables, &target, &[]).expect(0);
    let starts = |table: &str| {
        let lines = bed.must(&format!("regions {table}"));
        lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(starts(&target.data()), starts(&tables.data()));
}

#[test]
fn limits_do_not_change_what_is_read() {
    let bed = Bed::shared();
    let (tables, wanted) = uneven(bed);
    let limits: [&[&str]; 5] = [
        &["--connections", "1", "--cpu", "1"],
        &["--connections", "8", "--page-size", "16KiB"],
        &["--connections", "2", "--page-size", "4KiB"],
        &["--connections", "3", "--page-size", "64KiB", "--max-memory", "192KiB"],
        &["--connections", "16", "--max-memory", "64MiB"],
    ];
    for more in limits {
        let repository = Repository::default();
        let run = repository.backup(bed, tables, more).expect(0);
        assert_backup(&repository, &run, tables, wanted);
        let gateway = bed.thrift2_address();
        let words = [&["--gateway", &gateway], more].concat();
        assert_eq!(repository.verify("source", &words).expect(0).json["differences"], 0, "{more:?}");
    }
    let repository = Repository::default();
    let refused = repository.backup(bed, tables, &["--max-memory", "1MiB", "--connections", "4"]).expect(2);
    assert!(refused.err.contains("--max-memory") && refused.err.contains("16MiB"), "{}", refused.err);
}

/// Few rows with 30 KiB each, about 60 MiB: annotations with noise in them.
fn heavy(bed: &Bed) -> (&'static Tables, &'static Tally) {
    static TABLES: OnceLock<(Tables, Tally)> = OnceLock::new();
    let (tables, tally) = TABLES.get_or_init(|| {
        let shape = Synthetic { metrics: 1, series: 40, hours: 50, points: 0, ..Synthetic::default() };
        let mut dice = Dice(7);
        let mut cells = Vec::new();
        for hour in 0..shape.hours {
            for series in 0..shape.series {
                let notes: String = (0..1950).map(|_| format!("{:016x}", dice.next())).collect();
                let value = format!("{{\"description\":\"{notes}\"}}").into_bytes();
                let (row, family, qualifier) = (shape.key(0, series, hour), b"t".to_vec(), vec![1, 0, 0x10]);
                cells.push(OwnedCell { row, family, qualifier, timestamp: 1_600_000_000_000, kind: kind::PUT, value });
            }
        }
        let tables = Tables::create(bed, false, &[]);
        load(bed, &tables.data(), &cells);
        load(bed, &format!("{}tsdb-uid", tables.prefix), &shape.uids());
        let tally = tally(&cells);
        assert!(tally.bytes > 56 << 20 && tally.rows == 2000, "{tally:?}");
        (tables, tally)
    });
    (tables, tally)
}

/// One region that looks small: it becomes one shard, which shares its rest when the other connections are idle.
#[test]
fn a_long_shard_shares_what_is_left_of_it() {
    let bed = Bed::shared();
    let (tables, wanted) = heavy(bed);
    let alone = Repository::default();
    let run = alone.backup(bed, tables, &["--connections", "1"]).expect(0);
    let one = assert_backup(&alone, &run, tables, wanted);
    let repository = Repository::default();
    let run = repository.backup(bed, tables, &["--connections", "4", "--page-size", "512KiB"]).expect(0);
    let several = assert_backup(&repository, &run, tables, wanted);
    assert!(several > one, "{several} shards with 4 connections, {one} with 1: nothing was shared");
}

struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Regions split, merge and move under a running backup.
#[test]
fn regions_that_change_during_a_backup_lose_nothing() {
    let bed = Bed::shared();
    let shape = Synthetic { metrics: 4, series: 100, hours: 60, points: 4, ..Synthetic::default() };
    let tables = shape.load(bed, &["000002", "00000250", "000003", "00000380"]);
    let wanted = tally(&shape.data());
    let (done, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let table = tables.data();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0;
            while !done.load(Ordering::Relaxed) {
                let split = hex(&shape.key(turn % 4, 30 + turn / 4 % 50, 30));
                let line = match turn % 3 {
                    0 => format!("split {table} {split}"),
                    1 => format!("move {table} 0"),
                    _ => format!("merge {table} 2"),
                };
                // HBase may refuse while a region is still on its way; what it did is counted.
                changes.fetch_add(usize::from(bed.control(&line).is_ok()), Ordering::Relaxed);
                turn += 1;
            }
        });
        // Also when an assertion fails.
        let _stop = AtTheEnd(&done);
        let mut backups = 0;
        while backups < 3 || changes.load(Ordering::Relaxed) < 3 {
            let repository = Repository::default();
            let run = repository.backup(bed, &tables, &["--page-size", "16KiB", "--connections", "3"]).expect(0);
            assert_backup(&repository, &run, &tables, &wanted);
            backups += 1;
            assert!(backups < 60, "{backups} backups, and only {changes:?} changes of regions happened");
        }
    });
    assert_eq!(tally(&golden::dump(bed, &table, false)), wanted, "the cells of HBase itself");
}

/// What a gateway says of so many regions, in the binary protocol: each begins with another 7 bytes of a row key.
fn regions_reply(count: u64) -> &'static [u8] {
    fn text(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend([11, 0, field]);
        out.extend((bytes.len() as u32).to_be_bytes());
        out.extend(bytes);
    }
    let begin =
        |number: u64| if number == 0 || number == count { vec![] } else { (number * 40).to_be_bytes()[1..].to_vec() };
    let mut body = vec![15, 0, 0, 12];
    body.extend((count as u32).to_be_bytes());
    for number in 0..count {
        // The server: name, port, start code.
        body.extend([12, 0, 1]);
        text(1, b"localhost", &mut body);
        body.extend([8, 0, 2, 0, 0, 0, 1, 10, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        // The region: id, table, keys, not offline, not split, the first replica.
        body.extend([12, 0, 2, 10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        text(2, b"table", &mut body);
        text(3, &begin(number), &mut body);
        text(4, &begin(number + 1), &mut body);
        body.extend([2, 0, 5, 0, 2, 0, 6, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0]);
    }
    body.push(0);
    body.leak()
}

/// Ten thousand regions and 64 connections: all cells once, and within the memory that any run may hold. By hand, with
/// `--ignored --nocapture`.
#[test]
#[ignore = "takes two minutes"]
fn ten_thousand_regions_are_one_table() {
    const REGIONS: u64 = 10_000;
    let bed = Bed::shared();
    let shape = Synthetic { metrics: 3, series: 30, hours: 20, points: 4, ..Synthetic::default() };
    let tables = shape.load(bed, &[]);
    let calls =
        Scripted { method: "getAllRegionLocations", calls: 1..u64::MAX, fault: Fault::Body(regions_reply(REGIONS)) };
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan { scripted: vec![calls], ..Plan::default() });
    let repository = Repository::default();
    let mut words = vec!["--gateway".to_owned(), proxy.address(), "--connections".into(), "64".into()];
    words.extend(support::ark::table_flags(&tables));
    let run = repository.run("backup", &words.iter().map(String::as_str).collect::<Vec<_>>()).expect(0);
    assert_tally(&run.json, &tables.data(), &tally(&shape.data()));
    assert_eq!(table_of(&run.json, &tables.data())["regions"], REGIONS);
    println!("peak {}, {} s", run.json["peak_rss_bytes"], run.json["seconds"]);
    let verified = repository.verify("source", &["--gateway", &bed.thrift2_address()]).expect(0).json;
    assert_eq!(verified["differences"], 0);
}
