//! A disk that is full, and one that may not be written, in a mount namespace of their own.

use std::path::Path;
use std::process::Command;

use super::{backup_words, print_line, tables};
use crate::support::ark::{self, Repository, Run};
use crate::support::bed::Bed;
use crate::support::tsd::Tables;

/// Runs a shell script with `$DIR` and the program with its words in `"$@"`, as root of a namespace where it may mount.
fn in_namespace(script: &str, directory: &Path, words: &[String]) -> Run {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "bash", "-euc", script, "bash"]);
    command.arg(env!("CARGO_BIN_EXE_tsdb-ark")).args(words).env("DIR", directory);
    ark::finished(command.output().unwrap())
}

#[test]
fn a_full_disk_is_told_and_commits_nothing() {
    let bed = Bed::shared();
    for kib in [8, 24, 40] {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("repository");
        std::fs::create_dir(&repository).unwrap();
        let words = backup_words(bed, tables(bed), repository.to_str().unwrap(), &[]);
        // What is in the mount is seen inside only, so the look at it comes along.
        let script = format!(
            "mount -t tmpfs -o size={kib}k tmpfs \"$DIR\"; code=0; \"$@\" || code=$?; \
             find \"$DIR\" -name manifest.json | sed 's/^/COMMITTED /' >&2; exit $code"
        );
        let run = in_namespace(&script, &repository, &words);
        print_line(&format!("a disk of {kib} KiB"), "ENOSPC", &run);
        assert_eq!(run.code, 1, "{}{}", run.out, run.err);
        assert!(run.err.contains("no space left") && run.err.contains("free some space"), "{}", run.err);
        assert!(run.err.contains(repository.to_str().unwrap()) && !run.err.contains("COMMITTED"), "{}", run.err);
    }
}

/// F40: a file system that has neither hard links nor a sync of directories, as a library that is loaded before the C library
/// plays it.
#[test]
fn a_network_file_system_without_links_and_directory_sync_takes_a_backup() {
    let bed = Bed::shared();
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("shim.c"), folder.path().join("shim.so"));
    std::fs::write(&source, SHIM).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
    assert!(built.success());
    let repository = Repository::default();
    let run = |words: &[String]| {
        let mut command = ark::command();
        ark::finished(command.args(words).env("LD_PRELOAD", &library).output().unwrap())
    };
    let path = repository.path();
    let done = run(&backup_words(bed, tables(bed), path.to_str().unwrap(), &[])).expect(0);
    assert_eq!(done.err.matches("cannot sync directories").count(), 1, "said once: {}", done.err);
    print_line("no hard links, no sync of directories", "EPERM, EINVAL", &done);
    let words = ["verify", "--json", "--level", "cells", "--repository", path.to_str().unwrap()].map(str::to_owned);
    assert_eq!(run(&words).expect(0).json["differences"], 0);
    assert!(repository.files().iter().all(|file| !file.contains('#') && !file.starts_with("locks/")));
}

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
int link(const char *a, const char *b) { errno = EPERM; return -1; }
int linkat(int a, const char *b, int c, const char *d, int e) { errno = EPERM; return -1; }
int fsync(int fd) {
    static int (*real)(int);
    struct stat about;
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    if (fstat(fd, &about) == 0 && S_ISDIR(about.st_mode)) { errno = EINVAL; return -1; }
    return real(fd);
}
"#;

#[test]
fn a_read_only_directory_is_told_and_commits_nothing() {
    let bed = Bed::shared();
    let repository = Repository::default();
    repository.backup(bed, tables(bed), &[]).expect(0);
    let before = repository.files();
    let words = backup_words(bed, tables(bed), repository.path().to_str().unwrap(), &[]);
    let script = "mount --bind \"$DIR\" \"$DIR\"; mount -o remount,bind,ro \"$DIR\"; exec \"$@\"";
    let run = in_namespace(script, &repository.path(), &words);
    print_line("a read-only directory", "EROFS", &run);
    assert_eq!(run.code, 12, "{}{}", run.out, run.err);
    assert!(run.err.contains("no permission") && run.err.contains(repository.path().to_str().unwrap()), "{}", run.err);
    assert_eq!(repository.files(), before);
}

/// F47.
#[test]
fn a_read_only_copy_is_verified_without_a_lock() {
    let bed = Bed::shared();
    let repository = Repository::default();
    repository.backup(bed, tables(bed), &[]).expect(0);
    let script = "mount --bind \"$DIR\" \"$DIR\"; mount -o remount,bind,ro \"$DIR\"; exec \"$@\"";
    let path = repository.path();
    let run = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        in_namespace(script, &path, &words)
    };
    let at = path.to_str().unwrap();
    run(&["list", "--json", "--repository", at]).expect(0);
    run(&["show", "--json", "--repository", at]).expect(0);
    let verified = run(&["verify", "--json", "--level", "cells", "--repository", at]).expect(0);
    assert!(verified.json["warnings"].to_string().contains("no lock was taken"), "{}", verified.out);
    let to = Tables::named(&format!("{}.", bed.unique("r")), tables(bed).rollups);
    let gateway = bed.thrift2_address();
    let renamed: Vec<String> =
        tables(bed).names().iter().zip(to.names()).map(|(old, new)| format!("--rename-table={old}={new}")).collect();
    let mut words = vec!["restore", "--json", "--repository", at, "--gateway", &gateway];
    words.extend(renamed.iter().map(String::as_str));
    let restored = run(&words).expect(0);
    assert!(restored.json["warnings"].to_string().contains("no lock was taken"), "{}", restored.out);
}
