//! What a window backup is a selection of.

use serde::{Deserialize, Serialize};

use super::hex::HexBytes;

/// The selection of a backup of kind `window`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WindowRecord {
    /// Patterns of names of metrics, as they were given; none: all metrics.
    pub metrics: Vec<String>,
    /// Tags that the series have; none: any.
    pub tags: Vec<WindowTag>,
    /// No row whose points all lie before it, ms UTC; `None`: from the beginning.
    pub from_ms: Option<i64>,
    /// No row whose points all lie at or after it, ms UTC; `None`: to the end.
    pub to_ms: Option<i64>,
    /// Tables of the source that no selection of points applies to, and that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// A tag of a [`WindowRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowTag {
    /// Name of the key.
    pub key: String,
    /// Pattern of the value.
    pub value: String,
}

/// The UIDs that the rows of a shard name, of each kind sorted, one behind the other in the width of the layout.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamedUids {
    /// Metrics.
    pub metric: HexBytes,
    /// Tag keys.
    pub tagk: HexBytes,
    /// Tag values.
    pub tagv: HexBytes,
}
