//! A disk that is full, and one that may not be written, in a mount namespace of their own.

use std::path::Path;
use std::process::Command;

use super::{backup_words, print_line, tables};
use crate::support::ark::{self, Repository, Run};
use crate::support::bed::Bed;

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
        assert!(run.err.contains("no space left") && run.err.contains("prune"), "{}", run.err);
        assert!(run.err.contains(repository.to_str().unwrap()) && !run.err.contains("COMMITTED"), "{}", run.err);
    }
}

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
