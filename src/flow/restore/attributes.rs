//! What somebody wants the attributes of restored tables to be: `[TABLE:][FAMILY:]NAME=VALUE`, resolved against the
//! tables of the backup.

use crate::flow::FlowError;
use crate::model::{FOREVER, TableDescriptor};

/// One `--attribute` or `--drop-attribute`, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeEdit {
    /// `[TABLE:][FAMILY:]NAME`.
    pub path: String,
    /// The value, or `None` to leave the attribute out.
    pub value: Option<String>,
}

/// What is to become of the time to live of families that have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlChoice {
    /// As it is, whether cells of the backup expire by it or not.
    Keep,
    /// Cells live for ever.
    Never,
    /// So many seconds, at least 1.
    Seconds(i32),
}

/// An edit that applies to one table of the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The family; `None` for an attribute of the table itself.
    pub family: Option<Vec<u8>>,
    /// Name of the attribute.
    pub name: String,
    /// Its value, or `None` to leave it out.
    pub value: Option<String>,
}

/// Names that mean something on a family and nothing on a table.
const OF_FAMILIES: [&str; 29] = [
    "BLOCKCACHE",
    "BLOCKSIZE",
    "BLOOMFILTER",
    "CACHE_BLOOMS_ON_WRITE",
    "CACHE_DATA_IN_L1",
    "CACHE_DATA_ON_WRITE",
    "CACHE_INDEX_ON_WRITE",
    "COMPRESSION",
    "COMPRESSION_COMPACT",
    "COMPRESSION_COMPACT_MAJOR",
    "COMPRESSION_COMPACT_MINOR",
    "DATA_BLOCK_ENCODING",
    "DFS_REPLICATION",
    "ENCRYPTION",
    "ENCRYPTION_KEY",
    "EVICT_BLOCKS_ON_CLOSE",
    "INDEX_BLOCK_ENCODING",
    "IN_MEMORY",
    "IN_MEMORY_COMPACTION",
    "IS_MOB",
    "KEEP_DELETED_CELLS",
    "MIN_VERSIONS",
    "MOB_THRESHOLD",
    "NEW_VERSION_BEHAVIOR",
    "PREFETCH_BLOCKS_ON_OPEN",
    "REPLICATION_SCOPE",
    "STORAGE_POLICY",
    "TTL",
    "VERSIONS",
];

/// Attributes whose values are few. A region whose descriptor holds another one never opens, and HBase's master waits
/// for it without an end, so that such a value must not be sent.
const CHOICES: [(&str, &[&str]); 5] = [
    ("BLOOMFILTER", &["NONE", "ROW", "ROWCOL", "ROWPREFIX_FIXED_LENGTH"]),
    ("DATA_BLOCK_ENCODING", &["NONE", "PREFIX", "DIFF", "FAST_DIFF", "ROW_INDEX_V1"]),
    // A table whose descriptor holds another value is never made, and the call to make it is not answered.
    ("DURABILITY", &["USE_DEFAULT", "SKIP_WAL", "ASYNC_WAL", "SYNC_WAL", "FSYNC_WAL"]),
    ("KEEP_DELETED_CELLS", &["FALSE", "TRUE", "TTL"]),
    ("REPLICATION_SCOPE", &["0", "1"]),
];

/// The edits of each table, in the order of `tables`.
///
/// # Errors
/// [`FlowError::Input`] for a table or family that the backup does not have, a value that HBase does not know, an
/// attribute to leave out that no table has.
pub fn resolve(edits: &[AttributeEdit], tables: &[TableDescriptor]) -> Result<Vec<Vec<Edit>>, FlowError> {
    let mut found = vec![Vec::new(); tables.len()];
    for edit in edits {
        let place = Place::parse(&edit.path, tables)?;
        let value = edit.value.as_deref().map(|value| checked(&place.name, value)).transpose()?;
        let mut hits = 0;
        for (table, edits) in tables.iter().zip(&mut found) {
            if place.table.as_ref().is_some_and(|name| *name != table.name) {
                continue;
            }
            for family in place.families(table) {
                let edit = Edit { family, name: place.name.clone(), value: value.clone() };
                if edit.value.is_some() || edit.saved_value(table).is_some() {
                    hits += 1;
                    edits.push(edit);
                }
            }
        }
        if hits == 0 {
            let has = have(tables);
            return Err(FlowError::input(match edit.value {
                Some(_) => format!("--attribute {} fits no table and family of the backup; {has}", edit.path),
                None => format!("--drop-attribute {}: no table of the backup has this attribute; {has}", edit.path),
            }));
        }
    }
    Ok(found)
}

