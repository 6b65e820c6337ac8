//! The guide of the README, run as it stands, and the tests that the list of field cases names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::bed::Bed;
use support::golden;
use support::tsd::Tables;

/// The fenced blocks of the guide: language and text.
fn blocks() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("README.md")).unwrap();
    let guide = text.split("\n## ").find(|part| part.starts_with("Guide")).expect("the README has a guide");
    guide
        .split("```")
        .skip(1)
        .step_by(2)
        .map(|block| {
            let (language, text) = block.split_once('\n').unwrap();
            (language.to_owned(), text.to_owned())
        })
        .collect()
}

fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new("sh").arg(root.join("scripts/readers.sh")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    root.join(String::from_utf8(made.stdout).unwrap().trim())
}

/// Drops tables with OpenTSDB's own names: every test that reads a TSD's configuration would find them. After a failure too.
struct PlainTables<'a>(&'a Bed);

impl PlainTables<'_> {
    fn drop_all(&self) -> Result<(), String> {
        let names = self.0.control("tables")?;
        let mut plain = names.iter().filter(|name| name.starts_with("tsdb") || name.starts_with("restored-"));
        plain.try_for_each(|name| self.0.control(&format!("drop {name}")).map(drop))
    }
}

impl Drop for PlainTables<'_> {
    fn drop(&mut self) {
        // The test has failed already where they cannot be dropped.
        drop(self.drop_all());
    }
}

