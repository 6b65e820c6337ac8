//! How fast the program is and how large its backups are, against a real HBase: `scripts/bench.sh`.
//!
//! | figure | |
//! |---|---|
//! | `drain_ratio_*` | wall time of `tsdb-ark backup` over that of a loop on as many connections which skips through the same tables; medians of alternating runs |
//! | `encode_*` | million points per CPU second of one thread from the bytes of a reply to a points file, proof included |
//! | `instructions_per_point_*` | with `--instructions` and valgrind: the same in instructions, as callgrind counts them; `cardinality`: a series has 3 rows of 2 points; `*_read`: from the points file to cells |
//! | `bytes_per_point_*` | points file and series table; `without`: of compacted rows, less the columns of write times |
//! | `peak_rss_mib` | the most that any backup, restore or verify held |
//! | `verify_written_cpu_ratio_*` | CPU time of a backup with `--verify-written`, which decodes every file that it wrote, over that of one which decodes one in 16 |
//! | `bytes_touched_*` | share of the bytes of all points files that is read to find one metric, one series: catalogue, statistics and page index |
//! | `cardinality_*` | a table of one metric and so many series, with 3 rows of 2 single points each: CPU of a backup per row, bytes of all its Parquet files per point, memory |
//! | `restore_ratio*` | wall time of `tsdb-ark restore`, which creates its table, over that of a loop which puts the same batches, encoded before; medians of alternating runs |
//! | `foreground_*` | with `--foreground`: percentiles of the latency of point gets alone and beside a backup with `--back-off` off, by default, and sharper; wall times of those backups, and of some without readers, over those with back-off off |
//!
//! A missed aim is marked and is no failure: other machines and busy ones give other figures.

#![expect(clippy::expect_used, clippy::panic, reason = "a benchmark stops at the first error")]

mod ark;
#[path = "../support/bed.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests, which use all of it")]
mod bed;
mod cluster;
mod encode;
mod figures;
mod foreground;
mod instructions;
mod lookup;
mod mix;
mod wire;

use std::path::{Path, PathBuf};

use cluster::{Cluster, batches};
use encode::encode;
use figures::{Aim, Figures, median};
use lookup::{Wanted, look_up};
use mix::{Form, Mix};

/// What is asked for.
struct Options {
    json: Option<PathBuf>,
    single: u64,
    compacted: u64,
    series: u32,
    runs: usize,
    connections: usize,
    /// Without a cluster: the figures of the library alone.
    offline: bool,
    /// Only what users of the cluster feel of a backup.
    foreground: bool,
    /// Instructions per point as well: half a minute with an optimised build.
    instructions: bool,
}

const USAGE: &str = "bench.sh [--json FILE] [--points-single N] [--points-compacted N] [--series N] [--runs N] [--connections N] [--instructions] [--offline | --foreground]";

fn usage(what: &str) -> ! {
    eprintln!("{what}\nusage: {USAGE}");
    std::process::exit(2)
}

impl Options {
    fn parse() -> Options {
        let mut options = Options {
            json: None,
            single: 5_000_000,
            compacted: 50_000_000,
            series: 1_000_000,
            runs: 3,
            connections: 4,
            offline: false,
            foreground: false,
            instructions: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || -> u64 {
                let text = arguments.next().unwrap_or_default().replace('_', "");
                text.parse().unwrap_or_else(|_| usage(&format!("{argument} needs a number")))
            };
            match argument.as_str() {
                "--json" => options.json = arguments.next().map(PathBuf::from),
                "--points-single" => options.single = number(),
                "--points-compacted" => options.compacted = number(),
                "--series" => options.series = number() as u32,
                "--runs" => options.runs = number() as usize,
                "--connections" => options.connections = number() as usize,
                "--offline" => options.offline = true,
                "--foreground" => options.foreground = true,
                "--instructions" => options.instructions = true,
                // Under callgrind.
                "--count" => {
                    instructions::count(&arguments.next().unwrap_or_default());
                    std::process::exit(0);
                }
                // Added by cargo.
                "--bench" => {}
                _ => usage(&format!("unknown argument {argument}")),
            }
        }
        options
    }
}

fn main() {
    let options = Options::parse();
    let mut figures = Figures::default();
    if options.foreground {
        users(&options, &mut figures);
    } else {
        if options.instructions {
            count_instructions(&mut figures);
        }
        library(&options, &mut figures);
    }
    if !options.offline && !options.foreground {
        end_to_end(&options, &mut figures);
    }
    println!("\n{}", figures.table());
    if let Some(path) = &options.json {
        figures.write(path).expect("the figures can be written");
    }
}

