//! Several threads on one queue, one tool each, until the work is done or one of them fails.

use std::sync::{Mutex, PoisonError};

use crate::flow::queue::WorkQueue;
use crate::flow::{FlowError, Progress};

/// Does every piece of work in the queue with `threads` threads. Each thread makes itself a tool with `start` (a
/// connection, for example), which it gives back while there is nothing to do: a gateway with few workers serves the
/// others then. What `work` returns goes to `collect`, one result at a time.
///
/// # Errors
/// The first error, after which no further piece is handed out. An error other than an interruption takes the place of
/// an interruption, because the one is often the cause of the other.
pub fn work_through<T: Send, C, R>(
    threads: usize,
    queue: &WorkQueue<T>,
    progress: &Progress,
    start: impl Fn() -> C + Sync,
    work: impl Fn(&mut C, T) -> Result<R, FlowError> + Sync,
    collect: impl FnMut(R) + Send,
) -> Result<(), FlowError> {
    let state = Mutex::new((collect, None::<FlowError>));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut tool = None;
                while let Some(piece) = queue.take_at_once().or_else(|| {
                    tool = None;
                    queue.take()
                }) {
                    let result = work(tool.get_or_insert_with(&start), piece);
                    if result.is_err() {
                        queue.close();
                    }
                    // A thread that panicked while collecting ends the scope with its panic; nobody reads on.
                    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    let (collect, error) = &mut *state;
                    match result {
                        Ok(result) => collect(result),
                        Err(FlowError::Interrupted) if error.is_some() => {}
                        Err(new) if matches!(error, None | Some(FlowError::Interrupted)) => *error = Some(new),
                        Err(_) => {}
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
}
