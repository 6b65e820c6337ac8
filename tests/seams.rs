//! Halves of a split region that show a row of the other half: nothing is lost, doubled or out of order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

use support::ark::Repository;
use support::bed::Bed;
use support::faults::plan::{Fault, Plan};
use support::faults::thrift::ThriftProxy;
use support::tsd::Tables;
use tsdb_ark::cluster::{Client, GatewayAddress, GatewayOptions, Gateways, PageRequest};
use tsdb_ark::model::{CellBlock, KeyRange, OwnedCell, kind};
use tsdb_ark::put::{CellWriter, PutOptions};
use tsdb_ark::scan::{ScanOptions, ShardScan};

/// Rows of the three files of the region, each row with one cell named after its file. A block holds one cell. In the
/// last file no row lies between 18 and 27, so its index has an entry in between, and a scan of the lower half from
/// behind that entry meets row 27.
const FILES: [&[u32]; 3] = [
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16],
    &[12, 13, 14, 15, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 30, 31, 32, 33, 34, 35, 36, 37],
    &[18, 27, 28, 29, 38, 39],
];
const SCAN: &str = "getScannerResults";
const TIME: i64 = 1_700_000_000_000;

fn row(number: u32) -> Vec<u8> {
    format!("row{number:03}").into_bytes()
}

/// The column of a file's cells.
fn name(file: usize) -> Vec<u8> {
    file.to_string().into_bytes()
}

/// All cells, in HBase's order.
fn cells() -> Vec<OwnedCell> {
    let mut cells: Vec<OwnedCell> = FILES
        .iter()
        .enumerate()
        .flat_map(|(file, rows)| rows.iter().map(move |number| (row(*number), name(file))))
        .map(|(row, qualifier)| OwnedCell {
            value: row.repeat(200),
            row,
            family: b"t".to_vec(),
            qualifier,
            timestamp: TIME,
            kind: kind::PUT,
        })
        .collect();
    cells.sort_by(|a, b| (&a.row, &a.qualifier).cmp(&(&b.row, &b.qualifier)));
    cells
}

/// No region is compacted while this lives; one test at a time has it.
struct NoCompactions<'b>(&'b Bed, #[allow(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

impl<'b> NoCompactions<'b> {
    fn on(bed: &'b Bed) -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        bed.must("compactions off");
        Self(bed, turn)
    }
}

impl Drop for NoCompactions<'_> {
    fn drop(&mut self) {
        self.0.must("compactions on");
    }
}

/// A table of these files whose region is split at the row.
fn split_table(bed: &Bed, client: &mut Client, at: u32) -> String {
    let table = bed.unique("seam");
    bed.must(&format!("create {table} t BLOCKSIZE=1024"));
    let cells = cells();
    for file in 0..FILES.len() {
        let mut writer = CellWriter::new(client, &table, vec![b"t".to_vec()], &[], PutOptions::default());
        for cell in cells.iter().filter(|cell| cell.qualifier == name(file)) {
            writer.write(&cell.as_cell()).unwrap();
        }
        writer.finish().unwrap();
        bed.must(&format!("flush {table}"));
    }
    let key: String = row(at).iter().map(|byte| format!("{byte:02x}")).collect();
    bed.must(&format!("split {table} {key}"));
    table
}

fn read(client: &mut Client, table: &str, options: ScanOptions) -> Vec<OwnedCell> {
    let mut scan = ShardScan::new(client, table, KeyRange::all(), options);
    let (mut block, mut cells) = (CellBlock::new(), Vec::new());
    while scan.next_page(&mut block).unwrap().is_some() {
        cells.extend(block.iter().map(|cell| cell.to_owned()));
    }
    cells
}

fn client_of(address: &str) -> Client {
    let address = vec![GatewayAddress::parse(address).unwrap()];
    Gateways::new(address, GatewayOptions::default(), std::sync::Arc::default()).unwrap().client()
}

