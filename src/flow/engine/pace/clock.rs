//! Time, as the pace sees it.

use std::time::{Duration, Instant};

use jiff::civil::Time;
use jiff::tz::TimeZone;

/// A clock that tests can set.
pub trait Clock: Send + Sync {
    /// Time since some beginning.
    fn now(&self) -> Duration;
    /// The time of day where the cluster's users are.
    fn time_of_day(&self) -> Time;
    /// Sleeps.
    fn sleep(&self, time: Duration);
}

/// The system's.
pub struct SystemClock {
    begun: Instant,
    zone: TimeZone,
}

impl SystemClock {
    /// A clock that begins now.
    pub fn new(zone: TimeZone) -> Self {
        Self { begun: Instant::now(), zone }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn time_of_day(&self) -> Time {
        jiff::Timestamp::now().to_zoned(self.zone.clone()).time()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
