//! Wrong places and wrong names: the exit code fits, the message helps, and nothing is left behind.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::ark::{self, Repository, Run};
use crate::support::bed::Bed;
use crate::support::synthetic::{Synthetic, sealed};
use crate::support::tsd::Tables;
use crate::{LONG_CELLS, long_tables};
use tsdb_ark::manifest::FORMAT;

fn backup_to(bed: &Bed, tables: &Tables, folder: &Path) -> Run {
    let (gateway, folder) = (bed.thrift2_address(), folder.to_str().unwrap());
    let mut words = vec!["backup", "--json", "--gateway", &gateway, "--repository", folder];
    let flags = ark::table_flags(tables);
    words.extend(flags.iter().map(String::as_str));
    ark::run(&words)
}

#[track_caller]
fn assert_told(run: Run, code: i32, texts: &[&str]) {
    let run = run.expect(code);
    for text in texts {
        assert!(run.err.contains(text), "{text:?} is not in: {}", run.err);
    }
    assert_eq!(run.json["exit_code"], code);
}

#[test]
fn no_gateway_is_temporary_and_told_at_once() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (verb, more) in [("backup", &[][..]), ("restore", &["--into-existing"]), ("verify", &["--level", "source"])] {
        let words = [&["--gateway", &dead, "--retry-for", "0s"], more].concat();
        assert_told(repository.run(verb, &words), 75, &["after 1 attempts", &dead]);
    }
}

/// What is there answers with something else, or reads what it is sent and hangs up: no waiting makes it a gateway.
#[test]
fn a_port_that_speaks_no_thrift_is_usage() {
    let bed = Bed::shared();
    let banner = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = banner.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in banner.incoming() {
            let _ = stream.unwrap().write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n");
        }
    });
    for port in [bed.zk_quorum(), address] {
        let run = ark::run(&["check", "--json", "--gateway", &port, "--retry-for", "20s"]);
        assert_told(run, 2, &[&port, "is not an HBase Thrift gateway", "9090"]);
    }
}

#[test]
fn a_transport_that_is_not_the_gateways_is_blamed_on_the_flag() {
    let bed = Bed::shared();
    let gateway = bed.thrift2_address();
    for flag in ["--framed", "--compact"] {
        let run = ark::run(&["check", "--json", "--gateway", &gateway, flag]);
        assert_told(run, 2, &[&gateway, "unframed binary", "leave out --framed"]);
    }
}

#[test]
fn a_new_repository_is_announced() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let repository = Repository::default();
    let words = format!("created a new repository at {}", repository.path().display());
    let first = repository.backup(bed, &tables, &[]).expect(0);
    assert!(first.json["warnings"].to_string().contains(&words), "{}", first.out);
    assert!(first.err.contains(&words), "{}", first.err);
    let second = repository.backup(bed, &tables, &[]).expect(0);
    assert!(!second.out.contains("created a new") && !second.err.contains("created a new"), "{}", second.err);
}

#[test]
fn a_dry_run_prints_what_a_plan_knows() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &["000002"]);
    let folder = tempfile::tempdir().unwrap();
    let (gateway, path) = (bed.thrift2_address(), folder.path().join("r"));
    let mut words = vec!["backup", "--dry-run", "--gateway", &gateway, "--repository", path.to_str().unwrap()];
    let flags = ark::table_flags(&tables);
    words.extend(flags.iter().map(String::as_str));
    let text = ark::run(&words).expect(0).out;
    let header = text.lines().find(|line| line.starts_with("table ")).unwrap();
    assert_eq!(header.split_whitespace().collect::<Vec<_>>(), ["table", "kind", "regions", "versions"]);
    let data = text.lines().find(|line| line.starts_with(&format!("{} ", tables.data()))).unwrap();
    assert_eq!(data.split_whitespace().collect::<Vec<_>>()[1..], ["data", "2", "1"]);
    assert!(
        !text.contains("peak memory") && !text.contains("checksum") && !text.contains("0000000000000000"),
        "{text}"
    );
    words.push("--json");
    let table = ark::run(&words).expect(0).json["tables"][0].clone();
    assert_eq!((&table["regions"], &table["versions"]), (&2.into(), &1.into()), "{table}");
    assert!(table["cells"].is_null() && table["checksum"].is_null(), "a plan has counted nothing: {table}");
}

