//! The Thrift1 fallback against real gateways: what it carries is exact, what it cannot carry is said or refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken gateway fails the test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use support::ark::{Repository, Run, run, table_flags};
use support::bed::Bed;
use support::golden;
use support::synthetic::{assert_tally, load, tally};
use support::tsd::Tables;
use tsdb_ark::cluster::{
    Api, Client, ClusterError, Durability, GatewayAddress, GatewayOptions, Gateways, PageRequest, Pieces, RetryPolicy,
    Transport,
};
use tsdb_ark::model::{CellBlock, DescriptorSource, FamilyDescriptor, KeyRange, OwnedCell, TableDescriptor, kind};
use tsdb_ark::scan::{ScanOptions, ShardScan};

fn gateways(addresses: &[&str]) -> Gateways {
    let retry = RetryPolicy { attempts: 6, total: Duration::from_secs(40), ..RetryPolicy::default() };
    let options = GatewayOptions { retry, ..GatewayOptions::default() };
    let addresses = addresses.iter().map(|address| GatewayAddress::parse(address).unwrap()).collect();
    Gateways::new(addresses, options, Arc::new(AtomicBool::new(false))).unwrap()
}

fn client(address: &str) -> Client {
    gateways(&[address]).client()
}

fn thrift1() -> Client {
    client(&Bed::shared().thrift1_address())
}

fn thrift2() -> Client {
    client(&Bed::shared().thrift2_address())
}

fn listener(flags: &str) -> String {
    let bed = Bed::shared();
    bed.listener(&format!("gateway start {} 1 0 {flags}", bed.unique("t1")))
}

fn described(name: &str, pairs: &[(&str, &str)]) -> TableDescriptor {
    let attributes = pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    let families = vec![FamilyDescriptor { name: b"t".to_vec(), attributes, configuration: Vec::new() }];
    TableDescriptor { name: name.to_owned(), attributes: Vec::new(), families }
}

/// A table of the families `s` and `t` with five versions and two regions.
fn table(name: &str) -> String {
    let bed = Bed::shared();
    let name = bed.unique(name);
    bed.must(&format!("create {name} s,t VERSIONS=5 80"));
    name
}

fn cell(row: &[u8], family: &str, qualifier: &[u8], timestamp: i64, value: &[u8]) -> OwnedCell {
    let (row, family) = (row.to_vec(), family.as_bytes().to_vec());
    OwnedCell { row, family, qualifier: qualifier.to_vec(), timestamp, kind: kind::PUT, value: value.to_vec() }
}

/// Rows on both sides of the boundary, awkward qualifiers and values, six timestamps.
fn awkward() -> Vec<OwnedCell> {
    let mut cells = Vec::new();
    for row in [&b"\x00"[..], b"a:b", b"\x80\x00", b"\xff\xff"] {
        cells.push(cell(row, "s", b"only", 1, b"s"));
        cells.push(cell(row, "t", b"", 0, b"no qualifier"));
        cells.push(cell(row, "t", b":", 1_700_000_000_000, b"colon"));
        cells.push(cell(row, "t", b"::x:\x00", 1_700_000_000_000, b"colons"));
        cells.push(cell(row, "t", b"\xfe\xff", 1_700_000_000_001, b""));
        cells.push(cell(row, "t", b"\xff", i64::MAX - 1, b"\x00\xff"));
    }
    cells
}

fn block(cells: &[OwnedCell]) -> CellBlock {
    let mut block = CellBlock::new();
    for run in cells.chunk_by(|a, b| a.row == b.row) {
        block.push_row(&run[0].row).unwrap();
        for cell in run {
            block.push_cell(&cell.family, &cell.qualifier, cell.timestamp, cell.kind, &cell.value).unwrap();
        }
    }
    block
}

fn page(client: &mut Client, request: &PageRequest<'_>) -> Vec<OwnedCell> {
    let mut found = CellBlock::new();
    client.scan_page(request, &mut found).unwrap();
    found.iter().map(|cell| cell.to_owned()).collect()
}

