//! Servers that do not come to rest: a gateway that keeps dying, and tables whose regions keep changing, under whole round
//! trips. Not one cell may be missing, double or foreign.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tsdb_ark::model::OwnedCell;

use crate::support::ark::{Repository, table_flags};
use crate::support::bed::Bed;
use crate::support::golden;
use crate::support::is_slow;
use crate::support::synthetic::{Dice, Synthetic, assert_tally, tally};
use crate::support::tsd::Tables;

/// Small pages: many calls.
const FLAGS: [&str; 7] = ["--expect-raw-cells", "--page-size", "32KiB", "--connections", "3", "--retry-for", "120s"];

/// Raised when the work is done, also when an assertion fails.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does `work` while `trouble` is made again and again; it is told how often before, and answers whether it was done.
/// Returns how often it was.
fn amid(trouble: impl Fn(usize) -> bool + Sync, work: impl FnOnce(&AtomicUsize)) -> usize {
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0;
            while !over.load(Ordering::Relaxed) {
                done.fetch_add(usize::from(trouble(turn)), Ordering::Relaxed);
                turn += 1;
            }
        });
        let _end = AtTheEnd(&over);
        work(&done);
    });
    done.into_inner()
}

fn sorted(bed: &Bed, table: &str) -> Vec<OwnedCell> {
    let mut cells = golden::dump(bed, table, false);
    cells.sort();
    cells
}

/// Backs up, verifies against the source, restores under another prefix and compares cell by cell.
fn round_trip(bed: &Bed, gateways: &[&str], source: &Tables) {
    let repository = Repository::default();
    let mut flags: Vec<String> = gateways.iter().flat_map(|g| ["--gateway".to_string(), (*g).to_string()]).collect();
    let gateway_flags = flags.clone();
    flags.extend(FLAGS.iter().map(|flag| (*flag).to_string()));
    flags.extend(table_flags(source));
    let words = |flags: &[String]| -> Vec<String> { flags.to_vec() };
    let run = |verb: &str, flags: Vec<String>| {
        repository.run(verb, &flags.iter().map(String::as_str).collect::<Vec<_>>()).expect(0)
    };
    run("backup", words(&flags));
    let target = Tables::named(&format!("{}.", bed.unique("r")), source.rollups);
    let mut flags = gateway_flags.clone();
    flags.extend(FLAGS.iter().skip(3).map(|flag| (*flag).to_string()));
    for (old, new) in source.names().iter().zip(target.names()) {
        flags.extend(["--rename-table".to_string(), format!("{old}={new}")]);
    }
    assert_eq!(run("restore", words(&flags)).json["differences"], 0);
    let level = [&["--level".to_string(), "source".to_string()][..], &gateway_flags].concat();
    assert_eq!(run("verify", level).json["differences"], 0);
    for (old, new) in source.names().iter().zip(target.names()) {
        let (before, after) = (sorted(bed, old), sorted(bed, &new));
        assert!(before == after, "{old}: {} cells, {new}: {}", before.len(), after.len());
        bed.must(&format!("drop {new}"));
    }
}

#[test]
fn round_trips_through_two_gateways_of_which_one_keeps_dying() {
    let bed = Bed::shared();
    let (rounds, kills, hours) = if is_slow() { (4, 12, 100) } else { (1, 2, 20) };
    let shape = Synthetic { metrics: 4, series: 80, hours, points: 8, ..Synthetic::default() };
    let (made, real) = (shape.load(bed, &["000002", "000003"]), golden::load(bed, "opentsdb-2.4.1"));
    let name = bed.unique("gateway");
    let (steady, dying) = (bed.thrift2_address(), bed.listener(&format!("spawn {name} 2 0")));
    let port = dying.rsplit(':').next().unwrap();
    let die = |turn: usize| {
        std::thread::sleep(Duration::from_millis(200 + Dice(turn as u64).below(3000) as u64));
        bed.must(&format!("kill {name}"));
        std::thread::sleep(Duration::from_millis(Dice(turn as u64 + 77).below(1000) as u64));
        bed.must(&format!("spawn {name} 2 {port}"));
        true
    };
    let mut trips = 0;
    let killed = amid(die, |done| {
        while trips < rounds || done.load(Ordering::Relaxed) < kills {
            round_trip(bed, &[&dying, &steady], &made);
            round_trip(bed, &[&dying, &steady], &real);
            trips += 1;
        }
    });
    println!("{trips} round trips of {} and golden cells, a gateway killed {killed} times", shape.data().len());
    assert!(killed >= kills);
}

/// Splits, merges and moves the regions of all these tables in turn.
fn change_regions<'a>(
    bed: &'a Bed,
    tables: &'a Tables,
    shape: &'a Synthetic,
) -> impl Fn(usize) -> bool + Sync + use<'a> {
    move |turn| {
        let names = tables.names();
        let table = &names[turn % names.len()];
        let mut dice = Dice(turn as u64);
        // A restore has not made its tables yet.
        let regions = bed.control(&format!("regions {table}")).unwrap_or_default();
        if regions.is_empty() {
            std::thread::sleep(Duration::from_millis(20));
            return false;
        }
        let row = shape.key(dice.below(3) as u32, dice.below(60) as u32, dice.below(20) as u32);
        let key: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = match (turn / names.len()) % 3 {
            0 if regions.len() < 10 => format!("split {table} {key}"),
            1 if regions.len() > 1 => format!("merge {table} {}", dice.below(regions.len() - 1)),
            _ => format!("move {table} {}", dice.below(regions.len())),
        };
        // HBase refuses while a region is still on its way.
        bed.control(&line).is_ok()
    }
}

#[test]
fn regions_of_every_table_may_change_all_the_time() {
    let bed = Bed::shared();
    let (wanted_changes, hours) = if is_slow() { (50, 60) } else { (6, 20) };
    let shape = Synthetic { metrics: 3, series: 60, hours, points: 4, ..Synthetic::default() };
    let tables = shape.load(bed, &["000002"]);
    let wanted = tally(&shape.data());
    let gateway = bed.thrift2_address();
    let mut last = Repository::default();
    let mut backups = 0;
    let changes = amid(change_regions(bed, &tables, &shape), |done| {
        while done.load(Ordering::Relaxed) < wanted_changes {
            last = Repository::default();
            let run = last.backup(bed, &tables, &FLAGS[1..]).expect(0);
            assert_tally(&run.json, &tables.data(), &wanted);
            assert_eq!(last.verify("source", &["--gateway", &gateway]).expect(0).json["differences"], 0);
            backups += 1;
        }
    });
    println!("{backups} backups and comparisons with the source, {changes} splits, merges and moves");
    let mut restores = 0;
    let mut changed = 0;
    while changed < wanted_changes {
        let target = Tables::named(&format!("{}.", bed.unique("r")), false);
        changed += amid(change_regions(bed, &target, &shape), |_| {
            let run = last.restore(bed, &tables, &target, &FLAGS[3..]).expect(0);
            assert_eq!(run.json["differences"], 0);
        });
        for (old, new) in tables.names().iter().zip(target.names()) {
            assert!(sorted(bed, old) == sorted(bed, &new), "{new} is not {old}");
            bed.must(&format!("drop {new}"));
        }
        restores += 1;
    }
    println!("{restores} restores, {changed} splits, merges and moves");
}
