//! The byte budget: memory is bounded by what was taken out of it, not by luck.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::model::FileKind;

/// A counting semaphore in bytes. Cheap to clone; all clones share one budget.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    shared: Arc<(Mutex<u64>, Condvar)>,
    total: u64,
}

/// Bytes taken out of a [`ByteBudget`]; they go back when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: ByteBudget,
    bytes: u64,
}

impl ByteBudget {
    /// A budget of `total` bytes.
    pub fn new(total: u64) -> Self {
        Self { shared: Arc::new((Mutex::new(total), Condvar::new())), total }
    }

    /// Waits until `bytes` are free. More than the whole budget is cut down to it, so that one large page can pass
    /// alone instead of waiting for ever.
    pub fn reserve(&self, bytes: u64) -> Reservation {
        let bytes = bytes.min(self.total);
        let (free, changed) = &*self.shared;
        // The number is valid at every instant, so a thread that panicked while holding the lock left nothing broken.
        let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < bytes {
            free = changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
        Reservation { budget: self.clone(), bytes }
    }
}

impl ByteBudget {
    /// Waits until there is room for reading a file of these bytes. A file of points is decoded by row groups of known
    /// size; one of other rows may hold cells of 10 MiB, each of which is copied on its way.
    pub fn reserve_file(&self, kind: FileKind, size: u64) -> Reservation {
        self.reserve(if kind == FileKind::Points { size } else { 3 * size + (8 << 20) })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let (free, changed) = &*self.budget.shared;
        *free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_waits_for_another_to_go() {
        let budget = ByteBudget::new(10);
        let first = budget.reserve(8);
        let (tell, told) = std::sync::mpsc::channel();
        let other = budget.clone();
        let waiter = std::thread::spawn(move || {
            let _second = other.reserve(5);
            tell.send(()).unwrap();
        });
        assert!(told.recv_timeout(std::time::Duration::from_millis(50)).is_err());
        drop(first);
        told.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        waiter.join().unwrap();
    }

    #[test]
    fn more_than_everything_is_everything() {
        let budget = ByteBudget::new(10);
        drop(budget.reserve(1000));
        drop(budget.reserve(10));
    }
}
