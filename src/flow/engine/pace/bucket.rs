//! A token bucket that may go into debt.
//!
//! What a page weighs is known when it is here. So a turn is charged at once with the mean of the turns before, which
//! makes the next connection wait its time, and corrected afterwards. A page that weighs more than a second's worth
//! leaves a debt, which is paid before the next turn.

use std::time::Duration;

/// Seconds' worth of tokens that an idle bucket collects: short, so that a pause is not made up for by a rush.
const BURST: f64 = 0.25;

/// One limit per second. Times count from any beginning, but always the same.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    tokens: f64,
    filled: Duration,
    /// Mean cost of a turn.
    usual: f64,
}

impl Bucket {
    /// A bucket with room for one turn.
    pub fn new(now: Duration) -> Self {
        Self { tokens: 0.0, filled: now, usual: 0.0 }
    }

    /// Adds what has come since the last time, at this many per second.
    pub fn fill(&mut self, now: Duration, rate: Option<u64>) {
        let seconds = now.saturating_sub(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = match rate {
            // Without a limit there is no debt either: a ceiling that begins later starts from nothing.
            None => 0.0,
            Some(rate) => (self.tokens + rate as f64 * seconds).min(BURST * rate as f64),
        };
    }

    /// How long a turn has to wait at this rate; zero: it may begin.
    pub fn wait(&self, rate: Option<u64>) -> Duration {
        match rate {
            Some(rate) if self.tokens < 0.0 => {
                Duration::try_from_secs_f64(-self.tokens / rate as f64).unwrap_or(Duration::MAX)
            }
            _ => Duration::ZERO,
        }
    }

    /// Charges a turn that begins; returns what [`settle`](Self::settle) needs.
    pub fn charge(&mut self) -> f64 {
        self.tokens -= self.usual;
        self.usual
    }

    /// Corrects the charge of a turn that is over. Nothing moved: it is given back.
    pub fn settle(&mut self, charged: f64, moved: u64) {
        let moved = moved as f64;
        self.tokens += charged - moved;
        if moved > 0.0 {
            self.usual = if self.usual == 0.0 { moved } else { self.usual + (moved - self.usual) / 4.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of changing weight, each as soon as the bucket allows it.
    fn rate_over(seconds: f64, rate: u64, weight: impl Fn(u64) -> u64) -> f64 {
        let (mut bucket, mut now, mut moved) = (Bucket::new(Duration::ZERO), Duration::ZERO, 0);
        for turn in 0.. {
            bucket.fill(now, Some(rate));
            now += bucket.wait(Some(rate));
            bucket.fill(now, Some(rate));
            if now.as_secs_f64() >= seconds {
                break;
            }
            let charged = bucket.charge();
            bucket.settle(charged, weight(turn));
            moved += weight(turn);
        }
        moved as f64 / seconds
    }

    #[test]
    fn the_average_is_the_limit() {
        for (rate, found) in [
            (1000, rate_over(100.0, 1000, |_| 100)),
            (1000, rate_over(1000.0, 1000, |_| 5000)),
            (1000, rate_over(1000.0, 1000, |turn| 1 + turn % 7 * 300)),
        ] {
            assert!((found / rate as f64 - 1.0).abs() < 0.02, "{found} instead of {rate}");
        }
    }

    #[test]
    fn an_idle_bucket_saves_little() {
        let mut bucket = Bucket::new(Duration::ZERO);
        bucket.fill(Duration::from_secs(3600), Some(1000));
        bucket.settle(0.0, 250);
        assert!(bucket.wait(Some(1000)).is_zero());
        bucket.settle(0.0, 500);
        assert_eq!(bucket.wait(Some(1000)), Duration::from_millis(500));
        assert_eq!(bucket.wait(Some(0)), Duration::MAX);
    }

    #[test]
    fn the_next_connection_waits_while_a_page_is_on_its_way() {
        let mut bucket = Bucket::new(Duration::ZERO);
        let first = bucket.charge();
        bucket.settle(first, 400);
        bucket.fill(Duration::from_millis(400), Some(1000));
        assert!(bucket.wait(Some(1000)).is_zero());
        let second = bucket.charge();
        assert_eq!(bucket.wait(Some(1000)), Duration::from_millis(400));
        bucket.settle(second, 0);
        assert!(bucket.wait(Some(1000)).is_zero(), "a turn that moved nothing costs nothing");
    }

    #[test]
    fn no_limit_leaves_no_debt() {
        let mut bucket = Bucket::new(Duration::ZERO);
        bucket.settle(0.0, 1 << 40);
        assert!(bucket.wait(None).is_zero());
        bucket.fill(Duration::from_secs(1), None);
        assert!(bucket.wait(Some(1)).is_zero());
    }
}