#[test]
fn every_transport_carries_cells_both_ways() {
    for (flags, transport) in [
        ("", Transport::new(false, false)),
        ("-f", Transport::new(true, false)),
        ("-c", Transport::new(false, true)),
        ("-f -c", Transport::new(true, true)),
    ] {
        let mut client = client(&listener(flags));
        let info = client.gateway().unwrap();
        assert_eq!((info.api, info.transport), (Api::Thrift1, transport));
        let (name, cells) = (table("both-ways"), awkward());
        client.put_multiple(&name, &block(&cells), Durability::AsyncWal).unwrap();
        assert_eq!(page(&mut client, &PageRequest::new(&name, b"", b"", 100)), cells, "{flags}");
        let mut own = golden::dump(Bed::shared(), &name, false);
        own.sort();
        let mut wanted = cells.clone();
        wanted.sort();
        assert_eq!(own, wanted, "HBase's own client, {flags}");
        // The boundary row belongs to the next range, and an empty answer ends a range.
        let first = page(&mut client, &PageRequest::new(&name, b"", b"a:b", 100));
        assert_eq!(first, cells[..6]);
        assert!(page(&mut client, &PageRequest::new(&name, b"b", b"c", 100)).is_empty());
    }
}

#[test]
fn pages_are_cut_as_asked() {
    let mut client = thrift1();
    let (name, cells) = (table("cut"), awkward());
    client.put_multiple(&name, &block(&cells), Durability::SkipWal).unwrap();
    let all = PageRequest::new(&name, b"", b"", 100);
    let two = page(&mut client, &PageRequest { rows: 2, ..all });
    assert_eq!(two, cells[..12]);
    let only_s = page(&mut client, &PageRequest { families: &[b"s"], ..all });
    assert_eq!((only_s.len(), only_s[0].family.as_slice()), (4, &b"s"[..]));
    let keys = page(&mut client, &PageRequest { filter: Some(b"FirstKeyOnlyFilter() AND KeyOnlyFilter()"), ..all });
    assert_eq!(keys.len(), 4);
    assert!(keys.iter().all(|cell| cell.value.is_empty()));
    let last = page(&mut client, &PageRequest { reversed: true, rows: 1, ..all });
    assert_eq!(last, cells[18..]);
    let back = page(&mut client, &PageRequest { reversed: true, ..PageRequest::new(&name, b"a:b", b"", 9) });
    assert_eq!(back, [&cells[6..12], &cells[..6]].concat());
    for size in [1, 2, 5, 6, 7] {
        let pieces = Some(Pieces { cells: size, count: 20 });
        assert_eq!(page(&mut client, &PageRequest { pieces, ..all }), cells[..6], "pieces of {size}");
        let end = PageRequest { pieces, ..PageRequest::new(&name, b"b", b"\x80\x01", 9) };
        assert_eq!(page(&mut client, &end), cells[12..18], "pieces of {size} at the end of a range");
    }
    let few = PageRequest { pieces: Some(Pieces { cells: 2, count: 2 }), ..all };
    let mut found = CellBlock::new();
    assert!(matches!(client.scan_page(&few, &mut found), Err(ClusterError::RowTooWide { cells: 4, .. })));
    assert!(found.is_empty());
}

#[test]
fn what_would_come_out_wrong_is_refused() {
    let mut client = thrift1();
    let name = table("refused");
    let mut versions = vec![cell(b"r", "t", b"q", 1, b"old"), cell(b"r", "t", b"q", 2, b"new")];
    client.put_multiple(&name, &block(&versions), Durability::SyncWal).unwrap();
    let all = PageRequest { max_versions: 5, ..PageRequest::new(&name, b"", b"", 9) };
    assert_eq!(page(&mut client, &all), versions[1..], "one version, the latest");
    assert_eq!(page(&mut thrift2(), &all).len(), 2, "both are there");
    let mut found = CellBlock::new();
    let raw = client.scan_page(&PageRequest { raw: true, ..all }, &mut found);
    assert!(matches!(raw, Err(ClusterError::NotInThrift1 { .. })), "{raw:?}");
    versions[0].kind = kind::DELETE;
    versions[0].value.clear();
    let marker = client.delete_multiple(&name, &block(&versions[..1]), Durability::SyncWal);
    assert!(matches!(marker, Err(ClusterError::NotInThrift1 { .. })), "{marker:?}");
    // The connection is as good as before.
    assert_eq!(page(&mut client, &all).len(), 1);
    assert!(client.require_thrift2("do that").unwrap_err().to_string().contains("cannot do that"));
    thrift2().require_thrift2("do that").unwrap();
}

