//! What an export wrote, and what it could not.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::SeriesLabel;

/// How many series are named among those that a format cannot carry.
const NAMED: usize = 20;

/// Why a format cannot carry a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// A UID of its series has no name.
    NoName,
    /// A name has characters for which the format has no place.
    Name,
    /// Its series has no tag.
    NoTags,
    /// The value is NaN or infinite.
    NotFinite,
    /// The value is too large.
    TooLarge,
    /// The time cannot be said.
    Time,
}

impl SkipReason {
    /// In words, behind "points skipped: ".
    pub fn words(self) -> &'static str {
        match self {
            Self::NoName => "a UID of the series has no name",
            Self::Name => "a name cannot be written in this format",
            Self::NoTags => "the series has no tags",
            Self::NotFinite => "NaN or infinite",
            Self::TooLarge => "the value is too large for the target",
            Self::Time => "the time cannot be written in this format",
        }
    }
}

/// What became of some points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Written.
    pub points: u64,
    /// Not written because a query of OpenTSDB does not show them.
    pub superseded: u64,
    /// Not written, by reason.
    pub skipped: BTreeMap<SkipReason, u64>,
    /// Some series of them, in words.
    pub skipped_series: BTreeMap<String, SkipReason>,
    /// Written exactly, and rounded by the program that the format is for.
    pub rounded: u64,
    /// Written with a UID in the place of a name.
    pub unnamed: u64,
    /// Written with names that a TSD takes only where it is told to.
    pub special_names: u64,
    /// Written, and NaN or infinite.
    pub not_finite: u64,
    /// Which kinds of numbers were written of each metric, for a format that has one kind a metric.
    pub kinds: BTreeMap<String, NumberKinds>,
}

/// Kinds of numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NumberKinds {
    /// Integers.
    pub ints: bool,
    /// Floats.
    pub floats: bool,
}

impl NumberKinds {
    /// Adds other kinds.
    pub fn add(&mut self, other: Self) {
        self.ints |= other.ints;
        self.floats |= other.floats;
    }
}

impl Counts {
    /// Counts points that are not written.
    pub fn skip(&mut self, reason: SkipReason, series: &SeriesLabel, points: usize) {
        if points == 0 {
            return;
        }
        *self.skipped.entry(reason).or_default() += points as u64;
        if self.skipped_series.len() < NAMED {
            self.skipped_series.insert(series_text(series), reason);
        }
    }

    /// Adds other counts.
    pub fn add(&mut self, other: Self) {
        let Self { points, superseded, skipped, skipped_series, rounded, unnamed, special_names, not_finite, kinds } =
            other;
        self.points += points;
        self.superseded += superseded;
        for (reason, count) in skipped {
            *self.skipped.entry(reason).or_default() += count;
        }
        let room = NAMED.saturating_sub(self.skipped_series.len());
        self.skipped_series.extend(skipped_series.into_iter().take(room));
        self.rounded += rounded;
        self.unnamed += unnamed;
        self.special_names += special_names;
        self.not_finite += not_finite;
        kinds.into_iter().for_each(|(metric, kinds)| self.kinds.entry(metric).or_default().add(kinds));
    }
}

/// A series for people: `sys.cpu{"host":"a"}`.
pub fn series_text(label: &SeriesLabel) -> String {
    format!("{}{}", label.metric.as_deref().unwrap_or("(no name)"), label.tags_json)
}

/// What an export did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ExportReport {
    /// The backup.
    pub backup: String,
    /// Its table.
    pub table: Option<String>,
    /// The format's name.
    pub format: String,
    /// Where it went; `-` is standard output.
    pub output: String,
    /// Points written.
    pub points: u64,
    /// Series of them.
    pub series: u64,
    /// Annotations written.
    pub annotations: u64,
    /// Files written.
    pub files: u64,
    /// Their bytes, or those of the stream.
    pub bytes: u64,
    /// Points left out because a query of OpenTSDB does not show them.
    pub superseded: u64,
    /// Points that the format cannot carry, by reason.
    pub skipped: BTreeMap<SkipReason, u64>,
    /// Up to 20 series of them, each with a reason.
    pub skipped_series: BTreeMap<String, SkipReason>,
    /// Points that are written exactly and that the target's numbers cannot hold.
    pub rounded: u64,
    /// Points with UIDs in the place of names.
    pub unnamed: u64,
    /// Points with names that a TSD takes only where it is told to.
    pub special_names: u64,
    /// Points that are NaN or infinite, written.
    pub not_finite: u64,
    /// Metrics with integers and floats, where the target keeps one kind of them.
    pub mixed: u64,
    /// Up to 20 of them.
    pub mixed_metrics: Vec<String>,
    /// Gaps of the backup.
    pub gaps: u64,
    /// True when whoever read the stream closed it before the end.
    pub closed_early: bool,
    /// What must be read before the export is used; the exit code is then 3.
    pub attention: Vec<String>,
    /// What is good to know.
    pub warnings: Vec<String>,
    /// Wall time.
    pub seconds: f64,
    /// Bytes read from the repository.
    pub bytes_read: u64,
    /// The most memory that the process held.
    pub peak_rss_bytes: u64,
}

impl ExportReport {
    /// Takes what became of the points.
    pub fn take(&mut self, counts: Counts) {
        self.points = counts.points;
        self.superseded = counts.superseded;
        self.skipped = counts.skipped;
        self.skipped_series = counts.skipped_series;
        self.rounded = counts.rounded;
        self.unnamed = counts.unnamed;
        self.special_names = counts.special_names;
        self.not_finite = counts.not_finite;
        let mixed = counts.kinds.into_iter().filter(|(_, kinds)| kinds.ints && kinds.floats);
        let mut mixed: Vec<String> = mixed.map(|(metric, _)| metric).collect();
        self.mixed = mixed.len() as u64;
        mixed.truncate(NAMED);
        self.mixed_metrics = mixed;
    }
}
