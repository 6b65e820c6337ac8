//! What a cluster cannot read: the rest is backed up, what is missing is recorded, and everybody who uses the backup says
//! so. The damage is real; the bed that it is done to goes with the tests.

use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tsdb_ark::cluster::{Durability, GatewayAddress, GatewayOptions, Gateways, PageRequest};
use tsdb_ark::flow::{
    BackupPlan, Cancel, LayoutFlags, Manners, Progress, RepositorySettings, Resources, Source, TableNames, open_store,
    to_json,
};
use tsdb_ark::model::{CellBlock, OwnedCell, kind};

use crate::scene::SMALL;
use crate::support::ark::{Repository, Run, run, table_flags};
use crate::support::bed::Bed;
use crate::support::faults::plan::{Fault, Plan};
use crate::support::faults::thrift::ThriftProxy;
use crate::support::golden;
use crate::support::synthetic::{assert_tally, load, table_of, tally};
use crate::support::tsd::Tables;

/// A bed that these tests may damage. New cells lie in slabs, where a negative timestamp is not noticed.
fn bed() -> &'static Bed {
    static BED: OnceLock<Bed> = OnceLock::new();
    BED.get_or_init(|| Bed::own(&["mslab=on"]))
}

/// A gateway whose own client gives up soon: an ordinary one asks a damaged file for a minute, each time.
fn gateway() -> &'static str {
    static GATEWAY: OnceLock<String> = OnceLock::new();
    GATEWAY
        .get_or_init(|| bed().listener("gateway start hasty 2 0 hbase.client.retries.number=1 hbase.client.pause=50"))
}

fn hex(key: &[u8]) -> String {
    tsdb_ark::model::hex(key).to_lowercase()
}

