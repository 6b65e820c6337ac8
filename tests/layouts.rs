//! Honest installations that are odd: every row that can be recognised is a point for an analyst, and every cell comes
//! back. The cases are those of `tests/FIELD.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod support;

#[path = "layouts/configuration.rs"]
mod configuration;
#[path = "layouts/points.rs"]
mod points;
#[path = "layouts/salts.rs"]
mod salts;
#[path = "layouts/uids.rs"]
mod uids;

use std::path::PathBuf;

use serde_json::Value;
use support::ark::{self, Repository, Run};
use support::bed::Bed;
use support::golden;
use support::sql;
use support::synthetic::load;
use support::tsd::Tables;
use tsdb_ark::model::{OwnedCell, kind};

/// 2020-09-13T12:00Z in seconds, a whole hour.
const BASE: u32 = 1_599_998_400;
/// Write time of all cells, ms.
const WRITTEN: i64 = 1_600_000_000_000;

fn hex(text: &str) -> Vec<u8> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn put(row: impl Into<Vec<u8>>, family: &str, qualifier: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> OwnedCell {
    let (row, qualifier, value) = (row.into(), qualifier.into(), value.into());
    OwnedCell { row, family: family.into(), qualifier, timestamp: WRITTEN, kind: kind::PUT, value }
}

/// Both rows of a name in `tsdb-uid`.
fn name(column: &str, uid: &str, name: impl AsRef<[u8]>) -> [OwnedCell; 2] {
    [forward(column, uid, name.as_ref()), reverse(column, uid, name.as_ref())]
}

fn forward(column: &str, uid: &str, name: impl AsRef<[u8]>) -> OwnedCell {
    put(name.as_ref(), "id", column, hex(uid))
}

fn reverse(column: &str, uid: &str, name: impl AsRef<[u8]>) -> OwnedCell {
    put(hex(uid), "name", column, name.as_ref())
}

/// A small ordinary installation: metric `sys.cpu`, tag key `host`, so many hosts `web001`, ..., and the counters.
fn names(hosts: u32) -> Vec<OwnedCell> {
    let mut cells = [name("metrics", "000001", "sys.cpu"), name("tagk", "000001", "host")].concat();
    for host in 1..=hosts {
        cells.extend(name("tagv", &format!("{host:06x}"), format!("web{host:03}")));
    }
    for (column, count) in [("metrics", 1), ("tagk", 1), ("tagv", u64::from(hosts))] {
        cells.push(put([0], "id", column, count.to_be_bytes()));
    }
    cells
}

/// The row key of a host's hour, without salt.
fn key(host: u32, hour: u32) -> Vec<u8> {
    hex(&format!("000001 {:08x} 000001 {host:06x}", BASE + hour * 3600))
}

/// A point of each host and hour: 1 at the full hour, in a row with what `salt` puts in front of the key.
fn rows(hosts: u32, hours: std::ops::Range<u32>, salt: impl Fn(&[u8]) -> Vec<u8>) -> Vec<OwnedCell> {
    let keys = hours.flat_map(|hour| (1..=hosts).map(move |host| key(host, hour)));
    keys.map(|key| put([salt(&key), key].concat(), "t", hex("0000"), hex("01"))).collect()
}

/// One OpenTSDB in the bed, and where it is backed up to.
struct Case {
    bed: &'static Bed,
    tables: Tables,
    repository: Repository,
}

impl Case {
    /// The tables with these cells of the data and the UID table.
    fn load(data: &[OwnedCell], uids: &[OwnedCell]) -> Case {
        let bed = Bed::shared();
        let tables = Tables::create(bed, false, &[]);
        let case = Case { bed, tables, repository: Repository::default() };
        case.add("tsdb", data);
        case.add("tsdb-uid", uids);
        case
    }

    fn add(&self, table: &str, cells: &[OwnedCell]) {
        if !cells.is_empty() {
            load(self.bed, &format!("{}{table}", self.tables.prefix), cells);
        }
    }

    /// A configuration with these lines, behind those that name the tables.
    fn conf(&self, lines: &str) -> PathBuf {
        let mut text = String::new();
        for (key, value) in self.tables.conf(self.bed) {
            text.push_str(&format!("{key} = {value}\n"));
        }
        let path = self.bed.folder().join(format!("{}.conf", self.bed.unique("opentsdb")));
        std::fs::write(&path, text + lines).unwrap();
        path
    }

    fn run(&self, verb: &str, more: &[&str]) -> Run {
        let gateway = self.bed.thrift2_address();
        let words = [&["--gateway", &gateway], more].concat();
        if verb == "check" {
            return ark::run(&[&["check", "--json"], words.as_slice()].concat());
        }
        self.repository.run(verb, &words)
    }

    /// Runs a verb with this configuration.
    fn with_conf(&self, verb: &str, lines: &str, more: &[&str]) -> Run {
        let conf = self.conf(lines);
        self.run(verb, &[&["--opentsdb-conf", conf.to_str().unwrap()], more].concat())
    }

    /// Runs a verb with the names of the tables alone.
    fn plain(&self, verb: &str, more: &[&str]) -> Run {
        let flags = ark::table_flags(&self.tables);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        self.run(verb, &[flags.as_slice(), more].concat())
    }

    /// Forgets the backups.
    fn anew(&mut self) {
        self.repository = Repository::default();
    }

    /// What a query over the newest backup returns: the rows.
    fn sql(&self, query: &str) -> Value {
        sql::query(&self.repository, &[query]).remove(0)
    }

    /// The newest backup holds the source byte for byte, by its own check, by the live cluster and by a restore that
    /// HBase's own client compares.
    fn assert_restores(&self, tables: &[String]) {
        assert_eq!(self.repository.verify("cells", &[]).expect(0).json["differences"], 0);
        let live = self.repository.verify("source", &["--gateway", &self.bed.thrift2_address()]).expect(0).json;
        assert_eq!(live["differences"], 0, "{live}");
        let suffix = self.bed.unique("again");
        let renames: Vec<String> = tables.iter().map(|table| format!("{table}={table}.{suffix}")).collect();
        let renamed = renames.iter().flat_map(|rename| ["--rename-table", rename.as_str()]);
        let words: Vec<&str> = tables.iter().flat_map(|table| ["--table", table.as_str()]).chain(renamed).collect();
        assert_eq!(self.run("restore", &words).expect(0).json["differences"], 0);
        for table in tables {
            let (mut before, mut after) =
                (golden::dump(self.bed, table, true), golden::dump(self.bed, &format!("{table}.{suffix}"), true));
            before.sort();
            after.sort();
            assert!(before == after, "{table}: {} cells, restored {}", before.len(), after.len());
        }
    }
}

#[track_caller]
fn assert_says(run: &Run, field: &str, texts: &[&str]) {
    let said = run.json[field].to_string();
    for text in texts {
        assert!(said.contains(text), "{text:?} is not in {field}: {}", run.json);
    }
}
