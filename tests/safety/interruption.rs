//! A backup that is killed or stopped leaves nothing that looks like one, and the next one is not disturbed.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::PoisonError;
use std::time::Duration;

use crate::support::ark::{self, Repository, Run};
use crate::support::bed::Bed;
use crate::support::synthetic::{Dice, assert_tally, tally};
use crate::{LONG, LONG_CELLS, endless_backup, long_tables};

fn count_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

/// Waits until the repository has so many files, staged ones included.
fn wait_for_files(repository: &Repository, child: &mut Child, wanted: usize) {
    while count_files(&repository.path()) < wanted {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it had written {wanted} files");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Committed backups and unfinished ones.
fn listed(repository: &Repository) -> (Vec<String>, Vec<String>) {
    let json = repository.run("list", &[]).expect(0).json;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let committed = json["backups"].as_array().unwrap().iter().map(|backup| text(&backup["backup"])).collect();
    (committed, json["unfinished"].as_array().unwrap().iter().map(text).collect())
}

fn full_backup(bed: &Bed, repository: &Repository) -> Run {
    let _unaltered = LONG_CELLS.read().unwrap_or_else(PoisonError::into_inner);
    let run = repository.backup(bed, long_tables(bed), &[]).expect(0);
    assert_tally(&run.json, &long_tables(bed).data(), &tally(&LONG.data()));
    run
}

#[test]
fn a_killed_backup_is_none_and_does_not_disturb_the_next() {
    let bed = Bed::shared();
    let repository = Repository::default();
    let mut dice = Dice(20_240_601);
    let mut killed = 0;
    // After so many files: repository.json alone, data files, the first records, well into the table.
    for files in [0, 1, 2, 4, 6, 8, 10] {
        let before = count_files(&repository.path());
        let (mut child, _proxy) = endless_backup(bed, &repository);
        wait_for_files(&repository, &mut child, if files == 0 { 0 } else { before + files });
        std::thread::sleep(Duration::from_millis(dice.below(60) as u64));
        child.kill().unwrap();
        let run = ark::finished(child.wait_with_output().unwrap());
        assert_eq!(run.code, -1, "killed at {files} files: {}", run.err);
        killed += 1;
        if repository.path().join("repository.json").exists() {
            let (committed, unfinished) = listed(&repository);
            assert_eq!(committed, [""; 0], "killed at {files} files");
            assert!(unfinished.len() <= killed);
            let text = ark::run(&["list", "--repository", repository.path().to_str().unwrap()]).expect(0).out;
            assert!(text.contains("no backups yet"), "{text}");
            assert!(unfinished.iter().all(|id| text.contains(&format!("unfinished: {id}"))), "{text}");
        }
    }
    let (_, unfinished) = listed(&repository);
    // Of those that had written four files and more.
    assert!(unfinished.len() >= 4, "only {unfinished:?} left something behind");
    // What is left behind is no backup for anybody.
    for (verb, more) in
        [("verify", &["--level", "files"][..]), ("show", &[]), ("restore", &["--gateway", "127.0.0.1:1"])]
    {
        for id in ["latest", unfinished[0].as_str()] {
            let run = repository.run(verb, &[&[id], more].concat());
            assert!(run.code != 0 && run.err.contains("manifest.json"), "{verb} {id}: {} {}", run.code, run.err);
        }
    }

    let next = full_backup(bed, &repository);
    let warnings = next.json["warnings"].to_string();
    assert!(unfinished.iter().all(|id| warnings.contains(id.as_str())), "{warnings}");
    let (committed, still) = listed(&repository);
    assert_eq!(committed, [next.json["backup"].as_str().unwrap()]);
    assert_eq!(still, unfinished);
    let verified = repository.verify("cells", &[]).expect(0).json;
    assert_eq!((verified["differences"].as_u64(), verified["backup"].as_str()), (Some(0), Some(committed[0].as_str())));
}

/// A signal at a moment when files are being written. The run ends although a page is on its way.
fn interrupted_by(signal: &str) {
    let bed = Bed::shared();
    let repository = Repository::default();
    for files in [2, 6] {
        let before = count_files(&repository.path());
        let (mut child, _proxy) = endless_backup(bed, &repository);
        wait_for_files(&repository, &mut child, before + files);
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let run = ark::finished(child.wait_with_output().unwrap()).expect(130);
        assert!(run.err.contains("interrupted"), "{}", run.err);
        assert_eq!(run.json["exit_code"], 130);
        assert_eq!(listed(&repository).0, [""; 0]);
    }
    full_backup(bed, &repository);
    assert_eq!(listed(&repository).0.len(), 1);
    assert_eq!(repository.verify("files", &[]).expect(0).json["differences"], 0);
}

#[test]
fn ctrl_c_commits_nothing() {
    interrupted_by("-INT");
}

#[test]
fn sigterm_commits_nothing() {
    interrupted_by("-TERM");
}
