//! How fast a run may go, as it is typed.

use clap::Args;
use jiff::tz::TimeZone;
use tsdb_ark::flow::{Allowance, Ceiling, Manners};

use crate::cli::units;

/// A latency that is this many times the usual one makes a run back off.
const BACK_OFF: &str = "8";

/// Manners towards the cluster's users.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct MannersArgs {
    /// Limit in bytes per second, for all connections together
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub rate: Option<u64>,
    /// Limit in rows per second, for all connections together
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate_rows: Option<u64>,
    /// Limit for a time of day, such as 08:00-20:00=10MiB or 22:00-06:00=20000rows; 0 pauses until the window ends. May
    /// be repeated; the lowest limit that applies is used, --rate and --rate-rows included
    #[arg(long, value_name = "WINDOW=LIMIT", value_parser = parse_ceiling)]
    pub ceiling: Vec<Ceiling>,
    /// Time zone of --ceiling, such as Europe/Berlin (default: this machine's)
    #[arg(long, value_name = "NAME", value_parser = units::parse_time_zone)]
    pub time_zone: Option<TimeZone>,
    /// Back off when small reads take FACTOR times as long as before the run; `off` disables this
    #[arg(long, value_name = "FACTOR", value_parser = parse_back_off, default_value = BACK_OFF)]
    pub back_off: Factor,
}

/// The factor of the back-off; `None` is off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor(pub Option<f64>);

impl MannersArgs {
    /// The manners.
    pub fn manners(&self) -> Manners {
        Manners {
            rate: self.rate,
            rate_rows: self.rate_rows,
            ceilings: self.ceiling.clone(),
            time_zone: self.time_zone.clone().unwrap_or_else(TimeZone::system),
            back_off: self.back_off.0,
        }
    }
}

fn parse_rate(text: &str) -> Result<u64, String> {
    match units::parse_size(without_seconds(text))? {
        0 => Err("a rate of 0 would never end; --ceiling can pause for some hours of the day".to_string()),
        rate => Ok(rate),
    }
}

fn without_seconds(text: &str) -> &str {
    text.trim().strip_suffix("/s").unwrap_or(text)
}

/// Reads `HH:MM-HH:MM=LIMIT`.
fn parse_ceiling(text: &str) -> Result<Ceiling, String> {
    let wrong = || {
        "expected a window and a limit such as 08:00-20:00=10MiB, 22:00-06:00=20000rows or 12:00-13:00=0".to_string()
    };
    let (window, limit) = text.split_once('=').ok_or_else(wrong)?;
    let (from, to) = window.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (parse_minute(from).ok_or_else(wrong)?, parse_minute(to).ok_or_else(wrong)?);
    let limit = without_seconds(limit.trim());
    let allowance = match limit.strip_suffix("rows") {
        Some(rows) => Allowance::Rows(rows.trim().parse().map_err(|_| wrong())?),
        None => Allowance::Bytes(units::parse_size(limit).map_err(|_| wrong())?),
    };
    Ceiling::new(from, to, allowance)
        .ok_or_else(|| "a window begins and ends at different times; 00:00-24:00 is the whole day".to_string())
}

/// Minutes since midnight of `HH:MM`, up to 24:00.
fn parse_minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let digits = |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(hours, 2) || !digits(minutes, 2) || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60 && hours * 60 + minutes <= 24 * 60).then_some(hours * 60 + minutes)
}

fn parse_back_off(text: &str) -> Result<Factor, String> {
    if text.trim() == "off" {
        return Ok(Factor(None));
    }
    let factor = text.trim().parse::<f64>().ok().filter(|factor| *factor >= 1.2 && *factor <= 1e6);
    factor.map(|factor| Factor(Some(factor))).ok_or_else(|| "expected a factor of at least 1.2, or off".to_string())
}

/// A line of a report about the back-off; empty when there was none.
pub fn held_back(seconds: f64) -> String {
    if seconds > 0.0 {
        format!("backed off for {} because a gateway was slow\n", units::span(seconds))
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceiling(from: u16, to: u16, allowance: Allowance) -> Result<Ceiling, String> {
        Ok(Ceiling::new(from, to, allowance).unwrap())
    }

    #[test]
    fn ceilings_are_read() {
        let cases = [
            ("08:00-20:00=10MiB", ceiling(480, 1200, Allowance::Bytes(10 << 20))),
            ("8:00 - 20:30 = 10MiB/s", ceiling(480, 1230, Allowance::Bytes(10 << 20))),
            ("22:00-06:00=20000rows", ceiling(1320, 360, Allowance::Rows(20_000))),
            ("22:00-06:00=20000 rows/s", ceiling(1320, 360, Allowance::Rows(20_000))),
            ("00:00-24:00=0", ceiling(0, 1440, Allowance::Bytes(0))),
            ("12:00-13:00=0rows", ceiling(720, 780, Allowance::Rows(0))),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_ceiling(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_ceiling_says_what_is_one() {
        for text in [
            "",
            "10MiB",
            "08:00=10MiB",
            "08:00-20:00",
            "08:00-20:00=",
            "08:00-20:00=fast",
            "08-20=1MiB",
            "8:0-9:00=1",
            "25:00-26:00=1",
            "08:60-09:00=1",
            "08:00-24:01=1",
            "-1:00-09:00=1",
            "08:00-20:00=-1",
            "08:00-20:00=1.5rows",
        ] {
            assert!(parse_ceiling(text).unwrap_err().contains("08:00-20:00=10MiB"), "{text}");
        }
        for text in ["08:00-08:00=1MiB", "24:00-06:00=1MiB"] {
            assert!(parse_ceiling(text).unwrap_err().contains("different times"), "{text}");
        }
    }

    #[test]
    fn rates_and_factors_are_read() {
        assert_eq!(parse_rate("50MiB"), Ok(50 << 20));
        assert_eq!(parse_rate("50MiB/s"), Ok(50 << 20));
        assert!(parse_rate("0").is_err() && parse_rate("fast").is_err());
        assert_eq!(parse_back_off("off"), Ok(Factor(None)));
        assert_eq!(parse_back_off("2.5"), Ok(Factor(Some(2.5))));
        for text in ["", "on", "1", "0", "-3", "nan", "inf"] {
            assert!(parse_back_off(text).is_err(), "{text}");
        }
    }
}
