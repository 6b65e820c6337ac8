//! Names and descriptors of tables, to and from the Thrift structs.

use std::collections::BTreeMap;

use crate::cluster::generated::hbase2::{TColumnFamilyDescriptor, TTableDescriptor, TTableName};
use crate::model::{FamilyDescriptor, TableDescriptor};

/// The namespace of tables without a prefix.
const DEFAULT_NAMESPACE: &str = "default";

/// `ns:name` or `name` as a struct; the default namespace is left out, as HBase's own client does.
pub(crate) fn table_name(name: &str) -> TTableName {
    match name.split_once(':') {
        Some((ns, qualifier)) if ns != DEFAULT_NAMESPACE => {
            TTableName::new(ns.as_bytes().to_vec(), qualifier.as_bytes().to_vec())
        }
        Some((_, qualifier)) => TTableName::new(None, qualifier.as_bytes().to_vec()),
        None => TTableName::new(None, name.as_bytes().to_vec()),
    }
}

/// The struct as `ns:name` or `name`. HBase's names are ASCII.
pub(crate) fn full_name(name: &TTableName) -> String {
    let qualifier = String::from_utf8_lossy(&name.qualifier);
    match name.ns.as_deref() {
        None | Some(b"" | b"default") => qualifier.into_owned(),
        Some(ns) => format!("{}:{qualifier}", String::from_utf8_lossy(ns)),
    }
}

/// Keeps the attribute maps and nothing else.
pub(crate) fn descriptor(wire: TTableDescriptor) -> TableDescriptor {
    let mut families: Vec<FamilyDescriptor> = wire.columns.unwrap_or_default().into_iter().map(family).collect();
    families.sort_by(|a, b| a.name.cmp(&b.name));
    TableDescriptor {
        name: full_name(&wire.table_name),
        attributes: wire.attributes.unwrap_or_default().into_iter().collect(),
        families,
    }
}

fn family(wire: TColumnFamilyDescriptor) -> FamilyDescriptor {
    FamilyDescriptor {
        name: wire.name,
        attributes: wire.attributes.unwrap_or_default().into_iter().collect(),
        configuration: wire.configuration.unwrap_or_default().into_iter().collect(),
    }
}

/// Attributes that HBase derives and writes itself.
const DERIVED: [&[u8]; 2] = [b"IS_META", b"IS_ROOT"];

/// Attributes and configuration only: the typed fields would win over them and know fewer codecs.
pub(crate) fn wire_descriptor(table: &TableDescriptor) -> TTableDescriptor {
    let columns: Vec<_> = table
        .families
        .iter()
        .map(|family| {
            let attributes: BTreeMap<_, _> = family.attributes.iter().cloned().collect();
            let configuration: BTreeMap<_, _> = family.configuration.iter().cloned().collect();
            TColumnFamilyDescriptor::new(family.name.clone(), attributes, configuration)
        })
        .collect();
    let kept = table.attributes.iter().filter(|(name, _)| !DERIVED.contains(&name.as_slice()));
    let attributes: BTreeMap<_, _> = kept.cloned().collect();
    TTableDescriptor::new(table_name(&table.name), columns, attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for name in ["tsdb", "ns:tsdb"] {
            assert_eq!(full_name(&table_name(name)), name);
        }
        assert_eq!(full_name(&table_name("default:tsdb")), "tsdb");
        assert_eq!(table_name("tsdb").ns, None);
    }

    #[test]
    fn descriptors_go_both_ways() {
        let table = TableDescriptor {
            name: "ns:t".into(),
            attributes: vec![(b"A".to_vec(), vec![0, 255])],
            families: vec![FamilyDescriptor {
                name: b"t".to_vec(),
                attributes: vec![(b"COMPRESSION".to_vec(), b"BROTLI".to_vec())],
                configuration: vec![("k".into(), "v".into())],
            }],
        };
        assert_eq!(descriptor(wire_descriptor(&table)), table);
        let mut more = table.clone();
        more.attributes.push((b"IS_META".to_vec(), b"false".to_vec()));
        assert_eq!(descriptor(wire_descriptor(&more)), table);
    }
}