/// Speed and size of the library alone.
fn library(options: &Options, figures: &mut Figures) {
    for form in [Form::Compacted, Form::Single] {
        for jitter in [false, true] {
            let mix = Mix { jitter, ..Mix::new(form, options.single) };
            eprintln!("encoding {} points, {form:?}{}", mix.points(), if jitter { ", jittered" } else { "" });
            let found = encode(&mix);
            let suffix = if jitter { "_jittered" } else { "" };
            let (name, speed, least, most) = match form {
                Form::Compacted => ("compacted", "encode_mpoints_per_core", 12.0, 1.9),
                Form::Single => ("single", "encode_single_mpoints_per_core", 7.0, 3.2),
            };
            let aim = |aim: Aim| if jitter { Aim::None } else { aim };
            figures.add(format!("{speed}{suffix}"), found.mpoints_per_core, aim(Aim::Least(least)));
            figures.add(format!("bytes_per_point_{name}{suffix}"), found.bytes_per_point, aim(Aim::Most(most)));
            if form == Form::Compacted {
                figures.add(format!("bytes_per_point_without{suffix}"), found.bytes_without, aim(Aim::Most(1.8)));
            }
            for (stage, seconds) in ["parse", "decode", "sort", "prove", "write"].iter().zip(found.stages) {
                figures.add(format!("cpu_ns_per_point_{stage}_{name}{suffix}"), seconds * 1000.0, Aim::None);
            }
        }
    }
}

/// Instructions per point.
fn count_instructions(figures: &mut Figures) {
    for name in instructions::COUNTED {
        match instructions::per_point(name) {
            Some(count) => figures.add(format!("instructions_per_point_{name}"), count, Aim::None),
            None => eprintln!("  without valgrind there are no instructions_per_point"),
        }
    }
}

/// Everything that needs a cluster.
fn end_to_end(options: &Options, figures: &mut Figures) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the backups");
    let cluster = Cluster::start(options.connections);
    eprintln!("HBase {}, gateway {}, {} connections", cluster.version(), cluster.gateway, cluster.connections);
    let mut rss: f64 = 0.0;
    for (form, points) in [(Form::Single, options.single), (Form::Compacted, options.compacted)] {
        let mut case = Case::new(&cluster, form, points, &folder, options.runs);
        rss = rss.max(case.backups(figures)).max(case.restores(figures)).max(case.verification(figures));
        case.drop_tables();
    }
    cardinality(&cluster, options.series, &folder, figures);
    figures.add("peak_rss_mib", rss, Aim::Most(512.0));
    std::fs::remove_dir_all(&folder).expect("the backups can be removed");
}

/// A table of many short series.
fn cardinality(cluster: &Cluster, series: u32, folder: &Path, figures: &mut Figures) {
    let mix = Mix::of_series(series);
    eprintln!("writing {} points of {series} series", mix.points());
    let (data, uids) = ("series-tsdb", "series-tsdb-uid");
    cluster.fill(&mix, data, uids);
    let (points, rows) = (mix.points(), mix.points() / u64::from(mix.per_row));
    let backup = ark::backup(cluster, &folder.join("series"), data, uids);
    let written = backup.json["bytes_written"].as_f64().unwrap_or_default();
    figures.add("cardinality_cpu_us_per_row", backup.cpu * 1e6 / rows as f64, Aim::Most(2.5));
    figures.add("cardinality_bytes_per_point", written / points as f64, Aim::Most(9.0));
    figures.add("cardinality_peak_rss_mib", backup.rss_mib(), Aim::Most(512.0));
    cluster.drop_table(data);
    cluster.drop_table(uids);
}

/// What users of the cluster feel of a backup.
fn users(options: &Options, figures: &mut Figures) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the backups");
    let cluster = Cluster::start(options.connections);
    let mix = Mix::new(Form::Single, options.single);
    eprintln!("writing {} points in {} cells", mix.points(), mix.cells());
    cluster.fill(&mix, "users-tsdb", "users-tsdb-uid");
    foreground::foreground(&cluster, &mix, "users-tsdb", "users-tsdb-uid", &folder, options.runs, figures);
    std::fs::remove_dir_all(&folder).expect("the backups can be removed");
}

/// One kind of table, end to end.
struct Case<'a> {
    cluster: &'a Cluster,
    mix: Mix,
    name: &'static str,
    data: String,
    uids: String,
    repository: PathBuf,
    runs: usize,
    /// Folder of the last backup.
    backup: PathBuf,
}

