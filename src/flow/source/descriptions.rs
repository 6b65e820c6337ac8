//! What tables are like: as the cluster reports it, or given by hand where it does not.

use std::path::{Path, PathBuf};

use crate::cluster::{Client, parse_descriptions};
use crate::flow::FlowError;
use crate::flow::source::table::SourceTable;
use crate::model::{DescriptorSource, FamilyDescriptor, TableDescriptor};

/// The families of OpenTSDB's tables.
const FAMILIES: [&str; 3] = ["id", "name", "t"];

/// Reads files with the output of the HBase shell's `describe`.
///
/// # Errors
/// [`FlowError::Input`] names the file, and the line where it is something else.
pub fn read_descriptions(files: &[PathBuf]) -> Result<Vec<TableDescriptor>, FlowError> {
    let mut found: Vec<TableDescriptor> = Vec::new();
    for file in files {
        let read = |file: &Path| std::fs::read(file).map_err(|error| error.to_string());
        let parsed = read(file)
            .and_then(|bytes| parse_descriptions(&String::from_utf8_lossy(&bytes)).map_err(|error| error.to_string()));
        let tables = parsed.map_err(|error| FlowError::input(format!("{}: {error}", file.display())))?;
        if tables.is_empty() {
            return Err(FlowError::input(format!(
                "{} describes no table; expected the output of the HBase shell for `describe 'TABLE'`",
                file.display()
            )));
        }
        if let Some(twice) = tables.iter().find(|table| found.iter().any(|other| other.name == table.name)) {
            return Err(FlowError::input(format!("{} describes table {} a second time", file.display(), twice.name)));
        }
        found.extend(tables);
    }
    Ok(found)
}

/// The descriptor of a table that exists, and who told it. The gateway comes first, then what was given by hand.
///
/// # Errors
/// The gateway's; [`FlowError::Input`] for a description that is not of this table.
pub fn describe(
    client: &mut Client,
    name: &str,
    given: &[TableDescriptor],
) -> Result<(TableDescriptor, DescriptorSource), FlowError> {
    let given = given.iter().find(|table| table.name == name.strip_prefix("default:").unwrap_or(name));
    if let Some(table) = given
        && !client.manages_tables()?
    {
        for family in &table.families {
            if !client.has_family(name, &family.name)? {
                return Err(FlowError::input(format!(
                    "table {name} has no family {}, which --table-description gives it; describe the table again",
                    String::from_utf8_lossy(&family.name)
                )));
            }
        }
        return Ok((TableDescriptor { name: name.to_owned(), ..table.clone() }, DescriptorSource::File));
    }
    match client.describe(name)? {
        Some(told) => Ok(told),
        None => Ok((of_names_alone(client, name)?, DescriptorSource::Unknown)),
    }
}

/// The families that OpenTSDB's tables may have, without attributes.
fn of_names_alone(client: &mut Client, name: &str) -> Result<TableDescriptor, FlowError> {
    let mut families = Vec::new();
    for family in FAMILIES {
        if client.has_family(name, family.as_bytes())? {
            families.push(FamilyDescriptor { name: family.into(), ..FamilyDescriptor::default() });
        }
    }
    Ok(TableDescriptor { name: name.to_owned(), attributes: Vec::new(), families })
}

/// What of the tables' descriptors a backup would not hold, in words.
pub fn not_carried(tables: &[SourceTable]) -> Vec<String> {
    unknown_attributes(tables).into_iter().chain(few_attributes(tables)).collect()
}

const BY_HAND: &str = "--table-description FILE with the output of `describe` in the HBase shell has all of it";

fn described_by(tables: &[SourceTable], source: DescriptorSource) -> Option<String> {
    let named = tables.iter().filter(|table| table.described_by == source).map(|table| table.name.as_str());
    Some(named.collect::<Vec<_>>().join(", ")).filter(|names| !names.is_empty())
}

/// The tables of which no attribute is known, in words.
pub fn unknown_attributes(tables: &[SourceTable]) -> Option<String> {
    let names = described_by(tables, DescriptorSource::Unknown)?;
    Some(format!(
        "the attributes of {names} (compression, time to live and all others), which this gateway does not report; {BY_HAND}"
    ))
}

/// The tables of which some attributes are known, in words.
pub fn few_attributes(tables: &[SourceTable]) -> Option<String> {
    let names = described_by(tables, DescriptorSource::Thrift1)?;
    Some(format!(
        "most attributes of {names}: a Thrift1 gateway reports VERSIONS, COMPRESSION, IN_MEMORY, BLOOMFILTER and \
         BLOCKCACHE, and TTL from HBase 1.4 on; {BY_HAND}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_named_when_they_are_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let good = file("good", "Table tsdb is ENABLED\ntsdb\n{NAME => 't', TTL => '7200 SECONDS (2 HOURS)'}\n");
        let tables = read_descriptions(std::slice::from_ref(&good)).unwrap();
        assert_eq!((tables.len(), tables[0].families[0].ttl_seconds()), (1, Some(7200)));
        for (path, hint) in [
            (file("empty", ""), "describes no table"),
            (file("cut", "Table tsdb is ENABLED\n{NAME => 't'"), "line 2"),
            (good.clone(), "a second time"),
            (folder.path().join("absent"), "absent: No such file"),
        ] {
            let error = read_descriptions(&[good.clone(), path]).unwrap_err();
            assert!(error.to_string().contains(hint) && error.exit_code() == 2, "{error}");
        }
    }
}
