//! Whatever happens to a file of a repository, `verify` notices and names the file; an intact copy raises no alarm.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::Value;
use support::ark::{self, Repository, Run};
use support::bed::Bed;
use support::golden;
use support::synthetic::{self, Dice, Synthetic, sealed};
use tsdb_ark::columnar::TableRows;
use tsdb_ark::model::{FileKind, FileRow, kind};
use tsdb_ark::parquet_file::{TableWriter, read_files};

/// A backup of everything that a TSD 2.4 writes, with delete markers: every kind of file.
fn golden_backup() -> &'static Repository {
    static BACKUP: OnceLock<Repository> = OnceLock::new();
    BACKUP.get_or_init(|| {
        let bed = Bed::shared();
        let tables = golden::load(bed, "opentsdb-2.4.1");
        let repository = Repository::default();
        let conf = golden::folder("opentsdb-2.4.1").join("opentsdb.conf");
        repository.backup(bed, &tables, &["--raw", "--opentsdb-conf", conf.to_str().unwrap()]).expect(0);
        repository
    })
}

/// A repository that may be damaged.
struct Copy {
    folder: tempfile::TempDir,
    files: Vec<String>,
}

impl Copy {
    fn of(repository: &Repository) -> Copy {
        let folder = tempfile::tempdir().unwrap();
        let files = repository.files();
        for file in &files {
            let to = folder.path().join(file);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(repository.path().join(file), to).unwrap();
        }
        Copy { folder, files }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.path(file)).unwrap()
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        std::fs::write(self.path(file), bytes).unwrap();
    }

    fn verify(&self, level: &str) -> Run {
        let folder = self.folder.path().to_str().unwrap();
        ark::run(&["verify", "--repository", folder, "--level", level, "--json"])
    }

    /// The files of a kind; Delta logs and shards in the catalogue are kinds of their own.
    fn of_kind(&self, part: &str) -> Vec<&str> {
        let own = |file: &&str| {
            ["_delta_log", "/catalogue/"].iter().all(|other| part.contains(other) || !file.contains(other))
        };
        self.files.iter().map(String::as_str).filter(|file| file.contains(part)).filter(own).collect()
    }

    fn manifest(&self) -> String {
        self.of_kind("/manifest.json")[0].to_owned()
    }

    /// Changes the manifest as somebody would who knows how it is sealed.
    fn forge_manifest(&self, change: impl FnOnce(&mut Value)) {
        let path = self.manifest();
        let mut manifest: Value = serde_json::from_slice(&self.read(&path)).unwrap();
        change(&mut manifest);
        self.write(&path, &sealed(&manifest));
    }
}

/// The names by which a run must tell that these files are damaged.
#[track_caller]
fn assert_named(run: &Run, files: &[&str], what: &str) {
    for file in files {
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        let alarm = if *file == "repository.json" || name == "manifest.json" {
            [1, 3, 10].contains(&run.code)
        } else {
            run.code == 3 && run.json["differences"].as_u64() > Some(0)
        };
        assert!(alarm, "{what} {file}: exit code {}, {}{}", run.code, run.out, run.err);
        assert!(run.out.contains(name) || run.err.contains(name), "{what} {file} is not named: {}{}", run.out, run.err);
    }
}

/// Each way to damage one file; `None`: it is gone.
fn damages(bytes: &[u8], dice: &mut Dice) -> Vec<(String, Option<Vec<u8>>)> {
    let mut all = vec![
        ("deleted".to_string(), None),
        ("emptied".to_string(), Some(Vec::new())),
        ("halved".to_string(), Some(bytes[..bytes.len() / 2].to_vec())),
        ("cut by a byte".to_string(), Some(bytes[..bytes.len() - 1].to_vec())),
        ("longer by a byte".to_string(), Some([bytes, b"\n"].concat())),
    ];
    for at in [0, bytes.len() / 2, bytes.len() - 1, dice.below(bytes.len())] {
        let bit = dice.below(8);
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << bit;
        all.push((format!("bit {bit} of byte {at} flipped"), Some(flipped)));
    }
    all
}

