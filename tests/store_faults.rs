//! A store on a bad day, fault by fault: a run either ends well and every cell agrees, or it ends with the documented
//! code and a message that says what, where and what to do, and nothing is committed.
//!
//! The faults are real (a full disk, a read-only one) or come from a proxy in front of a real S3 server. Cases that take
//! minutes run with `TSDB_ARK_SLOW=1` and `--include-ignored` only.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

mod support;

#[path = "store_faults/disk.rs"]
mod disk;
#[path = "store_faults/golden.rs"]
mod golden;
#[path = "store_faults/machine.rs"]
mod machine;
#[path = "store_faults/matrix.rs"]
mod matrix;
#[path = "store_faults/refusals.rs"]
mod refusals;
#[path = "store_faults/requests.rs"]
mod requests;
#[path = "store_faults/uploads.rs"]
mod uploads;
#[path = "store_faults/weak.rs"]
mod weak;

use std::process::Command;
use std::sync::OnceLock;

use support::ark::{self, Run};
use support::bed::Bed;
use support::s3;
use support::synthetic::Synthetic;
use support::tsd::Tables;

/// A few files of each kind; a run takes a second.
fn tables(bed: &Bed) -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| Synthetic::default().load(bed, &[]))
}

/// The words of a backup of these tables.
fn backup_words(bed: &Bed, tables: &Tables, repository: &str, more: &[&str]) -> Vec<String> {
    let mut words: Vec<String> =
        ["backup", "--json", "--repository", repository, "--gateway"].map(str::to_owned).into();
    words.push(bed.thrift2_address());
    words.extend(ark::table_flags(tables));
    words.extend(more.iter().map(|word| (*word).to_owned()));
    words
}

/// Runs the program against an S3 endpoint.
fn run_at<S: AsRef<std::ffi::OsStr>>(endpoint: &str, words: &[S]) -> Run {
    let mut command: Command = ark::command();
    s3::lead(&mut command, endpoint).args(words);
    ark::finished(command.output().unwrap())
}

/// Committed backups of a repository; none when there is no repository either.
fn committed(endpoint: &str, repository: &str) -> usize {
    let run = run_at(endpoint, &["list", "--json", "--repository", repository]);
    match run.code {
        10 => 0,
        _ => run.expect(0).json["backups"].as_array().unwrap().len(),
    }
}

fn verify(endpoint: &str, repository: &str) {
    let run = run_at(endpoint, &["verify", "--json", "--level", "cells", "--repository", repository]).expect(0);
    assert_eq!(run.json["differences"], 0);
}

/// The line of a run in the table that the tests print.
fn print_line(fault: &str, injected: &str, run: &Run) {
    let did = if run.code == 0 { "went on, cells agree" } else { "gave up, nothing committed" };
    let message = run.err.lines().rfind(|line| line.contains("error:")).unwrap_or("").trim_start_matches("tsdb-ark: ");
    println!("| {fault} | {injected} | {did} | {} | {message} |", run.code);
}
