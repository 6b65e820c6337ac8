//! Faults at a steady rate over many minutes and millions of points: what they cost, in time and in memory.

use std::time::{Duration, Instant};

use tsdb_ark::model::{OwnedCell, Tally};

use crate::chaos::Gateway;
use crate::setting;
use crate::support::ark::{Repository, Run, table_flags};
use crate::support::bed::Bed;
use crate::support::faults::plan::Plan;
use crate::support::faults::thrift::ThriftProxy;
use crate::support::synthetic::{Synthetic, assert_tally, load, tally};
use crate::support::tsd::Tables;

/// 10 × 50 × 100 × 100 points, a cell each.
const SHAPE: Synthetic = Synthetic { layout: PLAIN, metrics: 10, series: 50, hours: 100, points: 100 };
const PLAIN: tsdb_ark::model::KeyLayout =
    tsdb_ark::model::KeyLayout { metric_width: 3, tagk_width: 3, tagv_width: 3, salt_width: 0, salt_buckets: 20 };
/// Faults per minute in both proxies together. About a third of them falls where nobody calls, between two runs or while
/// a run waits: at least 24 strike.
const RATE: u32 = 40;
/// What a run may take of the machine's memory.
const MEMORY: u64 = 512 << 20;

/// The tables, a metric at a time, and what is in them.
fn fill(bed: &Bed) -> (Tables, Tally) {
    let tables = Tables::create(bed, false, &["000003", "000005", "000007", "000009"]);
    load(bed, &format!("{}tsdb-uid", tables.prefix), &SHAPE.uids());
    let mut total = Tally::default();
    for metric in 0..SHAPE.metrics {
        let rows = (0..SHAPE.hours).flat_map(|hour| (0..SHAPE.series).map(move |series| (hour, series)));
        let cells: Vec<OwnedCell> = rows
            .flat_map(|(hour, series)| {
                let row = SHAPE.key(metric, series, hour);
                (0..SHAPE.points).map(move |point| SHAPE.cell(&row, hour, point))
            })
            .collect();
        load(bed, &tables.data(), &cells);
        total.add(&tally(&cells));
    }
    bed.must(&format!("major {}", tables.data()));
    (tables, total)
}

struct Timed {
    repository: Repository,
    run: Run,
    seconds: f64,
}

fn backup(tables: &Tables, gateways: &[String]) -> Timed {
    let repository = Repository::default();
    let mut flags: Vec<String> = gateways.iter().flat_map(|g| ["--gateway".to_string(), g.clone()]).collect();
    flags.extend(table_flags(tables));
    flags.extend(["--read-timeout", "10s", "--page-size", "1MiB"].map(String::from));
    let begun = Instant::now();
    let run = repository.run("backup", &flags.iter().map(String::as_str).collect::<Vec<_>>());
    let seconds = begun.elapsed().as_secs_f64();
    let peak = run.json["peak_rss_bytes"].as_u64().unwrap_or(0);
    assert!(peak <= MEMORY, "{} MiB resident", peak >> 20);
    Timed { repository, run, seconds }
}

#[test]
#[ignore = "takes ten minutes: scripts/endurance.sh runs it"]
fn faults_at_a_steady_rate_cost_time_and_nothing_else() {
    let seconds = setting("TSDB_ARK_LONG", 600);
    let bed = Bed::own(&["t1=none"]);
    let begun = Instant::now();
    let (tables, wanted) = fill(&bed);
    let servers = [Gateway::spawn(&bed), Gateway::spawn(&bed)];
    println!("{} points written in {:.0} s", wanted.cells, begun.elapsed().as_secs_f64());
    let direct: Vec<String> = servers.iter().map(|server| server.address.clone()).collect();
    let clean: Vec<f64> = (0..3)
        .map(|_| {
            let clean = backup(&tables, &direct);
            assert_tally(&clean.run.expect(0).json, &tables.data(), &wanted);
            clean.seconds
        })
        .collect();
    let seed = setting("TSDB_ARK_SEED", 1);
    let proxies: Vec<ThriftProxy> =
        (0..2).map(|n| ThriftProxy::start(&direct[n], Plan::random(seed * 2 + n as u64, RATE / 2))).collect();
    let troubled: Vec<String> = proxies.iter().map(ThriftProxy::address).collect();
    let (begun, mut times, mut peak) = (Instant::now(), Vec::new(), 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let Timed { repository, run, seconds } = backup(&tables, &troubled);
        let run = run.expect(0);
        assert_tally(&run.json, &tables.data(), &wanted);
        // The comparison with the source meets the same faults.
        let more = ["--gateway", &troubled[0], "--gateway", &troubled[1], "--read-timeout", "10s"];
        assert_eq!(repository.verify("source", &more).expect(0).json["differences"], 0);
        peak = peak.max(run.json["peak_rss_bytes"].as_u64().unwrap());
        println!("backup of {:.1} s, {} faults so far", seconds, proxies.iter().map(ThriftProxy::total).sum::<u64>());
        times.push(seconds);
    }
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let total: u64 = proxies.iter().map(ThriftProxy::total).sum();
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    println!(
        "{minutes:.1} minutes, {} backups and comparisons with the source, all whole; {total} faults ({:.0} per minute); \
         {:.1} s on average, {:.1} at most; without faults {:.1}; peak {} MiB",
        times.len(),
        total as f64 / minutes,
        mean(&times),
        times.iter().copied().fold(0.0, f64::max),
        mean(&clean),
        peak >> 20
    );
    for proxy in &proxies {
        println!("{:?}", proxy.injected());
    }
}
