//! One script and DuckDB knows every table of a backup by name.

use std::fmt::Write as _;

use crate::model::FileKind;

/// `views.sql`: a view for each kind of file that is present, over paths relative to the backup's folder, from which it
/// is to be run (`.read views.sql`). A view over a kind without files would fail in DuckDB, so there is none.
///
/// `points` has `value`, the write time of every point and, when the series table is there, the tags as a MAP;
/// `readable_points` leaves out what a query of OpenTSDB would not show.
pub fn views_sql(present: &[FileKind]) -> String {
    let mut sql = String::from("-- Run inside the folder of the backup: duckdb -init views.sql\n");
    let series = present.contains(&FileKind::Series);
    for kind in FileKind::ALL.iter().filter(|kind| present.contains(kind)) {
        let source = source(*kind);
        let body = match kind {
            FileKind::Points => points(&source, series),
            FileKind::Rollups => format!("select *, coalesce(value_float, value_int) as value from {source}"),
            _ => format!("select * from {source}"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(sql, "create or replace view {} as {body};", kind.name());
    }
    if present.contains(&FileKind::Points) {
        sql.push_str("create or replace view readable_points as select * from points where not superseded;\n");
    }
    sql
}

fn source(kind: FileKind) -> String {
    let name = kind.name();
    if kind.is_catalogue() && kind != FileKind::Series {
        format!("read_parquet('catalogue/{name}*.parquet')")
    } else {
        format!("read_parquet('{name}/*.parquet')")
    }
}

fn points(source: &str, series: bool) -> String {
    let (tag, join) = if series {
        let table = self::source(FileKind::Series);
        (", s.tag", format!(" left join (select series_id, tag from {table}) s using (series_id)"))
    } else {
        ("", String::new())
    };
    format!(
        "select p.metric, p.tags{tag}, p.timestamp, coalesce(p.value_float, p.value_int) as value, p.value_int, \
         p.value_float, coalesce(p.written, p.timestamp + to_milliseconds(p.write_delay)) as written, p.series_id, \
         p.tsuid, p.form, p.flags, p.exact, p.superseded from {source} p{join}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_present_kinds_have_a_view() {
        let sql = views_sql(&[FileKind::Points, FileKind::Uids]);
        assert!(sql.contains("view points as") && sql.contains("view uids as"), "{sql}");
        assert!(!sql.contains("catalogue/") && !sql.contains("rollups"), "{sql}");
    }
}
