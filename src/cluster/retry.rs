//! The only place that waits and tries again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cluster::ClusterError;
use crate::cluster::waits::Waits;
use crate::model::Retry;

/// How often a sleeping retry looks at the stop flag.
const STOP_CHECK: Duration = Duration::from_millis(50);
/// After so many attempts in a row that ended their connections without an answer the request itself is to blame. All but
/// the first went over new connections.
const UNANSWERED: u32 = 4;
/// How much longer an overloaded gateway is left alone than a failed one.
const THROTTLE_FACTOR: u32 = 4;

/// How failed calls are repeated: exponential back-off with jitter, bounded by attempts and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub attempts: u32,
    /// Time from the first failure after which no attempt is started. A restarting cluster needs a minute.
    pub total: Duration,
    /// The first pause; each later one is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 60,
            total: Duration::from_secs(600),
            first_pause: Duration::from_millis(200),
            max_pause: Duration::from_secs(15),
        }
    }
}

impl RetryPolicy {
    /// One attempt only.
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// The pause after failure number `failures` (from 1): between half and all of the exponential step.
    fn pause(&self, failures: u32, retry: Retry) -> Duration {
        let step = self.first_pause.saturating_mul(1u32 << failures.saturating_sub(1).min(16));
        let step = if retry == Retry::Throttled { step.saturating_mul(THROTTLE_FACTOR) } else { step };
        let step = step.min(self.max_pause);
        let half = step / 2;
        // Random, so that clients do not march in step.
        half + half.mul_f64(fastrand::f64())
    }
}

/// Sleeps, looking at the stop flag; false when it was raised.
fn sleep(pause: Duration, stop: &AtomicBool) -> bool {
    let end = Instant::now() + pause;
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(STOP_CHECK));
    }
}

