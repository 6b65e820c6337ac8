//! What happens to the real servers during a backup or a restore. A call is held in the proxy until it has happened.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use tsdb_ark::model::Tally;

use crate::scene::{Line, SMALL, assert_nothing_committed, assert_whole, backup_through, restore_through, small};
use crate::support::bed::Bed;
use crate::support::faults::plan::{Fault, Plan};
use crate::support::faults::thrift::ThriftProxy;
use crate::support::golden;
use crate::support::is_slow;
use crate::support::synthetic::tally;
use crate::support::tsd::Tables;

const SCAN: &str = "getScannerResults";
const PUT: &str = "putMultiple";
/// A key in the middle of the rows of the first metric, and of those of the second.
const MIDDLE: [&str; 2] = ["000001000000", "000002000001000005"];

/// What is done to a cluster, and where.
struct Event<'a> {
    name: &'a str,
    bed: &'a Bed,
    /// The gateway behind the proxy.
    gateway: String,
    /// More flags.
    more: &'a [&'a str],
    /// The batch that it is done at; with a second gateway only some batches come through the proxy.
    batch: u64,
    /// Done while page 9 or the batch waits; given the data table.
    done: &'a (dyn Fn(&str) + Sync),
}

impl Event<'_> {
    fn new<'a>(name: &'a str, bed: &'a Bed, done: &'a (dyn Fn(&str) + Sync)) -> Event<'a> {
        Event { name, bed, gateway: bed.thrift2_address(), more: &[], batch: 2, done }
    }

    fn happens(&self, proxy: &ThriftProxy, method: &str, number: u64, table: &str) {
        if proxy.wait_for(method, number) {
            (self.done)(table);
        }
        proxy.release();
    }

    fn backup(&self, tables: &Tables, did: &str) -> (Line, crate::support::ark::Repository) {
        let plan = Plan::once(SCAN, 12, Fault::Hold);
        let (repository, run, seconds, proxy) = backup_through(&self.gateway, tables, plan, self.more, |proxy| {
            self.happens(proxy, SCAN, 12, &tables.data());
        });
        assert!(proxy.calls(SCAN) >= 12, "{}: it was over before anything happened: {}", self.name, run.err);
        (Line { fault: self.name.into(), verb: "backup", run, seconds, did: did.into() }, repository)
    }

    fn backup_passes(&self, tables: &Tables, wanted: &Tally, did: &str) {
        let (line, repository) = self.backup(tables, did);
        assert_whole(self.bed, &repository, &line.expect(0, "").run, tables, wanted);
    }

    fn backup_fails(&self, tables: &Tables, did: &str, code: i32, text: &str) {
        let (line, repository) = self.backup(tables, did);
        line.expect(code, text);
        assert_nothing_committed(&repository);
    }

    fn restore(&self, did: &str) -> (Line, String) {
        let plan = Plan::once(PUT, self.batch, Fault::Hold);
        let (table, run, seconds, proxy) = restore_through(self.bed, &self.gateway, plan, self.more, |proxy, table| {
            self.happens(proxy, PUT, self.batch, table);
        });
        assert!(proxy.calls(PUT) >= self.batch, "{}: it was over before anything happened: {}", self.name, run.err);
        (Line { fault: self.name.into(), verb: "restore", run, seconds, did: did.into() }, table)
    }

    fn restore_passes(&self, did: &str) {
        let (line, table) = self.restore(did);
        assert_eq!(line.expect(0, "").run.json["differences"], 0);
        assert_eq!(tally(&golden::dump(self.bed, &table, false)), tally(&SMALL.data()), "{}", self.name);
    }

    fn restore_fails(&self, did: &str, code: i32, text: &str) {
        self.restore(did).0.expect(code, text);
    }
}

fn spawn(bed: &Bed) -> (String, String) {
    let name = bed.unique("gateway");
    let address = bed.listener(&format!("spawn {name} 2 0"));
    (name, address)
}