fn have(tables: &[TableDescriptor]) -> String {
    let families = |table: &TableDescriptor| {
        let names = table.families.iter().map(|family| String::from_utf8_lossy(&family.name).into_owned());
        format!("{} ({})", table.name, names.collect::<Vec<_>>().join(", "))
    };
    format!("it has the tables (families) {}", tables.iter().map(families).collect::<Vec<_>>().join(", "))
}

/// `[TABLE:][FAMILY:]NAME`, taken apart.
struct Place {
    table: Option<String>,
    family: Option<Vec<u8>>,
    name: String,
}

impl Place {
    /// A name of a table may hold a colon itself.
    fn parse(path: &str, tables: &[TableDescriptor]) -> Result<Self, FlowError> {
        let (before, name) = path.rsplit_once(':').unwrap_or(("", path));
        let name = name.to_owned();
        if name.is_empty() {
            return Err(FlowError::input(format!("{path:?} names no attribute; write [TABLE:][FAMILY:]NAME")));
        }
        if before.is_empty() {
            return Ok(Self { table: None, family: None, name });
        }
        let is_table = |text: &str| tables.iter().any(|table| table.name == text);
        let is_family =
            |text: &str| tables.iter().any(|table| table.families.iter().any(|f| f.name == text.as_bytes()));
        if is_table(before) && is_family(before) {
            return Err(FlowError::input(format!(
                "{before} of {path} is the name of a table and of a family; write TABLE:FAMILY:{name}"
            )));
        }
        if is_table(before) {
            return Ok(Self { table: Some(before.to_owned()), family: None, name });
        }
        let (table, family) = match before.rsplit_once(':') {
            Some((table, family)) => (Some(table), family),
            None => (None, before),
        };
        if !is_family(family) || table.is_some_and(|table| !is_table(table)) {
            return Err(FlowError::input(format!("{path}: {before} is not a table or family; {}", have(tables))));
        }
        Ok(Self { table: table.map(str::to_owned), family: Some(family.as_bytes().to_vec()), name })
    }

    /// Where the attribute goes in this table: to a family, or (`None`) to the table itself.
    fn families(&self, table: &TableDescriptor) -> Vec<Option<Vec<u8>>> {
        let names = || table.families.iter().map(|family| &family.name);
        if let Some(family) = &self.family {
            return names().filter(|name| *name == family).map(|name| Some(name.clone())).collect();
        }
        let name = self.name.as_bytes();
        let on_a_family = table.families.iter().any(|family| {
            family.attributes.iter().any(|(key, _)| key == name)
                || family.configuration.iter().any(|(key, _)| key.as_bytes() == name)
        });
        let on_the_table = table.attributes.iter().any(|(key, _)| key == name);
        if OF_FAMILIES.contains(&self.name.as_str()) || on_a_family && !on_the_table {
            return names().map(|name| Some(name.clone())).collect();
        }
        vec![None]
    }
}

impl Edit {
    /// What the table has there.
    pub fn saved_value<'t>(&self, table: &'t TableDescriptor) -> Option<&'t [u8]> {
        let name = self.name.as_bytes();
        match &self.family {
            None => table.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice()),
            Some(family) => {
                let family = table.families.iter().find(|f| f.name == *family)?;
                let attribute =
                    family.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice());
                let setting = || family.configuration.iter().find(|(key, _)| key.as_bytes() == name);
                attribute.or_else(|| setting().map(|(_, value)| value.as_bytes()))
            }
        }
    }
}

