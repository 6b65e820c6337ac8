//! What a gateway cannot do for a restore, found out before anything is written: create tables, write certain markers.

use crate::cluster::{Api, Client};
use crate::flow::FlowError;
use crate::flow::stored::backup_files::{BackupContents, ReadTools};
use crate::flow::stored::contents::cells_of_file;
use crate::model::{FamilyDescriptor, FileKind, RawReason, TableDescriptor, kind};

use super::target::Target;

/// Family attributes that the shell's `create` takes by name in every version; it takes the others as METADATA.
const BY_NAME: [&str; 11] = [
    "BLOCKCACHE",
    "BLOCKSIZE",
    "BLOOMFILTER",
    "COMPRESSION",
    "DATA_BLOCK_ENCODING",
    "IN_MEMORY",
    "KEEP_DELETED_CELLS",
    "MIN_VERSIONS",
    "REPLICATION_SCOPE",
    "TTL",
    "VERSIONS",
];
/// Table attributes that HBase derives and writes itself.
const DERIVED: [&[u8]; 2] = [b"IS_META", b"IS_ROOT"];

/// Refuses when the gateway cannot create the missing tables, with the statements for the HBase shell that do.
///
/// # Errors
/// [`FlowError::Input`] with the statements; the gateway's.
pub fn refuse_missing_tables(client: &mut Client, targets: &[Target<'_>]) -> Result<(), FlowError> {
    let (mut reasons, mut statements, mut namespaces) = (Vec::new(), Vec::new(), None);
    for target in targets.iter().filter(|target| target.create) {
        let descriptor = &target.wanted.descriptor;
        let splits: Vec<Vec<u8>> = target.table.split_keys.iter().map(|key| key.clone().into()).collect();
        let Some(reason) = client.cannot_create(descriptor, splits.len())? else { continue };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
        if let Some((namespace, _)) = target.name.split_once(':') {
            let known = match &mut namespaces {
                Some(known) => known,
                none => none.insert(client.namespaces()?),
            };
            if !known.iter().any(|name| name == namespace) {
                known.push(namespace.to_owned());
                statements.push(format!("create_namespace {}", quoted(namespace.as_bytes())));
            }
        }
        statements.push(create_statement(descriptor, &splits));
    }
    if statements.is_empty() {
        return Ok(());
    }
    Err(FlowError::input(format!(
        "{}; nothing was written. Create the missing tables in the HBase shell and run the same restore again: {}",
        reasons.join("; "),
        statements.join("; ")
    )))
}

/// The statement for the HBase shell (1.0 and later) that creates a table.
fn create_statement(table: &TableDescriptor, splits: &[Vec<u8>]) -> String {
    let mut parts = vec![quoted(table.name.as_bytes())];
    parts.extend(table.families.iter().map(family_clause));
    let kept = table.attributes.iter().filter(|(name, _)| !DERIVED.contains(&name.as_slice()));
    let attributes: Vec<String> = kept.map(|(name, value)| pair(name, value)).collect();
    if !attributes.is_empty() {
        parts.push(format!("{{METADATA => {{{}}}}}", attributes.join(", ")));
    }
    if !splits.is_empty() {
        let keys: Vec<String> = splits.iter().map(|key| split_key(key)).collect();
        parts.push(format!("SPLITS => [{}]", keys.join(", ")));
    }
    format!("create {}", parts.join(", "))
}

fn family_clause(family: &FamilyDescriptor) -> String {
    let named = |name: &[u8]| BY_NAME.iter().find(|known| known.as_bytes() == name);
    let mut parts = vec![format!("NAME => {}", quoted(&family.name))];
    let mut metadata = Vec::new();
    for (name, value) in &family.attributes {
        match named(name) {
            Some(name) => parts.push(format!("{name} => {}", quoted(value))),
            None => metadata.push(pair(name, value)),
        }
    }
    let settings = family.configuration.iter().map(|(name, value)| pair(name.as_bytes(), value.as_bytes()));
    let settings: Vec<String> = settings.collect();
    for (clause, pairs) in [("METADATA", metadata), ("CONFIGURATION", settings)] {
        if !pairs.is_empty() {
            parts.push(format!("{clause} => {{{}}}", pairs.join(", ")));
        }
    }
    format!("{{{}}}", parts.join(", "))
}

fn pair(name: &[u8], value: &[u8]) -> String {
    format!("{} => {}", quoted(name), quoted(value))
}

/// A text of Ruby. What is no plain text goes in double quotes, where Ruby reads `\xNN`.
fn quoted(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'\\' | b'\'')) {
        return format!("'{}'", String::from_utf8_lossy(bytes));
    }
    let escape = |byte: &u8| match byte {
        b'"' | b'\\' | b'#' => format!("\\{}", char::from(*byte)),
        b' '..=b'~' => char::from(*byte).to_string(),
        other => format!("\\x{other:02X}"),
    };
    format!("\"{}\"", bytes.iter().map(escape).collect::<String>())
}