#[test]
fn a_gateway_that_is_restarted_is_found_again() {
    let bed = Bed::shared();
    let (tables, wanted) = small(bed);
    let name = bed.unique("gateway");
    let gateway = bed.listener(&format!("gateway start {name} 2 0"));
    let restart = |_: &str| drop(bed.must(&format!("gateway restart {name}")));
    let event = Event { gateway, ..Event::new("gateway restarted", bed, &restart) };
    event.backup_passes(tables, wanted, "connected again, asked again");
    event.restore_passes("connected again, sent the batch again");
    bed.must(&format!("gateway stop {name}"));
}

#[test]
fn a_gateway_that_is_killed_or_freezes_is_replaced_by_another() {
    let bed = Bed::shared();
    let (tables, wanted) = small(bed);
    let other = bed.thrift2_address();
    let (name, gateway) = spawn(bed);
    let pid = bed.must(&format!("pid {name}"))[0].trim_start_matches("pid ").to_owned();
    let signal = |signal: &str| assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());

    // More connections than files of the backup that wait for one another: some go through the proxy.
    let more = ["--gateway", other.as_str(), "--connections", "4"];
    let freeze = |_: &str| signal("-STOP");
    let event = Event {
        gateway: gateway.clone(),
        more: &more,
        batch: 1,
        ..Event::new("gateway frozen (SIGSTOP), a second one", bed, &freeze)
    };
    event.backup_passes(tables, wanted, "waited --read-timeout, asked the other one");
    signal("-CONT");
    event.restore_passes("waited --put-timeout, sent the batch to the other one");
    signal("-CONT");
    let kill = |_: &str| drop(bed.must(&format!("kill {name}")));
    let event = Event { gateway, more: &more, batch: 1, ..Event::new("gateway killed, a second one", bed, &kill) };
    event.backup_passes(tables, wanted, "asked the other one");

    let (name, gateway) = spawn(bed);
    let kill = |_: &str| drop(bed.must(&format!("kill {name}")));
    let event = Event { gateway, more: &more, batch: 1, ..Event::new("gateway killed, a second one", bed, &kill) };
    event.restore_passes("sent the batch to the other one");

    let (name, gateway) = spawn(bed);
    let kill = |_: &str| drop(bed.must(&format!("kill {name}")));
    let more = ["--retry-for", "4s"];
    let event = Event { gateway, more: &more, ..Event::new("gateway killed, the only one", bed, &kill) };
    event.backup_fails(tables, "gave up, committed nothing", 75, "gave up after");
}

