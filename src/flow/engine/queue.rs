//! The queue of shards: workers take from it, and a worker may put back what it leaves of a long shard.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Work for several threads that ends when nothing is waiting and nobody works.
#[derive(Debug)]
pub struct WorkQueue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    working: usize,
    idle: usize,
    closed: bool,
}

impl<T> WorkQueue<T> {
    /// A queue with these pieces of work.
    pub fn new(work: impl IntoIterator<Item = T>) -> Self {
        let state = State { waiting: work.into_iter().collect(), working: 0, idle: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Every change below is complete before the lock is released, so a poisoned lock guards a valid state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece, waiting while others work and may put some back. `None`: all done, or [`close`](Self::close)d.
    /// Every piece taken must be reported by [`done`](Self::done).
    pub fn take(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(work) = state.waiting.pop_front() {
                state.working += 1;
                return Some(work);
            }
            if state.working == 0 {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// The next piece, if one waits; like one of [`take`](Self::take).
    pub fn take_at_once(&self) -> Option<T> {
        let mut state = self.lock();
        let work = if state.closed { None } else { state.waiting.pop_front() };
        state.working += usize::from(work.is_some());
        work
    }

    /// Adds work, in front of what waits.
    pub fn put_back(&self, work: impl IntoIterator<Item = T>) {
        let mut state = self.lock();
        for piece in work {
            state.waiting.push_front(piece);
        }
        self.changed.notify_all();
    }

    /// A piece taken before is finished.
    pub fn done(&self) {
        let mut state = self.lock();
        state.working = state.working.saturating_sub(1);
        self.changed.notify_all();
    }

    /// Wakes everybody up; nothing is handed out any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Threads that wait for work while nothing is left to take.
    pub fn hungry(&self) -> usize {
        let state = self.lock();
        if state.waiting.is_empty() { state.idle } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn work_put_back_is_done_by_somebody() {
        let queue = WorkQueue::new([8usize]);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(n) = queue.take() {
                        if n > 1 {
                            queue.put_back([n / 2, n - n / 2]);
                        } else {
                            sum.fetch_add(1, Ordering::SeqCst);
                        }
                        queue.done();
                    }
                });
            }
        });
        assert_eq!(sum.load(Ordering::SeqCst), 8);
    }

    #[test]
    fn a_closed_queue_hands_out_nothing() {
        let queue = WorkQueue::new([1, 2]);
        assert_eq!(queue.take(), Some(1));
        queue.close();
        assert_eq!(queue.take(), None);
    }
}