#[test]
fn errors_are_those_of_thrift2() {
    let mut client = thrift1();
    let missing = Bed::shared().unique("missing");
    let one = block(&[cell(b"r", "x", b"q", 1, b"v")]);
    let mut found = CellBlock::new();
    let is_missing = |error: ClusterError| assert!(matches!(error, ClusterError::TableMissing { .. }), "{error}");
    is_missing(client.scan_page(&PageRequest::new(&missing, b"", b"", 9), &mut found).unwrap_err());
    is_missing(client.put_multiple(&missing, &one, Durability::SyncWal).unwrap_err());
    is_missing(client.is_table_enabled(&missing).unwrap_err());
    is_missing(client.table_descriptor(&missing).unwrap_err());
    is_missing(client.regions(&missing).unwrap_err());
    assert!(!client.table_exists(&missing).unwrap());
    let name = table("errors");
    let families = PageRequest { families: &[b"x"], ..PageRequest::new(&name, b"", b"", 9) };
    let error = client.scan_page(&families, &mut found).unwrap_err();
    assert!(matches!(error, ClusterError::FamilyMissing { .. }), "{error}");
    assert!(!error.to_string().contains("\n"), "no stack: {error}");
    let error = client.put_multiple(&name, &one, Durability::SyncWal).unwrap_err();
    assert!(matches!(error, ClusterError::FamilyMissing { .. }), "{error}");
    let bad = PageRequest { filter: Some(b"NoSuchFilter()"), ..PageRequest::new(&name, b"", b"", 9) };
    assert!(client.scan_page(&bad, &mut found).is_err());
    Bed::shared().must(&format!("disable {name}"));
    assert!(!client.is_table_enabled(&name).unwrap());
    let error = client.scan_page(&PageRequest::new(&name, b"", b"", 9), &mut found).unwrap_err();
    assert!(matches!(error, ClusterError::TableDisabled { .. }), "{error}");
}

#[test]
fn tables_are_described_as_far_as_thrift1_can() {
    let (mut one, mut two) = (thrift1(), thrift2());
    let bed = Bed::shared();
    let name = bed.unique("described");
    bed.must(&format!("create {name} s,t VERSIONS=3,TTL=86400,BLOOMFILTER=ROWCOL,DATA_BLOCK_ENCODING=DIFF 40,80"));
    assert!(one.table_exists(&name).unwrap() && one.is_table_enabled(&name).unwrap());
    assert!(one.table_names().unwrap().contains(&name));
    assert_eq!(one.cluster_id().unwrap(), two.cluster_id().unwrap());
    let ranges = |client: &mut Client| -> Vec<(KeyRange, String, i32)> {
        client.regions(&name).unwrap().into_iter().map(|r| (r.range, r.host, r.port)).collect()
    };
    assert_eq!(ranges(&mut one), ranges(&mut two));
    let (less, full) = (one.table_descriptor(&name).unwrap(), two.table_descriptor(&name).unwrap());
    for (less, full) in less.families.iter().zip(&full.families) {
        assert_eq!((&less.name, less.attributes.len()), (&full.name, 6));
        for (key, value) in &less.attributes {
            let key = std::str::from_utf8(key).unwrap();
            let (value, known) = (std::str::from_utf8(value).unwrap(), full.attribute(key).unwrap());
            assert!(value.eq_ignore_ascii_case(known), "{key}: {value}, {known}");
        }
    }
    // A region server's error holds all of it.
    let (told, source) = one.describe(&name).unwrap().unwrap();
    assert_eq!(source, DescriptorSource::Region);
    assert_eq!(told.families, full.families);
    // What Thrift1 cannot give the new table is named; nothing is created.
    let copy = bed.unique("copy");
    let error = one.create_table(&TableDescriptor { name: copy.clone(), ..full }, &[b"\x40".to_vec()]).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ClusterError::NotInThrift1 { .. }), "{text}");
    assert!(text.contains("1 split keys") && text.contains("DATA_BLOCK_ENCODING=DIFF of family t"), "{text}");
    assert!(!one.table_exists(&copy).unwrap());
}

