//! The program, run as a user runs it, with what it cost.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::cluster::Cluster;

/// Clock ticks per second in `/proc`: the kernel shows everybody 100.
const TICKS: f64 = 100.0;

/// A finished command.
#[derive(Debug)]
pub struct Run {
    /// What it printed.
    pub json: Value,
    /// What it logged.
    pub err: String,
    /// From start to end of the process.
    pub seconds: f64,
    /// CPU seconds of the process, user and system.
    pub cpu: f64,
}

impl Run {
    /// The most memory that the process held, in MiB.
    pub fn rss_mib(&self) -> f64 {
        self.json["peak_rss_bytes"].as_f64().expect("every report has the memory") / f64::from(1 << 20)
    }
}

/// Runs the program.
///
/// # Panics
/// When it does not exit with 0.
pub fn run(arguments: &[&str]) -> Run {
    let (begin, cpu) = (Instant::now(), children_seconds());
    let output = Command::new(env!("CARGO_BIN_EXE_tsdb-ark"))
        .args(arguments)
        .arg("--json")
        .stdin(Stdio::null())
        .env_remove("TSDB_ARK_REPOSITORY")
        .env_remove("TSDB_ARK_GATEWAY")
        .output()
        .expect("the program starts");
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), children_seconds() - cpu);
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} ended with {}:\n{out}\n{err}", output.status);
    let json = out.lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("a report in JSON");
    Run { json, err: err.into_owned(), seconds, cpu }
}

/// Backs up two tables.
pub fn backup(cluster: &Cluster, repository: &Path, data: &str, uids: &str) -> Run {
    backup_with(cluster, repository, data, uids, &[])
}

/// Backs up two tables, with more flags.
pub fn backup_with(cluster: &Cluster, repository: &Path, data: &str, uids: &str, more: &[&str]) -> Run {
    let connections = cluster.connections.to_string();
    let flags = [
        "backup",
        "--gateway",
        &cluster.gateway,
        "--repository",
        text(repository),
        "--data-table",
        data,
        "--uid-table",
        uids,
        "--connections",
        &connections,
    ];
    run(&[&flags, more].concat())
}

/// Restores the data table of the last backup under another name, without reading it back.
pub fn restore(cluster: &Cluster, repository: &Path, data: &str, target: &str) -> Run {
    let connections = cluster.connections.to_string();
    let rename = format!("{data}={target}");
    run(&[
        "restore",
        "--gateway",
        &cluster.gateway,
        "--repository",
        text(repository),
        "--table",
        data,
        "--rename-table",
        &rename,
        "--connections",
        &connections,
        "--no-read-back",
    ])
}

/// Decodes every cell of the last backup.
pub fn verify(repository: &Path) -> Run {
    run(&["verify", "--repository", text(repository), "--level", "cells"])
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the build folder has a plain name")
}

/// CPU seconds of all children that have ended.
fn children_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux counts the time of processes");
    // Fields are counted behind the name, which may hold anything but ends at the last bracket.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>() as f64 / TICKS
}
