//! Where everything lies in a repository. Every path of the format is made here.
//!
//! Table names are escaped in file names: ASCII letters, digits, `_`, `.` and `-` stay, except that a leading `_`, `.`
//! or `-` is escaped too (Spark and Hadoop skip files whose names begin so); every other byte becomes `!` and two
//! lower-case hex digits, so `ns:tsdb` is `ns!3atsdb`. The escape is reversible, and as the parts behind the table name
//! hold no `-`, a file name is read from its end.

use super::hex;
use crate::model::FileKind;

/// What the repository is, written once.
pub const REPOSITORY: &str = "repository.json";
/// The folder that holds all backups.
pub const BACKUPS: &str = "backups";
/// The folder for locks.
pub const LOCKS: &str = "locks";
/// The folder for the reports of drills.
pub const DRILLS: &str = "drills";
/// The folder for the progress of restores.
pub const RESTORES: &str = "restores";
const MANIFEST: &str = "manifest.json";
const PLAN: &str = "plan.json";
const BASIS: &str = "basis-";
const SHARDS: &str = "shards";

/// The name parts of a shard's file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileName {
    /// HBase table.
    pub table: String,
    /// Attempt at the shard: lower-case hex digits.
    pub attempt: String,
    /// Number of the file in its attempt and folder.
    pub number: u32,
}

/// The paths of one backup, relative to the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupPaths {
    folder: String,
}

impl BackupPaths {
    /// The paths of the backup with this id.
    pub fn new(backup: &str) -> Self {
        Self { folder: format!("{BACKUPS}/{backup}") }
    }

    /// The backup's folder.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The manifest.
    pub fn manifest(&self) -> String {
        format!("{}/{MANIFEST}", self.folder)
    }

    /// What was asked for.
    pub fn plan(&self) -> String {
        format!("{}/{PLAN}", self.folder)
    }

    /// The names of UIDs that were read for the plan.
    pub fn names(&self) -> String {
        format!("{}/names.parquet", self.folder)
    }

    /// What was recorded when a read of the UID table began.
    pub fn basis(&self, id: &str) -> String {
        format!("{}/{BASIS}{id}.json", self.folder)
    }

    /// The id of a basis by its path, or `None` when it is no such path.
    pub fn parse_basis<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&self.folder)?.strip_prefix('/')?.strip_prefix(BASIS)?.strip_suffix(".json")
    }

    /// The mark of a backup that a prune is about to remove; it holds a copy of the plan.
    pub fn pruning(&self) -> String {
        format!("{}/pruning", self.folder)
    }

    /// The folder of the shard records.
    pub fn shards(&self) -> String {
        format!("{}/{SHARDS}", self.folder)
    }

    /// The record of a shard.
    pub fn shard(&self, table: &str, attempt: &str) -> String {
        format!("{}/{SHARDS}/{}-{attempt}.json", self.folder, escape_table(table))
    }

    /// The metrics of a shard whose record has no room for all of them.
    pub fn shard_metrics(&self, table: &str, attempt: &str) -> String {
        format!("{}/shards/{}-{attempt}-metrics.parquet", self.folder, escape_table(table))
    }

    /// The folder of the Parquet files of a kind, which is a Delta Lake table.
    pub fn files(&self, kind: FileKind) -> String {
        match kind {
            FileKind::Files | FileKind::Shards | FileKind::Metrics => {
                format!("{}/catalogue/{}", self.folder, kind.name())
            }
            _ => format!("{}/{}", self.folder, kind.name()),
        }
    }

    /// The folder of the Delta log of a kind.
    pub fn delta_logs(&self, kind: FileKind) -> String {
        format!("{}/_delta_log", self.files(kind))
    }

    /// A version of the Delta log of a kind.
    pub fn delta_log(&self, kind: FileKind, version: u64) -> String {
        format!("{}/{version:020}.json", self.delta_logs(kind))
    }

    /// A Parquet file of a shard: `<table>-<attempt>-<n>.parquet`.
    pub fn file(&self, kind: FileKind, name: &FileName) -> String {
        let table = escape_table(&name.table);
        let FileName { attempt, number, .. } = name;
        format!("{}/{table}-{attempt}-{number}.parquet", self.files(kind))
    }

    /// A Parquet file of the catalogue: `catalogue/<kind>/<attempt>-<n>.parquet`.
    pub fn catalogue(&self, kind: FileKind, attempt: &str, number: u32) -> String {
        format!("{}/{attempt}-{number}.parquet", self.files(kind))
    }

    /// The SQL that names every table for DuckDB.
    pub fn views(&self) -> String {
        format!("{}/views.sql", self.folder)
    }

    /// The same where an earlier run left other views under the plain name.
    pub fn views_of(&self, attempt: &str) -> String {
        format!("{}/views-{attempt}.sql", self.folder)
    }
}

/// The paths of one restore's progress, relative to the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePaths {
    folder: String,
}

impl RestorePaths {
    /// The paths of the restore with this id.
    pub fn new(restore: &str) -> Self {
        Self { folder: format!("{RESTORES}/{restore}") }
    }

    /// What was asked for.
    pub fn plan(&self) -> String {
        format!("{}/{PLAN}", self.folder)
    }

    /// The end of a complete restore.
    pub fn finished(&self) -> String {
        format!("{}/finished.json", self.folder)
    }

