//! One script and DuckDB knows every table of a backup by name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::FileError;
use crate::columnar::columns_of;
use crate::model::{Column, ColumnType, FileKind};

/// The views of a backup: one for each kind of file, over exactly these files, whose paths are as DuckDB shall open them.
/// A kind without files has a view without rows: DuckDB reads no empty list of files, and a query should not depend on
/// what happens to be in a backup. `head` becomes comment lines, and all names begin with `prefix`.
///
/// `points` has `value`, the write time of every point and the tags as a MAP; `readable_points` leaves out what a query of
/// OpenTSDB would not show.
///
/// # Errors
/// [`FileError`] for a column without a name for its type, which would be a fault of [`crate::columnar`].
pub fn views_sql(files: &BTreeMap<FileKind, Vec<String>>, head: &[&str], prefix: &str) -> Result<String, FileError> {
    let mut sql = String::new();
    // Writing to a string cannot fail.
    for line in head {
        let _ = writeln!(sql, "-- {line}");
    }
    // A view must be there before another one names it: `points` joins the series.
    let others = FileKind::ALL.iter().copied().filter(|kind| *kind != FileKind::Series);
    for kind in std::iter::once(FileKind::Series).chain(others) {
        let source = match files.get(&kind).filter(|files| !files.is_empty()) {
            Some(files) => source(files, ""),
            None => no_rows(&columns_of(kind)?),
        };
        let body = match kind {
            FileKind::Points => points(&source, prefix),
            FileKind::Rollups => rollups(&source),
            _ => format!("select * from {source}"),
        };
        let _ = writeln!(sql, "create or replace view {prefix}{} as {body};", kind.name());
        if kind == FileKind::Points {
            let _ = writeln!(
                sql,
                "create or replace view {prefix}readable_points as select * from {prefix}points where not superseded;"
            );
        }
    }
    Ok(sql)
}

/// The rows of these files; `more` are further options.
pub(super) fn source(files: &[String], more: &str) -> String {
    let quoted: Vec<String> = files.iter().map(|path| format!("'{}'", path.replace('\'', "''"))).collect();
    format!("read_parquet([{}]{more})", quoted.join(", "))
}

/// What DuckDB reads from a file without rows.
pub(super) fn no_rows(columns: &[Column]) -> String {
    let column = |column: &Column| format!("null::{} as \"{}\"", sql_type(&column.of), column.name);
    let columns: Vec<String> = columns.iter().map(column).collect();
    format!("(select {} where false)", columns.join(", "))
}

fn sql_type(of: &ColumnType) -> String {
    let name = match of {
        ColumnType::Text => "varchar",
        ColumnType::Binary => "blob",
        ColumnType::Bool => "boolean",
        ColumnType::Int => "integer",
        ColumnType::Long => "bigint",
        ColumnType::Float => "float",
        ColumnType::Double => "double",
        ColumnType::Time => "timestamptz",
        ColumnType::List(element) => return format!("{}[]", sql_type(&element.of)),
        ColumnType::Map(key, value) => return format!("map({}, {})", sql_type(&key.of), sql_type(&value.of)),
        ColumnType::Struct(members) => {
            let members = members.iter().map(|member| format!("\"{}\" {}", member.name, sql_type(&member.of)));
            return format!("struct({})", members.collect::<Vec<_>>().join(", "));
        }
    };
    name.to_owned()
}

/// `value` is the number, as in `points`; the bytes of the cell have another name.
pub(super) fn rollups(source: &str) -> String {
    format!("select * exclude (value), value as cell_value, coalesce(value_float, value_int) as value from {source}")
}

/// The write time without `TIMESTAMPTZ + INTERVAL`, which needs an extension that not every DuckDB has.
fn points(source: &str, prefix: &str) -> String {
    format!(
        "select p.\"table\", p.metric, p.tags, s.tag, p.timestamp, coalesce(p.value_float, p.value_int) as value, \
         p.value_int, p.value_float, coalesce(p.written, to_timestamp((epoch_ms(p.timestamp) + p.write_delay) / 1000)) \
         as written, p.series_id, p.tsuid, p.form, p.flags, p.exact, p.superseded from {source} p \
         left join (select series_id, tag from {prefix}series) s using (series_id)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_view_and_those_without_files_no_rows() {
        let one = |name: &str| vec![name.to_owned()];
        let files = BTreeMap::from([
            (FileKind::Points, one("points/it's.parquet")),
            (FileKind::Series, one("series/a.parquet")),
            (FileKind::Uids, Vec::new()),
        ]);
        let sql = views_sql(&files, &["here"], "").unwrap();
        assert!(sql.starts_with("-- here\ncreate or replace view series as"), "{sql}");
        assert!(sql.contains("view points as") && sql.contains("'points/it''s.parquet'"), "{sql}");
        for kind in FileKind::ALL {
            assert!(sql.contains(&format!("create or replace view {} as ", kind.name())), "{sql}");
        }
        let uids = "view uids as select * from (select null::varchar as \"role\", null::varchar as \"kind\", ";
        assert!(sql.contains(uids), "{sql}");
        let buckets = "null::struct(\"lower\" float, \"upper\" float, \"count\" bigint)[] as \"buckets\"";
        assert!(sql.contains(buckets), "{sql}");
    }
}
