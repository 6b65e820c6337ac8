//! Manners towards the cluster's users: limits are kept, pauses end, a slow gateway is spared, a dead one is left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::Value;
use support::ark::{self, Repository, Run};
use support::bed::Bed;
use support::synthetic::{Synthetic, assert_tally, tally};
use support::tsd::Tables;
use tsdb_ark::model::KeyLayout;

/// 60,000 rows of five cells each: 25 MB on the wire.
const SOURCE: Synthetic = Synthetic { layout: PLAIN, metrics: 4, series: 150, hours: 100, points: 5 };
const PLAIN: KeyLayout = KeyLayout { metric_width: 3, tagk_width: 3, tagv_width: 3, salt_width: 0, salt_buckets: 20 };

fn tables(bed: &Bed) -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| SOURCE.load(bed, &["000002", "000003", "000004"]))
}

/// A whole backup through these gateways.
fn backup(bed: &Bed, gateways: &[&str], more: &[&str]) -> (Repository, Value) {
    let repository = Repository::default();
    let run = started(bed, &repository, gateways, more).wait_with_output().unwrap();
    let json = ark::finished(run).expect(0).json;
    assert_tally(&json, &tables(bed).data(), &tally(&SOURCE.data()));
    (repository, json)
}

fn started(bed: &Bed, repository: &Repository, gateways: &[&str], more: &[&str]) -> std::process::Child {
    let path = repository.path();
    let mut command = ark::command();
    command.args(["backup", "--repository", path.to_str().unwrap(), "--json", "--expect-raw-cells"]);
    command.args(gateways.iter().flat_map(|gateway| ["--gateway", gateway]));
    command.args(ark::table_flags(tables(bed))).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("{key} in {report}"))
}

/// The limit is kept to five percent, and used by half at least: how near a run comes to it depends on the machine too.
fn assert_rate(what: &str, moved: f64, seconds: f64, limit: f64) {
    let rate = moved / seconds;
    eprintln!("{what}: {rate:.0} of {limit:.0} per second over {seconds:.1} s");
    assert!((limit * 0.5..limit * 1.05).contains(&rate), "{what}: {rate:.0} instead of {limit:.0}");
}

#[test]
fn bytes_and_rows_per_second_are_kept() {
    let bed = Bed::shared();
    let gateway = bed.thrift2_address();
    let (repository, report) = backup(bed, &[&gateway], &["--rate", "1MiB", "--back-off", "off"]);
    assert_rate("backup --rate", number(&report, "bytes_read"), number(&report, "seconds"), f64::from(1 << 20));

    let rows = SOURCE.data().chunk_by(|a, b| a.row == b.row).count() as f64;
    let (_, report) = backup(bed, &[&gateway], &["--rate-rows", "4000", "--back-off", "off"]);
    assert_rate("backup --rate-rows", rows, number(&report, "seconds"), 4000.0);

    let target = Tables::named(&format!("{}.", bed.unique("r")), false);
    let flags = ["--rate-rows", "6000", "--no-read-back", "--back-off", "off"];
    let restored = repository.restore(bed, tables(bed), &target, &flags).expect(0).json;
    assert_rate("restore --rate-rows", rows, number(&restored, "seconds"), 6000.0);

    let flags = ["--gateway", &gateway, "--rate", "2MiB", "--back-off", "off"];
    let verified = repository.verify("source", &flags).expect(0).json;
    assert_rate("verify --rate", number(&report, "bytes_read"), number(&verified, "seconds"), f64::from(2 << 20));
}

/// A window of whole minutes around now that ends in so many of them.
fn window(minutes: i64) -> String {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let clock = |time: jiff::Zoned| time.strftime("%H:%M").to_string();
    format!("{}-{}", clock(&now - 1.minute()), clock(&now + minutes.minutes()))
}

#[test]
fn a_pause_reads_nothing_and_can_be_interrupted() {
    let bed = Bed::shared();
    let repository = Repository::default();
    let ceiling = format!("{}=0", window(30));
    let gateway = bed.thrift2_address();
    let mut child = started(bed, &repository, &[&gateway], &["--ceiling", &ceiling, "--time-zone", "UTC", "-v"]);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("paused by --ceiling")), "it did not pause");
    // The window is over in half an hour only.
    std::thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none(), "the pause ended");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert!(said.any(|line| line.contains("interrupted")));
    ark::finished(child.wait_with_output().unwrap()).expect(130);
}

#[test]
fn a_ceiling_of_this_hour_is_kept_and_another_is_not() {
    let bed = Bed::shared();
    let gateway = bed.thrift2_address();
    let now = format!("{}=1MiB", window(30));
    let flags = ["--ceiling", &now, "--ceiling", "00:00-24:00=1GiB", "--time-zone", "UTC", "--back-off", "off"];
    let (_, report) = backup(bed, &[&gateway], &flags);
    assert_rate("backup --ceiling", number(&report, "bytes_read"), number(&report, "seconds"), f64::from(1 << 20));
}

/// Between the program and a gateway: counts connections and bytes, and lets every request wait.
struct SlowWay {
    address: String,
    delay: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    /// Bytes of answers.
    answered: Arc<AtomicU64>,
}

impl SlowWay {
    fn to(gateway: &str) -> SlowWay {
        Self::at("127.0.0.1:0", gateway)
    }

