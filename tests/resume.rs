//! What was killed is resumed, whatever happened to the repository in between, and ends as if nothing had happened.
//!
//! Every run is killed with SIGKILL at a call to the gateway that dice choose, or a little later: by the clock it would
//! depend on the machine what the run has done by then. In a third of the cases objects of the repository are deleted,
//! truncated or swapped before the resume. `TSDB_ARK_KILLS=30` makes more of them; the seed of a case that fails is in its
//! message, and `TSDB_ARK_SEED` starts from it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use support::ark::{self, Repository, Run};
use support::bed::Bed;
use support::faults::plan::{Fault, Plan};
use support::faults::thrift::ThriftProxy;
use support::synthetic::{BASE, Dice, Synthetic, assert_tally, tally};
use support::tsd::Tables;
use tsdb_ark::model::KeyLayout;

/// 40,000 rows of three cells each.
const SOURCE: Synthetic = Synthetic { layout: PLAIN, metrics: 4, series: 100, hours: 100, points: 3 };
const PLAIN: KeyLayout = KeyLayout { metric_width: 3, tagk_width: 3, tagv_width: 3, salt_width: 0, salt_buckets: 20 };
/// Small pages and many shards, so that there are many moments at which a run can end.
const SMALL: [&str; 4] = ["--page-size", "32KiB", "--connections", "6"];
const SCAN: &str = "getScannerResults";
const PUT: &str = "putMultiple";

fn tables(bed: &Bed) -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| SOURCE.load(bed, &[]))
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Cases so far are enough: as many as were asked for, and one at least that had something to resume.
fn is_enough(cases: u64, kept: u64) -> bool {
    let wanted = number("TSDB_ARK_KILLS", 5);
    assert!(kept > 0 || cases < 10 * wanted, "{cases} cases, and never anything to resume: nothing was tested");
    cases >= wanted && kept > 0
}

/// A command in the background.
fn start(arguments: &[String]) -> Child {
    ark::command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// When a run is killed.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// Of the gateway.
    method: &'static str,
    /// Calls of it, counted from 1.
    call: u64,
    /// How long after this call; none: while it waits for its answer.
    later: Duration,
}

impl Moment {
    /// One of so many calls of a method.
    fn of(method: &'static str, calls: u64, dice: &mut Dice) -> Self {
        let later = if dice.below(2) == 0 { Duration::ZERO } else { Duration::from_millis(dice.below(60) as u64) };
        Self { method, call: 1 + dice.below(usize::try_from(calls).unwrap()) as u64, later }
    }

    /// Runs a command whose gateway is a proxy, and kills it at this moment; what it said when it had ended by itself.
    fn kill(self, bed: &Bed, arguments: impl FnOnce(&str) -> Vec<String>) -> Option<Run> {
        let held = Plan::once(self.method, self.call, Fault::Hold);
        let plan = if self.later.is_zero() { held } else { Plan::default() };
        let proxy = ThriftProxy::start(&bed.thrift2_address(), plan);
        let mut child = start(&arguments(&proxy.address()));
        let has_ended = |child: &mut Child| child.try_wait().unwrap().is_some();
        while proxy.calls(self.method) < self.call && !has_ended(&mut child) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(self.later);
        let ended = has_ended(&mut child);
        if !ended {
            child.kill().unwrap();
        }
        let run = ark::finished(child.wait_with_output().unwrap());
        ended.then_some(run)
    }

    /// As [`kill`](Self::kill), earlier when the run was quicker; `undo` does away with what it did then.
    fn kill_in_time(mut self, bed: &Bed, mut arguments: impl FnMut(&str) -> Vec<String>, mut undo: impl FnMut()) {
        while let Some(run) = self.kill(bed, &mut arguments) {
            run.expect(0);
            undo();
            self = Self { call: (self.call * 3 / 4).max(1), later: Duration::ZERO, ..self };
        }
    }
}

/// Runs a command to its end through a proxy, which has counted its calls then.
fn undisturbed(bed: &Bed, arguments: impl FnOnce(&str) -> Vec<String>) -> ThriftProxy {
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::default());
    ark::run(&arguments(&proxy.address())).expect(0);
    proxy
}

fn backup_arguments(bed: &Bed, repository: &Repository, more: &[&str]) -> Vec<String> {
    backup_through(&bed.thrift2_address(), bed, repository, more)
}