#[test]
fn a_clean_copy_gives_no_alarm() {
    let copy = Copy::of(golden_backup());
    for level in ["files", "cells"] {
        let run = copy.verify(level).expect(0);
        assert_eq!(run.json["differences"], 0);
        assert_eq!(run.json["warnings"].as_array().unwrap().len(), 0, "{}", run.out);
        // All but the manifest and repository.json, without which there is nothing to count.
        assert_eq!(run.json["files"].as_u64(), Some(copy.files.len() as u64 - 2));
    }
}

#[test]
fn damage_to_any_file_is_found_and_named() {
    let whole = golden_backup();
    let files = whole.files();
    for kind in
        ["points", "series", "rollups", "annotations", "histograms", "uids", "meta", "tree", "cells", "catalogue"]
    {
        assert!(files.iter().any(|file| file.contains(&format!("/{kind}/"))), "the golden backup has no {kind}");
    }
    let (next, runs) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let copy = Copy::of(whole);
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let bytes = copy.read(file);
                    let mut dice = Dice(bytes.len() as u64);
                    for (what, damaged) in damages(&bytes, &mut dice) {
                        match damaged {
                            Some(damaged) => copy.write(file, &damaged),
                            None => std::fs::remove_file(copy.path(file)).unwrap(),
                        }
                        assert_named(&copy.verify("files"), &[file], &what);
                        runs.fetch_add(1, Ordering::Relaxed);
                    }
                    copy.write(file, &bytes);
                }
                copy.verify("files").expect(0);
            });
        }
    });
    assert_eq!(runs.into_inner(), 9 * files.len());
}

#[test]
fn damage_is_found_at_the_deeper_level_too() {
    let copy = Copy::of(golden_backup());
    for part in ["/points/", "/cells/", "/shards/", "/catalogue/shards", "/catalogue/files"] {
        let file = copy.of_kind(part)[0];
        let bytes = copy.read(file);
        copy.write(file, &bytes[..bytes.len() / 2]);
        assert_named(&copy.verify("cells"), &[file], "halved");
        copy.write(file, &bytes);
    }
}

/// A catalogue file that is gone is damage, not a repository that is absent; files that nothing names are counted.
#[test]
fn a_missing_file_is_damage_and_a_stray_is_counted() {
    let copy = Copy::of(golden_backup());
    let show = || ark::run(&["show", "--repository", copy.folder.path().to_str().unwrap()]);
    show().expect(0);
    let metrics = copy.of_kind("/catalogue/metrics/")[0];
    let bytes = copy.read(metrics);
    std::fs::remove_file(copy.path(metrics)).unwrap();
    let run = show().expect(1);
    assert!(run.err.contains(metrics) && run.err.contains("is missing"), "{}", run.err);
    copy.write(metrics, &[&bytes[..], b"more"].concat());
    let run = show().expect(1);
    assert!(run.err.contains("bytes instead of"), "{}", run.err);
    copy.write(metrics, &bytes);

    let record = copy.of_kind("/shards/")[0];
    let folder = record.rsplit_once('/').unwrap().0;
    for name in ["notes.json", "tsdb-4294967295.json", "tsdb-99999999999999999999.json", "x"] {
        copy.write(&format!("{folder}/{name}"), b"{");
    }
    let verified = copy.verify("files").expect(0);
    assert!(
        verified.json["warnings"].to_string().contains("4 files in the backup's folder are not part of it"),
        "{}",
        verified.out
    );
}

/// A version beside those that were committed would show other files to whoever reads the table.
#[test]
fn a_delta_log_of_somebody_else_is_found() {
    let copy = Copy::of(golden_backup());
    for log in copy.of_kind("_delta_log/00000000000000000000.json") {
        let extra = log.replace("00000.json", "00001.json");
        copy.write(&extra, b"{\"remove\":{\"path\":\"x\",\"dataChange\":true}}\n");
        assert_named(&copy.verify("files"), &[&extra], "an extra version");
        std::fs::remove_file(copy.path(&extra)).unwrap();
    }
    copy.verify("files").expect(0);
}