#[test]
fn a_plain_table_is_created_with_its_defaults() {
    let (mut one, mut two) = (thrift1(), thrift2());
    let bed = Bed::shared();
    let (plain, model) = (bed.unique("plain"), bed.unique("model"));
    two.create_table(&described(&model, &[("VERSIONS", "7"), ("TTL", "3600")]), &[]).unwrap();
    let wanted = two.table_descriptor(&model).unwrap();
    // As Thrift2 describes a plain table, defaults and all.
    one.create_table(&TableDescriptor { name: plain.clone(), ..wanted.clone() }, &[]).unwrap();
    assert_eq!(two.table_descriptor(&plain).unwrap(), TableDescriptor { name: plain.clone(), ..wanted });
    let again = one.create_table(&described(&plain, &[]), &[]);
    assert!(matches!(again, Err(ClusterError::TableExists { .. })), "{again:?}");
    let framed = client(&listener("-f")).create_table(&described(&bed.unique("framed"), &[]), &[]);
    assert!(matches!(framed, Err(ClusterError::FramedCreate { .. })), "{framed:?}");
}

#[test]
fn a_scan_survives_restarts_of_the_gateway() {
    let bed = Bed::shared();
    let gateway = bed.unique("restarted");
    let address = bed.listener(&format!("gateway start {gateway} 1 0"));
    let name = table("restart");
    let cells: Vec<OwnedCell> = (0..60u8).map(|n| cell(&[n * 4, n], "t", b"q", i64::from(n), &[n])).collect();
    thrift2().put_multiple(&name, &block(&cells), Durability::SyncWal).unwrap();
    let mut reader = client(&address);
    let options = ScanOptions { first_rows: 7, max_rows: 7, ..ScanOptions::default() };
    let mut scan = ShardScan::new(&mut reader, &name, KeyRange::all(), options);
    let (mut found, mut pages, mut page) = (Vec::new(), 0, CellBlock::new());
    while scan.next_page(&mut page).unwrap().is_some() {
        found.extend(page.iter().map(|cell| cell.to_owned()));
        pages += 1;
        if pages == 2 || pages == 5 {
            bed.must(&format!("gateway restart {gateway}"));
        }
    }
    assert_eq!(found, cells);
    assert!(pages > 7, "{pages} pages");
}

