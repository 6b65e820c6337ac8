//! One script and DuckDB knows every table of a backup by name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::FileKind;

/// The views of a backup: one for each kind of file that is there, over exactly these files, whose paths are as DuckDB
/// shall open them. `head` becomes comment lines. A view over no files would fail in DuckDB, so there is none.
///
/// `points` has `value`, the write time of every point and, when the series table is there, the tags as a MAP;
/// `readable_points` leaves out what a query of OpenTSDB would not show.
pub fn views_sql(files: &BTreeMap<FileKind, Vec<String>>, head: &[&str]) -> String {
    let mut sql = String::new();
    // Writing to a string cannot fail.
    for line in head {
        let _ = writeln!(sql, "-- {line}");
    }
    let of = |kind: FileKind| files.get(&kind).filter(|files| !files.is_empty());
    // A view must be there before another one names it: `points` joins the series.
    let others = FileKind::ALL.iter().copied().filter(|kind| *kind != FileKind::Series);
    for kind in std::iter::once(FileKind::Series).chain(others) {
        let Some(files) = of(kind) else { continue };
        let source = source(files);
        let body = match kind {
            FileKind::Points => points(&source, of(FileKind::Series).is_some()),
            FileKind::Rollups => format!("select *, coalesce(value_float, value_int) as value from {source}"),
            _ => format!("select * from {source}"),
        };
        let _ = writeln!(sql, "create or replace view {} as {body};", kind.name());
        if kind == FileKind::Points {
            sql.push_str("create or replace view readable_points as select * from points where not superseded;\n");
        }
    }
    sql
}

fn source(files: &[String]) -> String {
    let quoted: Vec<String> = files.iter().map(|path| format!("'{}'", path.replace('\'', "''"))).collect();
    format!("read_parquet([{}])", quoted.join(", "))
}

/// The write time without `TIMESTAMPTZ + INTERVAL`, which needs an extension that not every DuckDB has.
fn points(source: &str, series: bool) -> String {
    let (tag, join) = match series {
        true => (", s.tag", " left join (select series_id, tag from series) s using (series_id)"),
        false => ("", ""),
    };
    format!(
        "select p.\"table\", p.metric, p.tags{tag}, p.timestamp, coalesce(p.value_float, p.value_int) as value, \
         p.value_int, p.value_float, coalesce(p.written, to_timestamp((epoch_ms(p.timestamp) + p.write_delay) / 1000)) \
         as written, p.series_id, p.tsuid, p.form, p.flags, p.exact, p.superseded from {source} p{join}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_present_kinds_have_a_view() {
        let one = |name: &str| vec![name.to_owned()];
        let files = BTreeMap::from([
            (FileKind::Points, one("points/it's.parquet")),
            (FileKind::Series, one("series/a.parquet")),
            (FileKind::Uids, Vec::new()),
        ]);
        let sql = views_sql(&files, &["here"]);
        assert!(sql.starts_with("-- here\ncreate or replace view series as"), "{sql}");
        assert!(sql.contains("view points as") && sql.contains("'points/it''s.parquet'"), "{sql}");
        assert!(!sql.contains("uids") && !sql.contains("rollups"), "{sql}");
    }
}
