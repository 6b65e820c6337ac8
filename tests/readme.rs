//! The guide of the README, run as it stands, and the tests that the list of field cases names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod support;

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

/// Tables with OpenTSDB's own names would be found by every test that reads a TSD's configuration.
fn drop_plain_tables(bed: &Bed) {
    for name in bed.must("tables").iter().filter(|name| name.starts_with("tsdb") || name.starts_with("restored-")) {
        bed.must(&format!("drop {name}"));
    }
}

#[test]
fn the_guide_runs_as_it_stands() {
    let bed = Bed::shared();
    // The guide uses OpenTSDB's own table names; no other test does.
    let (source, restored) = (Tables::named("", true), "restored-");
    drop_plain_tables(bed);
    let set = "opentsdb-2.4.1";
    source.create_in(bed, &[]);
    for table in golden::tables(set) {
        bed.must(&format!("load {table} {}", golden::folder(set).join(format!("{table}.cells.tsv.gz")).display()));
    }
    let folder = tempfile::tempdir().unwrap();
    let here = |text: &str| {
        text.replace("hbase-thrift:9090", &bed.thrift2_address())
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
    drop_plain_tables(bed);
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
