//! Sizes, durations and counts, read from flags and written for people.

use std::time::Duration;

use jiff::tz::TimeZone;

const KIB: u64 = 1 << 10;
const BINARY: [(&str, u64); 4] =
    [("TiB", KIB * KIB * KIB * KIB), ("GiB", KIB * KIB * KIB), ("MiB", KIB * KIB), ("KiB", KIB)];

/// Reads a time zone by its name in the IANA database, such as `Europe/Berlin`.
///
/// # Errors
/// A sentence for the user.
pub fn parse_time_zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text.trim()).map_err(|_| "expected a time zone by name, such as Europe/Berlin or UTC".to_string())
}

/// Reads a size: `320MiB`, `2G`, `10MB`, `4096`. Fractions are allowed, the result is in bytes.
///
/// # Errors
/// A sentence for the user.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "expected a size such as 512KiB, 320MiB, 2GiB or a number of bytes".to_string();
    let (number, unit) = split_number(text.trim()).ok_or_else(wrong)?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => KIB,
        "m" | "mib" => KIB * KIB,
        "g" | "gib" => KIB * KIB * KIB,
        "t" | "tib" => KIB * KIB * KIB * KIB,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(|| "the size is too large".to_string());
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    if bytes > 1e18 {
        return Err("the size is too large".to_string());
    }
    Ok(bytes as u64)
}

/// Reads a duration: `250ms`, `3s`, `5m`, `2h`, `1d`, `2w`, `1m30s`, or plain seconds.
///
/// # Errors
/// A sentence for the user.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration such as 250ms, 3s, 5m (minutes), 2h, 1d, 2w or a number of seconds".to_string();
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(wrong)?;
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let seconds = match unit.trim() {
            "" if parts == 0 && next.is_empty() => 1.0,
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            "w" => 604_800.0,
            _ => return Err(wrong()),
        };
        let value = number.parse::<f64>().map_err(|_| wrong())? * seconds;
        let part = Duration::try_from_secs_f64(value).map_err(|_| "the duration is too long".to_string())?;
        total = total.checked_add(part).ok_or_else(|| "the duration is too long".to_string())?;
        parts += 1;
        rest = next.trim_start();
    }
    if parts == 0 { Err(wrong()) } else { Ok(total) }
}

/// Reads a duration that must have a unit: a bare number of seconds is not what anybody means by an age.
///
/// # Errors
/// A sentence for the user.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(format!("it needs a unit, such as {text}d (days), {text}h (hours) or {text}w (weeks)"));
    }
    parse_duration(text)
}

/// A leading number and what follows it.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A size as a flag takes it, exactly: `320MiB`.
pub fn size_flag(bytes: u64) -> String {
    let unit = BINARY.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| bytes.to_string(), |(name, factor)| format!("{}{name}", bytes / factor))
}

/// A duration as a flag takes it, exactly to the millisecond: `3s`, `250ms`, `2m`.
pub fn duration_flag(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0 => "0s".to_string(),
        m if m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m % 1000 == 0 => format!("{}s", m / 1000),
        m => format!("{m}ms"),
    }
}

/// A size for people: `1.2 GiB`.
pub fn size(bytes: u64) -> String {
    let unit = BINARY.iter().find(|(_, factor)| bytes >= *factor);
    unit.map_or_else(|| format!("{bytes} B"), |(name, factor)| format!("{:.1} {name}", bytes as f64 / *factor as f64))
}

/// A count for people: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many things: `1 file`, `2,000 files`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A rate for people: `850/s`, `1.2 M/s`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 1e6 => format!("{:.1} M", r / 1e6),
        r if r >= 1e4 => format!("{:.0} k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

/// A time span for people: `0.4 s`, `3 min 05 s`, `2 h 13 min`.
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{:.1} s", seconds.max(0.0)),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_zones_are_known_by_name() {
        assert!(parse_time_zone("Europe/Berlin").is_ok() && parse_time_zone("Mars/Olympus").is_err());
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        let cases = [
            ("4096", 4096),
            ("0", 0),
            ("320MiB", 320 << 20),
            ("320 mib", 320 << 20),
            ("2G", 2 << 30),
            ("10MB", 10_000_000),
            ("1.5KiB", 1536),
            ("1t", 1 << 40),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "12XiB", "1.2.3M", "99999999999999T", "0x10"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_their_units() {
        let cases = [
            ("3s", 3000),
            ("250ms", 250),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("7", 7000),
            ("0.5s", 500),
            ("0s", 0),
            ("1w", 604_800_000),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "3x", "-1s", "1m30", "99999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_age_has_a_unit() {
        assert_eq!(parse_age("3d"), Ok(Duration::from_secs(3 * 86_400)));
        assert!(parse_age("3").unwrap_err().contains("such as 3d"));
        assert!(parse_age("1.5").is_err() && parse_age("").is_err() && parse_age("3x").is_err());
    }

    #[test]
    fn what_a_flag_shows_is_what_it_reads() {
        for bytes in [0, 1, 1023, 1024, 320 << 20, (320 << 20) + 1, 3 << 40] {
            assert_eq!(parse_size(&size_flag(bytes)), Ok(bytes));
        }
        for millis in [0, 1, 250, 3000, 90_000, 120_000] {
            let time = Duration::from_millis(millis);
            assert_eq!(parse_duration(&duration_flag(time)), Ok(time));
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([size(10), size(1536), size(5 << 30)], ["10 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!(
            [span(0.44), span(59.6), span(185.0), span(7980.0)],
            ["0.4 s", "1 min 00 s", "3 min 05 s", "2 h 13 min"]
        );
        assert_eq!([rate(850.0), rate(45_000.0), rate(1_250_000.0)], ["850", "45 k", "1.2 M"]);
    }
}
