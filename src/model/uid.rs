//! Names of metrics, tag keys and tag values.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// What a UID stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UidKind {
    /// A metric.
    Metric,
    /// A tag key.
    Tagk,
    /// A tag value.
    Tagv,
}

impl UidKind {
    /// All kinds.
    pub const ALL: [UidKind; 3] = [UidKind::Metric, UidKind::Tagk, UidKind::Tagv];

    /// The qualifier of the maps in `tsdb-uid`.
    pub fn qualifier(self) -> &'static str {
        match self {
            UidKind::Metric => "metrics",
            UidKind::Tagk => "tagk",
            UidKind::Tagv => "tagv",
        }
    }
}

/// How the bytes of names are read. OpenTSDB writes ISO-8859-1 and takes nothing else; patched builds store UTF-8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameCharset {
    /// One byte, one character.
    #[default]
    #[serde(rename = "iso-8859-1")]
    Latin1,
    /// UTF-8; a name that is none is read as ISO-8859-1, so that no two names become one.
    #[serde(rename = "utf-8")]
    Utf8,
}

impl NameCharset {
    /// The name in flags and in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latin1 => "iso-8859-1",
            Self::Utf8 => "utf-8",
        }
    }

    /// The text of a name.
    pub fn decode(self, bytes: &[u8]) -> String {
        let utf8 = std::str::from_utf8(bytes).ok().filter(|_| self == Self::Utf8);
        utf8.map_or_else(|| bytes.iter().map(|byte| char::from(*byte)).collect(), str::to_owned)
    }
}

/// UID to name, from the maps of `tsdb-uid`. UIDs of different lengths are different UIDs.
///
/// Names live in one arena, because a large installation has tens of millions of tag values.
#[derive(Debug, Clone, Default)]
pub struct UidNames {
    /// By kind and length of the UID.
    names: [[HashMap<u64, (u32, u32)>; WIDTHS]; 3],
    arena: String,
}

/// Lengths of UIDs, 0 to 8 bytes.
const WIDTHS: usize = 9;

impl UidNames {
    /// No names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a name; a later one for the same UID replaces the earlier. UIDs longer than 8 bytes are ignored.
    pub fn insert(&mut self, kind: UidKind, uid: &[u8], name: &str) {
        let (Some((width, number)), Ok(start), Ok(len)) =
            (key(uid), u32::try_from(self.arena.len()), u32::try_from(name.len()))
        else {
            return;
        };
        self.arena.push_str(name);
        if let Some(names) = self.names[kind as usize].get_mut(width) {
            names.insert(number, (start, len));
        }
    }

    /// The name of a UID.
    pub fn get(&self, kind: UidKind, uid: &[u8]) -> Option<&str> {
        let (width, number) = key(uid)?;
        let &(start, len) = self.names[kind as usize].get(width)?.get(&number)?;
        self.arena.get(start as usize..start as usize + len as usize)
    }

    /// Hands on every UID that has a name, in no order.
    ///
    /// # Errors
    /// The first of `each`.
    pub fn each<E>(&self, mut each: impl FnMut(UidKind, &[u8], &str) -> Result<(), E>) -> Result<(), E> {
        for kind in UidKind::ALL {
            for (width, names) in self.names[kind as usize].iter().enumerate() {
                for (number, (start, len)) in names {
                    let uid = number.to_be_bytes();
                    let uid = uid.get(uid.len().saturating_sub(width)..).unwrap_or_default();
                    let name = self.arena.get(*start as usize..*start as usize + *len as usize);
                    each(kind, uid, name.unwrap_or_default())?;
                }
            }
        }
        Ok(())
    }

    /// How many UIDs of a kind have a name.
    pub fn count(&self, kind: UidKind) -> usize {
        self.names[kind as usize].iter().map(HashMap::len).sum()
    }
}

/// Length and number.
fn key(uid: &[u8]) -> Option<(usize, u64)> {
    (uid.len() < WIDTHS).then(|| (uid.len(), uid.iter().fold(0, |n, b| n << 8 | u64::from(*b))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_of_another_length_is_another_uid() {
        let mut names = UidNames::new();
        names.insert(UidKind::Metric, &[0, 0, 1], "sys.cpu");
        names.insert(UidKind::Metric, &[0, 1], "old.other");
        assert_eq!(names.get(UidKind::Metric, &[0, 0, 1]), Some("sys.cpu"));
        assert_eq!(names.get(UidKind::Metric, &[0, 1]), Some("old.other"));
        assert_eq!(names.get(UidKind::Metric, &[1]), None);
        assert_eq!(names.get(UidKind::Metric, &[0; 9]), None);
        assert_eq!(names.count(UidKind::Metric), 2);
        let mut all = Vec::new();
        let collect = |kind, uid: &[u8], name: &str| {
            all.push((kind, uid.to_vec(), name.to_owned()));
            Ok::<(), ()>(())
        };
        names.each(collect).unwrap();
        all.sort();
        let wanted = [(vec![0, 0, 1], "sys.cpu"), (vec![0, 1], "old.other")];
        assert!(all == wanted.map(|(uid, name)| (UidKind::Metric, uid, name.to_owned())), "{all:?}");
    }

    #[test]
    fn no_two_names_become_one() {
        let text = "温度.água";
        assert_eq!(NameCharset::Utf8.decode(text.as_bytes()), text);
        assert_eq!(NameCharset::Utf8.decode(b"caf\xe9"), "café");
        assert_eq!(NameCharset::Latin1.decode("é".as_bytes()), "Ã©");
    }
}
