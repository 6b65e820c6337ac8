//! Which backups a set of rules keeps.
//!
//! A rule such as "7 daily" goes through the backups from the newest to the oldest and keeps the newest of each day that
//! has one, until it has kept seven. Days without a backup do not count. A backup stays when any rule keeps it.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The rules; a count of 0 is no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The newest ones.
    pub last: u64,
    /// The newest of each hour, for so many hours that have one.
    pub hourly: u64,
    /// Of each day.
    pub daily: u64,
    /// Of each ISO week, Monday to Sunday.
    pub weekly: u64,
    /// Of each month.
    pub monthly: u64,
    /// Of each year.
    pub yearly: u64,
    /// All that are so much older than the newest one at most.
    pub within: Option<Duration>,
    /// Where hours, days and so on begin.
    pub zone: TimeZone,
}

impl Default for Retention {
    fn default() -> Self {
        let zone = TimeZone::UTC;
        Self { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, within: None, zone }
    }
}

/// A span of the calendar, and how a time is named in it.
type Span = (&'static str, fn(&Zoned) -> String);

fn hour(time: &Zoned) -> String {
    // With its offset: when clocks go back there are two hours of one name.
    time.strftime("%Y-%m-%d %H:00%:z").to_string()
}

fn day(time: &Zoned) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

fn week(time: &Zoned) -> String {
    let date = time.date().iso_week_date();
    format!("{:04}-W{:02}", date.year(), date.week())
}

fn month(time: &Zoned) -> String {
    time.strftime("%Y-%m").to_string()
}

fn year(time: &Zoned) -> String {
    time.strftime("%Y").to_string()
}

impl Retention {
    /// True when no rule is given: nothing would be kept.
    pub fn is_empty(&self) -> bool {
        self.within.is_none()
            && [self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly]
                .iter()
                .all(|count| *count == 0)
    }

    /// Why each of the backups stays, in the order given; without a reason it goes. `backups` are ids and times of
    /// beginning in ms UTC; `now_ms` tells which of them lie in the future.
    pub fn reasons(&self, backups: &[(String, i64)], now_ms: i64) -> Vec<Vec<String>> {
        let mut order: Vec<usize> = (0..backups.len()).collect();
        // Of two of the same time the greater id counts as the newer.
        order.sort_by(|a, b| key(backups, *b).cmp(&key(backups, *a)));
        let mut reasons = vec![Vec::new(); backups.len()];
        for (number, at) in order.iter().take(usize::try_from(self.last).unwrap_or(usize::MAX)).enumerate() {
            push(&mut reasons, *at, format!("last {}", number + 1));
        }
        let spans: [(u64, Span); 5] = [
            (self.hourly, ("hourly", hour)),
            (self.daily, ("daily", day)),
            (self.weekly, ("weekly", week)),
            (self.monthly, ("monthly", month)),
            (self.yearly, ("yearly", year)),
        ];
        for (count, span) in spans {
            self.keep_newest_of_each(count, span, &order, backups, &mut reasons);
        }
        if let Some(within) = self.within {
            keep_within(within, backups, now_ms, &mut reasons);
        }
        reasons
    }

    fn keep_newest_of_each(
        &self,
        count: u64,
        (name, span): Span,
        order: &[usize],
        backups: &[(String, i64)],
        reasons: &mut [Vec<String>],
    ) {
        let (mut left, mut before) = (count, None);
        for at in order {
            if left == 0 {
                return;
            }
            let ms = backups.get(*at).map_or(0, |(_, ms)| *ms);
            let time = Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(self.zone.clone());
            let here = Some(span(&time));
            if here != before {
                push(reasons, *at, format!("{name} {}", span(&time)));
                left -= 1;
            }
            before = here;
        }
    }
}

/// A backup from the future, of a host whose clock was wrong, is no measure: then all others would go.
fn keep_within(within: Duration, backups: &[(String, i64)], now_ms: i64, reasons: &mut [Vec<String>]) {
    let newest = backups.iter().map(|(_, ms)| *ms).filter(|ms| *ms <= now_ms).max().unwrap_or(now_ms);
    let first = newest.saturating_sub(i64::try_from(within.as_millis()).unwrap_or(i64::MAX));
    for (at, (_, ms)) in backups.iter().enumerate() {
        if *ms >= first {
            push(reasons, at, format!("within {}", span_text(within)));
        }
    }
}

/// A span as a flag takes it.
pub fn span_text(span: Duration) -> String {
    match span.as_secs() {
        s if s > 0 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s > 0 && s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s > 0 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

fn key(backups: &[(String, i64)], at: usize) -> Option<(i64, &str)> {
    backups.get(at).map(|(id, ms)| (*ms, id.as_str()))
}

fn push(reasons: &mut [Vec<String>], at: usize, reason: String) {
    if let Some(reasons) = reasons.get_mut(at) {
        reasons.push(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_900_000_000_000;

    fn ms(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn backups(times: &[&str]) -> Vec<(String, i64)> {
        times.iter().enumerate().map(|(at, time)| (format!("b{at:03}"), ms(time))).collect()
    }

    fn berlin(rules: Retention) -> Retention {
        Retention { zone: TimeZone::get("Europe/Berlin").unwrap(), ..rules }
    }

    /// The times that stay, with their reasons.
    fn kept<'a>(rules: &Retention, times: &[&'a str]) -> Vec<(&'a str, String)> {
        let reasons = rules.reasons(&backups(times), NOW);
        times
            .iter()
            .zip(reasons)
            .filter(|(_, why)| !why.is_empty())
            .map(|(time, why)| (*time, why.join(", ")))
            .collect()
    }

    fn expect(rules: &Retention, times: &[&str], expected: &[(&str, &str)]) {
        let expected: Vec<(&str, String)> = expected.iter().map(|(time, why)| (*time, (*why).to_string())).collect();
        assert_eq!(kept(rules, times), expected);
    }

    #[test]
    fn nothing_is_kept_of_nothing() {
        let rules = Retention { last: 3, daily: 3, within: Some(Duration::from_secs(1)), ..Retention::default() };
        assert_eq!(rules.reasons(&[], NOW), Vec::<Vec<String>>::new());
        assert!(Retention::default().is_empty() && !rules.is_empty());
        assert!(!Retention { yearly: 1, ..Retention::default() }.is_empty());
        expect(&Retention::default(), &["2026-01-01T00:00Z"], &[]);
    }

    #[test]
    fn the_last_are_the_newest_whatever_the_order() {
        let rules = Retention { last: 2, ..Retention::default() };
        let times = ["2026-01-02T00:00Z", "2026-01-04T00:00Z", "2026-01-01T00:00Z", "2026-01-03T00:00Z"];
        expect(&rules, &times, &[("2026-01-04T00:00Z", "last 1"), ("2026-01-03T00:00Z", "last 2")]);
        expect(&Retention { last: 9, ..Retention::default() }, &times[..1], &[(times[0], "last 1")]);
    }

    #[test]
    fn the_newest_of_each_day_that_has_one() {
        let rules = Retention { daily: 3, ..Retention::default() };
        let times = [
            "2026-01-01T10:00Z",
            "2026-01-01T12:00Z",
            "2026-01-05T00:00Z",
            "2026-01-05T23:59:59.999Z",
            "2026-02-01T00:00Z",
            "2026-02-01T01:00Z",
        ];
        expect(
            &rules,
            &times,
            &[
                ("2026-01-01T12:00Z", "daily 2026-01-01"),
                ("2026-01-05T23:59:59.999Z", "daily 2026-01-05"),
                ("2026-02-01T01:00Z", "daily 2026-02-01"),
            ],
        );
    }

    #[test]
    fn rules_add_up() {
        let rules = Retention { last: 1, daily: 2, monthly: 2, ..Retention::default() };
        let times = ["2025-12-30T00:00Z", "2025-12-31T00:00Z", "2026-01-01T00:00Z", "2026-01-02T00:00Z"];
        expect(
            &rules,
            &times,
            &[
                ("2025-12-31T00:00Z", "monthly 2025-12"),
                ("2026-01-01T00:00Z", "daily 2026-01-01"),
                ("2026-01-02T00:00Z", "last 1, daily 2026-01-02, monthly 2026-01"),
            ],
        );
    }

    #[test]
    fn months_end_where_the_time_zone_says() {
        let rules = Retention { monthly: 9, yearly: 9, ..Retention::default() };
        let times = ["2026-01-31T22:30Z", "2026-01-31T23:30Z", "2026-02-28T22:59Z", "2026-02-28T23:00Z"];
        expect(
            &rules,
            &times,
            &[("2026-01-31T23:30Z", "monthly 2026-01"), ("2026-02-28T23:00Z", "monthly 2026-02, yearly 2026")],
        );
        expect(
            &berlin(rules),
            &times,
            &[
                ("2026-01-31T22:30Z", "monthly 2026-01"),
                ("2026-02-28T22:59Z", "monthly 2026-02"),
                ("2026-02-28T23:00Z", "monthly 2026-03, yearly 2026"),
            ],
        );
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        let rules = Retention { weekly: 9, ..Retention::default() };
        // 2026 has a week 53, which ends on Sunday, 3 January 2027; 2024-12-30 is in the first week of 2025.
        let times = [
            "2024-12-29T12:00Z",
            "2024-12-30T12:00Z",
            "2026-12-27T12:00Z",
            "2026-12-28T12:00Z",
            "2027-01-03T12:00Z",
            "2027-01-04T12:00Z",
        ];
        expect(
            &rules,
            &times,
            &[
                ("2024-12-29T12:00Z", "weekly 2024-W52"),
                ("2024-12-30T12:00Z", "weekly 2025-W01"),
                ("2026-12-27T12:00Z", "weekly 2026-W52"),
                ("2027-01-03T12:00Z", "weekly 2026-W53"),
                ("2027-01-04T12:00Z", "weekly 2027-W01"),
            ],
        );
    }

    #[test]
    fn when_clocks_go_back_there_are_two_hours_of_one_name() {
        let rules = berlin(Retention { hourly: 9, daily: 9, ..Retention::default() });
        // In Berlin 02:15 and 02:45 of summer, 02:15 and 02:45 of winter.
        let times = ["2026-10-25T00:15Z", "2026-10-25T00:45Z", "2026-10-25T01:15Z", "2026-10-25T01:45Z"];
        expect(
            &rules,
            &times,
            &[
                ("2026-10-25T00:45Z", "hourly 2026-10-25 02:00+02:00"),
                ("2026-10-25T01:45Z", "hourly 2026-10-25 02:00+01:00, daily 2026-10-25"),
            ],
        );
        // The day on which they go forward has 23 hours: from 23:00Z of the day before to 22:00Z.
        let times = ["2026-03-28T22:59Z", "2026-03-28T23:00Z", "2026-03-29T21:59Z", "2026-03-29T22:00Z"];
        let rules = berlin(Retention { daily: 9, ..Retention::default() });
        expect(
            &rules,
            &times,
            &[
                ("2026-03-28T22:59Z", "daily 2026-03-28"),
                ("2026-03-29T21:59Z", "daily 2026-03-29"),
                ("2026-03-29T22:00Z", "daily 2026-03-30"),
            ],
        );
    }

    #[test]
    fn of_equal_times_the_greater_id_is_the_newer() {
        let rules = Retention { last: 1, hourly: 5, ..Retention::default() };
        let backups: Vec<_> = ["b", "c", "a"].iter().map(|id| ((*id).to_string(), ms("2026-01-01T00:00Z"))).collect();
        let counts: Vec<usize> = rules.reasons(&backups, NOW).iter().map(Vec::len).collect();
        assert_eq!(counts, [0, 2, 0]);
    }

    #[test]
    fn within_counts_from_the_newest_backup() {
        let rules = Retention { within: Some(Duration::from_secs(86_400)), ..Retention::default() };
        let times = ["2020-01-01T00:00Z", "2020-05-01T11:59Z", "2020-05-01T12:00Z", "2020-05-02T12:00Z"];
        assert_eq!(kept(&rules, &times).iter().map(|(time, _)| *time).collect::<Vec<_>>(), times[2..]);
    }

    /// A host whose clock was wrong must not cost the others their backups.
    #[test]
    fn a_backup_from_the_future_is_kept_and_is_no_measure() {
        let rules = Retention { within: Some(Duration::from_secs(86_400)), ..Retention::default() };
        let times = ["2020-01-01T00:00Z", "2020-05-02T12:00Z", "2099-01-01T00:00Z"];
        assert_eq!(kept(&rules, &times).iter().map(|(time, _)| *time).collect::<Vec<_>>(), times[1..]);
        let rules = Retention { last: 1, daily: 2, ..Retention::default() };
        assert_eq!(kept(&rules, &times).len(), 2);
        // Only the future: nothing is dropped.
        let rules = Retention { within: Some(Duration::ZERO), ..Retention::default() };
        assert_eq!(kept(&rules, &times[2..]).len(), 1);
    }

    #[test]
    fn times_outside_of_the_calendar_are_no_panic() {
        let rules = Retention { hourly: 3, weekly: 3, within: Some(Duration::MAX), ..Retention::default() };
        let backups = vec![("a".to_string(), i64::MAX), ("b".to_string(), i64::MIN), ("c".to_string(), 0)];
        assert_eq!(rules.reasons(&backups, 0).len(), 3);
    }
}
