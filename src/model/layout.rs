//! How the row keys of one OpenTSDB are laid out: UID widths and salt.

use serde::{Deserialize, Serialize};

/// Nothing in HBase records these numbers (`tsd.storage.uid.width.*`, `tsd.storage.salt.*`): they come from the TSD's
/// configuration, from flags, or from detection, and travel in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLayout {
    /// Bytes of a metric UID, 1..=8.
    pub metric_width: u8,
    /// Bytes of a tag key UID, 1..=8.
    pub tagk_width: u8,
    /// Bytes of a tag value UID, 1..=8.
    pub tagv_width: u8,
    /// Salt bytes in front of the key, 0..=8; 0 is no salt.
    pub salt_width: u8,
    /// Salt buckets, at least 1.
    pub salt_buckets: u32,
}

/// Widths outside what OpenTSDB accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A UID width outside 1..=8.
    #[error("a UID width of {0} bytes is impossible, OpenTSDB takes 1 to 8")]
    UidWidth(u8),
    /// A salt width above 8.
    #[error("a salt width of {0} bytes is impossible, OpenTSDB takes 0 to 8")]
    SaltWidth(u8),
    /// No bucket at all.
    #[error("salt needs at least one bucket")]
    SaltBuckets,
}

impl Default for KeyLayout {
    fn default() -> Self {
        Self { metric_width: 3, tagk_width: 3, tagv_width: 3, salt_width: 0, salt_buckets: 20 }
    }
}

impl KeyLayout {
    /// Checks the widths.
    ///
    /// # Errors
    /// [`LayoutError`] names the number that is out of range.
    pub fn checked(self) -> Result<Self, LayoutError> {
        for width in [self.metric_width, self.tagk_width, self.tagv_width] {
            if !(1..=8).contains(&width) {
                return Err(LayoutError::UidWidth(width));
            }
        }
        if self.salt_width > 8 {
            return Err(LayoutError::SaltWidth(self.salt_width));
        }
        if self.salt_buckets == 0 {
            return Err(LayoutError::SaltBuckets);
        }
        Ok(self)
    }

    /// Bytes of salt and metric UID, where the base time begins.
    pub fn base_time_at(&self) -> usize {
        usize::from(self.salt_width) + usize::from(self.metric_width)
    }

    /// Bytes of salt, metric UID and base time, where the tags begin.
    pub fn tags_at(&self) -> usize {
        self.base_time_at() + 4
    }

    /// Bytes of one tag: its key's UID and its value's.
    pub fn tag_width(&self) -> usize {
        usize::from(self.tagk_width) + usize::from(self.tagv_width)
    }
}