/// A real gateway of two workers and one place in the queue. All of it is taken by others, or just too little is left.
#[test]
fn a_gateway_without_free_workers_is_waited_for() {
    let bed = Bed::shared();
    let (tables, wanted) = small(bed);
    let name = bed.unique("gateway");
    let gateway = bed.listener(&format!(
        "gateway start {name} 2 0 hbase.thrift.minWorkerThreads=2 hbase.thrift.maxWorkerThreads=2 hbase.thrift.maxQueuedRequests=1"
    ));
    let more = ["--retry-for", "60s", "--connections", "3"];
    let nothing = |_: &str| ();
    let event = Event {
        gateway: gateway.clone(),
        more: &more,
        ..Event::new("a gateway with 2 workers and 3 connections to it", bed, &nothing)
    };
    event.backup_passes(tables, wanted, "waited for its own connections to end");
    // The gateway has to see that the backup's connections have ended, and to take these one by one.
    let take = |_: i32| {
        std::thread::sleep(Duration::from_millis(500));
        TcpStream::connect(&gateway).unwrap()
    };
    let taken: Vec<TcpStream> = (0..2).map(take).collect();
    std::thread::sleep(Duration::from_millis(500));
    for (name, third) in [("all workers taken", false), ("all workers and the queue taken", true)] {
        let _third = third.then(|| TcpStream::connect(&gateway).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        let (repository, run, seconds, _) =
            backup_through(&gateway, tables, Plan::default(), &["--retry-for", "5s"], |_| ());
        let line = Line { fault: name.into(), verb: "backup", run, seconds, did: "gave up, committed nothing".into() };
        line.expect(75, "gave up after");
        assert_nothing_committed(&repository);
    }
    drop(taken);
    bed.must(&format!("gateway stop {name}"));
}

#[test]
fn regions_that_split_merge_and_move_are_not_noticed() {
    let bed = Bed::shared();
    let tables = SMALL.load(bed, &["000002"]);
    let wanted = tally(&SMALL.data());
    let split = |table: &str| MIDDLE.iter().for_each(|key| drop(bed.must(&format!("split {table} {key}"))));
    let moved = |table: &str| (0..2).for_each(|n| drop(bed.must(&format!("move {table} {n}"))));
    let merge = |table: &str| drop(bed.must(&format!("merge {table} 0")));
    let nothing = "nothing: HBase and the gateway see to it";
    Event::new("regions moved", bed, &moved).backup_passes(&tables, &wanted, nothing);
    Event::new("regions split", bed, &split).backup_passes(&tables, &wanted, nothing);
    Event::new("regions merged", bed, &merge).backup_passes(&tables, &wanted, nothing);
    Event::new("regions moved", bed, &moved).restore_passes(nothing);
    Event::new("regions split", bed, &split).restore_passes(nothing);
    Event::new("regions merged", bed, &merge).restore_passes(nothing);
}

#[test]
fn a_table_that_is_disabled_or_dropped_ends_the_run() {
    let bed = Bed::shared();
    let tables = SMALL.load(bed, &["000002"]);
    let disable = |table: &str| drop(bed.must(&format!("disable {table}")));
    let event = Event::new("table disabled", bed, &disable);
    event.backup_fails(&tables, "failed at once, committed nothing", 1, "is disabled; enable it in the HBase shell");
    bed.must(&format!("enable {}", tables.data()));
    let drop_it = |table: &str| drop(bed.must(&format!("drop {table}")));
    let event = Event::new("table dropped", bed, &drop_it);
    event.backup_fails(&tables, "failed at once, committed nothing", 1, "does not exist");
    event.restore_fails("asked for the table, failed", 1, "does not exist");
    let (repository, run, seconds, _) = backup_through(&bed.thrift2_address(), &tables, Plan::default(), &[], |_| ());
    let did = "failed before the first page, committed nothing".into();
    Line { fault: "table missing".into(), verb: "backup", run, seconds, did }.expect(2, "does not exist");
    assert_nothing_committed(&repository);
    if is_slow() {
        // The gateway itself repeats the batch for 150 to 170 s.
        let more = ["--put-timeout", "300s", "--retry-for", "60s"];
        let event = Event { more: &more, ..Event::new("table disabled", bed, &disable) };
        event.restore_fails(
            "waited for the gateway to give up, asked whether the table is enabled",
            1,
            "is disabled; enable it",
        );
    }
}

/// The region server that holds the table, a process of its own, dies. The gateway sits it out.
#[test]
#[ignore = "takes minutes: scripts/endurance.sh runs it"]
fn a_region_server_that_is_killed_is_outlasted() {
    let bed = Bed::own(&["rs=1"]);
    let tables = SMALL.load(&bed, &["000002"]);
    let wanted = tally(&SMALL.data());
    let more = ["--read-timeout", "180s", "--put-timeout", "300s"];
    for restore in [false, true] {
        let name = bed.unique("rs");
        let before = bed.must("servers");
        bed.must(&format!("spawnrs {name}"));
        let server = bed.must("servers").into_iter().find(|server| !before.contains(server)).unwrap();
        let kill = |table: &str| {
            if restore {
                bed.must(&format!("move {table} 0 {server}"));
            }
            bed.must(&format!("kill {name}"));
        };
        let event = Event { more: &more, ..Event::new("region server killed", &bed, &kill) };
        if restore {
            event.restore_passes("waited for one answer");
        } else {
            (0..2).for_each(|n| drop(bed.must(&format!("move {} {n} {server}", tables.data()))));
            event.backup_passes(&tables, &wanted, "waited for one answer");
        }
    }
}
