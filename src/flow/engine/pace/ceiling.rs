//! Ceilings by the time of day.

use std::fmt;

use jiff::civil::Time;

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// What a ceiling allows all connections together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// Wire bytes per second; 0 is a pause.
    Bytes(u64),
    /// Rows per second; 0 is a pause.
    Rows(u64),
}

/// A limit that holds every day between two times on the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    from: u16,
    to: u16,
    /// What is allowed meanwhile.
    pub allowance: Allowance,
}

impl Ceiling {
    /// A ceiling from the minute of the day `from` up to `to`, which is no longer part of it. A window whose end is
    /// before its beginning goes over midnight. `None` when `from` is beyond 23:59, `to` beyond 24:00, or both are the
    /// same: such a window could mean never or always.
    pub fn new(from: u16, to: u16, allowance: Allowance) -> Option<Self> {
        let sound = from < DAY && to <= DAY && from != to;
        sound.then_some(Self { from, to, allowance })
    }

    /// Whether the ceiling holds at this time on the clock.
    pub fn holds(&self, time: Time) -> bool {
        let minute = time.hour() as u16 * 60 + time.minute() as u16;
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{}-{}", clock(self.from), clock(self.to))
    }
}

/// What is allowed at one instant. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates<T = u64> {
    /// Wire bytes per second.
    pub bytes: Option<T>,
    /// Rows per second.
    pub rows: Option<T>,
}

impl Rates {
    /// The lower limit of both, each by itself.
    pub fn lower(self, allowance: Allowance) -> Self {
        let least = |old: Option<u64>, new: u64| Some(old.map_or(new, |old| old.min(new)));
        match allowance {
            Allowance::Bytes(bytes) => Self { bytes: least(self.bytes, bytes), ..self },
            Allowance::Rows(rows) => Self { rows: least(self.rows, rows), ..self },
        }
    }

    /// Nothing is allowed.
    pub fn is_pause(self) -> bool {
        self.bytes == Some(0) || self.rows == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i8, minute: i8) -> Time {
        Time::constant(hour, minute, 59, 0)
    }

    #[test]
    fn a_window_holds_its_first_minute_and_not_its_last() {
        let day = Ceiling::new(8 * 60, 20 * 60, Allowance::Bytes(1)).unwrap();
        let holds = |hour, minute| day.holds(at(hour, minute));
        assert_eq!([holds(7, 59), holds(8, 0), holds(19, 59), holds(20, 0)], [false, true, true, false]);
        assert_eq!(day.to_string(), "08:00-20:00");
    }

    #[test]
    fn a_window_goes_over_midnight() {
        let night = Ceiling::new(22 * 60, 6 * 60 + 30, Allowance::Rows(1)).unwrap();
        let holds = |hour, minute| night.holds(at(hour, minute));
        assert_eq!(
            [holds(21, 59), holds(22, 0), holds(0, 0), holds(6, 29), holds(6, 30)],
            [false, true, true, true, false]
        );
        let evening = Ceiling::new(22 * 60, DAY, Allowance::Rows(1)).unwrap();
        assert_eq!([evening.holds(at(23, 59)), evening.holds(at(0, 0))], [true, false]);
    }

    #[test]
    fn a_window_has_two_ends_of_a_day() {
        for (from, to) in [(0, 0), (600, 600), (DAY, 60), (0, DAY + 1)] {
            assert_eq!(Ceiling::new(from, to, Allowance::Bytes(1)), None, "{from}-{to}");
        }
        assert!(Ceiling::new(0, DAY, Allowance::Bytes(1)).unwrap().holds(at(12, 0)));
    }

    #[test]
    fn the_lowest_counts() {
        let rates = Rates { bytes: Some(50), rows: None };
        let low = rates.lower(Allowance::Bytes(10)).lower(Allowance::Bytes(20)).lower(Allowance::Rows(7));
        assert_eq!(low, Rates { bytes: Some(10), rows: Some(7) });
        assert!(!low.is_pause());
        assert!(low.lower(Allowance::Rows(0)).is_pause() && low.lower(Allowance::Bytes(0)).is_pause());
    }
}