fn backup_through(gateway: &str, bed: &Bed, repository: &Repository, more: &[&str]) -> Vec<String> {
    let path = repository.path();
    let mut arguments: Vec<String> =
        ["backup", "--repository", path.to_str().unwrap(), "--json", "--gateway", gateway].map(str::to_owned).to_vec();
    arguments.extend(ark::table_flags(tables(bed)));
    arguments.extend(SMALL.iter().chain(more).map(|text| (*text).to_owned()));
    arguments
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Deletes, truncates or swaps some files below a folder; what was done, in words.
fn tamper(folder: &Path, dice: &mut Dice) -> Vec<String> {
    let files = files_below(folder);
    let mut done = Vec::new();
    for _ in 0..(1 + dice.below(3)).min(files.len()) {
        let path = &files[dice.below(files.len())];
        let Ok(bytes) = std::fs::read(path) else { continue };
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match dice.below(3) {
            0 => {
                std::fs::remove_file(path).unwrap();
                done.push(format!("{name} deleted"));
            }
            1 => {
                std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
                done.push(format!("{name} truncated"));
            }
            _ => {
                let other = &files[dice.below(files.len())];
                let Ok(theirs) = std::fs::read(other) else { continue };
                std::fs::write(path, theirs).unwrap();
                std::fs::write(other, bytes).unwrap();
                done.push(format!("{name} swapped with {}", other.file_name().unwrap().to_string_lossy()));
            }
        }
    }
    done
}

fn committed(repository: &Repository) -> usize {
    repository.run("list", &[]).expect(0).json["backups"].as_array().unwrap().len()
}

fn assert_whole(bed: &Bed, report: &Value, repository: &Repository, case: &str) {
    assert_tally(report, &tables(bed).data(), &tally(&SOURCE.data()));
    assert_eq!(committed(repository), 1, "{case}");
    let checked = repository.verify("cells", &[]).expect(0).json;
    assert_eq!(checked["differences"], 0, "{case}: {checked}");
    let compared = repository.verify("source", &["--gateway", &bed.thrift2_address()]).expect(0).json;
    assert_eq!(compared["differences"], 0, "{case}: {compared}");
}

#[test]
fn a_killed_backup_goes_on() {
    let bed = Bed::shared();
    tables(bed);
    let pages = undisturbed(bed, |gateway| backup_through(gateway, bed, &Repository::default(), &[])).calls(SCAN);
    let (first, mut cases, mut kept) = (number("TSDB_ARK_SEED", 1), 0, 0);
    while !is_enough(cases, kept) {
        let seed = first + cases;
        cases += 1;
        let mut dice = Dice(seed);
        let repository = Repository::default();
        let moment = Moment::of(SCAN, pages, &mut dice);
        let mut story = vec![format!("seed {seed}, {moment:?} of {pages}")];
        moment.kill_in_time(
            bed,
            |gateway| backup_through(gateway, bed, &repository, &[]),
            || std::fs::remove_dir_all(repository.path()).unwrap(),
        );
        let mut report = None;
        // Some are killed again while they go on.
        for round in 0..1 + dice.below(2) {
            if round == 1 {
                let again = Moment::of(SCAN, pages, &mut dice);
                story.push(format!("again {again:?}"));
                match again.kill(bed, |gateway| backup_through(gateway, bed, &repository, &["--resume"])) {
                    Some(run) if run.code == 0 => report = Some(run.json),
                    Some(run) => assert_eq!(run.code, 2, "{story:?}: {}", run.err),
                    None => {}
                }
            }
            let begun = repository.path().join("backups");
            if report.is_none() && seed % 3 == 0 {
                story.extend(tamper(&begun, &mut dice));
            }
        }
        if report.is_none() && repository.path().join("repository.json").exists() {
            assert_eq!(committed(&repository), 0, "{story:?}");
        }
        let report = report.unwrap_or_else(|| {
            let run = ark::run(&backup_arguments(bed, &repository, &["--resume"]));
            if run.code == 2 {
                // Killed before anything was begun, or what it was asked for is lost: then a new backup is needed.
                story.push(run.err);
                return ark::run(&backup_arguments(bed, &repository, &[])).expect(0).json;
            }
            let run = run.expect(0);
            kept += run.json["resumed"]["shards_kept"].as_u64().unwrap();
            run.json
        });
        eprintln!("{story:?}: {}", report["resumed"]);
        assert_whole(bed, &report, &repository, &format!("{story:?}"));
    }
}

#[test]
fn resume_reads_only_what_is_missing() {
    let bed = Bed::shared();
    let repository = Repository::default();
    let refused = ark::run(&backup_arguments(bed, &repository, &["--resume"])).expect(2);
    assert!(refused.err.contains("no unfinished backup"), "{}", refused.err);
    let whole = ark::run(&backup_arguments(bed, &repository, &[])).expect(0).json;
    let id = whole["backup"].as_str().unwrap().to_owned();
    // A finished backup is nothing to resume.
    ark::run(&backup_arguments(bed, &repository, &["--resume"])).expect(2);

    // The state right before the commit.
    let folder = repository.path().join("backups").join(&id);
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    let plain = ark::run(&backup_arguments(bed, &repository, &["--dry-run"])).expect(0).json;
    assert!(plain["backup"].is_null());
    let other = ark::run(&backup_arguments(bed, &repository, &["--resume", "--raw"])).expect(2);
    assert!(other.err.contains("without --raw"), "{}", other.err);
    let again = ark::run(&backup_arguments(bed, &repository, &["--resume"])).expect(0).json;
    assert_eq!((&again["backup"], &again["resumed"]["shards_read"]), (&whole["backup"], &Value::from(0)));
    assert_eq!(again["tables"], whole["tables"]);

    // One data file short: its shard is read again, and the UIDs, which come last.
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    let lost = repository.files_of("points").into_iter().next().unwrap();
    std::fs::remove_file(&lost).unwrap();
    let repaired = ark::run(&backup_arguments(bed, &repository, &["--resume"])).expect(0).json;
    let problems = repaired["resumed"]["problems"].to_string();
    assert!(problems.contains(lost.file_name().unwrap().to_str().unwrap()), "{problems}");
    assert!(repaired["resumed"]["shards_kept"].as_u64().unwrap() > 0);
    assert_whole(bed, &repaired, &repository, "one file lost");
    // A plain backup says what it finds.
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    let plain = ark::run(&backup_arguments(bed, &repository, &[])).expect(0).json;
    assert!(plain["warnings"].to_string().contains(&format!("backup {id}")), "{}", plain["warnings"]);
    assert!(plain["warnings"].to_string().contains("--resume"), "{}", plain["warnings"]);
}

#[test]
fn a_killed_window_goes_on() {
    let bed = Bed::shared();
    tables(bed);
    let to = (BASE + 60 * 3600).to_string();
    // So long ago is another time in each run.
    let window = ["--since", "40000d", "--to", &to, "--metric", "metric.[12]"];
    let pages = undisturbed(bed, |gateway| backup_through(gateway, bed, &Repository::default(), &window)).calls(SCAN);
    let repository = Repository::default();
    let moment = Moment { method: SCAN, call: pages * 3 / 4, later: Duration::ZERO };
    moment.kill_in_time(
        bed,
        |gateway| backup_through(gateway, bed, &repository, &window),
        || std::fs::remove_dir_all(repository.path()).unwrap(),
    );
    let whole = ark::run(&backup_arguments(bed, &repository, &["--resume"])).expect(2);
    assert!(whole.err.contains("of a window"), "{}", whole.err);
    let other = [&["--resume", "--metric", "metric.1"], &window[..4]].concat();
    let other = ark::run(&backup_arguments(bed, &repository, &other)).expect(2);
    assert!(other.err.contains("another selection"), "{}", other.err);
    let report = ark::run(&backup_arguments(bed, &repository, &[&["--resume"], &window[..]].concat())).expect(0).json;
    assert!(report["resumed"]["shards_kept"].as_u64().unwrap() > 0, "{report}");
    let keys: BTreeSet<Vec<u8>> = (0..2)
        .flat_map(|metric| (0..100).flat_map(move |series| (0..60).map(move |hour| SOURCE.key(metric, series, hour))))
        .collect();
    let mut wanted = SOURCE.data();
    wanted.retain(|cell| keys.contains(&cell.row));
    assert_tally(&report, &tables(bed).data(), &tally(&wanted));
    for (level, more) in [("cells", &[][..]), ("source", &["--gateway", &bed.thrift2_address()])] {
        assert_eq!(repository.verify(level, more).expect(0).json["differences"], 0, "{level}");
    }
}

#[test]
fn of_two_that_go_on_at_the_same_time_one_commits() {
    let bed = Bed::shared();
    let repository = Repository::default();
    let whole = ark::run(&backup_arguments(bed, &repository, &[])).expect(0).json;
    let folder = repository.path().join("backups").join(whole["backup"].as_str().unwrap());
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    for record in repository.files().iter().filter(|path| path.contains("/shards/")) {
        std::fs::remove_file(repository.path().join(record)).unwrap();
    }
    // Neither gets its first page before the other one asks for one, or has met its lock.
    let held = || ThriftProxy::start(&bed.thrift2_address(), Plan::calls(SCAN, 1..u64::MAX, Fault::Hold));
    let proxies = [held(), held()];
    let mut racers =
        [0, 1].map(|n: usize| start(&backup_through(&proxies[n].address(), bed, &repository, &["--resume"])));
    while !(0..2).all(|n: usize| proxies[n].calls(SCAN) > 0 || racers[n].try_wait().unwrap().is_some()) {
        std::thread::sleep(Duration::from_millis(5));
    }
    proxies.iter().for_each(ThriftProxy::release);
    let ended = racers.map(|racer| ark::finished(racer.wait_with_output().unwrap()));
    let won: Vec<&Run> = ended.iter().filter(|run| run.code == 0).collect();
    let [winner] = won.as_slice() else { panic!("{ended:?}") };
    // The other one met the winner's records, or its manifest.
    let loser = ended.iter().find(|run| run.code != 0).unwrap();
    assert!([1, 11].contains(&loser.code), "{loser:?}");
    assert_whole(bed, &winner.json, &repository, "a race");
}

#[test]
fn a_file_that_vanishes_before_the_commit_prevents_it() {
    let bed = Bed::shared();
    let repository = Repository::default();
    tables(bed);
    // It cannot end before its first file is found.
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::once(SCAN, 40, Fault::Hold));
    let mut running = start(&backup_through(&proxy.address(), bed, &repository, &[]));
    let lost = loop {
        assert!(running.try_wait().unwrap().is_none(), "the backup was quicker than its first file");
        // The names of UIDs are of use to workers only.
        let stored = |path: &PathBuf| {
            path.extension().is_some_and(|extension| extension == "parquet") && !path.ends_with("names.parquet")
        };
        if let Some(file) = files_below(&repository.path()).into_iter().find(stored) {
            break file;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    std::fs::remove_file(&lost).unwrap();
    proxy.release();
    let run = ark::finished(running.wait_with_output().unwrap()).expect(1);
    let name = lost.file_name().unwrap().to_str().unwrap();
    assert!(run.err.contains(name) && run.err.contains("--resume"), "{}", run.err);
    assert_eq!(committed(&repository), 0);
    let run = ark::run(&backup_arguments(bed, &repository, &["--resume"])).expect(0);
    assert_whole(bed, &run.json, &repository, "a file vanished");
}

fn restore_arguments(bed: &Bed, repository: &Repository, to: &Tables, more: &[&str]) -> Vec<String> {
    restore_through(&bed.thrift2_address(), bed, repository, to, more)
}

fn restore_through(gateway: &str, bed: &Bed, repository: &Repository, to: &Tables, more: &[&str]) -> Vec<String> {
    let path = repository.path();
    let mut arguments: Vec<String> =
        ["restore", "--repository", path.to_str().unwrap(), "--json", "--gateway", gateway].map(str::to_owned).to_vec();
    for (old, new) in tables(bed).names().iter().zip(to.names()) {
        arguments.extend(["--rename-table".into(), format!("{old}={new}")]);
    }
    arguments.extend(["--connections", "2"].iter().chain(more).map(|text| (*text).to_owned()));
    arguments
}

fn drop_tables(bed: &Bed, tables: &Tables) {
    std::thread::scope(|scope| {
        for name in tables.names() {
            scope.spawn(move || bed.must(&format!("drop {name}")));
        }
    });
}

fn assert_restored(bed: &Bed, repository: &Repository, to: &Tables, case: &str) {
    let mut arguments = vec!["--gateway".to_string(), bed.thrift2_address()];
    for (old, new) in tables(bed).names().iter().zip(to.names()) {
        arguments.extend(["--rename-table".into(), format!("{old}={new}")]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let compared = repository.verify("source", &arguments).expect(0).json;
    assert_eq!(compared["differences"], 0, "{case}: {compared}");
}

fn copy(bed: &Bed) -> Tables {
    Tables::named(&format!("{}.", bed.unique("copy")), false)
}

#[test]
fn a_killed_restore_goes_on() {
    let bed = Bed::shared();
    let repository = Repository::default();
    ark::run(&backup_arguments(bed, &repository, &[])).expect(0);
    let to = copy(bed);
    let counted = undisturbed(bed, |gateway| restore_through(gateway, bed, &repository, &to, &[]));
    drop_tables(bed, &to);
    let (first, mut cases, mut skipped) = (number("TSDB_ARK_SEED", 1), 0, 0);
    while !is_enough(cases, skipped) {
        let seed = first + cases;
        cases += 1;
        let mut dice = Dice(seed.wrapping_mul(7919));
        let to = copy(bed);
        // Most of the time it writes; before that it makes tables, and it reads back what it wrote.
        let method = ["createTable", PUT, PUT, PUT, SCAN][dice.below(5)];
        let moment = Moment::of(method, counted.calls(method), &mut dice);
        let mut story = vec![format!("seed {seed}, {moment:?} of {}", counted.calls(method))];
        moment.kill_in_time(
            bed,
            |gateway| restore_through(gateway, bed, &repository, &to, &[]),
            || drop_tables(bed, &to),
        );
        if seed % 3 == 0 {
            story.extend(tamper(&repository.path().join("restores"), &mut dice));
        }
        let run = ark::run(&restore_arguments(bed, &repository, &to, &["--resume"]));
        let report = if run.code == 2 {
            story.push(run.err);
            // Before anything was begun; or its plan is lost, which whoever repeats it has to know.
            ark::run(&restore_arguments(bed, &repository, &to, &["--into-existing"])).expect(0).json
        } else {
            run.expect(0).json
        };
        let tables = report["tables"].as_array().unwrap();
        skipped += tables.iter().map(|table| table["files_skipped"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(report["differences"], 0, "{story:?}: {report}");
        eprintln!("{story:?}: {skipped} files skipped so far");
        assert_restored(bed, &repository, &to, &format!("{story:?}"));
        drop_tables(bed, &to);
    }
}

#[test]
fn what_happened_to_the_target_meanwhile_is_noticed() {
    let bed = Bed::shared();
    let repository = Repository::default();
    ark::run(&backup_arguments(bed, &repository, &[])).expect(0);
    let to = copy(bed);
    let none = ark::run(&restore_arguments(bed, &repository, &to, &["--resume"])).expect(2);
    assert!(none.err.contains("no unfinished restore"), "{}", none.err);
    let done = ark::run(&restore_arguments(bed, &repository, &to, &[])).expect(0).json;
    let progress = repository.path().join("restores").join(done["restore"].as_str().unwrap());
    let unfinish = || std::fs::remove_file(progress.join("finished.json")).unwrap();

    // Everything is there: nothing is sent.
    unfinish();
    let again = ark::run(&restore_arguments(bed, &repository, &to, &["--resume"])).expect(0).json;
    assert_eq!(again["bytes_written"], 0, "{again}");
    // Somebody emptied the data table: it is sent again although the log says that it was done.
    unfinish();
    bed.must(&format!("truncate {}", to.data()));
    let again = ark::run(&restore_arguments(bed, &repository, &to, &["--resume"])).expect(0).json;
    assert_eq!(again["differences"], 0);
    assert_restored(bed, &repository, &to, "after a truncate");
    // Somebody emptied it and wrote one row: only reading it back shows what is missing.
    unfinish();
    bed.must(&format!("truncate {}", to.data()));
    support::synthetic::load(bed, &to.data(), &SOURCE.data()[..1]);
    let again = ark::run(&restore_arguments(bed, &repository, &to, &["--resume"])).expect(0).json;
    assert_eq!(again["differences"], 0);
    assert_restored(bed, &repository, &to, "after a truncate and a row");
    // Without --resume the rows stand in the way, and the message says what to do.
    unfinish();
    let refused = ark::run(&restore_arguments(bed, &repository, &to, &[])).expect(1);
    assert!(refused.err.contains("--resume"), "{}", refused.err);
    drop_tables(bed, &to);
}
