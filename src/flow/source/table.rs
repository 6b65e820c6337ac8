//! A table of the source.

use crate::codec::RollupTable;
use crate::model::{DescriptorSource, Gap, Region, TableDescriptor, TableKind};

/// A table that exists, with everything that a backup needs to know before it scans.
#[derive(Debug, Clone)]
pub struct SourceTable {
    /// Name, with namespace where it has one.
    pub name: String,
    /// What is in it.
    pub kind: TableKind,
    /// How to read rollup cells.
    pub rollups: Option<RollupTable>,
    /// Families and attributes.
    pub descriptor: TableDescriptor,
    /// Who told them.
    pub described_by: DescriptorSource,
    /// Regions in key order.
    pub regions: Vec<Region>,
    /// Keys that are known not to be readable: holes between regions, or all of a disabled table.
    pub gaps: Vec<Gap>,
}

impl SourceTable {
    /// First keys of the regions, without the beginning of the table.
    pub fn split_keys(&self) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = self.regions.iter().map(|region| region.range.start.clone()).collect();
        keys.retain(|key| !key.is_empty());
        keys.dedup();
        keys
    }

    /// The versions that a Thrift1 gateway does not show, in words; `None` where every family keeps one.
    pub fn older_versions(&self) -> Option<String> {
        match (self.described_by, self.versions()) {
            (DescriptorSource::Unknown, _) => {
                Some(format!("older versions of {}, if it keeps any: its VERSIONS are unknown", self.name))
            }
            (_, ..=1) => None,
            (_, versions) => Some(format!("older versions of {}, which keeps {versions}", self.name)),
        }
    }

    /// The greatest number of versions that a family keeps. A scan never shows more, so where it is not known all are
    /// asked for.
    pub fn versions(&self) -> i32 {
        if self.described_by == DescriptorSource::Unknown {
            return i32::MAX;
        }
        self.descriptor.versions()
    }
}
