//! Backups and restores one after the other while everything fails at random: calls and connections in the proxies before
//! two gateways, one of the gateways itself, and the regions. Each run ends in one of two ways: with exit code 0 and not
//! one cell different from the source, or with another one, nothing committed, and a reason.
//!
//! | variable | |
//! |---|---|
//! | `TSDB_ARK_ENDURANCE` | seconds to go on; 40 when not set |
//! | `TSDB_ARK_SEED` | the first seed; the next one is greater by one. 1 when not set |
//! | `TSDB_ARK_LONG` | so many seconds of 24 faults per minute over 5 million points, where that is asked for; 600 when not set |
//! | `TSDB_ARK_FAULTS` | faults per minute, both proxies together; 120 when not set, because each run is short |
//!
//! A seed that fails is drawn again by `scripts/endurance.sh 1 SEED`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helper functions too")]

mod support;

#[path = "endurance/chaos.rs"]
mod chaos;
#[path = "endurance/long.rs"]
mod long;
#[path = "endurance/place.rs"]
mod place;
#[path = "endurance/trial.rs"]
mod trial;

use std::time::{Duration, Instant};

use chaos::{Chaos, Gateway};
use support::bed::Bed;
use support::synthetic::Synthetic;
use trial::Trials;

/// A number from the environment.
pub fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a whole number")))
}

#[test]
fn every_run_ends_whole_or_with_nothing_committed() {
    let bed = Bed::own(&[]);
    let seconds = setting("TSDB_ARK_ENDURANCE", 40);
    let rate = u32::try_from(setting("TSDB_ARK_FAULTS", 120)).unwrap();
    let shape = Synthetic { metrics: 3, series: 60, hours: 60, points: 4, ..Synthetic::default() };
    let tables = shape.load(&bed, &["000002", "000003"]);
    let gateways = [Gateway::spawn(&bed), Gateway::spawn(&bed)];
    let mut trials = Trials::new(&bed, &shape, &tables, &gateways, rate);
    let begun = Instant::now();
    let mut seed = setting("TSDB_ARK_SEED", 1);
    // Where time was too short for one run to get through, there is more.
    while begun.elapsed() < Duration::from_secs(seconds) || trials.whole() == 0 {
        assert!(trials.whole() > 0 || trials.count() < 200, "not one run got through");
        let chaos = Chaos { bed: &bed, shape: &shape, table: tables.data(), gateway: &gateways[1] };
        trials.run(seed, chaos);
        seed += 1;
    }
    println!("{}", trials.summary());
}
