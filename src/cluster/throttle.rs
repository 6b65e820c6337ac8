//! How long HBase asks a throttled client to wait.

use std::time::Duration;

/// The time in a text such as `number of requests exceeded - wait 1mins, 2sec, 300ms`.
pub(super) fn wait(text: &str) -> Option<Duration> {
    let (_, wait) = text.split_once(" - wait ")?;
    let mut total = Duration::ZERO;
    for part in wait.split(", ") {
        let part = part.split_whitespace().next().unwrap_or_default();
        let unit = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number: f64 = part.strip_suffix(unit)?.parse().ok()?;
        let seconds = match unit.trim_end_matches(|c: char| !c.is_ascii_alphabetic()) {
            "ms" => 0.001,
            "s" | "sec" => 1.0,
            "m" | "min" | "mins" => 60.0,
            "h" | "hr" | "hrs" => 3600.0,
            _ => break,
        };
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_of_all_releases() {
        for (words, millis) in
            [("1mins, 2sec, 300ms", 62_300), ("7sec, 0ms", 7_000), ("1hrs, 0ms", 3_600_000), ("5.50sec", 5_500)]
        {
            let text = format!("x.RpcThrottlingException: number of requests exceeded - wait {words}\n\tat x.y.Z");
            assert_eq!(wait(&text), Some(Duration::from_millis(millis)), "{words}");
        }
        for text in ["x.RegionTooBusyException: full", "exceeded - wait for the next full moon", "exceeded - wait 0ms"]
        {
            assert_eq!(wait(text), None, "{text}");
        }
    }
}
