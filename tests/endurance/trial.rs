//! One run of the program among faults, and the judgement of how it ended.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tsdb_ark::model::Tally;

use crate::chaos::{Chaos, Gateway};
use crate::place::Place;
use crate::support::ark::{Run, table_flags};
use crate::support::bed::Bed;
use crate::support::faults::plan::Plan;
use crate::support::faults::thrift::ThriftProxy;
use crate::support::golden;
use crate::support::synthetic::{Synthetic, assert_tally, tally};
use crate::support::tsd::Tables;

/// Short times, so that a silent gateway costs seconds, and small pages, so that there are many calls.
const FLAGS: [&str; 10] = [
    "--page-size",
    "16KiB",
    "--connections",
    "3",
    "--read-timeout",
    "3s",
    "--put-timeout",
    "5s",
    "--connect-timeout",
    "2s",
];

/// All runs so far.
pub struct Trials<'a> {
    bed: &'a Bed,
    tables: &'a Tables,
    wanted: Tally,
    gateways: &'a [Gateway; 2],
    rate: u32,
    /// The last backup that was committed: restores come from it.
    saved: Option<Place>,
    whole: u32,
    /// Backups that got through when they were resumed.
    resumed: u32,
    /// Whole backups by place.
    places: BTreeMap<&'static str, u32>,
    /// Runs by verb and exit code.
    ends: BTreeMap<(&'static str, i32), u32>,
    faults: BTreeMap<&'static str, u64>,
    seconds: f64,
    peak: u64,
}

impl<'a> Trials<'a> {
    /// None yet. `rate`: faults per minute in both proxies together.
    pub fn new(bed: &'a Bed, shape: &Synthetic, tables: &'a Tables, gateways: &'a [Gateway; 2], rate: u32) -> Self {
        let wanted = tally(&shape.data());
        let (ends, faults, places) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self {
            bed,
            tables,
            wanted,
            gateways,
            rate,
            saved: None,
            whole: 0,
            resumed: 0,
            places,
            ends,
            faults,
            seconds: 0.0,
            peak: 0,
        }
    }

    /// Runs so far.
    pub fn count(&self) -> u32 {
        self.ends.values().sum()
    }

    /// Runs that got through and were found right.
    pub fn whole(&self) -> u32 {
        self.whole
    }

    /// One run with this seed, and the judgement. Every third one is a restore, once there is a backup.
    pub fn run(&mut self, seed: u64, chaos: Chaos<'_>) {
        let proxies: Vec<ThriftProxy> = (0..2)
            .map(|n| ThriftProxy::start(&self.gateways[n].address, Plan::random(seed * 2 + n as u64, self.rate / 2)))
            .collect();
        let mut flags: Vec<String> = proxies.iter().flat_map(|p| ["--gateway".to_string(), p.address()]).collect();
        flags.extend(FLAGS.iter().map(|flag| (*flag).to_string()));
        let (stop, strikes) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let restore = seed.is_multiple_of(3) && self.saved.is_some();
        let begun = Instant::now();
        let (verb, run) = std::thread::scope(|scope| {
            scope.spawn(|| chaos.run(seed, &stop, &strikes));
            let _stop = AtTheEnd(&stop);
            if restore { ("restore", self.restore(&flags)) } else { ("backup", self.backup(seed, &flags)) }
        });
        let seconds = begun.elapsed().as_secs_f64();
        for (name, count) in strikes.into_inner().unwrap().into_iter().map(|name| (name, 1)) {
            *self.faults.entry(name).or_default() += count;
        }
        let injected: u64 = proxies.iter().map(ThriftProxy::total).sum();
        for (name, count) in proxies.iter().flat_map(ThriftProxy::injected) {
            *self.faults.entry(name).or_default() += count;
        }
        *self.ends.entry((verb, run.code)).or_default() += 1;
        self.seconds += seconds;
        self.whole += u32::from(run.code == 0);
        self.peak = self.peak.max(run.json["peak_rss_bytes"].as_u64().unwrap_or(0));
        println!(
            "seed {seed}: {verb} ended with {} after {seconds:.1} s and {injected} faults {}",
            run.code,
            run.err.trim()
        );
        if ![0, 75].contains(&run.code) {
            let log: Vec<String> = proxies.iter().flat_map(ThriftProxy::log).collect();
            panic!("seed {seed}: exit code {}: {}\n{}", run.code, run.err, log.join("\n"));
        }
    }

    /// A backup, and where it gives up, up to eight runs that resume it among the same faults. A whole one is kept for
    /// the restores. Every other disk seed repeats nothing, so that there is something to resume.
    fn backup(&mut self, seed: u64, flags: &[String]) -> Run {
        let place = Place::new(seed, self.rate / 2);
        let mut all = [flags, &table_flags(self.tables)].concat();
        all.extend(["--retry-for", if seed % 4 == 1 { "0s" } else { "30s" }].map(String::from));
        let words: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut run = place.run("backup", &words, false);
        for _ in 0..8 {
            if run.code != 75 {
                break;
            }
            assert_eq!(place.committed(), 0, "seed {seed}: a failed backup was committed");
            println!("seed {seed}: goes on after: {}", run.err.trim());
            // A run that fails before its first shard leaves nothing to resume.
            let resume: &[&str] = if place.has_unfinished() { &["--resume"] } else { &[] };
            run = place.run("backup", &[&words, resume].concat(), false);
            self.resumed += u32::from(run.code == 0 && !resume.is_empty());
        }
        *self.faults.entry("faults of the store").or_default() += place.faults();
        if run.code == 0 {
            assert_tally(&run.json, &self.tables.data(), &self.wanted);
            assert_eq!(place.run("verify", &["--level", "cells"], true).expect(0).json["differences"], 0);
            let gateway = self.bed.thrift2_address();
            let more = ["--level", "source", "--gateway", &gateway];
            assert_eq!(place.run("verify", &more, true).expect(0).json["differences"], 0);
            *self.places.entry(place.name()).or_default() += 1;
            self.saved = Some(place);
        } else {
            assert_eq!(place.committed(), 0, "seed {seed}: a failed backup was committed");
        }
        run
    }

    /// A restore of the data table into a new one, which goes again.
    fn restore(&self, flags: &[String]) -> Run {
        let (old, new) = (self.tables.data(), self.bed.unique("restored"));
        let rename = format!("{old}={new}");
        let mut all: Vec<&str> = flags.iter().map(String::as_str).collect();
        all.extend(["--retry-for", "30s"]);
        all.extend(["--table", &old, "--rename-table", &rename]);
        let run = self.saved.as_ref().unwrap().run("restore", &all, false);
        if run.code == 0 {
            assert_eq!(run.json["differences"], 0);
            assert_eq!(tally(&golden::dump(self.bed, &new, false)), self.wanted, "{new}");
        }
        // It may have failed before it made the table.
        let _ = self.bed.control(&format!("drop {new}"));
        run
    }

    /// What was done and how it ended.
    pub fn summary(&self) -> String {
        let ends: Vec<String> =
            self.ends.iter().map(|((verb, code), count)| format!("{count} {verb}s ended with {code}")).collect();
        let faults: Vec<String> = self.faults.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let total: u64 = self.faults.values().sum();
        format!(
            "{} runs in {:.0} s, {total} faults ({:.0} per minute); {}; {} of them after a resume; whole backups by place {:?}; \
             peak {} MiB\n{}",
            self.count(),
            self.seconds,
            total as f64 / self.seconds * 60.0,
            ends.join(", "),
            self.resumed,
            self.places,
            self.peak >> 20,
            faults.join(", ")
        )
    }
}

/// Also when an assertion fails.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
