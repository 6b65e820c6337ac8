//! What `tsdb-uid` may have been through: UIDs of two widths, lost names, lost tables, odd rows, other charsets.

use std::time::Duration;

use serde_json::{Value, json};
use tsdb_ark::cluster::PageRequest;
use tsdb_ark::model::{CellBlock, OwnedCell};

use crate::support::ark;
use crate::support::faults::plan::{CONNECT, Fault, Plan};
use crate::support::faults::thrift::ThriftProxy;
use crate::{BASE, Case, WRITTEN, assert_says, forward, hex, key, name, names, put, reverse, rows};

const BY_METRIC: &str = "select metric, count(*) from points group by all order by all";

fn plain_rows(hosts: u32, hours: u32) -> Vec<OwnedCell> {
    rows(hosts, 0..hours, |_| Vec::new())
}

impl Case {
    fn uid_table(&self) -> String {
        format!("{}tsdb-uid", self.tables.prefix)
    }
}

#[test]
fn a_uid_of_another_width_names_nothing() {
    let mut uids = names(3);
    uids.push(reverse("metrics", "0001", "old.other"));
    let case = Case::load(&plain_rows(3, 9), &uids);
    let run = case.with_conf("backup", "", &[]).expect(0);
    assert_says(
        &run,
        "warnings",
        &["UIDs of metrics of several widths: 1 of 2 bytes, 1 of 3 bytes; row keys are read with 3"],
    );
    assert_eq!(case.sql(BY_METRIC), json!([["sys.cpu", 27]]));
    assert_eq!(case.sql("select metric, points from metrics"), json!([["sys.cpu", 27]]));
    case.assert_restores(&[case.tables.data(), case.uid_table()]);
    let check = case.with_conf("check", "", &[]).expect(0);
    assert_says(&check, "warnings", &["of several widths"]);
    assert_says(&check, "sure", &["UIDs of metrics have 3 bytes"]);
}

#[test]
fn a_uid_table_that_was_emptied_or_dropped_costs_the_names_alone() {
    let mut case = Case::load(&plain_rows(3, 9), &names(3));
    case.bed.must(&format!("truncate {}", case.uid_table()));
    let hex_labels = json!([
        [null, "{\"000001\":\"000001\"}"],
        [null, "{\"000001\":\"000002\"}"],
        [null, "{\"000001\":\"000003\"}"]
    ]);
    let labels = "select distinct metric, tags from points order by all";
    for conf in [Some("tsd.storage.salt.width = 0\n"), None] {
        let run = match conf {
            Some(lines) => case.with_conf("backup", lines, &[]),
            None => case.plain("backup", &[]),
        };
        assert_says(&run.expect(0), "warnings", &["there are no names of UIDs: all rows are backed up"]);
        assert_eq!(case.sql(labels), hex_labels);
        case.assert_restores(&[case.tables.data()]);
        case.anew();
    }
    case.bed.must(&format!("drop {}", case.uid_table()));
    let refused = case.with_conf("backup", "", &[]).expect(2);
    assert!(refused.err.contains("does not exist") && refused.err.contains("--no-uid-table"), "{}", refused.err);
    let check = case.with_conf("check", "", &["--no-uid-table"]).expect(0);
    assert_says(&check, "guessed", &["tsdb-uid holds no UID of metrics"]);
    case.with_conf("backup", "", &["--no-uid-table"]).expect(0);
    assert_eq!(case.sql(labels), hex_labels);
    case.assert_restores(&[case.tables.data()]);
}

#[test]
fn forward_rows_name_uids_whose_reverse_rows_are_lost() {
    let uids: Vec<OwnedCell> = names(3).into_iter().filter(|cell| cell.family != b"name").collect();
    let case = Case::load(&plain_rows(3, 9), &uids);
    let run = case.with_conf("backup", "", &[]).expect(0);
    assert_says(
        &run,
        "warnings",
        &["1 names of metrics from forward rows only", "3 names of tagv from forward rows only"],
    );
    let labels = "select metric, tag['host'], count(*) from points group by all order by all";
    assert_eq!(case.sql(labels), json!([["sys.cpu", "web001", 9], ["sys.cpu", "web002", 9], ["sys.cpu", "web003", 9]]));
    let check = case.with_conf("check", "", &[]).expect(0);
    assert_says(&check, "warnings", &["3 names of tagv from forward rows only", "tsdb uid fsck"]);
    assert!(!check.json["warnings"].to_string().contains("check UID widths"), "{}", check.json);
}

