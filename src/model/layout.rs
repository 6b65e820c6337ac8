//! How the row keys of one OpenTSDB are laid out: UID widths and salt.

use std::fmt;

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

impl fmt::Display for KeyLayout {
    /// `UID widths 3/3/3 and 1 salt byte(s), 20 buckets`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric_width, tagk_width, tagv_width, salt_width, salt_buckets } = self;
        write!(f, "UID widths {metric_width}/{tagk_width}/{tagv_width} and ")?;
        match salt_width {
            0 => f.write_str("no salt"),
            width => write!(f, "{width} salt byte(s), {salt_buckets} buckets"),
        }
    }
}

/// The layouts of all rows of one OpenTSDB: the main one, and those of rows that were written under another salt.
///
/// Salting can be switched on, and its number of buckets changed, while the rows that are there stay as they are. The
/// UID widths are the same in all layouts, so a TSUID means one series in each of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyLayouts {
    main: KeyLayout,
    older: Vec<KeyLayout>,
}

impl KeyLayouts {
    /// Layouts besides the main one at most: their number has three bits of the form of a point.
    pub const MAX_OLDER: usize = 7;

    /// The main layout and the older ones. Those that equal another one, that have other UID widths, or that find no
    /// room ([`MAX_OLDER`](Self::MAX_OLDER)) are left out. Rows without salt are told by their length alone, so that
    /// layout is tried last.
    pub fn new(main: KeyLayout, older: impl IntoIterator<Item = KeyLayout>) -> Self {
        let mut kept: Vec<KeyLayout> = Vec::new();
        for layout in older {
            let widths = |layout: &KeyLayout| (layout.metric_width, layout.tagk_width, layout.tagv_width);
            let same = |other: &KeyLayout| {
                let salt = (other.salt_width, if other.salt_width == 0 { 0 } else { other.salt_buckets });
                salt == (layout.salt_width, if layout.salt_width == 0 { 0 } else { layout.salt_buckets })
            };
            if widths(&layout) == widths(&main) && !same(&main) && !kept.iter().any(same) {
                kept.push(layout);
            }
        }
        kept.sort_by_key(|layout| layout.salt_width == 0);
        let unsalted = kept.pop_if(|layout| layout.salt_width == 0);
        kept.truncate(Self::MAX_OLDER - usize::from(unsalted.is_some()));
        kept.extend(unsalted);
        Self { main, older: kept }
    }

    /// The layout of most rows.
    pub fn main(&self) -> &KeyLayout {
        &self.main
    }

    /// The others, in the order in which they are tried.
    pub fn older(&self) -> &[KeyLayout] {
        &self.older
    }

    /// The layout with this number: 0 is the main one.
    pub fn get(&self, number: u8) -> Option<&KeyLayout> {
        match usize::from(number).checked_sub(1) {
            None => Some(&self.main),
            Some(at) => self.older.get(at),
        }
    }

    /// The greatest number of buckets; 0 without salt.
    pub fn most_buckets(&self) -> u32 {
        let salted = std::iter::once(&self.main).chain(&self.older).filter(|layout| layout.salt_width > 0);
        salted.map(|layout| layout.salt_buckets).max().unwrap_or(0)
    }
}

impl From<KeyLayout> for KeyLayouts {
    fn from(main: KeyLayout) -> Self {
        Self { main, older: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salted(salt_buckets: u32) -> KeyLayout {
        KeyLayout { salt_width: 1, salt_buckets, ..KeyLayout::default() }
    }

    #[test]
    fn older_layouts_are_different_ones_and_the_unsalted_comes_last() {
        let unsalted = KeyLayout::default();
        let other_widths = KeyLayout { metric_width: 4, ..salted(5) };
        let all = KeyLayouts::new(salted(64), [unsalted, salted(64), salted(20), other_widths, salted(20), unsalted]);
        assert_eq!(all.older(), [salted(20), unsalted]);
        assert_eq!((all.get(0), all.get(2), all.get(3)), (Some(&salted(64)), Some(&unsalted), None));
        assert_eq!(all.most_buckets(), 64);
        let many = KeyLayouts::new(salted(64), std::iter::once(unsalted).chain((1..20).map(salted)));
        assert_eq!((many.older().len(), many.older().last()), (KeyLayouts::MAX_OLDER, Some(&unsalted)));
        // The number of buckets means nothing without salt.
        let other = KeyLayout { salt_buckets: 7, ..unsalted };
        assert_eq!(KeyLayouts::new(unsalted, [other]).older(), []);
    }
}
