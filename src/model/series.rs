//! What the UIDs of a series stand for.

use std::collections::HashMap;

/// A series in words. A name that no UID row gives is left out of `tags` and `tags_json`, or `None` for the metric.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesLabel {
    /// Metric name; `None` when its UID has no name.
    pub metric: Option<String>,
    /// Tag keys and values, sorted by key.
    pub tags: Vec<(String, String)>,
    /// The tags as one JSON object with sorted keys and without spaces: `{"dc":"fra","host":"web-1"}`.
    pub tags_json: String,
    /// True when every UID of the series has a name.
    pub complete: bool,
}

/// Labels by TSUID in upper-case hex.
pub type SeriesLabels = HashMap<String, SeriesLabel>;