/// The counter past the end, a half-written row, no counter, a foreign kind and a foreign family; two names for one UID,
/// and UIDs that a charset error mangled.
#[test]
fn odd_rows_of_the_uid_table_come_back_and_are_named() {
    let mut uids = names(3);
    let counters = |cell: &OwnedCell| cell.row == [0] && cell.qualifier != b"tagk";
    uids.retain(|cell| !counters(cell));
    uids.extend([put([0], "id", "tagv", hex("00000000080d8299")), put(hex("2f474554"), "id", "tagv", hex("080d8299"))]);
    uids.extend([put([0], "id", "foo", hex("78")), forward("metrics", "000001", "sys.cpu2")]);
    for n in 101..113 {
        uids.push(forward("tagv", "00003f", format!("h{n}")));
    }
    uids.push(reverse("tagv", "0000efbfbd", "h128"));
    let mut data = plain_rows(3, 2);
    data.push(put(key(0x3f, 0), "t", hex("0000"), hex("01")));
    let case = Case::load(&data, &uids);
    let run = case.with_conf("backup", "", &[]).expect(3);
    assert!(run.err.contains("unknown_qualifier 1"), "{}", run.err);
    assert_says(&run, "warnings", &["1 UIDs of metrics have several names", "1 UIDs of tagv have several names"]);
    let labels = "select distinct metric, tag['host'] from points order by all";
    let named = [["sys.cpu", "00003F"], ["sys.cpu", "web001"], ["sys.cpu", "web002"], ["sys.cpu", "web003"]];
    assert_eq!(case.sql(labels), json!(named));
    case.assert_restores(&[case.tables.data(), case.uid_table()]);
    let check = case.with_conf("check", "", &[]).expect(0);
    let past = "the counter of tagv is at 135103129, past the last UID of 3 bytes (16777215)";
    let told = [
        past,
        "there is no counter for metrics UIDs",
        "1 UIDs of metrics have several names",
        "tagv of several widths",
    ];
    assert_says(&check, "warnings", &told);
}

#[test]
fn names_in_utf_8_are_found_by_their_text() {
    let uids = [name("metrics", "000001", "温度.água").to_vec(), names(2).split_off(2)].concat();
    let mut case = Case::load(&plain_rows(2, 3), &uids);
    let found = "select count(*) from points where metric = '温度.água'";
    case.with_conf("backup", "", &[]).expect(0);
    assert_eq!(case.sql(found), json!([[0]]), "OpenTSDB's own charset is the default");
    let note = "1 names beyond ASCII are UTF-8, 0 are not";
    assert_says(&case.with_conf("check", "", &[]).expect(0), "warnings", &[note, "--name-charset utf-8"]);
    case.anew();
    case.with_conf("backup", "", &["--name-charset", "utf-8"]).expect(0);
    assert_eq!(case.sql(found), json!([[6]]));
    assert_eq!(case.sql("select metric from metrics"), json!([["温度.água"]]));
    assert_eq!(case.sql("select name from uids where role = 'reverse' and kind = 'metric'"), json!([["温度.água"]]));
    let shown = case.repository.run("show", &["latest"]).expect(0).json;
    assert_eq!(shown["name_charset"], "utf-8");
    case.assert_restores(&[case.tables.data(), case.uid_table()]);
    let check = case.with_conf("check", "", &["--name-charset", "utf-8"]).expect(0).json["warnings"].to_string();
    assert!(!check.contains("beyond ASCII"), "{check}");
}

/// Calls and connections that the backup of a data table makes through a proxy, and its report.
fn counted(case: &Case, proxy: &ThriftProxy) -> (Value, u64, u64) {
    let (connections, scans) = (proxy.calls(CONNECT), proxy.calls("getScannerResults"));
    let flags = ark::table_flags(&case.tables);
    let words: Vec<&str> = flags.iter().map(String::as_str).collect();
    let gateway = proxy.address();
    let run = case.repository.run("backup", &[&["--gateway", &gateway], words.as_slice()].concat()).expect(0);
    (run.json, proxy.calls(CONNECT) - connections, proxy.calls("getScannerResults") - scans)
}

