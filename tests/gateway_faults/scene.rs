//! Small tables, a run of the program through a proxy, and a line of the table of faults.

use std::sync::OnceLock;
use std::time::Instant;

use tsdb_ark::model::Tally;

use crate::support::ark::{Repository, Run, table_flags};
use crate::support::bed::Bed;
use crate::support::faults::plan::Plan;
use crate::support::faults::thrift::ThriftProxy;
use crate::support::synthetic::{Synthetic, assert_tally, tally};
use crate::support::tsd::Tables;

/// 1000 rows of three cells.
pub const SMALL: Synthetic = Synthetic { layout: tsdb_layout(), metrics: 2, series: 20, hours: 25, points: 3 };
/// Small pages, so that there are many calls, and short times, so that a silent gateway costs seconds. What `more` says
/// counts instead.
fn brief<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        ["--page-size", "4KiB"],
        ["--connections", "2"],
        ["--read-timeout", "3s"],
        ["--put-timeout", "3s"],
        ["--retry-for", "60s"],
    ];
    let left = usual.into_iter().filter(|pair| !more.contains(&pair[0])).flatten();
    left.chain(more.iter().copied()).collect()
}

const fn tsdb_layout() -> tsdb_ark::model::KeyLayout {
    tsdb_ark::model::KeyLayout { metric_width: 3, tagk_width: 3, tagv_width: 3, salt_width: 0, salt_buckets: 20 }
}

/// The tables of [`SMALL`], which no test alters, and their cells.
pub fn small(bed: &Bed) -> (&'static Tables, &'static Tally) {
    static TABLES: OnceLock<(Tables, Tally)> = OnceLock::new();
    let (tables, tally) = TABLES.get_or_init(|| (SMALL.load(bed, &["000002"]), tally(&SMALL.data())));
    (tables, tally)
}

/// A backup of [`small`] that everything can be restored from.
pub fn saved(bed: &Bed) -> &'static Repository {
    static SAVED: OnceLock<Repository> = OnceLock::new();
    SAVED.get_or_init(|| {
        let repository = Repository::default();
        // More shards, so more files and more batches.
        repository.backup(bed, small(bed).0, &["--connections", "4"]).expect(0);
        repository
    })
}

/// A line of the table of faults.
pub struct Line {
    /// What was done.
    pub fault: String,
    /// `backup` or `restore`.
    pub verb: &'static str,
    /// How it ended.
    pub run: Run,
    /// How long it took.
    pub seconds: f64,
    /// What the program did about it.
    pub did: String,
}

impl Line {
    /// Asserts the exit code, and that a failure is explained by this text.
    #[track_caller]
    pub fn expect(self, code: i32, text: &str) -> Line {
        let said = self.message();
        assert_eq!(self.run.code, code, "{} during {}: {}\n{}", self.fault, self.verb, self.run.err, self.run.out);
        assert!(said.contains(text), "{} during {}: {said:?} does not say {text:?}", self.fault, self.verb);
        self.print();
        self
    }

    /// The error that the program ends with, or nothing.
    pub fn message(&self) -> String {
        let error = self.run.err.lines().find_map(|line| line.strip_prefix("tsdb-ark: error: "));
        error.unwrap_or_default().to_owned()
    }

    /// The line in Markdown.
    pub fn print(&self) {
        println!(
            "| {} | {} | {} | {} | {:.1} s | {} |",
            self.fault,
            self.verb,
            self.did,
            self.run.code,
            self.seconds,
            self.message()
        );
    }
}

/// A backup of these tables through a proxy with this plan; `during` runs beside it.
pub fn backup_through(
    target: &str,
    tables: &Tables,
    plan: Plan,
    more: &[&str],
    during: impl FnOnce(&ThriftProxy) + Send,
) -> (Repository, Run, f64, ThriftProxy) {
    let proxy = ThriftProxy::start(target, plan);
    let repository = Repository::default();
    let address = proxy.address();
    let mut arguments = vec!["--gateway".to_string(), address];
    arguments.extend(table_flags(tables));
    arguments.extend(brief(more).into_iter().map(String::from));
    let begun = Instant::now();
    let run = std::thread::scope(|scope| {
        scope.spawn(|| during(&proxy));
        let run = repository.run("backup", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        proxy.finish();
        run
    });
    let seconds = begun.elapsed().as_secs_f64();
    (repository, run, seconds, proxy)
}

/// A restore of the data table of [`saved`] into a new one through a proxy. Returns the new table too.
pub fn restore_through(
    bed: &Bed,
    target: &str,
    plan: Plan,
    more: &[&str],
    during: impl FnOnce(&ThriftProxy, &str) + Send,
) -> (String, Run, f64, ThriftProxy) {
    let proxy = ThriftProxy::start(target, plan);
    let old = small(bed).0.data();
    let new = bed.unique("restored");
    let (address, rename) = (proxy.address(), format!("{old}={new}"));
    let mut arguments = vec!["--gateway", &address, "--table", &old, "--rename-table", &rename];
    arguments.extend(brief(more));
    let repository = saved(bed);
    let begun = Instant::now();
    let run = std::thread::scope(|scope| {
        scope.spawn(|| during(&proxy, &new));
        let run = repository.run("restore", &arguments);
        proxy.finish();
        run
    });
    let seconds = begun.elapsed().as_secs_f64();
    (new, run, seconds, proxy)
}

/// Nothing was committed: `list` exits with 0 and shows no backup, or with 10 where there is no repository yet.
#[track_caller]
pub fn assert_nothing_committed(repository: &Repository) {
    let list = repository.run("list", &[]);
    if repository.path().join("repository.json").exists() {
        assert_eq!(list.expect(0).json["backups"].as_array().map(Vec::len), Some(0), "a failed backup was committed");
    } else {
        list.expect(10);
    }
}

/// A committed backup is all of the source: by its tallies, by its files and by the live table.
#[track_caller]
pub fn assert_whole(bed: &Bed, repository: &Repository, run: &Run, tables: &Tables, wanted: &Tally) {
    assert_tally(&run.json, &tables.data(), wanted);
    assert_eq!(repository.verify("cells", &[]).expect(0).json["differences"], 0);
    let gateway = bed.thrift2_address();
    assert_eq!(repository.verify("source", &["--gateway", &gateway]).expect(0).json["differences"], 0);
}