/// A name that is wrong on either side ends a verification before any file is read.
#[test]
fn a_verification_of_tables_that_are_not_there_is_usage() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let (repository, gateway) = (Repository::default(), bed.thrift2_address());
    repository.backup(bed, &tables, &[]).expect(0);
    let verify = |more: &[&str]| repository.verify("source", &[&["--gateway", &gateway], more].concat());
    let (data, uid) = (tables.data(), tables.names()[1].clone());
    let unknown = verify(&["--rename-table", "tsbd=x"]);
    assert_told(unknown, 2, &["the backup has no table tsbd; it has: ", &data, &uid]);
    let nowhere = verify(&["--rename-table", &format!("{data}=nowhere")]);
    assert_told(nowhere, 2, &["table nowhere does not exist on this cluster; it has: ", &uid, "--rename-table"]);
    let meta = tables.names()[2].clone();
    bed.must(&format!("drop {meta}"));
    assert_told(verify(&[]), 2, &[&format!("table {meta} does not exist on this cluster; it has: ")]);
}

#[test]
fn a_table_that_is_not_there_is_named_beside_those_that_are() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let repository = Repository::default();
    let gateway = bed.thrift2_address();
    let uid = format!("{}tsdb-uid", tables.prefix);
    for (flag, name) in [("--data-table", "tsbd"), ("--uid-table", "tsbd-uid"), ("--table", "rollups")] {
        let (data, uids) = (tables.data(), uid.clone());
        let mut words = vec!["--gateway", &gateway];
        if flag != "--data-table" {
            words.extend(["--data-table", &data]);
        }
        if flag != "--uid-table" {
            words.extend(["--uid-table", &uids]);
        }
        words.extend([flag, name]);
        assert_told(
            repository.run("backup", &words),
            2,
            &[&format!("table {name} does not exist"), &data, &uids, flag],
        );
    }
    assert!(!repository.path().join("backups").exists());
}

#[test]
fn a_file_in_place_of_the_repository_is_told() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not-a-folder");
    std::fs::write(&file, "mine").unwrap();
    for place in [file.clone(), file.join("below")] {
        let run = backup_to(bed, &tables, &place);
        assert_told(run, 10, &["not-a-folder is not a directory"]);
        let list = ark::run(&["list", "--json", "--repository", place.to_str().unwrap()]);
        assert_told(list, 10, &["not-a-folder is not a directory"]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_folder_of_somebody_else_is_not_taken_over() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("repository.json"), "{\"what\": \"photos\"}").unwrap();
    assert_told(backup_to(bed, &tables, folder.path()), 10, &["repository.json is not one of ours"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn another_format_is_refused() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let manifest = repository.files().into_iter().find(|file| file.ends_with("manifest.json")).unwrap();
    for file in ["repository.json", manifest.as_str()] {
        let path = repository.path().join(file);
        let text = std::fs::read(&path).unwrap();
        let mut value: Value = serde_json::from_slice(&text).unwrap();
        for (format, advice) in [(FORMAT + 1, "newer tsdb-ark"), (FORMAT - 1, "the tsdb-ark that wrote it")] {
            value["format"] = format.into();
            std::fs::write(&path, sealed(&value)).unwrap();
            for verb in ["verify", "list", "show"] {
                assert_told(repository.run(verb, &[]), 10, &[file, &format!("format {format}"), advice]);
            }
            if file == "repository.json" {
                assert_told(backup_to(bed, &tables, &repository.path()), 10, &[file, advice]);
            }
        }
        std::fs::write(&path, text).unwrap();
    }
    let path = repository.path().join(&manifest);
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    value["kind"] = "differential".into();
    std::fs::write(&path, sealed(&value)).unwrap();
    for verb in ["verify", "list", "show"] {
        assert_told(repository.run(verb, &[]), 10, &[&manifest, "of kind differential", "newer tsdb-ark"]);
    }
    assert_eq!(repository.files().iter().filter(|file| file.ends_with("manifest.json")).count(), 1);
}

/// A file system of one megabyte, unmounted when dropped. `None` with a reason on stderr where mounting is not allowed.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(options: &str) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let words = ["-t", "tmpfs", "-o", options, "tmpfs", folder.path().to_str().unwrap()];
        let mounted = Command::new("mount").args(words).output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk(folder));
        }
        eprintln!("skipped: this user may not mount a small file system: {mounted:?}");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_is_committed() {
    let bed = Bed::shared();
    let _unaltered = LONG_CELLS.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Full at the first record, and at different places of the data.
    for size in ["size=16k", "size=48k", "size=96k"] {
        let Some(disk) = SmallDisk::mount(size) else { return };
        let folder = disk.0.path().join("repository");
        let run = backup_to(bed, long_tables(bed), &folder);
        assert_eq!(run.code, 1, "{size}: {}{}", run.out, run.err);
        assert!(run.err.contains("no space left") && run.err.contains("free some space"), "{}", run.err);
        let list = ark::run(&["list", "--json", "--repository", folder.to_str().unwrap()]).expect(0).json;
        assert_eq!(list["backups"].as_array().unwrap().len(), 0);
        if size == "size=96k" {
            // With room again, the next one succeeds.
            let remount = ["-o", "remount,size=64m", disk.0.path().to_str().unwrap()];
            assert!(Command::new("mount").args(remount).status().unwrap().success());
            backup_to(bed, long_tables(bed), &folder).expect(0);
            let verify = ark::run(&["verify", "--json", "--level", "files", "--repository", folder.to_str().unwrap()]);
            assert_eq!(verify.expect(0).json["differences"], 0);
        }
    }
}

