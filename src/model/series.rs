//! What the UIDs of a series stand for.

use std::collections::HashMap;

/// A series in words. A tag key or value without a name is shown as its UID in upper-case hex; a metric without one is
/// `None`.
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
