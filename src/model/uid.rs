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

/// UID to name, from the reverse maps of `tsdb-uid`.
///
/// Names live in one arena, because a large installation has tens of millions of tag values.
#[derive(Debug, Clone, Default)]
pub struct UidNames {
    names: [HashMap<u64, (u32, u32)>; 3],
    arena: String,
}

impl UidNames {
    /// No names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a name; a later one for the same UID replaces the earlier. UIDs longer than 8 bytes are ignored.
    pub fn insert(&mut self, kind: UidKind, uid: &[u8], name: &str) {
        let (Some(key), Ok(start), Ok(len)) = (key(uid), u32::try_from(self.arena.len()), u32::try_from(name.len()))
        else {
            return;
        };
        self.arena.push_str(name);
        self.names[kind as usize].insert(key, (start, len));
    }

    /// The name of a UID.
    pub fn get(&self, kind: UidKind, uid: &[u8]) -> Option<&str> {
        let &(start, len) = self.names[kind as usize].get(&key(uid)?)?;
        self.arena.get(start as usize..start as usize + len as usize)
    }

    /// How many UIDs of a kind have a name.
    pub fn count(&self, kind: UidKind) -> usize {
        self.names[kind as usize].len()
    }
}

fn key(uid: &[u8]) -> Option<u64> {
    // One installation has one width per kind, so the number alone is the key.
    (uid.len() <= 8).then(|| uid.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
}