/// Runs `backup` of these tables through the Thrift1 gateway.
fn backup(repository: &Repository, tables: &Tables, more: &[&str]) -> Run {
    let gateway = Bed::shared().thrift1_address();
    let mut arguments = vec!["--gateway".to_owned(), gateway, "--expect-raw-cells".to_owned()];
    arguments.extend(table_flags(tables));
    arguments.extend(more.iter().map(|text| (*text).to_owned()));
    repository.run("backup", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn assert_same_cells(from: &Tables, to: &Tables) {
    let bed = Bed::shared();
    for (old, new) in from.names().iter().zip(to.names()) {
        let (mut before, mut after) = (golden::dump(bed, old, false), golden::dump(bed, &new, false));
        before.sort();
        after.sort();
        assert!(before == after, "{old}: {} cells, {new}: {}", before.len(), after.len());
    }
}

#[test]
fn a_backup_through_thrift1_holds_what_the_tables_show() {
    let bed = Bed::shared();
    for set in ["opentsdb-2.4.1", "salted"] {
        let source = golden::load(bed, set);
        let repository = Repository::default();
        let conf = golden::folder(set).join("opentsdb.conf");
        let report = backup(&repository, &source, &["--opentsdb-conf", conf.to_str().unwrap()]).expect(0).json;
        let reported = report["tables"].as_array().unwrap();
        let cells: BTreeMap<&str, u64> =
            reported.iter().map(|t| (t["table"].as_str().unwrap(), t["cells"].as_u64().unwrap())).collect();
        for name in source.names() {
            let shown = golden::dump(bed, &name, false).len() as u64;
            assert_eq!(cells.get(name.as_str()), Some(&shown), "cells of {name}");
        }
        let manifest = repository.files().into_iter().find(|path| path.ends_with("manifest.json")).unwrap();
        let manifest = std::fs::read_to_string(repository.path().join(manifest)).unwrap();
        assert!(manifest.contains("latest versions only, read through a Thrift1 gateway"), "{manifest}");
        // Back through Thrift2 into tables of its own, and the live tables through either.
        let target = Tables::named(&format!("{}.", bed.unique("r")), source.rollups);
        assert_eq!(repository.restore(bed, &source, &target, &[]).expect(0).json["differences"], 0);
        assert_same_cells(&source, &target);
        for gateway in [bed.thrift1_address(), bed.thrift2_address()] {
            assert_eq!(repository.verify("source", &["--gateway", &gateway]).expect(0).json["differences"], 0);
        }
        if set == "salted" {
            a_window_and_an_increment(&source, &repository, conf.to_str().unwrap());
        }
    }
}

/// One hour of a metric, and what has changed since the full backup.
fn a_window_and_an_increment(source: &Tables, repository: &Repository, conf: &str) {
    let bed = Bed::shared();
    let uids = golden::dump(bed, &source.names()[1], false);
    let metric = uids.iter().find(|cell| cell.row == b"mix.all" && cell.family == b"id").unwrap().value.clone();
    let hour = 1_357_002_000_u32.to_be_bytes();
    let is_wanted = |cell: &OwnedCell| cell.row[1..4] == metric && cell.row[4..8] == hour;
    let shown = golden::dump(bed, &source.data(), false);
    let rows: Vec<OwnedCell> = shown.iter().filter(|cell| is_wanted(cell)).cloned().collect();
    let window =
        ["--opentsdb-conf", conf, "--metric", "mix.all", "--from", "2013-01-01T01:10", "--to", "2013-01-01T01:11"];
    let report = backup(&Repository::default(), source, &window).expect(0).json;
    assert!(!rows.is_empty());
    assert_tally(&report, &source.data(), &tally(&rows));
    // Thrift1 shows no delete markers.
    let increment = |by| backup(repository, source, &["--opentsdb-conf", conf, "--incremental", "--by", by]);
    let refused = increment("time").expect(2);
    assert!(refused.err.contains("Thrift1") && refused.err.contains("--by compare"), "{}", refused.err);
    let changed =
        OwnedCell { timestamp: rows[0].timestamp + 1, value: vec![7; rows[0].value.len()], ..rows[0].clone() };
    let gone = OwnedCell { kind: kind::DELETE_COLUMN, value: Vec::new(), ..rows[1].clone() };
    load(bed, &source.data(), &[changed, gone]);
    let report = increment("compare").expect(0).json;
    let count = report["tables"].as_array().unwrap().iter().map(|table| table["cells"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(count, 3, "one cell added, and a marker for each that is gone: {report}");
    let target = Tables::named(&format!("{}.", bed.unique("i")), source.rollups);
    assert_eq!(repository.restore(bed, source, &target, &[]).expect(0).json["differences"], 0);
    assert_same_cells(source, &target);
}

#[test]
fn older_versions_are_said_to_be_missing() {
    let bed = Bed::shared();
    let tables = Tables::named(&format!("{}.", bed.unique("v")), false);
    for (name, families) in tables.names().iter().zip(["t", "id,name", "name", "t"]) {
        bed.must(&format!("create {name} {families} VERSIONS=4"));
    }
    let cells = [cell(b"name", "id", b"metrics", 1, b"\0\0\x01"), cell(b"name", "id", b"metrics", 2, b"\0\0\x02")];
    thrift2().put_multiple(&tables.names()[1], &block(&cells), Durability::SyncWal).unwrap();
    let repository = Repository::default();
    let dry = backup(&repository, &tables, &["--dry-run"]).expect(3);
    assert!(dry.err.contains("a backup would not hold older versions of"), "{}", dry.err);
    let run = backup(&repository, &tables, &[]).expect(3);
    for name in tables.names() {
        assert!(run.err.contains(&format!("older versions of {name}")), "{name} is not in: {}", run.err);
    }
    let report = run.json;
    assert!(report["would_be_lost"].is_null() && report["not_held"].to_string().contains("older versions"), "{report}");
    let uids = report["tables"].as_array().unwrap().iter().find(|t| t["table"] == tables.names()[1].as_str()).unwrap();
    assert_eq!(uids["cells"], 1);
    // The manifest says one version, so a later look through either kind of gateway compares like with like.
    for gateway in [bed.thrift2_address(), bed.thrift1_address()] {
        assert_eq!(repository.verify("source", &["--gateway", &gateway]).expect(0).json["differences"], 0);
    }
    // Write times do not bring what it lacks.
    let increment = ["--gateway", &bed.thrift2_address(), "--incremental", "--by", "time", "--overlap", "9999999d"];
    let flags = table_flags(&tables);
    let words: Vec<&str> = increment.into_iter().chain(flags.iter().map(String::as_str)).collect();
    let refused = repository.run("backup", &words);
    assert!(refused.code != 0 && refused.err.contains("holds 1 of up to 4 versions of a cell"), "{}", refused.err);
    // One that is newer takes the place of the one that was asked for.
    let newer = [cell(b"name", "id", b"metrics", 3, b"\0\0\x03")];
    thrift2().put_multiple(&tables.names()[1], &block(&newer), Durability::SyncWal).unwrap();
    let report = repository.verify("source", &["--gateway", &bed.thrift2_address()]).expect(3).json;
    assert_eq!(report["by_kind"], serde_json::json!({"missing": 1, "overwritten": 1}), "{report}");
}

/// Exit code 3 is for tables of which something would be lost. Where every family keeps one version, nothing is.
#[test]
fn check_says_what_would_be_lost() {
    let bed = Bed::shared();
    let check = |tables: &Tables, code: i32| {
        let mut arguments =
            vec!["check".to_owned(), "--json".to_owned(), "--gateway".to_owned(), bed.thrift1_address()];
        arguments.extend(table_flags(tables));
        run(&arguments).expect(code).json
    };
    let report = check(&golden::load(bed, "append"), 0);
    assert_eq!(report["would_be_lost"], serde_json::json!([]), "{report}");
    assert!(report["warnings"].to_string().contains("only the latest version of a cell"), "{report}");
    assert!(report["gateways"][0].as_str().unwrap().contains("Thrift1"), "{report}");
    let tables = Tables::named(&format!("{}.", bed.unique("v")), false);
    for (name, families) in tables.names().iter().zip(["t VERSIONS=3", "id,name", "name", "t"]) {
        bed.must(&format!("create {name} {families}"));
    }
    let report = check(&tables, 3);
    let lost = report["would_be_lost"].as_array().unwrap();
    assert_eq!(lost.len(), 1, "{report}");
    let words = format!("older versions of {}, which keeps 3", tables.data());
    assert!(lost[0].as_str().unwrap().contains(&words) && lost[0].as_str().unwrap().contains("Thrift2"), "{report}");
}

#[test]
fn raw_is_refused_before_anything_is_written() {
    let bed = Bed::shared();
    let source = golden::load(bed, "append");
    let repository = Repository::default();
    let refused = backup(&repository, &source, &["--raw"]).expect(1);
    assert!(refused.err.contains("speaks Thrift1, which cannot read delete markers"), "{}", refused.err);
    assert!(!refused.err.contains("attempts"), "at once: {}", refused.err);
    assert!(repository.files().is_empty(), "{:?}", repository.files());
    // Among others it is not used.
    let two = bed.thrift2_address();
    backup(&repository, &source, &["--raw", "--gateway", &two]).expect(0);
}

#[test]
fn thrift1_is_left_for_thrift2_and_used_without() {
    let bed = Bed::shared();
    let (one, two) = (bed.thrift1_address(), bed.thrift2_address());
    for order in [[&one, &two], [&two, &one]] {
        let mixed = gateways(&[order[0], order[1]]);
        for mut client in [mixed.client(), mixed.client(), mixed.client()] {
            assert_eq!(client.gateway().unwrap().api, Api::Thrift2);
        }
    }
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for order in [[&one, &dead], [&dead, &one]] {
        assert_eq!(gateways(&[order[0], order[1]]).client().gateway().unwrap().api, Api::Thrift1);
    }
    let twice = gateways(&[&one, &listener("")]);
    assert!(twice.client().table_names().is_ok() && twice.client().table_names().is_ok());
}

#[test]
fn a_restore_through_thrift1_fills_tables_that_are_there() {
    let bed = Bed::shared();
    let set = "append";
    let source = golden::load(bed, set);
    let repository = Repository::default();
    repository.backup(bed, &source, &[]).expect(0);
    let gateway = bed.thrift1_address();
    let restore = |target: &Tables| {
        let mut arguments = vec!["--gateway".to_owned(), gateway.clone()];
        for (old, new) in source.names().iter().zip(target.names()) {
            arguments.extend(["--rename-table".to_owned(), format!("{old}={new}")]);
        }
        repository.run("restore", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // Missing tables have settings that Thrift1 cannot give them.
    let absent = Tables::named(&format!("{}.", bed.unique("absent")), source.rollups);
    let refused = restore(&absent).expect(2);
    assert!(refused.err.contains("would lose DATA_BLOCK_ENCODING=DIFF of family t;"), "{}", refused.err);
    assert!(refused.err.contains(&format!("create '{}'", absent.data())), "{}", refused.err);
    let target = Tables::create(bed, source.rollups, &[]);
    let report = restore(&target).expect(0).json;
    assert_eq!(report["differences"], 0, "{report}");
    assert_same_cells(&source, &target);
}

/// Thrift1 shows the latest version of a cell only: the others are sent and not read back, which is said.
#[test]
fn older_versions_are_restored_through_thrift1_and_not_read_back() {
    let bed = Bed::shared();
    let create = |prefix: &str| {
        let tables = Tables::named(prefix, false);
        for (name, families) in tables.names().iter().zip(["t", "id,name", "name", "t"]) {
            bed.must(&format!("create {name} {families} VERSIONS=3"));
        }
        tables
    };
    let source = create(&format!("{}.", bed.unique("v")));
    let row = b"\0\0\x01\x5f\x5e\x10\0\0\0\x01\0\0\x01";
    let versions: Vec<OwnedCell> = (1..=3).map(|n| cell(row, "t", b"\0\0", n, &[n as u8])).collect();
    thrift2().put_multiple(&source.data(), &block(&versions), Durability::SyncWal).unwrap();
    let gateway = bed.thrift1_address();
    for raw in [&[][..], &["--raw"]] {
        let repository = Repository::default();
        repository.backup(bed, &source, raw).expect(0);
        let restore = |target: &Tables, more: &[&str]| {
            let mut arguments = vec!["--gateway".to_owned(), gateway.clone()];
            for (old, new) in source.names().iter().zip(target.names()) {
                arguments.extend(["--rename-table".to_owned(), format!("{old}={new}")]);
            }
            arguments.extend(more.iter().map(|text| (*text).to_owned()));
            repository.run("restore", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let target = create(&format!("{}.", bed.unique("v")));
        let report = restore(&target, &[]).expect(3).json;
        let data = report["tables"].as_array().unwrap().iter().find(|t| t["table"] == source.data().as_str()).unwrap();
        assert_eq!((&report["differences"], &data["target_agrees"]), (&0.into(), &true.into()), "{report}");
        let said = report["attention"].to_string();
        assert!(said.contains("2 older versions") && said.contains(&target.data()), "{report}");
        assert_same_cells(&source, &target);
        // Behind a newer version of somebody else's nothing can be said of the restored ones.
        let newer = cell(row, "t", b"\0\0", 9, b"\x09");
        thrift2().put_multiple(&target.data(), &block(&[newer]), Durability::SyncWal).unwrap();
        let report = restore(&target, &["--into-existing"]).expect(3).json;
        assert_eq!(report["differences"], 0, "{report}");
        assert!(report["attention"].to_string().contains("3 older versions"), "{report}");
    }
}
