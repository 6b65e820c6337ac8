//! `--metric`, `--tag`, `--from`, `--to`, `--since`: which points a command is about.

use clap::Args;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tsdb_ark::flow::{NamePattern, Selection};

use crate::cli::exit::{Usage, usage};
use crate::cli::units::parse_age;

/// What is typed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct SelectionArgs {
    /// Only metrics that match, such as sys.cpu.*; may be given several times
    #[arg(long, value_name = "PATTERN", value_parser = NamePattern::new)]
    pub metric: Vec<NamePattern>,
    /// Only series with this tag; the value may be a pattern, such as host=web*. Several keys must all match, of several
    /// values of one key any
    #[arg(long, value_name = "KEY=PATTERN", value_parser = parse_tag)]
    pub tag: Vec<(String, NamePattern)>,
    /// No points before this time: 2026-01-31, 2026-01-31T06:00 (UTC), 2026-01-31T06:00+01:00, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<i64>,
    /// No points at or after this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<i64>,
    /// The same as --from so long ago, such as 10m or 7d
    #[arg(long, value_name = "AGE", conflicts_with = "from", value_parser = parse_age)]
    pub since: Option<std::time::Duration>,
}

impl SelectionArgs {
    /// The selection.
    ///
    /// # Errors
    /// Usage: a range of time that is empty.
    pub fn selection(&self) -> Result<Selection, Usage> {
        let since = |age| {
            let age = SignedDuration::try_from(age).ok();
            age.and_then(|age| Timestamp::now().checked_sub(age).ok())
                .map(Timestamp::as_millisecond)
                .ok_or_else(|| usage("--since: nobody has written points that long ago"))
        };
        let from_ms = match self.since {
            Some(age) => Some(since(age)?),
            None => self.from,
        };
        if let (Some(from), Some(to)) = (from_ms, self.to)
            && from >= to
        {
            return Err(usage("--from is not before --to: no point could match"));
        }
        Ok(Selection { metrics: self.metric.clone(), tags: self.tag.clone(), from_ms, to_ms: self.to })
    }
}

fn parse_tag(text: &str) -> Result<(String, NamePattern), String> {
    match text.split_once('=') {
        Some((key, pattern)) if !key.is_empty() => Ok((key.to_owned(), NamePattern::new(pattern)?)),
        _ => Err("expected KEY=VALUE or KEY=PATTERN, such as host=web*".to_owned()),
    }
}

/// Reads a time in ms: a date, a time of day of it in UTC or with its offset, or seconds since 1970 (ms from 13 digits on,
/// as OpenTSDB reads it).
fn parse_time(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let wrong = || {
        "expected a time such as 2026-01-31, 2026-01-31T06:00 (UTC), 2026-01-31T06:00+01:00, or seconds since 1970"
            .to_owned()
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = text.parse().map_err(|_| wrong())?;
        return if text.len() > 12 { Ok(number) } else { Ok(number * 1000) };
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let civil = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from)).map_err(|_| wrong())?;
    TimeZone::UTC.to_timestamp(civil).map(Timestamp::as_millisecond).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_utc_unless_they_say_otherwise() {
        for (text, ms) in [
            ("1970-01-02", 86_400_000),
            ("1970-01-01T00:01", 60_000),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-01T00:00:01.5Z", 1500),
            ("1500000000", 1_500_000_000_000),
            ("1500000000123", 1_500_000_000_123),
        ] {
            assert_eq!(parse_time(text), Ok(ms), "{text}");
        }
        for text in ["", "yesterday", "10m", "2026-13-01", "-5"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert!(parse_tag("host").is_err() && parse_tag("=x").is_err() && parse_tag("host=").is_err());
        assert_eq!(parse_tag("host=a=b").unwrap().1.text(), "a=b");
    }

    #[test]
    fn an_empty_range_of_time_is_refused() {
        let args = |from, to| SelectionArgs { from: Some(from), to: Some(to), ..SelectionArgs::default() };
        assert!(args(5, 5).selection().is_err());
        assert_eq!(args(5, 6).selection().unwrap().to_ms, Some(6));
        let since = SelectionArgs { since: Some(std::time::Duration::from_secs(600)), ..SelectionArgs::default() };
        let from = since.selection().unwrap().from_ms.unwrap();
        assert!((Timestamp::now().as_millisecond() - from - 600_000).abs() < 60_000);
    }
}
