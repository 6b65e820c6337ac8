//! Reading around what cannot be read.

use crate::flow::{BackupPlan, FlowError};
use crate::model::{Gap, KeyRange};
use crate::scan::{Blame, ScanError, ShardScan};
use crate::shard::{clip, uncovered};

/// How often rows that failed and can be read again are given another chance before their error counts.
pub const SECOND_CHANCES: u32 = 3;
/// Characters of HBase's text that a gap keeps.
const MESSAGE: usize = 500;

/// What a scan is to do at rows that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtDamage {
    /// Fail and name the place.
    #[default]
    Fail,
    /// Leave the rows out and record a gap.
    Skip,
}

impl AtDamage {
    /// What a plan says.
    pub fn of(plan: &BackupPlan) -> Self {
        if plan.skip_unreadable { Self::Skip } else { Self::Fail }
    }
}

/// Finds out which rows made a page fail. `None`: they can be read after all.
///
/// # Errors
/// The error itself, where rows are not to blame or damage ends the run.
pub fn gap_at(scan: &mut ShardScan<'_>, error: FlowError, at_damage: AtDamage) -> Result<Option<Gap>, FlowError> {
    match (error, at_damage) {
        (FlowError::Scan(error), AtDamage::Skip) if ShardScan::may_be_gap(&error) => {
            tracing::warn!(%error, "rows cannot be read: looking for where they begin and end");
            match scan.find_gap(&error)? {
                Blame::Gap(gap) => {
                    let gap = Gap { message: gap.message.chars().take(MESSAGE).collect(), ..gap };
                    let Gap { range, reason, message } = &gap;
                    tracing::warn!(%range, reason = reason.words(), message, "skipped");
                    Ok(Some(gap))
                }
                Blame::Nobody => Ok(None),
                Blame::Cluster => Err(FlowError::Scan(error)),
            }
        }
        (FlowError::Scan(error), _) => Err(FlowError::Scan(scan.locate(error))),
        (error, _) => Err(error),
    }
}

/// True when `--skip-unreadable` would leave out what made a run fail.
pub fn could_be_skipped(error: &FlowError) -> bool {
    match error {
        FlowError::Scan(ScanError::Unreadable { .. }) => true,
        FlowError::Cluster(error) | FlowError::Scan(ScanError::Cluster(error)) => ShardScan::is_damage(error),
        FlowError::At { source, .. } | FlowError::Unfinished { source, .. } => could_be_skipped(source),
        _ => false,
    }
}

/// What is left behind a gap of a range that ends at `stop`.
pub fn behind(gap: &KeyRange, stop: &[u8]) -> Option<KeyRange> {
    let rest = KeyRange::new(gap.stop.clone(), stop);
    (!gap.stop.is_empty() && !rest.is_empty()).then_some(rest)
}

/// The keys outside all gaps, in order.
pub fn readable(gaps: &[Gap]) -> Vec<KeyRange> {
    uncovered(&ranges(gaps))
}

/// The parts of gaps that lie in `ranges`.
pub fn clipped(gaps: &[Gap], within: &[KeyRange]) -> Vec<Gap> {
    let parts = |gap: &Gap| {
        let parts = clip(std::slice::from_ref(&gap.range), within).into_iter();
        parts.map(|range| Gap { range, ..gap.clone() }).collect::<Vec<_>>()
    };
    gaps.iter().flat_map(parts).collect()
}

/// The keys of gaps.
pub fn ranges(gaps: &[Gap]) -> Vec<KeyRange> {
    gaps.iter().map(|gap| gap.range.clone()).collect()
}

/// Gaps in key order, neighbours of one reason as one.
pub fn merged(mut gaps: Vec<Gap>) -> Vec<Gap> {
    gaps.sort_by(|a, b| (&a.range.start, &a.range.stop).cmp(&(&b.range.start, &b.range.stop)));
    let mut merged: Vec<Gap> = Vec::new();
    for gap in gaps {
        match merged.last_mut() {
            Some(last)
                if last.reason == gap.reason && !last.range.stop.is_empty() && last.range.stop == gap.range.start =>
            {
                last.range.stop = gap.range.stop;
            }
            _ => merged.push(gap),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GapReason;

    fn gap(start: &str, stop: &str, reason: GapReason) -> Gap {
        Gap { range: KeyRange::new(start, stop), reason, message: String::new() }
    }

    #[test]
    fn neighbours_of_one_reason_become_one() {
        use GapReason::{NoRegion, Unreadable};
        let gaps =
            vec![gap("d", "f", Unreadable), gap("a", "c", NoRegion), gap("c", "d", Unreadable), gap("x", "", NoRegion)];
        let found = merged(gaps);
        assert_eq!(found, [gap("a", "c", NoRegion), gap("c", "f", Unreadable), gap("x", "", NoRegion)]);
        assert_eq!(readable(&found), [KeyRange::new("", "a"), KeyRange::new("f", "x")]);
    }

    #[test]
    fn behind_a_gap_to_the_end_is_nothing() {
        assert_eq!(behind(&KeyRange::new("c", "d"), b""), Some(KeyRange::new("d", "")));
        assert_eq!(behind(&KeyRange::new("c", "d"), b"d"), None);
        assert_eq!(behind(&KeyRange::new("c", ""), b""), None);
    }
}