#[test]
fn exchanged_files_are_found_and_named() {
    let copy = Copy::of(golden_backup());
    let (points, records) = (copy.of_kind("/points/"), copy.of_kind("/shards/"));
    let (catalogue, cells) = (copy.of_kind("/catalogue/"), copy.of_kind("/cells/"));
    let views = copy.of_kind("views.sql")[0];
    let pairs = [
        (points[0], points[1]),
        (records[0], records[1]),
        (records[1], records[records.len() - 1]),
        (catalogue[0], catalogue[1]),
        (catalogue[1], catalogue[2]),
        (points[0], cells[0]),
        (copy.of_kind("/uids/")[0], copy.of_kind("/meta/")[0]),
        (copy.of_kind("/uids/_delta_log/")[0], copy.of_kind("/meta/_delta_log/")[0]),
        (records[0], points[0]),
        (views, cells[0]),
    ];
    for (one, other) in pairs {
        let (first, second) = (copy.read(one), copy.read(other));
        assert_ne!(first, second);
        copy.write(one, &second);
        copy.write(other, &first);
        assert_named(&copy.verify("files"), &[one, other], "exchanged");
        copy.write(one, &first);
        copy.write(other, &second);
    }
    copy.verify("files").expect(0);
}

#[test]
fn an_edited_manifest_is_found() {
    let copy = Copy::of(golden_backup());
    let path = copy.manifest();
    let text = String::from_utf8(copy.read(&path)).unwrap();
    let edits =
        [("\"cells\": ", "\"cells\": 1"), ("\"raw\": true", "\"raw\": false"), ("\"order\": 0", "\"order\": 1")];
    for (from, to) in edits {
        assert!(text.contains(from));
        copy.write(&path, text.replacen(from, to, 1).as_bytes());
        let run = copy.verify("files").expect(1);
        assert!(run.err.contains("manifest.json") && run.err.contains("changed after it was written"), "{}", run.err);
    }
    copy.write(&path, text.as_bytes());
    // The hash of this test is the program's: a manifest sealed again without a change is fine.
    copy.forge_manifest(|_| ());
    copy.verify("files").expect(0);
}

/// Numbers of a manifest that carries a fitting hash must still agree with the catalogue.
#[test]
fn a_forged_manifest_contradicts_the_catalogue() {
    let copy = Copy::of(golden_backup());
    let path = copy.manifest();
    let text = copy.read(&path);
    for field in ["cells", "bytes", "rows", "points"] {
        copy.forge_manifest(|manifest| {
            let number = &mut manifest["tables"][0]["tally"][field];
            *number = (number.as_u64().unwrap() + 1).into();
        });
        assert_named(&copy.verify("files"), &[&path], field);
        copy.write(&path, &text);
    }
    copy.forge_manifest(|manifest| manifest["tables"][0]["tally"]["checksum"] = "0123456789abcdef".into());
    assert_named(&copy.verify("files"), &[&path], "checksum");
    copy.write(&path, &text);

    copy.forge_manifest(|manifest| {
        let tables = manifest["tables"].as_array_mut().unwrap();
        tables.remove(0);
    });
    assert_named(&copy.verify("files"), &[&path], "a table less");
    copy.write(&path, &text);

    let files = copy.of_kind("/catalogue/files")[0];
    copy.forge_manifest(|manifest| {
        let entries = manifest["catalogue"].as_array_mut().unwrap();
        let entry = entries.iter_mut().find(|entry| entry["path"] == files).unwrap();
        entry["size"] = (entry["size"].as_u64().unwrap() + 1).into();
    });
    assert_named(&copy.verify("files"), &[files], "another size");
}