fn backup(gateway: &str, repository: &Repository, tables: &Tables, more: &[&str]) -> Run {
    let mut arguments: Vec<String> = ["--gateway", gateway, "--expect-raw-cells"].map(String::from).into();
    arguments.extend(table_flags(tables));
    arguments.extend(more.iter().map(|text| (*text).to_string()));
    repository.run("backup", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Without the flag the backup fails with this code and these words, and advises the flag.
fn assert_fails(tables: &Tables, more: &[&str], code: i32, words: &[&str]) {
    let repository = Repository::default();
    let run = backup(gateway(), &repository, tables, more).expect(code);
    println!("| | backup | | {code} | {} |", run.err.trim());
    for text in words.iter().chain(&["--skip-unreadable"]) {
        assert!(run.err.contains(text), "{:?} does not say {text:?}", run.err);
    }
    let list = repository.run("list", &[]);
    assert!(list.code == 10 || list.json["backups"].as_array().unwrap().is_empty(), "{}", list.out);
}

/// The gaps of a table in a report, as its only ones: first key, first key behind, reason.
fn gaps(report: &Value, table: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let gaps = table_of(report, table)["gaps"].as_array().unwrap().iter();
    gaps.map(|gap| {
        assert!(!text(&gap["message"]).is_empty(), "{gap}");
        (text(&gap["start"]), text(&gap["stop"]), text(&gap["reason"]))
    })
    .collect()
}

fn outside(cells: &[OwnedCell], gaps: &[(String, String, String)]) -> Vec<OwnedCell> {
    let within = |row: &str| {
        gaps.iter().any(|(start, stop, _)| row >= start.as_str() && (stop.is_empty() || row < stop.as_str()))
    };
    cells.iter().filter(|cell| !within(&hex(&cell.row))).cloned().collect()
}

/// With the flag everything outside the gap of this table is in the backup, and everybody tells of the gap. `cells` are
/// those of the table before it was damaged. Returns the gaps.
fn assert_skipped(
    tables: &Tables,
    table: &str,
    cells: &[OwnedCell],
    more: &[&str],
    reason: &str,
) -> Vec<(String, String, String)> {
    let repository = Repository::default();
    let mut flags = vec!["--skip-unreadable"];
    flags.extend(more);
    let run = backup(gateway(), &repository, tables, &flags).expect(3);
    println!("| | backup --skip-unreadable | | 3 | {} | {}", run.err.trim(), table_of(&run.json, table)["gaps"]);
    assert!(run.err.contains("gap"), "{}", run.err);
    let found = gaps(&run.json, table);
    assert!(!found.is_empty() && found.iter().all(|gap| gap.2 == reason), "{found:?}");
    let left = outside(cells, &found);
    assert_tally(&run.json, table, &tally(&left));

    let shown = repository.run("show", &[]).expect(0).json;
    assert_eq!(gaps(&shown, table), found);
    let count = found.len() as u64;
    let listed = repository.run("list", &[]).expect(0).json;
    assert_eq!(listed["backups"][0]["gaps"], count, "{listed}");
    let source = ["--gateway", gateway()];
    for (level, more) in [("files", &[][..]), ("cells", &[]), ("source", &source)] {
        let verified = repository.verify(level, more).expect(3).json;
        assert_eq!((&verified["differences"], &verified["gaps"]), (&0.into(), &count.into()), "{level}: {verified}");
    }
    let to = format!("{table}.again");
    let rename = format!("{table}={to}");
    let restore = ["--gateway", gateway(), "--table", table, "--rename-table", &rename];
    let restored = repository.run("restore", &restore).expect(3).json;
    assert_eq!((&restored["differences"], &restored["gaps"]), (&0.into(), &count.into()), "{restored}");
    assert!(restored["attention"].to_string().contains("cannot be restored"), "{restored}");
    assert_eq!(tally(&golden::dump(bed(), &to, false)), tally(&left));
    found
}

/// The data table cut into four regions, and its boundaries.
fn four_regions() -> (Tables, [Vec<u8>; 3]) {
    let keys = [SMALL.key(0, 0, 8), SMALL.key(0, 0, 16), SMALL.key(1, 0, 0)];
    let splits: Vec<String> = keys.iter().map(|key| hex(key)).collect();
    (SMALL.load(bed(), &splits.iter().map(String::as_str).collect::<Vec<_>>()), keys)
}

/// The cells of `hbase:meta` about the region that begins at this key.
fn meta_row(table: &str, key: &[u8]) -> CellBlock {
    let mut page = CellBlock::new();
    bed().client().scan_page(&PageRequest::new("hbase:meta", b"", b"", 10_000), &mut page).unwrap();
    let head = [format!("{table},").as_bytes(), key, b","].concat();
    let mut found = CellBlock::new();
    for row in page.rows().filter(|row| row.key.starts_with(&head)) {
        found.push_row(row.key).unwrap();
        for cell in row.iter() {
            found.push_cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value).unwrap();
        }
    }
    assert_eq!(found.row_count(), 1);
    found
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Takes a region out of `hbase:meta` and returns how it stood there.
fn make_hole(table: &str, key: &[u8]) -> CellBlock {
    let cells = meta_row(table, key);
    let mut markers = CellBlock::new();
    markers.push_row(cells.row(0).unwrap().key).unwrap();
    markers.push_cell(b"info", b"", now_ms(), kind::DELETE_FAMILY, b"").unwrap();
    bed().client().delete_multiple("hbase:meta", &markers, Durability::default()).unwrap();
    cells
}

/// Undoes a hole: the same cells, later than its marker.
fn mend_hole(cells: &CellBlock) {
    let mut later = CellBlock::new();
    for row in cells.rows() {
        later.push_row(row.key).unwrap();
        for cell in row.iter() {
            later.push_cell(cell.family, cell.qualifier, now_ms() + 1, kind::PUT, cell.value).unwrap();
        }
    }
    bed().client().put_multiple("hbase:meta", &later, Durability::default()).unwrap();
}

/// Files of a table below its family `t`.
fn files(table: &str) -> Vec<PathBuf> {
    let regions = std::fs::read_dir(bed().folder().join("hbase/data/default").join(table)).unwrap();
    let stores = regions.map(|region| region.unwrap().path().join("t")).filter(|path| path.is_dir());
    let files = stores.flat_map(|store| std::fs::read_dir(store).unwrap()).map(|file| file.unwrap().path());
    files.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')).collect()
}

#[test]
fn keys_without_a_region_are_a_gap() {
    let (tables, keys) = four_regions();
    make_hole(&tables.data(), &keys[0]);
    assert_fails(&tables, &[], 1, &["do not cover its keys", &hex(&keys[0]), &tables.data()]);
    let mut words = vec!["check".to_string(), "--json".into(), "--gateway".into(), gateway().into()];
    words.extend(table_flags(&tables));
    let check = run(&words).expect(3);
    let stops = check.json["stops_a_backup"].to_string();
    assert!(stops.contains(&tables.data()) && stops.to_lowercase().contains(&hex(&keys[0])), "{stops}");
    let found = assert_skipped(&tables, &tables.data(), &SMALL.data(), &[], "no_region");
    assert_eq!(found, [(hex(&keys[0]), hex(&keys[1]), "no_region".to_string())]);
    // The same when one process plans, another one reads and a third one commits.
    let repository = Repository::default();
    let planned = backup(gateway(), &repository, &tables, &["--skip-unreadable", "--plan-only"]).expect(0).json;
    let id = planned["backup"].as_str().unwrap();
    let worker = ["--backup", id, "--gateway", gateway()];
    let failed = repository.run("worker", &worker).expect(1);
    assert!(failed.err.contains("--skip-unreadable"), "{}", failed.err);
    let done = repository.run("worker", &[&worker[..], &["--skip-unreadable"]].concat()).expect(3);
    assert!(done.json["unreadable"].as_array().is_some_and(|jobs| !jobs.is_empty()), "{}", done.json);
    let run = repository.run("commit", &["--backup", id]).expect(3);
    assert_eq!(gaps(&run.json, &tables.data()), found);
    assert!(run.err.contains("1 gap"), "{}", run.err);
}

/// A run that skipped a hole and did not commit; the hole is mended; the resumed run reads what was missing.
#[test]
fn a_gap_is_read_again_by_a_resumed_backup() {
    let (tables, keys) = four_regions();
    let hole = make_hole(&tables.data(), &keys[1]);
    let denied = Fault::Answer("org.apache.hadoop.hbase.security.AccessDeniedException: made up", true);
    let more = ["--skip-unreadable", "--page-size", "4KiB", "--connections", "1"];
    // From ever later pages on nothing is allowed, until a region of the data table was recorded before.
    let stopped = (25..).step_by(10).map(|first| {
        let repository = Repository::default();
        let proxy = ThriftProxy::start(gateway(), Plan::calls("getScannerResults", first..u64::MAX, denied));
        backup(&proxy.address(), &repository, &tables, &more).expect(12);
        repository
    });
    // The gap is recorded too, and read again.
    let is_shard = |path: &std::path::PathBuf| {
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        record["gap"].is_null()
    };
    let repository = stopped.into_iter().find(|repository| repository.files_of("shards").iter().any(is_shard)).unwrap();
    mend_hole(&hole);
    let run = backup(gateway(), &repository, &tables, &["--skip-unreadable", "--resume"]).expect(0);
    assert_eq!(gaps(&run.json, &tables.data()), []);
    assert_tally(&run.json, &tables.data(), &tally(&SMALL.data()));
    assert!(run.json["resumed"]["shards_kept"].as_u64() > Some(0), "{}", run.json);
    repository.verify("cells", &[]).expect(0);
}

#[test]
fn a_region_that_does_not_open_is_a_gap() {
    let (tables, keys) = four_regions();
    let table = tables.data();
    bed().must(&format!("flush {table}"));
    let regions = bed().must(&format!("regions {table}"));
    let name = regions[2].split(' ').nth(2).unwrap();
    let file = files(&table).into_iter().find(|path| path.to_str().unwrap().contains(name)).unwrap();
    let length = file.metadata().unwrap().len();
    // Without its trailer HBase cannot open the file, nor the region.
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length / 2).unwrap();
    std::thread::spawn(move || bed().control(&format!("move {table} 2")));
    let (start, stop) = (&keys[1], &keys[2]);
    let mut page = CellBlock::new();
    let mut client = bed().client();
    let table = tables.data();
    let opened = |error: &tsdb_ark::cluster::ClusterError| !error.is_not_serving();
    while client.probe_page(&PageRequest::new(&table, start, stop, 1), &mut page).err().as_ref().is_none_or(opened) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let soon = ["--retry-for", "3s"];
    assert_fails(&tables, &soon, 75, &["NotServingRegionException"]);
    let found = assert_skipped(&tables, &table, &SMALL.data(), &soon, "region_not_open");
    assert_eq!(found, [(hex(start), hex(stop), "region_not_open".to_string())]);
}

#[test]
fn a_damaged_block_of_a_file_is_a_gap() {
    let tables = SMALL.load(bed(), &[]);
    let table = bed().unique("blocks");
    bed().must(&format!("create {table} t BLOCKSIZE=4096"));
    let cells = SMALL.data();
    load(bed(), &table, &cells);
    bed().must(&format!("flush {table}"));
    let file = files(&table).pop().unwrap();
    let mut damaged = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    damaged.seek(SeekFrom::Start(file.metadata().unwrap().len() / 2)).unwrap();
    damaged.write_all(&[0xde; 200]).unwrap();
    drop(damaged);
    // Opened again, the region reads the file and not what it remembers of it.
    bed().must(&format!("move {table} 0"));
    let extra = ["--table", &table];
    assert_fails(&tables, &extra, 1, &[&table, "cannot read the rows from"]);
    let found = assert_skipped(&tables, &table, &cells, &extra, "unreadable");
    let lost = cells.len() - outside(&cells, &found).len();
    println!("{lost} of {} cells lie in {found:?}", cells.len());
    // A block of 4 KiB holds some 90 of these cells, and up to two are damaged.
    assert!(found.len() <= 3 && (1..=300).contains(&lost), "{lost} cells are lost: {found:?}");
}

/// Writes a cell with a negative timestamp, which HBase takes and cannot read.
fn write_negative(table: &str, row: &[u8]) {
    let mut block = CellBlock::new();
    block.push_row(row).unwrap();
    block.push_cell(b"t", b"\x0f\x0f", -5, kind::PUT, b"x").unwrap();
    bed().client().put_multiple(table, &block, Durability::default()).unwrap();
}

#[test]
fn rows_with_negative_timestamps_are_gaps() {
    let (tables, _) = four_regions();
    let table = tables.data();
    // A row with other cells, and one of its own behind a row.
    let (shared, alone) = (SMALL.key(0, 3, 4), [&SMALL.key(1, 5, 7)[..], &[0x80]].concat());
    write_negative(&table, &shared);
    write_negative(&table, &alone);
    assert_fails(&tables, &[], 1, &["OutOfOrderScannerNextException", "cannot read the rows from"]);
    let found = assert_skipped(&tables, &table, &SMALL.data(), &[], "unreadable");
    // Nothing but the rows themselves is missing.
    let after = |key: &[u8]| hex(&[key, &[0]].concat());
    let wanted = [(after(&SMALL.key(0, 2, 4)), after(&shared)), (after(&SMALL.key(1, 5, 7)), hex(&SMALL.key(1, 6, 7)))];
    assert_eq!(found.into_iter().map(|(start, stop, _)| (start, stop)).collect::<Vec<_>>(), wanted);
}

/// In a file such a cell spoils its block for every scan that comes near.
#[test]
fn a_flushed_negative_timestamp_is_a_gap() {
    let (tables, _) = four_regions();
    let table = tables.data();
    let row = SMALL.key(0, 3, 4);
    write_negative(&table, &row);
    bed().must(&format!("flush {table}"));
    assert_fails(&tables, &[], 1, &["cannot read the rows from", &table]);
    let cells = SMALL.data();
    let found = assert_skipped(&tables, &table, &cells, &[], "unreadable");
    let lost = cells.len() - outside(&cells, &found).len();
    println!("{lost} of {} cells lie in {found:?}", cells.len());
    assert!(lost <= 5 * SMALL.points as usize, "{lost} cells are lost: {found:?}");
}

#[test]
fn a_disabled_table_is_a_gap() {
    let tables = SMALL.load(bed(), &[]);
    let meta = format!("{}tsdb-meta", tables.prefix);
    for table in [&meta, &format!("{}tsdb-uid", tables.prefix), &tables.data()] {
        bed().must(&format!("disable {table}"));
        assert_fails(&tables, &[], 1, &[&format!("enable '{table}'")]);
        let repository = Repository::default();
        let run = backup(gateway(), &repository, &tables, &["--skip-unreadable"]).expect(3);
        assert_eq!(gaps(&run.json, table), [(String::new(), String::new(), "table_disabled".to_string())]);
        if *table != tables.data() {
            assert_tally(&run.json, &tables.data(), &tally(&SMALL.data()));
        }
        assert_eq!(repository.verify("cells", &[]).expect(3).json["differences"], 0);
        bed().must(&format!("enable {table}"));
    }
}

/// The limit of a reply is no option of the program, so the library is called with a small one.
#[test]
fn a_row_above_the_reply_limit_is_a_gap() {
    let tables = SMALL.load(bed(), &[]);
    let names = tables.names();
    let row = [&SMALL.key(0, 3, 4)[..], &[1]].concat();
    let one = SMALL.data().remove(0);
    let cell = |n: u16| OwnedCell {
        row: row.clone(),
        qualifier: n.to_be_bytes().into(),
        value: vec![7; 10 << 10],
        ..one.clone()
    };
    load(bed(), &tables.data(), &(0..30).map(cell).collect::<Vec<_>>());
    let repository = Repository::default();
    let plan = |skip_unreadable| {
        let options = GatewayOptions { max_reply_bytes: 200 << 10, ..GatewayOptions::default() };
        let addresses = vec![GatewayAddress::parse(gateway()).unwrap()];
        let gateways = Gateways::new(addresses, options, Arc::new(AtomicBool::new(false))).unwrap();
        let names = TableNames {
            data: vec![tables.data()],
            uid: Some(names[1].clone()),
            meta: Some(names[2].clone()),
            tree: Some(names[3].clone()),
            extra: Vec::new(),
            no_uid: false,
        };
        let settings =
            RepositorySettings { url: repository.path().to_str().unwrap().into(), ..RepositorySettings::default() };
        BackupPlan {
            source: Source {
                gateways,
                names,
                conf: None,
                layout: LayoutFlags::default(),
                charset: None,
                descriptions: Vec::new(),
            },
            store: open_store(&settings, true).unwrap(),
            weak_commit: false,
            raw: false,
            increment: None,
            catch_up: None,
            window: None,
            max_versions: 1,
            append_only: false,
            skip_unreadable,
            verify_written: false,
            resources: Resources::default(),
            resume: false,
            manners: Manners::default(),
            dry_run: false,
            jobs: None,
        }
    };
    let error = tsdb_ark::flow::backup(&plan(false), &Progress::new(), &Cancel::new()).unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    assert!(error.to_string().contains("--skip-unreadable"), "{error}");
    let report = tsdb_ark::flow::backup(&plan(true), &Progress::new(), &Cancel::new()).unwrap();
    let report: Value = serde_json::from_str(&to_json(&report)).unwrap();
    let found = gaps(&report, &tables.data());
    let start = [&SMALL.key(0, 3, 4)[..], &[0]].concat();
    assert_eq!(found, [(hex(&start), hex(&[&row[..], &[0]].concat()), "row_too_large".to_string())]);
    assert_tally(&report, &tables.data(), &tally(&SMALL.data()));
}