/// Three thousand hosts of one hour whose names are gone, against three: what is asked for them in addition.
#[test]
fn orphans_are_asked_for_together() {
    let orphaned = |hosts: u32| {
        let uids: Vec<OwnedCell> = names(0).into_iter().collect();
        Case::load(&plain_rows(hosts, 1), &uids)
    };
    let mut asked = Vec::new();
    for hosts in [3, 3000] {
        let case = orphaned(hosts);
        let proxy = ThriftProxy::start(&case.bed.thrift2_address(), Plan::default());
        let (report, connections, scans) = counted(&case, &proxy);
        assert_eq!(report["tables"][0]["points"], hosts);
        assert_says_nameless(&report);
        asked.push((connections, scans, report["tables"][0]["shards"].as_u64().unwrap()));
    }
    let [(few, few_scans, _), (many, many_scans, shards)] = asked[..] else { panic!("{asked:?}") };
    // A connection for each shard, and the pages of one scan; asked for one by one, orphans would cost thousands.
    assert!(shards < 50, "{asked:?}");
    assert!(many <= few + 2 * shards && many_scans <= few_scans + 8 * shards, "{asked:?} (connections, scans, shards)");
}

fn assert_says_nameless(report: &Value) {
    assert!(report["warnings"].to_string().contains("name UIDs that have no name"), "{report}");
}

/// Names that are given out while a backup runs are found, be it among few unknown UIDs or among many.
#[test]
fn names_given_out_since_the_start_are_found() {
    for orphans in [0, 100] {
        let case = Case::load(&plain_rows(3 + orphans, 1), &names(3));
        // The regions of each table are asked for at the start, and once more before its first page.
        let tables = case.tables.names().len() as u64;
        let proxy = ThriftProxy::start(
            &case.bed.thrift2_address(),
            Plan::once("getAllRegionLocations", tables + 1, Fault::Hold),
        );
        let report = std::thread::scope(|scope| {
            let backup = scope.spawn(|| counted(&case, &proxy).0);
            assert!(proxy.wait_for("getAllRegionLocations", tables + 1));
            let mut fresh = name("tagv", "0f0001", "fresh").to_vec();
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
            fresh.iter_mut().for_each(|cell| cell.timestamp = now.as_millis() as i64);
            case.add("tsdb-uid", &fresh);
            let row = hex(&format!("000001 {BASE:08x} 000001 0f0001"));
            case.add("tsdb", &[put(row, "t", hex("0000"), hex("01"))]);
            proxy.release();
            backup.join().unwrap()
        });
        assert_eq!(report["tables"][0]["points"], 4 + orphans);
        assert_eq!(case.sql("select count(*) from points where tag['host'] = 'fresh'"), json!([[1]]));
    }
}

/// A gateway sends what was written lately, which is how such names are looked for.
#[test]
fn a_scan_of_what_was_written_since_leaves_the_rest_out() {
    let case = Case::load(&[], &names(3));
    let table = case.uid_table();
    let mut page = CellBlock::new();
    for (since, rows) in [(WRITTEN, true), (WRITTEN + 1, false)] {
        let request = PageRequest { written_since: Some(since), ..PageRequest::new(&table, b"", b"", 100) };
        case.bed.client().scan_page(&request, &mut page).unwrap();
        assert_eq!(page.row_count() > 0, rows, "{} rows since {since}", page.row_count());
    }
}

/// A million tag values without a name: time and connections. By hand, with `--ignored --nocapture`.
#[test]
#[ignore = "takes minutes to load"]
fn a_million_orphans() {
    let million = |names: Vec<OwnedCell>| Case::load(&plain_rows(1_000_000, 1), &names);
    for all_named in [true, false] {
        let case = million(names(if all_named { 1_000_000 } else { 0 }));
        let proxy = ThriftProxy::start(&case.bed.thrift2_address(), Plan::default());
        let (report, connections, scans) = counted(&case, &proxy);
        let seconds = report["seconds"].as_f64();
        eprintln!(
            "named {all_named}: {seconds:?} s, {connections} connections, {scans} scans, {}",
            report["peak_rss_bytes"]
        );
    }
}