impl<'a> Case<'a> {
    fn new(cluster: &'a Cluster, form: Form, points: u64, folder: &Path, runs: usize) -> Case<'a> {
        let name = if form == Form::Single { "single" } else { "compacted" };
        let (data, uids) = (format!("{name}-tsdb"), format!("{name}-tsdb-uid"));
        let mix = Mix::new(form, points);
        eprintln!("writing {} points in {} cells to {data}", mix.points(), mix.cells());
        cluster.fill(&mix, &data, &uids);
        Case { cluster, mix, name, data, uids, repository: folder.join(name), runs, backup: PathBuf::new() }
    }

    /// Drains and backups in turn; returns the most memory.
    fn backups(&mut self, figures: &mut Figures) -> f64 {
        let (mut drains, mut backups, mut cpu, mut rss) = (Vec::new(), Vec::new(), Vec::new(), 0.0_f64);
        let (mut wire, mut written) = (0, 0.0);
        // The first of each warms the gateway's compiler and HBase's caches and does not count.
        for run in 0..=self.runs {
            let (seconds, bytes) = self.cluster.drain(&self.mix, &self.data, &self.uids);
            let backup = ark::backup(self.cluster, &self.repository, &self.data, &self.uids);
            let points = backup.json["tables"].as_array().and_then(|tables| tables.first()?["points"].as_u64());
            assert_eq!(points, Some(self.mix.points()), "the backup is not of the whole table");
            eprintln!("  drain {seconds:.2} s, backup {:.2} s, of it CPU {:.2} s", backup.seconds, backup.cpu);
            let id = backup.json["backup"].as_str().expect("a backup has an id");
            self.backup = self.repository.join("backups").join(id);
            wire = bytes;
            written = backup.json["bytes_written"].as_f64().unwrap_or_default();
            rss = rss.max(backup.rss_mib());
            if run > 0 {
                drains.push(seconds);
                backups.push(backup.seconds);
                cpu.push(backup.cpu);
            }
        }
        let name = self.name;
        let (key, most) = match self.mix.form {
            Form::Single => ("drain_ratio_uncompacted", 1.2),
            Form::Compacted => ("drain_ratio_compacted", 1.8),
        };
        let (drain, backup) = (median(drains), median(backups));
        figures.add(key, backup / drain, Aim::Most(most));
        figures.add(format!("drain_seconds_{name}"), drain, Aim::None);
        figures.add(format!("backup_seconds_{name}"), backup, Aim::None);
        let default_cpu = median(cpu);
        figures.add(format!("backup_cpu_seconds_{name}"), default_cpu, Aim::None);
        figures.add(format!("backup_bytes_per_point_{name}"), written / self.mix.points() as f64, Aim::None);
        self.look_up(figures);
        let verified = ark::backup_with(self.cluster, &self.repository, &self.data, &self.uids, &["--verify-written"]);
        figures.add(format!("verify_written_cpu_ratio_{name}"), verified.cpu / default_cpu, Aim::None);
        rss = rss.max(verified.rss_mib());
        figures.add(format!("wire_mib_{name}"), wire as f64 / f64::from(1 << 20), Aim::None);
        rss
    }

    /// Looks for one metric, and for one series.
    fn look_up(&self, figures: &mut Figures) {
        let (metric, tsuid, of_series) = self.mix.one_series();
        for (what, tsuid, expected) in
            [("metric", None, of_series * u64::from(self.mix.hosts)), ("series", Some(tsuid.as_str()), of_series)]
        {
            let (found, touched, stored) = look_up(&self.backup, &Wanted { metric: &metric, tsuid });
            assert_eq!(found, expected, "points of one {what}");
            let aim = if tsuid.is_some() { Aim::Most(0.02) } else { Aim::None };
            figures.add(format!("bytes_touched_{what}_{}", self.name), touched as f64 / stored as f64, aim);
        }
    }

    /// Restores and bare put loops in turn; returns the most memory.
    fn restores(&mut self, figures: &mut Figures) -> f64 {
        let (target, bare) = (format!("{}-restored", self.data), format!("{}-bare", self.data));
        let batches = batches(&self.backup, &bare);
        let (mut loops, mut restores, mut cpu, mut rss) = (Vec::new(), Vec::new(), Vec::new(), 0.0_f64);
        for _ in 0..self.runs.clamp(1, 2) {
            self.cluster.create_data(&bare);
            let seconds = self.cluster.put_all(&batches);
            self.cluster.drop_table(&bare);
            let restore = ark::restore(self.cluster, &self.repository, &self.data, &target);
            self.cluster.drop_table(&target);
            eprintln!("  put loop {seconds:.2} s, restore {:.2} s, of it CPU {:.2} s", restore.seconds, restore.cpu);
            loops.push(seconds);
            restores.push(restore.seconds);
            cpu.push(restore.cpu);
            rss = rss.max(restore.rss_mib());
        }
        let name = self.name;
        let (bare, restore) = (median(loops), median(restores));
        let (key, aim) = match self.mix.form {
            Form::Single => ("restore_ratio", Aim::Most(1.25)),
            Form::Compacted => ("restore_ratio_compacted", Aim::None),
        };
        figures.add(key, restore / bare, aim);
        figures.add(format!("put_loop_seconds_{name}"), bare, Aim::None);
        figures.add(format!("restore_seconds_{name}"), restore, Aim::None);
        figures.add(format!("restore_cpu_seconds_{name}"), median(cpu), Aim::None);
        rss
    }

    fn verification(&self, figures: &mut Figures) -> f64 {
        let verify = ark::verify(&self.repository);
        figures.add(format!("verify_seconds_{}", self.name), verify.seconds, Aim::None);
        verify.rss_mib()
    }

    fn drop_tables(&self) {
        self.cluster.drop_table(&self.data);
        self.cluster.drop_table(&self.uids);
    }
}
