//! Names that nobody else gives.

use crate::model::time::now_ms;

/// Random lower-case hex digits, 32 at most. They tell names apart and guard no secret.
pub(super) fn random_hex(digits: usize) -> String {
    let mut text = format!("{:032x}", fastrand::u128(..));
    text.truncate(digits);
    text
}

/// A name for one try at a shard or a backup: 12 hex digits.
pub fn new_attempt() -> String {
    random_hex(12)
}

/// The id of a backup that begins now: `20250102T030405Z-1a2b3c4d`. Ids sort by time.
pub(super) fn new_backup() -> String {
    let time = timestamp(now_ms()).strftime("%Y%m%dT%H%M%SZ").to_string();
    format!("{time}-{}", random_hex(8))
}

/// An id for a backup that begins now, behind `last` in their order. Ids have seconds: of two backups of the same one, or of
/// clocks that differ by less than a minute, the one that began later must be the later one.
pub(super) fn new_backup_after(last: Option<&str>) -> String {
    let id = new_backup();
    let now = id.split_once('-').map_or("", |(now, _)| now);
    let Some((time, digits)) = last.and_then(|last| last.split_once('-')).filter(|(time, _)| *time >= now) else {
        return id;
    };
    let minute = timestamp(now_ms().saturating_add(60_000)).strftime("%Y%m%dT%H%M%SZ").to_string();
    match u32::from_str_radix(digits, 16) {
        Ok(number) if time.len() == minute.len() && *time <= *minute && number < u32::MAX => {
            // Two that begin at the same time should still differ.
            let room = (u32::MAX - number).min(0x000f_ffff);
            format!("{time}-{:08x}", number + fastrand::u32(1..=room))
        }
        _ => id,
    }
}

/// An id behind that of another backup, and in front of `next`, which is behind it: the two hold the state of one time.
pub(super) fn same_time_as(backup: &str, next: Option<&str>) -> Option<String> {
    let (time, digits) = backup.split_once('-')?;
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 8)?;
    let end = next.and_then(|next| u32::from_str_radix(next.strip_prefix(time)?.strip_prefix('-')?, 16).ok());
    let end = end.unwrap_or(u32::MAX);
    // Two merges at the same time should differ.
    let room = end.checked_sub(number)?.checked_sub(1)?.min(0x000f_ffff);
    (room > 0).then(|| format!("{time}-{:08x}", number + fastrand::u32(1..=room)))
}

/// RFC 3339, UTC, milliseconds: `2025-01-02T03:04:05.678Z`.
pub(super) fn rfc3339(ms: i64) -> String {
    format!("{:.3}", timestamp(ms))
}

fn timestamp(ms: i64) -> jiff::Timestamp {
    // Out of the calendar's range only with a broken clock; the number of milliseconds is kept beside the text.
    jiff::Timestamp::from_millisecond(ms).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_described() {
        assert_eq!(rfc3339(1_735_786_800_678), "2025-01-02T03:00:00.678Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_later_backup_has_a_later_id() {
        let mut last = format!("{}-00000000", new_backup().split_once('-').unwrap().0);
        for _ in 0..200 {
            let next = new_backup_after(Some(&last));
            assert!(next > last && next.len() == last.len(), "{last} {next}");
            last = next;
        }
        for odd in ["", "9", "20990101T000000Z-00000000", "zz-zz"] {
            assert_eq!(new_backup_after(Some(odd)).len(), last.len());
            assert!(new_backup_after(Some(odd)).as_str() < "2099");
        }
    }

    #[test]
    fn a_state_that_is_written_again_keeps_its_place() {
        let tip = "20250102T030405Z-1a2b3c4d";
        for next in [None, Some("20250102T030406Z-00000000"), Some("20250102T030405Z-1a2b3c4f")] {
            let id = same_time_as(tip, next).unwrap();
            assert!(id.as_str() > tip && next.is_none_or(|next| id.as_str() < next), "{id}");
        }
        assert_eq!(same_time_as(tip, Some("20250102T030405Z-1a2b3c4e")), None, "no room");
        assert_eq!(same_time_as("20250102T030405Z-ffffffff", None), None);
        assert_eq!(same_time_as("odd", None), None);
    }

    #[test]
    fn ids_differ_and_have_their_shape() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| new_attempt()).collect();
        assert_eq!(ids.len(), 1000);
        let id = new_backup();
        let (time, short) = id.split_once('-').unwrap();
        assert!(time.len() == 16 && time.ends_with('Z') && short.len() == 8, "{id}");
    }
}
