//! What the users of a cluster feel of a backup: the latency of point gets, alone and beside backups that back off or
//! do not.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::ark;
use crate::cluster::Cluster;
use crate::figures::{Aim, Figures, median};
use crate::mix::{Mix, Row};
use crate::wire::Wire;

/// Between the beginnings of two gets of one reader.
const EVERY: Duration = Duration::from_millis(20);
/// How long readers are alone.
const ALONE: Duration = Duration::from_secs(8);
/// Readers, each with a connection of its own.
const READERS: usize = 2;
/// Of so many rows one is read.
const SAMPLE: usize = 37;
/// What `--back-off` is set to; the default is the second.
const SETTINGS: [(&str, &str); 4] = [("off", "off"), ("default", ""), ("factor_4", "4"), ("factor_2", "2")];

/// Measures and adds the figures.
pub fn foreground(
    cluster: &Cluster,
    mix: &Mix,
    data: &str,
    uids: &str,
    folder: &Path,
    runs: usize,
    figures: &mut Figures,
) {
    let keys = keys(mix);
    // Warms the gateway and the caches.
    backup(cluster, folder, data, uids, &["--back-off", "off"]);
    canary(&backup(cluster, folder, data, uids, &["-vvv", "--back-off", "1000000"]).err, figures);
    let alone = Latencies::of(cluster, data, &keys, || std::thread::sleep(ALONE)).0;
    alone.add("alone", figures);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); SETTINGS.len()];
    let mut quiet: Vec<Vec<f64>> = vec![Vec::new(); SETTINGS.len()];
    let mut held: Vec<Vec<f64>> = vec![Vec::new(); SETTINGS.len()];
    let mut quiet_held = held.clone();
    let mut beside: Vec<Latencies> = SETTINGS.iter().map(|_| Latencies::default()).collect();
    for _ in 0..runs {
        for (at, (_, factor)) in SETTINGS.iter().enumerate() {
            let more: &[&str] = if factor.is_empty() { &[] } else { &["--back-off", factor] };
            let run = || backup(cluster, folder, data, uids, more);
            let alone = run();
            quiet[at].push(alone.seconds);
            quiet_held[at].push(alone.json["back_off_seconds"].as_f64().unwrap_or_default());
            let (latencies, run) = Latencies::of(cluster, data, &keys, run);
            beside[at].0.extend(latencies.0);
            times[at].push(run.seconds);
            held[at].push(run.json["back_off_seconds"].as_f64().unwrap_or_default());
        }
    }
    let (base_quiet, base) = (median(quiet[0].clone()), median(times[0].clone()));
    for (at, (name, _)) in SETTINGS.iter().enumerate() {
        beside[at].add(name, figures);
        figures.add(
            format!("foreground_p99_ratio_{name}"),
            beside[at].percentile(99.0) / alone.percentile(99.0),
            Aim::None,
        );
        figures.add(format!("foreground_back_off_seconds_{name}"), median(held[at].clone()), Aim::None);
        figures.add(format!("foreground_backup_seconds_{name}"), median(times[at].clone()), Aim::None);
        figures.add(format!("foreground_backup_ratio_{name}"), median(times[at].clone()) / base, Aim::None);
        figures.add(format!("quiet_back_off_seconds_{name}"), median(quiet_held[at].clone()), Aim::None);
        figures.add(format!("quiet_backup_ratio_{name}"), median(quiet[at].clone()) / base_quiet, Aim::None);
    }
}

fn backup(cluster: &Cluster, folder: &Path, data: &str, uids: &str, more: &[&str]) -> ark::Run {
    let repository = folder.join("foreground");
    let _ = std::fs::remove_dir_all(&repository);
    ark::backup_with(cluster, &repository, data, uids, more)
}

/// What a canary meets beside a backup at full pace, out of the log.
fn canary(log: &str, figures: &mut Figures) {
    let millis = |line: &str| {
        let text = line.split_once("latency=")?.1.split_whitespace().next()?;
        let (number, unit) = text.split_at(text.find(|c: char| c != '.' && !c.is_ascii_digit())?);
        let factor = if unit.starts_with("ms") {
            1.0
        } else if unit.starts_with('s') {
            1000.0
        } else {
            0.001
        };
        Some(number.parse::<f64>().ok()? * factor)
    };
    let latencies = Latencies(
        log.lines().filter(|line| line.contains("canary")).filter_map(millis).map(|ms| ms / 1000.0).collect(),
    );
    if !latencies.0.is_empty() {
        latencies.add("canary", figures);
    }
    log.lines().filter(|line| line.contains("baseline=")).for_each(|line| eprintln!("  {line}"));
}

/// Row keys from all over the table, in an order that is not that of the table.
fn keys(mix: &Mix) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    for metric in 0..mix.metrics {
        let (mut rows, mut row, mut number) = (mix.metric(metric), Row::default(), 0);
        while rows.next(&mut row) {
            number += 1;
            if number % SAMPLE == 0 {
                keys.push(row.key.clone());
            }
        }
    }
    assert!(!keys.is_empty(), "the table has too few rows to be read from");
    let count = keys.len();
    (0..count).map(|at| keys[at * 7919 % count].clone()).collect()
}

/// Seconds of each get.
#[derive(Default)]
struct Latencies(Vec<f64>);

impl Latencies {
    /// Those of readers while something runs.
    fn of<T>(cluster: &Cluster, table: &str, keys: &[Vec<u8>], run: impl FnOnce() -> T) -> (Latencies, T) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS)
                .map(|reader| {
                    scope.spawn({
                        let stop = &stop;
                        move || read(cluster, table, keys, reader, stop)
                    })
                })
                .collect();
            let done = run();
            stop.store(true, Ordering::Relaxed);
            (Latencies(readers.into_iter().flat_map(|reader| reader.join().expect("a reader")).collect()), done)
        })
    }

    fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * percent / 100.0) as usize]
    }

    fn add(&self, name: &str, figures: &mut Figures) {
        for percent in [50.0, 99.0] {
            figures.add(format!("foreground_p{percent}_ms_{name}"), self.percentile(percent) * 1000.0, Aim::None);
        }
    }
}

/// Gets rows at a steady pace, one at a time: a late answer delays the next get.
fn read(cluster: &Cluster, table: &str, keys: &[Vec<u8>], reader: usize, stop: &AtomicBool) -> Vec<f64> {
    let mut wire = Wire::open(&cluster.gateway);
    let mut latencies = Vec::new();
    let mut due = Instant::now();
    for key in keys.iter().cycle().skip(reader * keys.len() / READERS) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut end = key.clone();
        end.push(0);
        let begun = Instant::now();
        assert_eq!(wire.page(table, key, &end, 1).rows, 1, "the row is there");
        latencies.push(begun.elapsed().as_secs_f64());
        due = (due + EVERY).max(Instant::now());
    }
    latencies
}
