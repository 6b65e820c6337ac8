//! Tables and regions of HBase.

use serde::{Deserialize, Serialize};

use crate::model::KeyRange;

/// What OpenTSDB keeps in a table; decides how its cells are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// `tsdb`: points, annotations, histograms.
    Data,
    /// A rollup or pre-aggregate table.
    Rollup,
    /// `tsdb-uid`.
    Uid,
    /// `tsdb-meta`.
    Meta,
    /// `tsdb-tree`.
    Tree,
    /// Anything else: every cell is kept raw.
    Other,
}

/// `TTL` of cells that live for ever, in seconds.
pub const FOREVER: i32 = i32::MAX;

/// A column family as HBase describes it.
///
/// Only the attribute maps are kept: the typed fields of the Thrift struct turn codecs without an enum member into
/// NONE, so echoing them back would change the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FamilyDescriptor {
    /// Name.
    pub name: Vec<u8>,
    /// `VERSIONS`, `TTL`, `COMPRESSION`, ... as stored, text or big-endian integers; sorted by name.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Per-family HBase settings; sorted by name.
    pub configuration: Vec<(String, String)>,
}

impl FamilyDescriptor {
    /// The attribute as text, when it is there and is text.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        text_of(&self.attributes, name)
    }

    /// How many versions the family keeps (`VERSIONS`; HBase's default is 1).
    pub fn versions(&self) -> i32 {
        self.attribute("VERSIONS").and_then(|v| v.parse().ok()).filter(|v| *v > 0).unwrap_or(1)
    }

    /// Time to live in seconds, or `None` for ever.
    pub fn ttl_seconds(&self) -> Option<i64> {
        let seconds = self.attribute("TTL")?.parse().ok()?;
        (seconds > 0 && seconds < i64::from(FOREVER)).then_some(seconds)
    }

    /// How many versions of a column outlive the time to live (`MIN_VERSIONS`).
    pub fn min_versions(&self) -> usize {
        self.attribute("MIN_VERSIONS").and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    /// Deletes hide what was written before them only (`NEW_VERSION_BEHAVIOR`).
    pub fn new_version_behavior(&self) -> bool {
        self.attribute("NEW_VERSION_BEHAVIOR").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

/// Who told a table's descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DescriptorSource {
    /// The gateway that the cells came through: all of it.
    #[default]
    Gateway,
    /// A region server, in the text of an error: all of it.
    Region,
    /// A file with the output of the HBase shell's `describe`: all of it, as of when the file was made.
    File,
    /// A Thrift1 gateway: five attributes per family, and the time to live where there is one and it is told.
    Thrift1,
    /// Nobody: families are known by name alone.
    Unknown,
}

/// A table as HBase describes it. Region boundaries are not part of it, they come from the region list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableDescriptor {
    /// Full name, `namespace:name` outside the default namespace.
    pub name: String,
    /// Table attributes as stored; sorted by name.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Families, sorted by name.
    pub families: Vec<FamilyDescriptor>,
}

/// Name of the table attribute that keeps all writers out.
const READONLY: &[u8] = b"READONLY";

fn text_of<'a>(attributes: &'a [(Vec<u8>, Vec<u8>)], name: &str) -> Option<&'a str> {
    let (_, value) = attributes.iter().find(|(key, _)| key == name.as_bytes())?;
    std::str::from_utf8(value).ok()
}

impl TableDescriptor {
    /// The attribute of the table as text, when it is there and is text.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        text_of(&self.attributes, name)
    }

    /// The greatest number of versions that a family keeps.
    pub fn versions(&self) -> i32 {
        self.families.iter().map(FamilyDescriptor::versions).max().unwrap_or(1)
    }

    /// True when the table takes no cells (`READONLY`).
    pub fn is_read_only(&self) -> bool {
        self.attributes.iter().any(|(name, value)| name == READONLY && value.eq_ignore_ascii_case(b"true"))
    }

    /// Sets `READONLY`.
    pub fn set_read_only(&mut self) {
        self.attributes.retain(|(name, _)| name != READONLY);
        self.attributes.push((READONLY.to_vec(), b"true".to_vec()));
        self.attributes.sort();
    }
}

/// One region: its keys and who serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Keys of the region.
    pub range: KeyRange,
    /// Host of the region server.
    pub host: String,
    /// Port of the region server.
    pub port: i32,
    /// Start code of the region server: another one means that it was restarted.
    pub start_code: i64,
}
