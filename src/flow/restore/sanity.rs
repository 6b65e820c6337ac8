//! Values that HBase refuses when it creates a table.
//!
//! These are the limits of its master's `TableDescriptorChecker` as they are by default
//! (`hbase.hregion.max.filesize.limit`, `hbase.hregion.memstore.flush.size.limit`); a cluster may have others, or have
//! switched the check off (`hbase.table.sanity.checks`), so that only a created table proves anything.

use crate::model::{FamilyDescriptor, TableDescriptor};

/// Smallest `MAX_FILESIZE`, bytes.
const LEAST_FILE: i64 = 2 << 20;
/// Smallest `MEMSTORE_FLUSHSIZE`, bytes.
const LEAST_FLUSH: i64 = 1 << 20;
/// Smallest and largest `BLOCKSIZE`, bytes.
const BLOCK: (i64, i64) = (1024, 16 << 20);

/// The attributes of a table to be created that HBase most likely refuses, with what it wants.
pub fn refused_values(table: &TableDescriptor) -> Vec<String> {
    let mut found = Vec::new();
    let name = &table.name;
    let mut look = |place: String, value: Option<&str>, least: i64, most: i64| {
        let Some(value) = value else { return };
        let number: Option<i64> = value.trim().parse().ok();
        if number.is_none_or(|number| number < least || number > most) {
            let wanted = match most {
                i64::MAX => format!("at least {least}"),
                most => format!("{least} to {most}"),
            };
            found.push(format!(
                "HBase most likely refuses {place}={value} of {name} (by default {wanted}); --attribute and \
                 --drop-attribute change it"
            ));
        }
    };
    for (attribute, least) in [("MAX_FILESIZE", LEAST_FILE), ("MEMSTORE_FLUSHSIZE", LEAST_FLUSH)] {
        // A value below 0 stands for the cluster's own.
        let value = table.attribute(attribute).filter(|value| !value.starts_with('-'));
        look(attribute.to_owned(), value, least, i64::MAX);
    }
    for family in &table.families {
        let of = |attribute: &str| format!("{}:{attribute}", String::from_utf8_lossy(&family.name));
        look(of("BLOCKSIZE"), family.attribute("BLOCKSIZE"), BLOCK.0, BLOCK.1);
        look(of("MIN_VERSIONS"), family.attribute("MIN_VERSIONS"), 0, versions(family));
    }
    found
}

fn versions(family: &FamilyDescriptor) -> i64 {
    i64::from(family.versions())
}
