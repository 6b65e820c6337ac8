//! How much of its time a connection may keep the gateway busy, from the latency that a canary meets.
//!
//! Pure: samples in, duty out. The share falls at once by as much as the latency is over its limit, at most by half and
//! not again before the samples are new, and grows back in small steps.

use std::collections::VecDeque;
use std::time::Duration;

/// The least share: a backup that stands still helps nobody either.
pub const LEAST: f64 = 0.08;
/// Added to the share with every good sample.
const RECOVERY: f64 = 0.05;
/// Samples whose median is the latency of now: one slow answer, a collection of garbage for example, changes nothing.
const WINDOW: usize = 5;
/// Samples whose median may become a lower baseline.
const QUIET_WINDOW: usize = 15;
/// A baseline below this counts as this: no multiple of next to nothing means anything to a person who waits. With the
/// default factor of 8 a run backs off above 40 ms, as a small cluster that is merely busy seldom is.
const LEAST_BASELINE: Duration = Duration::from_millis(5);

/// The share of one run, by the latency of one gateway.
#[derive(Debug)]
pub struct Duty {
    factor: f64,
    baseline: Option<Duration>,
    recent: VecDeque<Duration>,
    /// Good or bad samples to come before the share falls again.
    patience: usize,
    share: f64,
}

impl Duty {
    /// A full share; it falls when the latency is more than `factor` times the baseline, and that many times 5 ms.
    pub fn new(factor: f64) -> Self {
        Self { factor, baseline: None, recent: VecDeque::new(), patience: 0, share: 1.0 }
    }

    /// Takes the quick samples from before the load begins; their median is the baseline.
    pub fn begin(&mut self, quick: &[Duration]) {
        self.baseline = median(quick.iter().copied());
    }

    /// Takes a sample from under load.
    pub fn sample(&mut self, latency: Duration) {
        self.recent.push_back(latency);
        if self.recent.len() > QUIET_WINDOW {
            self.recent.pop_front();
        }
        let quiet = median(self.recent.iter().copied()).filter(|_| self.recent.len() == QUIET_WINDOW);
        self.baseline = match (self.baseline, quiet) {
            (Some(old), Some(quiet)) => Some(old.min(quiet)),
            (old, quiet) => old.or(quiet),
        };
        if self.recent.len() < WINDOW {
            return;
        }
        self.patience = self.patience.saturating_sub(1);
        let times = self.times();
        if times <= self.factor || self.latency() <= LEAST_BASELINE.mul_f64(self.factor) {
            self.share = (self.share + RECOVERY).min(1.0);
        } else if self.patience == 0 {
            self.share = (self.share * (self.factor / times).clamp(0.5, 0.9)).max(LEAST);
            self.patience = WINDOW / 2 + 1;
        }
    }

    /// There is no gateway to be spared now: what was heard of it before says nothing about the others.
    pub fn silence(&mut self) {
        self.recent.clear();
        self.share = (self.share + RECOVERY).min(1.0);
    }

    /// Share of its time that a connection may have a call under way, [`LEAST`]..=1.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The latency of now as a multiple of the baseline; 1 while either is unknown.
    pub fn times(&self) -> f64 {
        match self.baseline {
            Some(baseline) if !baseline.is_zero() && self.recent.len() >= WINDOW => {
                self.latency().as_secs_f64() / baseline.as_secs_f64()
            }
            _ => 1.0,
        }
    }

    /// The latency of now.
    pub fn latency(&self) -> Duration {
        median(self.recent.iter().rev().take(WINDOW).copied()).unwrap_or_default()
    }

    /// The latency without load.
    pub fn baseline(&self) -> Option<Duration> {
        self.baseline
    }
}

fn median(samples: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut samples: Vec<Duration> = samples.collect();
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(10);

    fn begun(factor: f64) -> Duty {
        let mut duty = Duty::new(factor);
        duty.begin(&[QUICK; 9]);
        duty
    }

    fn feed(duty: &mut Duty, millis: u64, samples: usize) {
        (0..samples).for_each(|_| duty.sample(Duration::from_millis(millis)));
    }

    #[test]
    fn falls_when_the_latency_rises_and_comes_back() {
        let mut duty = begun(5.0);
        feed(&mut duty, 49, 20);
        assert_eq!(duty.share(), 1.0, "below the factor");
        feed(&mut duty, 100, 5);
        assert!((0.4..0.95).contains(&duty.share()), "{}", duty.share());
        assert!((duty.times() - 10.0).abs() < 0.01);
        feed(&mut duty, 100, 100);
        assert_eq!(duty.share(), LEAST, "bounded");
        feed(&mut duty, 12, 5 + 20);
        assert_eq!(duty.share(), 1.0);
    }

    #[test]
    fn one_slow_answer_changes_nothing() {
        let mut duty = begun(5.0);
        for _ in 0..20 {
            feed(&mut duty, 12, 4);
            feed(&mut duty, 5000, 1);
            assert_eq!(duty.share(), 1.0);
        }
    }

    #[test]
    fn a_multiple_of_nothing_is_nothing() {
        let mut duty = Duty::new(5.0);
        duty.begin(&[Duration::from_micros(300); 9]);
        feed(&mut duty, 25, 50);
        assert!(duty.times() > 80.0);
        assert_eq!(duty.share(), 1.0);
    }

    #[test]
    fn a_gateway_that_is_gone_holds_nothing_back() {
        let mut duty = begun(5.0);
        feed(&mut duty, 500, 50);
        assert!(duty.share() < 0.2);
        (0..20).for_each(|_| duty.silence());
        assert_eq!((duty.share(), duty.times()), (1.0, 1.0));
    }

    #[test]
    fn the_baseline_only_falls() {
        let mut duty = begun(5.0);
        feed(&mut duty, 4, 20);
        assert_eq!(duty.baseline(), Some(Duration::from_millis(4)));
        feed(&mut duty, 60, 100);
        assert_eq!(duty.baseline(), Some(Duration::from_millis(4)));
        assert!(duty.share() < 1.0);
    }

    #[test]
    fn without_a_quick_sample_the_first_ones_count() {
        let mut duty = Duty::new(5.0);
        duty.begin(&[]);
        feed(&mut duty, 50, 15);
        assert_eq!((duty.baseline(), duty.share()), (Some(Duration::from_millis(50)), 1.0));
        feed(&mut duty, 900, 20);
        assert!(duty.share() < 1.0);
    }
}