/// A key in single quotes: Ruby leaves `\xNN` alone there, and the shell reads it (`Bytes.toBytesBinary`, capital digits).
fn split_key(key: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(*byte).to_string(),
        other => format!("\\x{other:02X}"),
    };
    format!("'{}'", key.iter().map(escape).collect::<String>())
}

/// Refuses a backup with delete markers that the gateway would write as others: through Thrift1 all of them, before HBase
/// 2.2 that of one version of a family, which would delete all older ones.
///
/// # Errors
/// [`FlowError::Refused`]; the gateway's and the store's.
pub fn refuse_markers(
    client: &mut Client,
    tools: ReadTools<'_>,
    contents: &BackupContents,
    targets: &[Target<'_>],
) -> Result<(), FlowError> {
    let has_markers =
        |target: &Target<'_>| target.table.raw_cells.get(RawReason::DeleteMarker.name()).is_some_and(|n| *n > 0);
    let with_markers: Vec<&Target<'_>> = targets.iter().filter(|target| has_markers(target)).collect();
    if with_markers.is_empty() || client.manages_tables()? {
        return Ok(());
    }
    let info = client.gateway()?;
    for target in with_markers {
        let mut count = if info.api == Api::Thrift1 { 1 } else { 0 };
        let files = contents.files_of(&target.table.name);
        for file in files.filter(|file| !file.kind.is_catalogue() && file.kind != FileKind::Points) {
            if count > 0 {
                break;
            }
            cells_of_file(tools, contents, file, &mut |block| {
                count += block.iter().filter(|cell| cell.kind == kind::DELETE_FAMILY_VERSION).count();
                Ok(())
            })?;
        }
        if count > 0 {
            let what = match info.api {
                Api::Thrift1 => "speaks Thrift1, which cannot write the delete markers",
                Api::Thrift2 => {
                    "is one of HBase before 2.2, which makes markers that delete more of the family-version markers"
                }
            };
            return Err(FlowError::refused(format!(
                "gateway {} {what} of table {} in this backup (made with --raw); restore through a gateway of HBase 2.2 or later",
                info.address, target.table.name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_say_all_of_a_table() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(Vec<u8>, Vec<u8>)> {
            pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
        };
        let table = TableDescriptor {
            name: "ns:tsdb".into(),
            attributes: pairs(&[("IS_META", "false"), ("MAX_FILESIZE", "1024")]),
            families: vec![
                FamilyDescriptor {
                    name: b"t".to_vec(),
                    attributes: pairs(&[("OWNER", "it's #{me}"), ("TTL", "86400")]),
                    configuration: vec![("a.b".into(), "c".into())],
                },
                FamilyDescriptor { name: b"u".to_vec(), ..FamilyDescriptor::default() },
            ],
        };
        assert_eq!(
            create_statement(&table, &[b"\0\0\x03".to_vec(), b"a\xff-".to_vec()]),
            "create 'ns:tsdb', {NAME => 't', TTL => '86400', METADATA => {'OWNER' => \"it's \\#{me}\"}, \
             CONFIGURATION => {'a.b' => 'c'}}, {NAME => 'u'}, {METADATA => {'MAX_FILESIZE' => '1024'}}, \
             SPLITS => ['\\x00\\x00\\x03', 'a\\xFF\\x2D']"
        );
        let plain = TableDescriptor { attributes: Vec::new(), families: Vec::new(), ..table };
        assert_eq!(create_statement(&plain, &[]), "create 'ns:tsdb'");
        assert_eq!(quoted(b"a\x80\"\\"), "\"a\\x80\\\"\\\\\"");
    }
}