/// Shard records with a fitting hash must still say what the catalogue says.
#[test]
fn a_forged_shard_record_is_found() {
    let copy = Copy::of(golden_backup());
    let has_files = |path: &&str| !serde_json::from_slice::<Value>(&copy.read(path)).unwrap()["files"][0].is_null();
    let path = copy.of_kind("/shards/").into_iter().find(has_files).unwrap();
    let text = copy.read(path);
    let forgeries: [fn(&mut Value); 5] = [
        |record| record["tally"]["cells"] = 1.into(),
        |record| record["stop"] = "aa".into(),
        |record| record["files"][0]["size"] = 1.into(),
        |record| record["files"][0]["ranges"]["metrics"] = Value::from(vec!["another"]),
        |record| record["attempt"] = "0a0b0c0d0e0f".into(),
    ];
    for (number, forge) in forgeries.iter().enumerate() {
        let mut record: Value = serde_json::from_slice(&text).unwrap();
        forge(&mut record);
        copy.write(path, &sealed(&record));
        assert_named(&copy.verify("files"), &[path], &format!("forgery {number}"));
    }
    copy.write(path, &text);
    copy.verify("files").expect(0);
}

/// A file that is what its catalogue says, with other cells: only decoding finds that.
#[test]
fn cells_that_are_not_those_of_the_backup_are_found_by_decoding() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let before = Repository::default();
    before.backup(bed, &tables, &[]).expect(0);
    // The same cell, written again with another value at the same time.
    let mut altered = small.cell(&small.key(1, 1, 1), 1, 1);
    altered.value[1] ^= 1;
    assert_eq!(altered.kind, kind::PUT);
    synthetic::load(bed, &tables.data(), &[altered]);
    let after = Repository::default();
    after.backup(bed, &tables, &[]).expect(0);

    let copy = Copy::of(&before);
    let catalogue = copy.of_kind("/catalogue/files")[0];
    let mut rows = read_files(Bytes::from(copy.read(catalogue))).unwrap();
    let row = rows.iter_mut().find(|row| row.kind == FileKind::Points).unwrap();
    let foreign = std::fs::read(&after.files_of("points")[0]).unwrap();
    copy.write(&row.path, &foreign);
    (row.size, row.blake3) = (foreign.len() as u64, blake3::hash(&foreign).to_hex().to_string());
    let points = row.path.clone();
    copy.write(catalogue, &catalogue_file(&rows));
    let written = copy.read(catalogue);
    copy.forge_manifest(|manifest| {
        let entries = manifest["catalogue"].as_array_mut().unwrap();
        let entry = entries.iter_mut().find(|entry| entry["path"] == catalogue).unwrap();
        entry["size"] = written.len().into();
        entry["blake3"] = blake3::hash(&written).to_hex().to_string().into();
    });
    let names = |path: &&str| String::from_utf8(copy.read(path)).unwrap().contains(&points);
    let record = copy.of_kind("/shards/").into_iter().find(names).unwrap();
    let mut shard: Value = serde_json::from_slice(&copy.read(record)).unwrap();
    let files = shard["files"].as_array_mut().unwrap();
    let file = files.iter_mut().find(|file| file["path"] == points.as_str()).unwrap();
    file["size"] = foreign.len().into();
    file["blake3"] = blake3::hash(&foreign).to_hex().to_string().into();
    copy.write(record, &sealed(&shard));

    copy.verify("files").expect(0);
    assert_named(&copy.verify("cells"), &[&points], "other cells");
    // A restore of it says so as well.
    let folder = copy.folder.path().to_str().unwrap();
    let (gateway, target) = (bed.thrift2_address(), bed.unique("other"));
    let rename = format!("{}={target}", tables.data());
    let words = [
        "restore",
        "--repository",
        folder,
        "--gateway",
        &gateway,
        "--table",
        &tables.data(),
        "--rename-table",
        &rename,
    ];
    let run = ark::run(&words).expect(1);
    assert!(run.err.contains("not what was backed up") && run.err.contains(&tables.data()), "{}", run.err);
}

fn catalogue_file(rows: &[FileRow]) -> Vec<u8> {
    let mut writer = TableWriter::new(FileKind::Files, Vec::new(), Vec::new()).unwrap();
    writer.write(TableRows::Files(rows)).unwrap();
    writer.finish().unwrap().0
}
