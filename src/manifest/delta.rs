//! The logs that make each folder of Parquet files a Delta Lake table: whoever reads through them sees committed files
//! alone, whatever else lies in the folder.
//!
//! A version is a text of one JSON object per line. Version 0 has `protocol`, `metaData` and one `add` per file; a later
//! one, made when a run was interrupted between its logs and its manifest, takes away and adds what has changed since.
//! Nothing in it depends on the process that writes it, so a resumed run finds the very bytes that it would write.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::error::RepositoryError;
use crate::model::{Column, ColumnRanges, ColumnType};

/// A table's description: what all versions of its log have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct DeltaTable<'a> {
    /// The backup.
    pub backup: &'a str,
    /// The folder below the backup, the table's name.
    pub name: &'a str,
    /// Columns of the files.
    pub columns: &'a [Column],
    /// When the backup began, ms UTC.
    pub started_ms: i64,
}

/// A file of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct DeltaFile<'a> {
    /// Name in the table's folder: letters, digits and `_.-!`, which a URL shows as they are.
    pub name: &'a str,
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
    /// HBase table of all rows, smallest and greatest values; `None` when nobody has looked.
    pub known: Option<(&'a str, &'a ColumnRanges)>,
}

/// The files of a log, by name: the `add` of each.
pub type DeltaState = BTreeMap<String, Value>;

impl DeltaTable<'_> {
    /// Version 0 of the log.
    ///
    /// # Errors
    /// [`RepositoryError::Encode`] for a value that JSON cannot express.
    pub fn first(&self, state: &DeltaState) -> Result<Vec<u8>, RepositoryError> {
        let mut actions = self.head();
        actions.extend(state.values().map(|add| json!({ "add": add })));
        self.text(&actions)
    }

    /// A version that leads from one state to another.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn next(&self, from: &DeltaState, to: &DeltaState) -> Result<Vec<u8>, RepositoryError> {
        let gone = from.iter().filter(|(name, add)| to.get(*name) != Some(add)).map(
            |(name, _)| json!({ "remove": { "path": name, "deletionTimestamp": self.started_ms, "dataChange": true } }),
        );
        let new = to.iter().filter(|(name, add)| from.get(*name) != Some(add)).map(|(_, add)| json!({ "add": add }));
        self.text(&gone.chain(new).collect::<Vec<_>>())
    }

    /// What the versions of a log say, in their order; `None` when they are not this program's or of another table.
    pub fn replay(&self, versions: &[impl AsRef<[u8]>]) -> Option<DeltaState> {
        let mut head = self.head().into_iter();
        let mut state = DeltaState::new();
        for version in versions {
            for line in std::str::from_utf8(version.as_ref()).ok()?.lines() {
                let action: Value = serde_json::from_str(line).ok()?;
                if let Some(expected) = head.next() {
                    (action == expected).then_some(())?;
                    continue;
                }
                let (what, value) = action.as_object()?.iter().next()?;
                let name = value.get("path")?.as_str()?.to_owned();
                match what.as_str() {
                    "add" => drop(state.insert(name, value.clone())),
                    "remove" => drop(state.remove(&name)),
                    _ => return None,
                }
            }
        }
        head.next().is_none().then_some(state)
    }

    /// The files as actions.
    pub fn state<'a>(&self, files: impl Iterator<Item = DeltaFile<'a>>) -> DeltaState {
        files.map(|file| (file.name.to_owned(), self.add(&file))).collect()
    }

    fn head(&self) -> Vec<Value> {
        let schema = struct_type(self.columns).to_string();
        vec![
            json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } }),
            json!({ "metaData": {
                "id": self.id(),
                "name": self.name,
                "format": { "provider": "parquet", "options": {} },
                "schemaString": schema,
                "partitionColumns": [],
                "configuration": {},
                "createdTime": self.started_ms,
            } }),
        ]
    }

    /// In the shape of a UUID, from what the table is.
    fn id(&self) -> String {
        let hash = blake3::hash(format!("{}/{}", self.backup, self.name).as_bytes()).to_hex();
        let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
    }

    fn add(&self, file: &DeltaFile<'_>) -> Value {
        json!({
            "path": file.name,
            "partitionValues": {},
            "size": file.size,
            "modificationTime": self.started_ms,
            "dataChange": true,
            "stats": self.statistics(file).to_string(),
        })
    }

    fn statistics(&self, file: &DeltaFile<'_>) -> Value {
        let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
        let mut column = |name: &str, first: Option<Value>, last: Option<Value>, null_count: u64| {
            if let Some((first, last)) = first.zip(last) {
                min.insert(name.to_owned(), first);
                max.insert(name.to_owned(), last);
            }
            nulls.insert(name.to_owned(), null_count.into());
        };
        let has = |name: &str, of: ColumnType| self.columns.iter().any(|column| column.name == name && column.of == of);
        let Some((table, ranges)) = file.known else { return json!({ "numRecords": file.rows }) };
        let ColumnRanges { first_metric, last_metric, metric_nulls, first_ms, last_ms, timestamp_nulls, .. } = ranges;
        if has("table", ColumnType::Text) {
            column("table", Some(table.into()), Some(table.into()), 0);
        }
        if has("metric", ColumnType::Text) {
            column(
                "metric",
                first_metric.clone().map(Value::from),
                last_metric.clone().map(Value::from),
                *metric_nulls,
            );
        }
        if has("timestamp", ColumnType::Time) {
            column("timestamp", first_ms.and_then(time), last_ms.and_then(time), *timestamp_nulls);
        }
        json!({ "numRecords": file.rows, "minValues": min, "maxValues": max, "nullCount": nulls })
    }

    fn text(&self, actions: &[Value]) -> Result<Vec<u8>, RepositoryError> {
        let mut text = Vec::new();
        for action in actions {
            serde_json::to_writer(&mut text, action).map_err(|e| RepositoryError::Encode {
                path: format!("the Delta log of {}", self.name),
                reason: e.to_string(),
            })?;
            text.push(b'\n');
        }
        Ok(text)
    }
}