    /// The folder of the records of files.
    pub fn files(&self) -> String {
        format!("{}/files", self.folder)
    }

    /// The record of a file of a backup, given by its path: `files/<kind>-<file name>.json`. A file that was sent again
    /// gets further ones: `files/<kind>-<file name>.<attempt>.json`, from 1 on.
    pub fn file(&self, path: &str, attempt: u32) -> String {
        let mut parts = path.rsplitn(3, '/');
        let (name, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let again = if attempt == 0 { String::new() } else { format!(".{attempt}") };
        format!("{}/files/{kind}-{name}{again}.json", self.folder)
    }

    /// The folder of the records of tables.
    pub fn tables(&self) -> String {
        format!("{}/tables", self.folder)
    }

    /// The record of a table of the target that was created and found as it was asked for: `tables/<table>.json`.
    pub fn table(&self, table: &str) -> String {
        format!("{}/tables/{}.json", self.folder, escape_table(table))
    }
}

/// Table and attempt of a shard by the name of its record, or `None` when it is no such name.
pub fn parse_shard_record(path: &str) -> Option<(String, String)> {
    let (folder, name) = path.rsplit_once('/')?;
    // A basis beside the folder has a name of the same form.
    (folder.rsplit('/').next() == Some(SHARDS)).then_some(())?;
    let name = name.strip_suffix(".json")?;
    let (table, attempt) = name.rsplit_once('-')?;
    is_attempt(attempt).then_some(())?;
    Some((unescape_table(table)?, attempt.to_owned()))
}

/// True for the name of an attempt: 12 lower-case hex digits.
fn is_attempt(name: &str) -> bool {
    name.len() == 12 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl FileName {
    /// Reads the last part of a path, or `None` when it is not such a name.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.rsplit('/').next()?.strip_suffix(".parquet")?;
        let mut parts = name.rsplitn(3, '-');
        let number = parts.next()?.parse().ok()?;
        let attempt = parts.next().filter(|attempt| is_attempt(attempt))?.to_owned();
        let table = unescape_table(parts.next()?)?;
        Some(Self { table, attempt, number })
    }
}

/// A table name as it stands in file names.
pub fn escape_table(table: &str) -> String {
    let mut name = String::with_capacity(table.len());
    for (at, byte) in table.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || (at > 0 && matches!(byte, b'_' | b'.' | b'-'));
        if plain {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("!{byte:02x}"));
        }
    }
    name
}

/// The table name behind its escaped form, or `None` when it is none.
pub fn unescape_table(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != b'!' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        bytes.push(hex::byte(digits)?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_survive() {
        for table in ["tsdb", "ns:tsdb", "_t", ".t", "-a-b", "tsdb-rollup-1h", "a!b", "größe", "%2e/x", "a_b.c"] {
            let name = escape_table(table);
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-!".contains(&b)), "{name}");
            assert!(!name.starts_with(['_', '.', '-']), "{name}");
            assert_eq!(unescape_table(&name).as_deref(), Some(table));
        }
        assert_eq!(escape_table("ns:tsdb-uid"), "ns!3atsdb-uid");
    }

    #[test]
    fn file_names_are_read_back() {
        let name = FileName { table: "ns:tsdb-rollup-1h".into(), attempt: "0a1b2c3d4e5f".into(), number: 7 };
        let path = BackupPaths::new("b").file(FileKind::Points, &name);
        assert_eq!(path, "backups/b/points/ns!3atsdb-rollup-1h-0a1b2c3d4e5f-7.parquet");
        assert_eq!(FileName::parse(&path), Some(name));
        for bad in [
            "x.parquet",
            "a-0a1b2c3d4e5f.parquet",
            "a-0a1b2c3d4e5-1.parquet",
            "a-0a1b2c3d4e5f-1.json",
            "!z-0a1b2c3d4e5f-1.parquet",
        ] {
            assert_eq!(FileName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn records_are_told_by_their_names() {
        let backup = BackupPaths::new("b");
        let path = backup.shard("ns:tsdb-uid", "0a1b2c3d4e5f");
        assert_eq!(parse_shard_record(&path), Some(("ns:tsdb-uid".to_owned(), "0a1b2c3d4e5f".to_owned())));
        for bad in ["x.json", "t-00001.json", "t-0A1B2C3D4E5F.json", "t-0a1b2c3d4e5f-metrics.parquet"] {
            assert_eq!(parse_shard_record(&format!("backups/b/shards/{bad}")), None, "{bad}");
        }
        assert_eq!(parse_shard_record(&backup.basis("0a1b2c3d4e5f")), None);
        assert_eq!(backup.parse_basis(&backup.basis("aa")), Some("aa"));
        assert_eq!(backup.parse_basis("backups/b/plan.json"), None);
        let paths = RestorePaths::new("r");
        let file = paths.file("backups/b/points/tsdb-00001-aa-0.parquet", 0);
        assert_eq!(file, "restores/r/files/points-tsdb-00001-aa-0.parquet.json");
        assert_ne!(file, paths.file("backups/b/cells/tsdb-00001-aa-0.parquet", 0));
    }

    #[test]
    fn kinds_have_the_names_that_json_gives_them() {
        for kind in FileKind::ALL {
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{}\"", kind.name()));
        }
    }
}