    fn at(address: &str, gateway: &str) -> SlowWay {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (delay, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let answered = Arc::new(AtomicU64::new(0));
        let (gateway, late, count) = (gateway.to_owned(), Arc::clone(&delay), Arc::clone(&connections));
        let (asked, bytes) = (Arc::new(AtomicU64::new(0)), Arc::clone(&answered));
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&gateway) else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let (near_too, far_too, late) =
                    (near.try_clone().unwrap(), far.try_clone().unwrap(), Arc::clone(&late));
                // One request is one piece or a few; only the first waits.
                let (asked, bytes) = (Arc::clone(&asked), Arc::clone(&bytes));
                std::thread::spawn(move || pass(near, far, &|| late.load(Ordering::SeqCst), &asked));
                std::thread::spawn(move || pass(far_too, near_too, &|| 0, &bytes));
            }
        });
        SlowWay { address, delay, connections, answered }
    }

    /// Waits until so many bytes of answers have passed.
    fn wait_for(&self, bytes: u64) {
        let begun = Instant::now();
        while self.answered.load(Ordering::SeqCst) < bytes {
            assert!(begun.elapsed() < Duration::from_secs(120), "nobody asks");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, delay: &dyn Fn() -> u64, passed: &AtomicU64) {
    let mut bytes = [0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        passed.fetch_add(count as u64, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(delay()));
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// A backup that takes six seconds at full pace, with a gateway that becomes slow after a quarter of it.
fn beside_a_slow_gateway(gateway: &str, factor: &str) -> (Run, u64) {
    let bed = Bed::shared();
    let way = SlowWay::to(gateway);
    let repository = Repository::default();
    let flags = ["--back-off", factor, "--rate", "4MiB", "-v", "--connections", "2"];
    let child = started(bed, &repository, &[&way.address], &flags);
    way.wait_for(6 << 20);
    way.delay.store(80, Ordering::SeqCst);
    let run = ark::finished(child.wait_with_output().unwrap()).expect(0);
    assert_tally(&run.json, &tables(bed).data(), &tally(&SOURCE.data()));
    (run, way.connections.load(Ordering::SeqCst))
}

#[test]
fn a_gateway_that_slows_is_spared() {
    let bed = Bed::shared();
    tables(bed);
    for gateway in [bed.thrift2_address(), bed.thrift1_address()] {
        let (spared, with_canary) = beside_a_slow_gateway(&gateway, "4");
        eprintln!("backed off for {} s of {}", spared.json["back_off_seconds"], spared.json["seconds"]);
        assert!(number(&spared.json, "back_off_seconds") > 1.0, "{}", spared.json);
        assert!(spared.err.contains("backing off"), "{}", spared.err);
        let (not, without) = beside_a_slow_gateway(&gateway, "off");
        assert_eq!(number(&not.json, "back_off_seconds"), 0.0);
        assert_eq!(with_canary, without + 1, "one connection is the canary's, and off has none");
    }
}

#[test]
fn a_gateway_that_dies_in_mid_shard_is_left_for_another() {
    let bed = Bed::shared();
    tables(bed);
    let (one, other) = (bed.unique("gw"), bed.unique("gw"));
    let (first, second) = (bed.listener(&format!("spawn {one} 2 0")), bed.listener(&format!("spawn {other} 2 0")));
    let way = SlowWay::to(&second);
    let repository = Repository::default();
    let child = started(bed, &repository, &[&first, &way.address], &["--rate", "4MiB", "-v"]);
    // Half of what is there, of which each gateway has its part.
    way.wait_for(6 << 20);
    let before = way.connections.load(Ordering::SeqCst);
    bed.must(&format!("kill {one}"));
    let run = ark::finished(child.wait_with_output().unwrap()).expect(0);
    assert_tally(&run.json, &tables(bed).data(), &tally(&SOURCE.data()));
    assert!(before > 1, "both were used: {before}");
    assert!(way.connections.load(Ordering::SeqCst) > before, "nothing moved to the other one");
    bed.must(&format!("stop {other}"));
}

#[test]
fn scans_go_through_the_gateway_beside_the_region() {
    let bed = Bed::shared();
    let regions = bed.must(&format!("regions {}", tables(bed).data()));
    assert!(regions.iter().all(|region| region.contains(" 127.0.0.1,")), "{regions:?}");
    let far = SlowWay::at("127.0.0.2:0", &bed.thrift2_address());
    for gateways in [[far.address.clone(), bed.thrift2_address()], [bed.thrift2_address(), far.address.clone()]] {
        let before = far.answered.load(Ordering::SeqCst);
        let (_, report) = backup(bed, &[&gateways[0], &gateways[1]], &[]);
        let through = (far.answered.load(Ordering::SeqCst) - before) as f64 / number(&report, "bytes_read");
        assert!(
            far.connections.load(Ordering::SeqCst) > 0 && through < 0.3,
            "{through} of all bytes went the long way"
        );
        eprintln!("{:.1} % of all bytes went the long way", through * 100.0);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (flags, says) in [
        (&["--rate", "0"][..], "--ceiling"),
        (&["--rate-rows", "0"], "--rate-rows"),
        (&["--ceiling", "8-20=1MiB"], "08:00-20:00=10MiB"),
        (&["--ceiling", "08:00-08:00=1MiB"], "00:00-24:00"),
        (&["--time-zone", "Mars/Olympus", "--ceiling", "08:00-09:00=0"], "Europe/Berlin"),
        (&["--back-off", "1"], "at least 1.2"),
    ] {
        let run = Repository::default().run("backup", &[&["--gateway", "127.0.0.1:1"], flags].concat()).expect(2);
        assert!(run.err.contains(says), "{flags:?}: {}", run.err);
    }
}