#[test]
fn the_guide_runs_as_it_stands() {
    let bed = Bed::shared();
    // The guide uses OpenTSDB's own table names; no other test does.
    let (source, restored) = (Tables::named("", true), "restored-");
    let plain = PlainTables(bed);
    plain.drop_all().unwrap();
    let set = "opentsdb-2.4.1";
    source.create_in(bed, &[]);
    for table in golden::tables(set) {
        bed.must(&format!("load {table} {}", golden::folder(set).join(format!("{table}.cells.tsv.gz")).display()));
    }
    let folder = tempfile::tempdir().unwrap();
    let here = |text: &str| {
        text.replace("hbase-thrift:9090", &bed.thrift2_address())
            .replace("sys.cpu.*", "mix.int*")
            .replace("/backup/opentsdb", folder.path().join("backup").to_str().unwrap())
            .replace("/etc/opentsdb/opentsdb.conf", golden::folder(set).join("opentsdb.conf").to_str().unwrap())
    };
    let program = Path::new(env!("CARGO_BIN_EXE_tsdb-ark")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let blocks = blocks();
    assert!(blocks.len() >= 7, "the guide has only {} blocks", blocks.len());
    for (language, text) in blocks {
        let mut command = match language.as_str() {
            "sh" => Command::new("bash"),
            "python" => Command::new(python()),
            other => panic!("a block of {other} in the guide"),
        };
        let text = if language == "sh" { format!("set -euo pipefail\n{}", here(&text)) } else { here(&text) };
        let ran = command.arg("-c").arg(&text).env("PATH", &path).current_dir(folder.path()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{text}\n{}\n{out}\n{err}", ran.status);
    }
    for name in source.names() {
        let copy = name.replacen("tsdb-", "", 1);
        let mut before = golden::dump(bed, &name, false);
        let mut after = golden::dump(bed, &format!("{restored}{copy}"), false);
        before.sort();
        after.sort();
        assert!(before == after, "{name}: {} cells, restored {}", before.len(), after.len());
    }
    assert_reports_are_documented(&here);
    plain.drop_all().unwrap();
}

/// The fields of reports that the README lists: command and, in brackets, the list whose elements have them; then each field
/// and whether it is always there.
fn documented_fields() -> BTreeMap<(String, String), BTreeMap<String, bool>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let table = text.split_once("| report | fields |\n|---|---|\n").expect("the README lists the fields of reports").1;
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let fields = rows.map(|row| {
        let (of, fields) = row.trim_matches('|').split_once(" | ").unwrap();
        let words: Vec<&str> = of.split('`').skip(1).step_by(2).collect();
        let list = words.get(1).map_or("", |list| list.trim_matches(['[', ']']));
        let mut found = BTreeMap::new();
        for field in fields.split(", ").map(str::trim) {
            // What stands in parentheses explains the field.
            let (name, behind) = field.trim_start_matches('`').split_once('`').unwrap();
            found.insert(name.to_owned(), !behind.starts_with('?'));
        }
        ((words[0].to_owned(), list.to_owned()), found)
    });
    fields.collect()
}

/// What the README says of `--json` is what the commands print, and the reverse.
fn assert_reports_are_documented(here: &impl Fn(&str) -> String) {
    let source = "--gateway hbase-thrift:9090 --opentsdb-conf /etc/opentsdb/opentsdb.conf";
    let restore = "restore --gateway hbase-thrift:9090 --table tsdb-tree --uid-table tsdb-uid --rename-table tsdb-tree=restored-again";
    let commands = [
        ("check", format!("check {source}")),
        ("backup", format!("backup {source} --expect-raw-cells")),
        ("backup --dry-run", format!("backup {source} --dry-run")),
        ("list", "list".to_owned()),
        ("show", "show".to_owned()),
        ("show --metric", "show --metric mix.int --series".to_owned()),
        ("show --files", "show --files".to_owned()),
        ("show --views", "show --views".to_owned()),
        ("verify", "verify --level files".to_owned()),
        ("export", "export --table tsdb --metric mix.float* --format csv --output /backup/opentsdb-csv".to_owned()),
        ("restore --dry-run", format!("{restore} --dry-run")),
        (
            "restore --metric",
            "restore --gateway hbase-thrift:9090 --metric mix.int --rename-table tsdb=part --rename-table tsdb-uid=part-uid \
             --dry-run"
                .to_owned(),
        ),
        ("restore", restore.to_owned()),
        ("prune", "prune --keep-last 1 --dry-run".to_owned()),
        ("backup --plan-only", format!("backup {source} --plan-only")),
        ("worker", "worker --gateway hbase-thrift:9090 --backup PLANNED".to_owned()),
        ("commit", "commit --backup PLANNED --expect-raw-cells".to_owned()),
        ("merge", "merge latest".to_owned()),
    ];
    let mut planned = String::new();
    let documented = documented_fields();
    let known: BTreeSet<&str> = commands.iter().map(|(name, _)| *name).collect();
    assert!(documented.keys().all(|(command, _)| known.contains(command.as_str())), "{:?}", documented.keys());
    for (name, words) in &commands {
        let words = here(&format!("{words} --json --repository /backup/opentsdb")).replace("PLANNED", &planned);
        let report = support::ark::run(&words.split(' ').collect::<Vec<_>>()).expect(0).json;
        planned = report["backup"].as_str().unwrap_or_default().to_owned();
        let own = documented.iter().filter(|((command, _), _)| command == name);
        let mut checked = 0;
        for ((_, list), fields) in own {
            let object = match list.as_str() {
                "" => &report,
                list if report[list].is_object() => &report[list],
                list => &report[list][0],
            };
            let keys: BTreeSet<&str> = object
                .as_object()
                .unwrap_or_else(|| panic!("{name} {list}: {report}"))
                .keys()
                .map(String::as_str)
                .collect();
            let unknown: Vec<_> = keys.iter().filter(|key| !fields.contains_key(**key)).collect();
            let absent: Vec<_> =
                fields.iter().filter(|(key, always)| **always && !keys.contains(key.as_str())).collect();
            assert!(
                unknown.is_empty() && absent.is_empty(),
                "{name} {list}: not in README {unknown:?}, not there {absent:?}"
            );
            checked += 1;
        }
        assert!(checked > 0, "the README does not say what {name} --json prints");
    }
}

/// The lines of `tests/FIELD.md`: cells of each table row that begins with a case.
fn field_cases() -> Vec<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("tests/FIELD.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| F"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The cases that were collected; the numbers between them were given up as doubles.
fn collected() -> impl Iterator<Item = String> {
    (1..=53).filter(|case| ![14, 18, 21, 27, 33, 38, 39, 43, 45].contains(case)).map(|case| format!("F{case:02}"))
}

#[test]
fn every_field_case_is_asserted_by_a_test_that_exists() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    // Behind the number of a case may stand which part of it is meant.
    let number = |case: &str| case.split(' ').next().unwrap_or_default().to_owned();
    let listed: Vec<String> = field_cases().iter().flat_map(|row| row[0].split(", ").map(number)).collect();
    assert_eq!(collected().filter(|case| !listed.contains(case)).collect::<Vec<_>>(), [""; 0], "cases without a line");
    for row in field_cases() {
        let case = &row[0];
        assert!(row.len() == 6 && row.iter().enumerate().all(|(at, cell)| at == 4 || !cell.is_empty()), "{row:?}");
        for named in row[5].split(", ") {
            let named = named.trim_matches('`');
            let (file, function) = named.split_once("::").unwrap_or_else(|| panic!("{case}: {named} names no test"));
            let source = std::fs::read_to_string(tests.join(file)).unwrap_or_else(|e| panic!("{case}: {file}: {e}"));
            let name = function.rsplit("::").next().unwrap();
            let found = source.split(&format!("fn {name}(")).next().filter(|before| before.len() < source.len());
            let before = found.unwrap_or_else(|| panic!("{case}: {file} has no {name}"));
            let attributes = before.trim_end().rsplit("\n\n").next().unwrap();
            let is_test = ["#[test]", "#[tokio::test"].iter().any(|attribute| attributes.contains(attribute));
            assert!(is_test, "{case}: {name} is no test");
            assert!(!attributes.contains("#[ignore"), "{case}: {name} is ignored");
        }
    }
}