/// Runs `attempt` (given the number of failures so far) until it succeeds, fails for good, or the budget is used up.
/// Where `elsewhere` says that the next attempt goes to somebody who is not in trouble, its pause is a short one.
pub(crate) fn run<T>(
    policy: &RetryPolicy,
    stop: &AtomicBool,
    waits: &Waits,
    elsewhere: impl Fn(&ClusterError) -> bool,
    mut attempt: impl FnMut(u32) -> Result<T, ClusterError>,
) -> Result<T, ClusterError> {
    let (mut failures, mut steps, mut hopeless, mut unanswered) = (0, 0, 0, 0);
    let mut first_failure = None;
    let mut repeated = waits.call();
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(ClusterError::Interrupted);
        }
        let error = match attempt(failures) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        failures += 1;
        let since = *first_failure.get_or_insert_with(Instant::now);
        let retry = error.retry();
        if retry == Retry::Permanent || policy.attempts <= 1 {
            return Err(error);
        }
        unanswered = if error.is_unanswered() { unanswered + 1 } else { 0 };
        if unanswered >= UNANSWERED
            && let ClusterError::Lost { gateway, method, reason, .. } = error
        {
            return Err(ClusterError::Rejected { gateway, method, reason });
        }
        let elsewhere = elsewhere(&error);
        steps += u32::from(!elsewhere);
        let pause = if elsewhere { policy.pause(1, Retry::Transient) } else { policy.pause(steps, retry) };
        let pause = pause.max(error.wait().unwrap_or_default());
        hopeless += u32::from(error.patience() < u32::MAX);
        if failures >= policy.attempts || hopeless >= error.patience() || since.elapsed() + pause > policy.total {
            return Err(ClusterError::Exhausted { attempts: failures, source: Box::new(error) });
        }
        tracing::debug!(%error, failures, ?pause, "gateway call failed, trying again");
        if !elsewhere {
            repeated.failed(&error, policy.total.saturating_sub(since.elapsed()));
        }
        if !sleep(pause, stop) {
            return Err(ClusterError::Interrupted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick(attempts: u32) -> RetryPolicy {
        RetryPolicy {
            attempts,
            total: Duration::from_secs(10),
            first_pause: Duration::from_millis(1),
            max_pause: Duration::from_millis(4),
        }
    }

    fn lost() -> ClusterError {
        ClusterError::Lost { gateway: "g:1".into(), method: "m", reason: "end of file".into(), unanswered: false }
    }

    #[test]
    fn a_request_that_is_never_answered_is_given_up_soon() {
        let stop = AtomicBool::new(false);
        let unanswered =
            || ClusterError::Lost { gateway: "g:1".into(), method: "m", reason: "x".into(), unanswered: true };
        let tried = |fails: &dyn Fn(u32) -> ClusterError| {
            let mut calls = 0;
            let result: Result<(), _> = run(
                &quick(9),
                &stop,
                &Waits::default(),
                |_| false,
                |failures| {
                    calls += 1;
                    Err(fails(failures))
                },
            );
            (calls, result.unwrap_err())
        };
        assert!(matches!(tried(&|_| unanswered()), (4, ClusterError::Rejected { .. })));
        let now_and_then = |failures| if failures % 4 == 3 { lost() } else { unanswered() };
        assert!(matches!(tried(&now_and_then), (9, ClusterError::Exhausted { .. })));
    }

    #[test]
    fn a_throttled_client_waits_as_it_is_told() {
        let stop = AtomicBool::new(false);
        let throttled =
            |wait| ClusterError::Overloaded { method: "m", table: "t".into(), message: String::new(), wait };
        let begun = Instant::now();
        let told = Some(Duration::from_millis(300));
        let result = run(
            &quick(9),
            &stop,
            &Waits::default(),
            |_| false,
            |failures| if failures == 0 { Err(throttled(told)) } else { Ok(()) },
        );
        assert!(result.is_ok() && begun.elapsed() >= Duration::from_millis(300));
        let too_long = Some(Duration::from_secs(3600));
        let result: Result<(), _> = run(&quick(9), &stop, &Waits::default(), |_| false, |_| Err(throttled(too_long)));
        assert!(matches!(result, Err(ClusterError::Exhausted { attempts: 1, .. })));
    }

    #[test]
    fn repeats_what_may_pass_and_nothing_else() {
        let stop = AtomicBool::new(false);
        let result = run(
            &quick(5),
            &stop,
            &Waits::default(),
            |_| false,
            |failures| if failures < 3 { Err(lost()) } else { Ok(failures) },
        );
        assert_eq!(result.unwrap(), 3);
        let mut calls = 0;
        let result: Result<(), _> = run(
            &quick(5),
            &stop,
            &Waits::default(),
            |_| false,
            |_| {
                calls += 1;
                Err(ClusterError::TableMissing { table: "t".into() })
            },
        );
        assert!(matches!(result, Err(ClusterError::TableMissing { .. })));
        assert_eq!(calls, 1);
    }

    #[test]
    fn another_gateway_is_asked_soon() {
        let stop = AtomicBool::new(false);
        let slow =
            RetryPolicy { first_pause: Duration::from_millis(2), max_pause: Duration::from_secs(60), ..quick(16) };
        let slow = RetryPolicy { total: Duration::from_secs(10), ..slow };
        let result: Result<(), _> = run(&slow, &stop, &Waits::default(), |_| true, |_| Err(lost()));
        // With pauses that grow the time is over before.
        assert!(matches!(result, Err(ClusterError::Exhausted { attempts: 16, .. })));
    }

    #[test]
    fn gives_up_after_the_budget() {
        let stop = AtomicBool::new(false);
        let result: Result<(), _> = run(&quick(4), &stop, &Waits::default(), |_| false, |_| Err(lost()));
        assert!(matches!(result, Err(ClusterError::Exhausted { attempts: 4, .. })));
        let hasty = RetryPolicy { total: Duration::ZERO, ..quick(100) };
        let result: Result<(), _> = run(&hasty, &stop, &Waits::default(), |_| false, |_| Err(lost()));
        assert!(matches!(result, Err(ClusterError::Exhausted { attempts: 1, .. })));
    }

    #[test]
    fn the_stop_flag_ends_a_pause() {
        let stop = AtomicBool::new(false);
        let day = Duration::from_secs(86_400);
        let slow = RetryPolicy { first_pause: day, max_pause: day, total: 9 * day, ..quick(9) };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30));
                stop.store(true, Ordering::Relaxed);
            });
            let result: Result<(), _> = run(&slow, &stop, &Waits::default(), |_| false, |_| Err(lost()));
            assert!(matches!(result, Err(ClusterError::Interrupted)));
        });
    }

    #[test]
    fn pauses_grow_to_the_limit() {
        let policy = RetryPolicy::default();
        assert!(policy.pause(1, Retry::Transient) <= Duration::from_millis(200));
        assert!(policy.pause(1, Retry::Throttled) >= Duration::from_millis(400));
        assert!(policy.pause(40, Retry::Transient) <= policy.max_pause);
        assert!(policy.pause(40, Retry::Transient) >= policy.max_pause / 2);
    }
}
