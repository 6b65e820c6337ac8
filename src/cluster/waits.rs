//! What clients wait for: failed calls that are being repeated, said to the operator.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cluster::ClusterError;
use crate::model::time;

/// From one line in the log to the next, however many calls fail meanwhile.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// The failed calls that all clients of a run repeat. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Waits(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Calls that are being repeated.
    open: usize,
    latest: Option<Wait>,
    said: Option<Instant>,
}

/// A call that failed and is being repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// What went wrong; names the gateway.
    pub error: String,
    /// When it is given up at the latest, RFC 3339.
    pub until: String,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The time first: an error may be longer than a line of a terminal.
        write!(f, "retrying until {}: {}", self.until, self.error)
    }
}

impl Waits {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is valid between any two statements, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is waited for now; `None` while no call is being repeated.
    pub fn now(&self) -> Option<Wait> {
        self.state().latest.clone()
    }

    /// A call that may have to be repeated.
    pub(crate) fn call(&self) -> Repeated<'_> {
        Repeated { waits: self, counted: false }
    }

    /// True when a line is due.
    fn note(&self, wait: Wait, first: bool) -> bool {
        let mut state = self.state();
        state.open += usize::from(first);
        state.latest = Some(wait);
        let due = state.said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        if due {
            state.said = Some(Instant::now());
        }
        due
    }
}

/// One call; what it waits for ends with it.
#[derive(Debug)]
pub(crate) struct Repeated<'a> {
    waits: &'a Waits,
    counted: bool,
}

impl Repeated<'_> {
    /// It failed and is tried again, for this long at most.
    pub fn failed(&mut self, error: &ClusterError, left: Duration) {
        let millis = time::now_ms().saturating_add(i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
        let until = time::text_time(millis / 1000 * 1000);
        let wait = Wait { error: error.to_string(), until: until.clone() };
        let first = !std::mem::replace(&mut self.counted, true);
        if self.waits.note(wait, first) {
            tracing::warn!(%error, %until, "a call to the gateway failed, retrying (--retry-for)");
        }
    }
}

impl Drop for Repeated<'_> {
    fn drop(&mut self) {
        if self.counted {
            let mut state = self.waits.state();
            state.open = state.open.saturating_sub(1);
            if state.open == 0 {
                state.latest = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_at_first_and_not_for_every_failure() {
        let waits = Waits::default();
        let wait = || Wait { error: "x".into(), until: "y".into() };
        assert!(waits.note(wait(), true));
        assert!(!waits.note(wait(), false) && !waits.clone().note(wait(), true), "clones share the rate");
        waits.state().said = Instant::now().checked_sub(SAY_EVERY);
        assert!(waits.note(wait(), false));
    }

    #[test]
    fn what_is_waited_for_ends_with_the_last_call() {
        let waits = Waits::default();
        assert_eq!(waits.now(), None);
        let (mut one, mut other) = (waits.call(), waits.call());
        one.failed(&ClusterError::Silent { gateway: "g:1".into() }, Duration::from_secs(5));
        other.failed(&ClusterError::Silent { gateway: "g:2".into() }, Duration::from_secs(5));
        other.failed(&ClusterError::Silent { gateway: "g:2".into() }, Duration::from_secs(4));
        drop(one);
        assert!(waits.now().is_some_and(|wait| wait.to_string().contains("g:2 accepts") && wait.until.ends_with('Z')));
        drop(other);
        assert_eq!(waits.now(), None);
        drop(waits.call());
        assert_eq!(waits.now(), None);
    }
}