/// The value as HBase stores it.
fn checked(name: &str, value: &str) -> Result<String, FlowError> {
    let wrong = |what: &str| Err(FlowError::input(format!("--attribute {name}={value}: {what}")));
    let number = value.parse::<i32>().ok();
    match name {
        "TTL" if value.eq_ignore_ascii_case("forever") => Ok(FOREVER.to_string()),
        "TTL" if number.is_none_or(|seconds| seconds < 1) => wrong("a time to live is FOREVER or whole seconds"),
        "VERSIONS" if number.is_none_or(|versions| versions < 1) => wrong("versions are a number from 1"),
        "MIN_VERSIONS" if number.is_none_or(|versions| versions < 0) => wrong("versions are a number from 0"),
        _ => match CHOICES.iter().find(|(known, _)| *known == name) {
            Some((_, choices)) if !choices.contains(&value.to_uppercase().as_str()) => {
                wrong(&format!("HBase knows {}", choices.join(", ")))
            }
            Some(_) => Ok(value.to_uppercase()),
            None => Ok(value.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FamilyDescriptor;

    fn tables() -> Vec<TableDescriptor> {
        let family = |name: &str, attributes: &[(&str, &str)]| FamilyDescriptor {
            name: name.into(),
            attributes: attributes.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect(),
            configuration: vec![],
        };
        let table = |name: &str, families| TableDescriptor { name: name.into(), attributes: vec![], families };
        let mut data = table("mon:tsdb", vec![family("t", &[("x.y", "1")])]);
        data.attributes.push((b"coprocessor$1".to_vec(), b"|a.B|1|".to_vec()));
        vec![data, table("mon:uid", vec![family("id", &[]), family("name", &[])]), table("t", vec![family("t", &[])])]
    }

    fn resolved(path: &str, value: Option<&str>) -> Result<Vec<Vec<String>>, String> {
        let edit = AttributeEdit { path: path.into(), value: value.map(str::to_owned) };
        let words = |edit: &Edit| {
            let family = edit.family.as_ref().map_or("-".into(), |f| String::from_utf8_lossy(f));
            format!("{family} {} {}", edit.name, edit.value.as_deref().unwrap_or("gone"))
        };
        let found = resolve(&[edit], &tables()).map_err(|error| error.to_string())?;
        Ok(found.iter().map(|edits| edits.iter().map(words).collect()).collect())
    }

    #[test]
    fn a_place_is_everywhere_unless_it_says_more() {
        let none: Vec<String> = vec![];
        assert_eq!(
            resolved("TTL", Some("forever")).unwrap(),
            [vec!["t TTL 2147483647"], vec!["id TTL 2147483647", "name TTL 2147483647"], vec!["t TTL 2147483647"]]
        );
        assert_eq!(
            resolved("mon:uid:VERSIONS", Some("2")).unwrap(),
            [none.clone(), vec!["id VERSIONS 2".into(), "name VERSIONS 2".into()], none.clone()]
        );
        assert_eq!(
            resolved("mon:uid:id:TTL", Some("9")).unwrap(),
            [none.clone(), vec!["id TTL 9".into()], none.clone()]
        );
        assert_eq!(resolved("name:TTL", Some("9")).unwrap(), [none.clone(), vec!["name TTL 9".into()], none.clone()]);
        assert_eq!(resolved("mon:tsdb:MAX_FILESIZE", Some("9")).unwrap()[0], ["- MAX_FILESIZE 9"]);
        assert_eq!(resolved("coprocessor$1", None).unwrap(), [vec!["- coprocessor$1 gone".into()], none.clone(), none]);
        assert_eq!(resolved("x.y", None).unwrap()[0], ["t x.y gone"]);
    }

    #[test]
    fn what_fits_nothing_is_an_error() {
        for (path, value, hint) in [
            ("nope:TTL", Some("1"), "nope is not a table or family"),
            ("mon:uid:t2:TTL", Some("1"), "not a table or family"),
            ("t:TTL", Some("1"), "TABLE:FAMILY:TTL"),
            ("mon:tsdb:id:TTL", Some("1"), "fits no table"),
            ("COMPRESSION", None, "no table of the backup has"),
            ("", None, "names no attribute"),
            ("TTL", Some("soon"), "whole seconds"),
            ("VERSIONS", Some("0"), "from 1"),
            ("KEEP_DELETED_CELLS", Some("maybe"), "FALSE, TRUE, TTL"),
        ] {
            let error = resolved(path, value).unwrap_err();
            assert!(error.contains(hint), "{path}: {error}");
        }
    }
}