/// The rows that HBase itself shows from behind a row on.
fn shown(client: &mut Client, table: &str, behind: u32) -> Vec<String> {
    let (start, mut block) = ([row(behind), vec![0]].concat(), CellBlock::new());
    client.scan_page(&PageRequest::new(table, &start, b"", 2), &mut block).unwrap();
    block.rows().map(|row| String::from_utf8(row.key.to_vec()).unwrap()).collect()
}

#[test]
fn pages_of_any_length_hold_every_row_once() {
    let bed = Bed::shared();
    let mut client = bed.client();
    let _off = NoCompactions::on(bed);
    // Where HBase no longer does this, the case has to be made in another way.
    for (at, wrong) in [(24, ["row027", "row024"]), (27, ["row027", "row027"])] {
        let table = split_table(bed, &mut client, at);
        assert_eq!(shown(&mut client, &table, at - 1), wrong, "HBase shows a row of the other half");
        for rows in 1..=41 {
            for keys_only in [false, true] {
                let options = ScanOptions { first_rows: rows, max_rows: rows, keys_only, ..ScanOptions::default() };
                let found = read(&mut client, &table, options);
                if keys_only {
                    let keys: Vec<&[u8]> = found.iter().map(|cell| cell.row.as_slice()).collect();
                    assert_eq!(keys, (0..40).map(row).collect::<Vec<_>>(), "split at {at}, {rows} rows a page");
                } else {
                    assert_eq!(found, cells(), "split at {at}, {rows} rows a page");
                }
            }
        }
        bed.must(&format!("drop {table}"));
    }
}

#[test]
fn a_backup_is_whole_and_so_is_its_proof() {
    let bed = Bed::shared();
    let mut client = bed.client();
    let _off = NoCompactions::on(bed);
    let tables = Tables::create(bed, false, &[]);
    let table = split_table(bed, &mut client, 24);
    let gateway = bed.thrift2_address();
    // Rows per second hold for every page, and cut pages at other rows.
    for rows in ["7", "25", "1000"] {
        let repository = Repository::default();
        let flags = ["--table", &table, "--rate-rows", rows, "--connections", "1"];
        let backup = repository.backup(bed, &tables, &flags).expect(0).json;
        let found = backup["tables"].as_array().unwrap().iter().find(|found| found["table"] == *table).unwrap();
        assert_eq!(found["cells"], cells().len(), "{rows} rows: {found}");
        repository.run("verify", &["--level", "source", "--gateway", &gateway]).expect(0);
    }
    bed.must(&format!("drop {table}"));
}

#[test]
fn a_second_look_that_fails_once_is_repeated() {
    let bed = Bed::shared();
    let mut client = bed.client();
    let _off = NoCompactions::on(bed);
    let table = split_table(bed, &mut client, 24);
    assert_eq!(shown(&mut client, &table, 23), ["row027", "row024"], "HBase shows a row of the other half");
    // Pages of one row, so that one is the row that comes too early. The region moves at every call in turn.
    let (range, rows) = (KeyRange::new(row(22), row(30)), (22..30).map(row).collect::<Vec<_>>());
    let read = |client: &mut Client| {
        let options = ScanOptions { max_rows: 1, ..ScanOptions::keys_only(1) };
        let mut scan = ShardScan::new(client, &table, range.clone(), options);
        let (mut page, mut found) = (CellBlock::new(), Vec::new());
        while scan.next_page(&mut page).unwrap().is_some() {
            found.extend(page.rows().map(|row| row.key.to_vec()));
        }
        found
    };
    let moved = Fault::Answer("org.apache.hadoop.hbase.NotServingRegionException: on its way", true);
    let whole = ThriftProxy::start(&bed.thrift2_address(), Plan::default());
    assert_eq!(read(&mut client_of(&whole.address())), rows);
    for call in 1..=whole.calls(SCAN) {
        let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::once(SCAN, call, moved));
        assert_eq!(read(&mut client_of(&proxy.address())), rows, "call {call}");
        assert_eq!(proxy.total(), 1, "call {call}");
    }
    bed.must(&format!("drop {table}"));
}