/// RFC 3339 with milliseconds; `None` outside the calendar, where a file has no statistics then.
fn time(ms: i64) -> Option<Value> {
    let time = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(format!("{time:.3}").into())
}

fn struct_type(columns: &[Column]) -> Value {
    let field = |column: &Column| {
        json!({
            "name": column.name,
            "type": delta_type(&column.of),
            "nullable": column.nullable,
            "metadata": {},
        })
    };
    json!({ "type": "struct", "fields": columns.iter().map(field).collect::<Vec<_>>() })
}

fn delta_type(of: &ColumnType) -> Value {
    match of {
        ColumnType::Text => "string".into(),
        ColumnType::Binary => "binary".into(),
        ColumnType::Bool => "boolean".into(),
        ColumnType::Int => "integer".into(),
        ColumnType::Long => "long".into(),
        ColumnType::Float => "float".into(),
        ColumnType::Double => "double".into(),
        ColumnType::Time => "timestamp".into(),
        ColumnType::List(element) => {
            json!({ "type": "array", "elementType": delta_type(&element.of), "containsNull": element.nullable })
        }
        ColumnType::Map(key, value) => json!({
            "type": "map",
            "keyType": delta_type(&key.of),
            "valueType": delta_type(&value.of),
            "valueContainsNull": value.nullable,
        }),
        ColumnType::Struct(members) => struct_type(members),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let column = |name: &str, nullable, of| Column { name: name.into(), nullable, of };
        let text = |name: &str| Box::new(column(name, false, ColumnType::Text));
        vec![
            column("table", false, ColumnType::Text),
            column("metric", true, ColumnType::Text),
            column("timestamp", false, ColumnType::Time),
            column("tag", false, ColumnType::Map(text("key"), text("value"))),
        ]
    }

    fn state(table: &DeltaTable<'_>, names: &[(&str, u64)]) -> DeltaState {
        let ranges = ColumnRanges {
            first_metric: Some("a\"b".into()),
            last_metric: Some("ü".into()),
            metric_nulls: 2,
            first_ms: Some(1_735_786_800_678),
            last_ms: Some(i64::MAX),
            timestamp_nulls: 0,
            ..ColumnRanges::default()
        };
        let file =
            |(name, size): &(&'static str, u64)| DeltaFile { name, size: *size, rows: 7, known: Some(("t", &ranges)) };
        let names: Vec<(&'static str, u64)> =
            names.iter().map(|(name, size)| (&*name.to_string().leak(), *size)).collect();
        table.state(names.iter().map(file))
    }

    #[test]
    fn a_log_says_what_the_protocol_asks_for() {
        let columns = columns();
        let table = DeltaTable { backup: "b", name: "points", columns: &columns, started_ms: 5 };
        let text = table.first(&state(&table, &[("x.parquet", 9)])).unwrap();
        let lines: Vec<Value> =
            String::from_utf8(text.clone()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } }));
        let schema: Value = serde_json::from_str(lines[1]["metaData"]["schemaString"].as_str().unwrap()).unwrap();
        assert_eq!(schema["fields"][3]["type"]["keyType"], "string");
        assert_eq!(lines[1]["metaData"]["id"].as_str().unwrap().len(), 36);
        let add = &lines[2]["add"];
        assert_eq!((&add["path"], &add["size"], &add["modificationTime"]), (&json!("x.parquet"), &json!(9), &json!(5)));
        let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        // No calendar has the greatest time: the column then has no bounds at all.
        assert_eq!(
            stats,
            json!({
                "numRecords": 7,
                "minValues": { "table": "t", "metric": "a\"b" },
                "maxValues": { "table": "t", "metric": "ü" },
                "nullCount": { "table": 0, "metric": 2, "timestamp": 0 },
            })
        );
        assert_eq!(time(1_735_786_800_678), Some("2025-01-02T03:00:00.678Z".into()));
    }

    #[test]
    fn versions_lead_from_one_state_to_the_next() {
        let columns = columns();
        let table = DeltaTable { backup: "b", name: "points", columns: &columns, started_ms: 5 };
        let (old, new) =
            (state(&table, &[("a", 1), ("b", 2), ("c", 3)]), state(&table, &[("b", 2), ("c", 4), ("d", 5)]));
        let (first, second) = (table.first(&old).unwrap(), table.next(&old, &new).unwrap());
        assert_eq!(table.replay(&[&first]), Some(old.clone()));
        assert_eq!(table.replay(&[&first, &second]), Some(new.clone()));
        assert_eq!(
            table.replay(&[&first, &second, &table.next(&new, &DeltaState::new()).unwrap()]),
            Some(DeltaState::new())
        );
        // Cut, of another table, without its beginning, or nothing of ours.
        assert_eq!(table.replay(&[&first[..first.len() / 2]]), None);
        assert_eq!(DeltaTable { name: "cells", ..table.clone() }.replay(&[&first]), None);
        assert_eq!(table.replay(&[&second]), None);
        assert_eq!(table.replay(&[b"{\"commitInfo\":{}}\n"]), None);
        assert_eq!(table.replay(&[] as &[&[u8]]), None);
    }
}
