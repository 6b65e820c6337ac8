//! Several threads on one queue, one tool each, until the work is done or one of them fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use crate::flow::engine::queue::WorkQueue;
use crate::flow::{FlowError, Progress};

/// Does every piece of work in the queue with `threads` threads. Each thread makes itself a tool with `start` (a
/// connection, for example), which it gives back while there is nothing to do: a gateway with few workers serves the
/// others then. What `work` returns goes to `collect`, one result at a time.
///
/// # Errors
/// The first error, after which no further piece is handed out. An error other than an interruption takes the place of
/// an interruption, because the one is often the cause of the other. A panic of any of the three is an error too
/// ([`FlowError::Panicked`]): the other threads end, and whoever called cleans up.
pub fn work_through<T: Send, C, R>(
    threads: usize,
    queue: &WorkQueue<T>,
    progress: &Progress,
    start: impl Fn() -> C + Sync,
    work: impl Fn(&mut C, T) -> Result<R, FlowError> + Sync,
    collect: impl FnMut(R) + Send,
) -> Result<(), FlowError> {
    let state = Mutex::new((collect, None::<FlowError>));
    let fail = |error: FlowError| {
        queue.close();
        let slot = &mut state.lock().unwrap_or_else(PoisonError::into_inner).1;
        match error {
            FlowError::Interrupted if slot.is_some() => {}
            new if matches!(slot, None | Some(FlowError::Interrupted)) => *slot = Some(new),
            _ => {}
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut tool = None;
                while let Some(piece) = queue.take_at_once().or_else(|| {
                    tool = None;
                    queue.take()
                }) {
                    // What a panic leaves half done is not used: the tool goes, and the run ends with an error.
                    let done = catch_unwind(AssertUnwindSafe(|| {
                        let result = work(tool.get_or_insert_with(&start), piece)?;
                        (state.lock().unwrap_or_else(PoisonError::into_inner).0)(result);
                        Ok(())
                    }));
                    match done {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => fail(error),
                        Err(payload) => {
                            tool = None;
                            fail(FlowError::panicked(&*payload));
                        }
                    }
                    progress.finished();
                    queue.done();
                }
            });
        }
    });
    let (_, error) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    error.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_collected() {
        let queue = WorkQueue::new(1..=100u64);
        let mut sum = 0;
        let done = work_through(3, &queue, &Progress::new(), || (), |(), n| Ok(n), |n| sum += n);
        assert!(done.is_ok());
        assert_eq!(sum, 5050);
    }

    #[test]
    fn the_cause_is_reported_and_ends_the_work() {
        let queue = WorkQueue::new(0..1_000_000u64);
        let work = |(): &mut (), n: u64| match n {
            50 => Err(FlowError::input("bad")),
            n if n > 50 => Err(FlowError::Interrupted),
            n => Ok(n),
        };
        let mut done = 0;
        let error = work_through(4, &queue, &Progress::new(), || (), work, |_| done += 1).unwrap_err();
        assert!(matches!(error, FlowError::Input(_)), "{error}");
        assert!(done <= 50);
    }

    /// Others wait in the queue for what the panicking thread may put back, or work on; all of them end.
    #[test]
    fn a_panic_is_an_error_and_nobody_waits_for_ever() {
        let panics_in = |place: &'static str| {
            let queue = WorkQueue::new(0..1_000u64);
            let start = || assert_ne!(place, "start", "a panic on purpose");
            let work = |(): &mut (), n: u64| {
                if n == 50 && place == "work" {
                    panic!("a panic on purpose in {place}");
                }
                Ok(n)
            };
            let collect = |n| assert!(n != 50 || place != "collect", "a panic on purpose");
            work_through(4, &queue, &Progress::new(), start, work, collect)
        };
        for place in ["start", "work", "collect"] {
            let error = panics_in(place).unwrap_err();
            assert!(matches!(&error, FlowError::Panicked(text) if text.contains("on purpose")), "{error}");
            assert_eq!(error.exit_code(), 1);
        }
        assert!(panics_in("none").is_ok());
    }
}
