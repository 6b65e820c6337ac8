//! Attempts at shards, and the numbers of series that belong to each.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::manifest::new_attempt;

/// Bits of a series number that count the series of an attempt.
const NUMBER_BITS: u32 = 26;
/// Bits of an attempt's name.
const NAME_BITS: u32 = 48;

/// The attempts of a backup. Each has series numbers of its own, in whatever process it was made: the first 37 bits of
/// its random name, then a number that counts from 0.
pub struct Attempts(Mutex<HashSet<i64>>);

impl Attempts {
    /// Continues where these attempts have been made already.
    pub fn beside<'a>(known: impl Iterator<Item = &'a str>) -> Self {
        Self(Mutex::new(known.filter_map(first_number).collect()))
    }

    /// A new one, and the first of its series numbers.
    pub fn next(&self) -> (String, i64) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let attempt = new_attempt();
            if let Some(first) = first_number(&attempt).filter(|first| taken.insert(*first)) {
                return (attempt, first);
            }
        }
    }
}

/// The first series number of an attempt; `None` when it is no name of one.
pub fn first_number(attempt: &str) -> Option<i64> {
    let name = u64::from_str_radix(attempt, 16).ok().filter(|name| *name < 1 << NAME_BITS)?;
    // 37 bits and 26 leave the sign alone.
    i64::try_from(name >> (NAME_BITS + NUMBER_BITS - 63) << NUMBER_BITS).ok()
}

/// The series number behind this one; `None` behind the attempt's last.
pub fn next_number(number: i64) -> Option<i64> {
    let next = number.checked_add(1)?;
    (next & ((1 << NUMBER_BITS) - 1) != 0).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_have_numbers_of_their_own() {
        assert_eq!(first_number("ffffffffffff"), Some(i64::MAX - ((1 << NUMBER_BITS) - 1)));
        assert_eq!(first_number("0000000007ff"), Some(0));
        assert_eq!(first_number("000000000800"), Some(1 << NUMBER_BITS));
        assert_eq!(first_number("x"), None);
        assert_eq!(first_number("1000000000000"), None);
        assert_eq!(next_number(5), Some(6));
        assert_eq!(next_number((1 << NUMBER_BITS) - 1), None);
        assert_eq!(next_number(i64::MAX), None);
        let attempts = Attempts::beside(["0123456789ab"].into_iter());
        let firsts: HashSet<i64> = (0..1000).map(|_| attempts.next().1).collect();
        assert_eq!(firsts.len(), 1000);
        assert!(!firsts.contains(&first_number("0123456789ab").unwrap()));
    }
}