#[test]
fn a_read_only_file_system_is_told() {
    let Some(disk) = SmallDisk::mount("size=1m") else { return };
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let folder = disk.0.path().join("repository");
    backup_to(bed, &tables, &folder).expect(0);
    let remount = ["-o", "remount,ro", disk.0.path().to_str().unwrap()];
    assert!(Command::new("mount").args(remount).status().unwrap().success());
    assert_told(backup_to(bed, &tables, &folder), 12, &["no permission", folder.to_str().unwrap()]);
    // What is there can still be read.
    let path = folder.to_str().unwrap();
    assert_eq!(ark::run(&["verify", "--json", "--repository", path]).expect(0).json["differences"], 0);
    assert_told(backup_to(bed, &tables, &disk.0.path().join("other")), 12, &["no permission", "other"]);
}

/// A repository that is not there yet: `check` and `backup --dry-run` find out whether the first backup may create it.
#[test]
fn a_missing_folder_is_said_to_be_created_or_refused_beforehand() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let gateway = bed.thrift2_address();
    let look = |verb: &[&str], path: &Path, code: i32| {
        let path = path.to_str().unwrap();
        let flags = ark::table_flags(&tables);
        let words = [verb, &["--json", "--repository", path, "--gateway", &gateway]].concat();
        ark::run(&words.into_iter().chain(flags.iter().map(String::as_str)).collect::<Vec<_>>()).expect(code)
    };
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("typo/x");
    let words = "nothing there yet; the first backup creates it";
    let check = look(&["check"], &missing, 0).json;
    assert!(check["store"].to_string().contains(words), "{check}");
    let dry = look(&["backup", "--dry-run"], &missing, 0);
    assert!(dry.json["warnings"].to_string().contains(words), "{}", dry.out);
    assert!(dry.json["backup"].is_null() && std::fs::read_dir(folder.path()).unwrap().next().is_none());
    // A file on the way there.
    std::fs::write(folder.path().join("file"), "").unwrap();
    let below = folder.path().join("file/x");
    for verb in [&["check"][..], &["backup", "--dry-run"], &["backup"]] {
        assert_told(look(verb, &below, 10), 10, &["is not a directory"]);
    }
    let Some(disk) = SmallDisk::mount("size=1m") else { return };
    let remount = ["-o", "remount,ro", disk.0.path().to_str().unwrap()];
    assert!(Command::new("mount").args(remount).status().unwrap().success());
    let below = disk.0.path().join("typo/x");
    for verb in [&["check"][..], &["backup", "--dry-run"], &["backup"]] {
        assert_told(look(verb, &below, 12), 12, &["no permission", "typo/x"]);
    }
}

#[test]
fn a_folder_without_permission_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("locked");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(path.join("probe"), "x").is_ok() {
        eprintln!("skipped: this user may write anywhere");
        return;
    }
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    assert_told(backup_to(bed, &tables, &path), 12, &["no permission", "locked"]);
    assert_told(backup_to(bed, &tables, &path.join("below")), 12, &["no permission", "below"]);
}
