//! A chain of backups for DuckDB: the views of a full backup, over a full backup and its increments.
//!
//! They do what [`crate::manifest`] says of chains, cell by cell, for tables that keep one version: the cells of each member
//! are laid over what was there, the member's delete markers take out what they cover, and of each column the newest cell
//! stays. The cell of a point is known by its row, which series, hour and salt give, and its column, which the offsets and
//! flags of its points give; that holds for points that are `exact`. Names are those of the member that a point is of, and
//! `form` may be 5 or 6, where a merged backup has 1 or 2, because the neighbour is gone. Only rows that an increment names go through this:
//! those that none does are read from the full backup as they are.

use std::fmt::Write as _;

use super::FileError;
use super::views::{no_rows, rollups, source};
use crate::columnar::columns_of;
use crate::model::{FileKind, KeyLayout, KeyLayouts};

/// A file of a member of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainFile {
    /// The member: 0 is the full backup.
    pub member: usize,
    /// HBase table; empty in the catalogue.
    pub table: String,
    /// What is in it.
    pub kind: FileKind,
    /// The path as DuckDB shall open it.
    pub path: String,
}

/// A chain of which every family keeps one version, and all points are exact.
#[derive(Debug, Clone, Default)]
pub struct ChainViews {
    /// Ids of the members, the full backup first.
    pub members: Vec<String>,
    /// Their files; without those of tables that a later member lacks.
    pub files: Vec<ChainFile>,
    /// Layouts of the row keys of points.
    pub layouts: KeyLayouts,
    /// Table, family in hex, and time (ms): cells that were written then or before are gone.
    pub expired: Vec<(String, String, i64)>,
}

/// The kinds of files with a row for each cell, which is in the columns `row`, `family`, `qualifier` and `written`.
const TYPED: [FileKind; 6] =
    [FileKind::Rollups, FileKind::Annotations, FileKind::Histograms, FileKind::Uids, FileKind::Meta, FileKind::Tree];
/// Bytes of a TSUID for which powers of 31 are given: 36 tags of the widest UIDs.
const SALTED_BYTES: usize = 600;

/// The views of a chain: those of [`views_sql`](super::views_sql), and others that begin with `chain_` for their use.
/// `head` becomes comment lines.
///
/// # Errors
/// [`FileError`] for a column without a name for its type, which would be a fault of [`crate::columnar`].
pub fn chain_views_sql(chain: &ChainViews, head: &[&str]) -> Result<String, FileError> {
    let mut sql = String::new();
    for line in head {
        // Writing to a string cannot fail.
        let _ = writeln!(sql, "-- {line}");
    }
    let mut view = |name: &str, body: &str| {
        let _ = writeln!(sql, "create or replace view {name} as {body};");
    };
    view("series", &chain.all_of(FileKind::Series)?);
    view("chain_points", &chain.all_of(FileKind::Points)?);
    for kind in TYPED.into_iter().chain([FileKind::Cells]) {
        view(&format!("chain_{}", kind.name()), &chain.all_of(kind)?);
    }
    view("chain_others", &others());
    view("chain_hours", &chain.hours());
    view("chain_runs", &chain.runs());
    view("chain_puts", &chain.puts());
    view(
        "chain_rows",
        "select \"table\", \"row\" from chain_puts union select \"table\", \"row\" from chain_others where member > 0",
    );
    view("chain_kept", &chain.kept());
    view("points", &chain.points());
    view("readable_points", "select * from points where not superseded");
    for kind in TYPED.into_iter().chain([FileKind::Cells]) {
        view(kind.name(), &chain.cells(kind));
    }
    for kind in [FileKind::Files, FileKind::Shards] {
        view(
            kind.name(),
            &format!("select {} as backup, * exclude (member) from ({})", chain.backup(), chain.all_of(kind)?),
        );
    }
    view("metrics", &chain.metrics());
    Ok(sql)
}

/// The cells that are no points, and the delete markers.
fn others() -> String {
    let typed = TYPED.iter().map(|kind| {
        let name = kind.name();
        format!(
            "select member, '{name}' as kind, \"table\", \"row\", family, qualifier, epoch_ms(written) as ts, 4 as \"type\", '' as reason \
             from chain_{name}"
        )
    });
    let cells = "select member, 'cells', \"table\", \"row\", family, qualifier, \"timestamp\", \"type\", reason from chain_cells".to_owned();
    typed.chain([cells]).collect::<Vec<_>>().join("\n  union all ")
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

impl ChainViews {
    fn layouts(&self) -> impl Iterator<Item = &KeyLayout> {
        std::iter::once(self.layouts.main()).chain(self.layouts.older())
    }

    /// The rows of a kind of file of all members, each with its member and its table.
    fn all_of(&self, kind: FileKind) -> Result<String, FileError> {
        let is_points = kind == FileKind::Points;
        let mut places: Vec<(usize, &str)> =
            self.files.iter().filter(|file| file.kind == kind).map(|file| (file.member, file.table.as_str())).collect();
        places.sort_unstable();
        places.dedup();
        let has_table = matches!(kind, FileKind::Points | FileKind::Cells) || kind.is_catalogue();
        let table = |table: &str| if has_table { String::new() } else { format!("{} as \"table\", ", text(table)) };
        let part = |(member, name): &(usize, &str)| {
            let of_place = self.files.iter().filter(|f| f.kind == kind && f.member == *member && f.table == *name);
            let files: Vec<String> = of_place.map(|file| file.path.clone()).collect();
            let from = source(&files, if is_points { ", file_row_number = true" } else { "" });
            format!("select {member} as member, {}* from {from}", table(name))
        };
        let parts: Vec<String> = places.iter().map(part).collect();
        if parts.is_empty() {
            let number = if is_points { "null::bigint as file_row_number, " } else { "" };
            let name = if has_table { "" } else { "null::varchar as \"table\", " };
            let columns = no_rows(&columns_of(kind)?);
            return Ok(format!("select null::integer as member, {name}{number}* from {columns}"));
        }
        Ok(parts.join("\n  union all by name "))
    }

    /// Series and hours that an increment names, by a point or by the row of another cell; a few more do no harm.
    fn hours(&self) -> String {
        let metric = 2 * self.layouts.main().metric_width;
        let mut salts: Vec<u8> = self.layouts().map(|layout| 2 * layout.salt_width).collect();
        salts.sort_unstable();
        salts.dedup();
        let salts: Vec<String> = salts.iter().map(|width| format!("({width})")).collect();
        format!(
            "select \"table\", tsuid, epoch_ms(\"timestamp\") // 3600000 as hour from chain_points where member > 0
  union select \"table\", substr(key, 1, {metric}) || substr(key, {tags}), try_cast('0x' || substr(key, {base}, 8) as bigint) // 3600
  from (select distinct \"table\", substr(hex(\"row\"), width + 1) as key from chain_others, (values {salts}) s(width) where member > 0)",
            tags = metric + 9,
            base = metric + 1,
            salts = salts.join(", ")
        )
    }

    /// The points of these hours. `place` is the first point of the cell, by its number in the file.
    fn runs(&self) -> String {
        let hour = "epoch_ms(\"timestamp\") // 3600000";
        format!(
            "select *, case when form % 16 = 0 then file_row_number else max(case when fresh then file_row_number end) over \
             (partition by member, series_id order by file_row_number) end as place
  from (select *, (form, hour, ts) is distinct from lag((form, hour, ts)) over (partition by member, series_id order by \
             file_row_number) as fresh
    from (select p.*, coalesce(epoch_ms(p.written), epoch_ms(p.\"timestamp\") + p.write_delay) as ts
      from (select *, {hour} as hour from chain_points) p
      semi join chain_hours h on p.\"table\" = h.\"table\" and p.tsuid = h.tsuid and p.hour = h.hour))"
        )
    }

    /// The salt of each series under each layout: Java's hash of its bytes is the sum of each with a power of 31.
    fn salts(&self) -> String {
        if self.layouts().all(|layout| layout.salt_width == 0) {
            return "salts as (select distinct tsuid, form // 16 as layout, '' as salt from chain_runs)".to_owned();
        }
        let layouts = self.layouts().enumerate();
        let layouts: Vec<String> = layouts
            .map(|(number, layout)| format!("({number}, {}, {})", layout.salt_width, layout.salt_buckets.max(1)))
            .collect();
        let mut powers = vec![1_u32];
        powers.extend((0..SALTED_BYTES).scan(1_u32, |power, _| {
            *power = power.wrapping_mul(31);
            Some(*power)
        }));
        let metric = 2 * usize::from(self.layouts.main().metric_width);
        format!(
            "salts as materialized (
  select tsuid, layout, case when substr(tsuid, 1, {metric}) = repeat('0', {metric}) then repeat('00', width)
    else right(printf('%016X', abs(case when h >= 2147483648 then h - 4294967296 else h end) % buckets), 2 * width) end as salt
  from (select tsuid, layout, width, buckets, ((sum(part) + any_value(seed)) % 4294967296 + 4294967296) % 4294967296 as h
    from (select tsuid, layout, width, buckets, case when n <= {SALTED_BYTES} then powers[n + 1] else error('a TSUID of so many bytes') end as seed,
        (case when b >= 128 then b - 256 else b end) * powers[n - i] as part
      from (select *, {powers:?}::bigint[] as powers, ('0x' || substr(tsuid, 2 * i + 1, 2))::bigint as b
        from (select *, length(tsuid) // 2 as n, unnest(range(length(tsuid) // 2)) as i
          from (select distinct tsuid, form // 16 as layout from chain_runs)
          join (values {layouts}) l(layout, width, buckets) using (layout))))
    group by tsuid, layout, width, buckets))",
            layouts = layouts.join(", ")
        )
    }

    /// The cells of these points.
    fn puts(&self) -> String {
        let metric = 2 * self.layouts.main().metric_width;
        let second = "((epoch_ms(\"timestamp\") - hour * 3600000) // 1000) << 4 | (flags & 15)";
        let milli = "4026531840 | ((epoch_ms(\"timestamp\") - hour * 3600000) << 6) | (flags & 15)";
        format!(
            "with {salts}
select member, 'points' as kind, \"table\", unhex(salt || substr(tsuid, 1, {metric}) || printf('%08X', hour * 3600) || \
             substr(tsuid, {metric} + 1)) as \"row\", 't'::blob as family, unhex(qualifier) as qualifier, ts, series_id, place
from (select member, series_id, place, \"table\", tsuid, hour, form // 16 as layout, ts, case form % 16 when 3 then '050000' \
             when 4 then '000005' else string_agg(case when flags & 16 = 0 then printf('%04X', {second}) else printf('%08X', \
             {milli}) end, '' order by file_row_number) end as qualifier
  from chain_runs group by member, series_id, place, \"table\", tsuid, hour, form, ts) join salts using (tsuid, layout)",
            salts = self.salts()
        )
    }

    /// The cells of rows that an increment names, as they are after the last member.
    fn kept(&self) -> String {
        let mut sql = String::from(
            "with of_points as materialized (select * from chain_puts),
named as (select \"table\", \"row\" from of_points union select \"table\", \"row\" from chain_others where member > 0),
puts as materialized (
  select * from of_points union all select o.*, null::bigint as series_id, null::bigint as place
  from (select * exclude (\"type\", reason) from chain_others where \"type\" = 4 and reason not in ('deleted', 'old_version')) o
  semi join named n on o.\"table\" = n.\"table\" and o.\"row\" = n.\"row\"),
markers as materialized (select * from chain_others where \"type\" <> 4),
after_0 as materialized (select * from puts where member = 0)",
        );
        for member in 1..self.members.len() {
            let before = member - 1;
            let _ = write!(
                sql,
                ",
after_{member} as materialized (
  select c.* from (select * from after_{before} union all select * from puts where member = {member}) c
  where not exists (select 1 from markers m where m.member = {member} and m.\"table\" = c.\"table\" and m.\"row\" = c.\"row\" and m.family = \
                 c.family and (m.\"type\" in (10, 14) or m.qualifier = c.qualifier) and (m.ts = c.ts or m.\"type\" in (12, 14) and \
                 c.ts < m.ts))
  qualify row_number() over (partition by c.\"table\", c.\"row\", c.family, c.qualifier order by c.ts desc, c.member desc) = 1)"
            );
        }
        let last = self.members.len().saturating_sub(1);
        let _ = write!(sql, "\nselect * from after_{last}{}", self.alive(" where", "\"table\"", "family", "ts"));
        sql
    }

    /// A condition for cells that have not expired, behind `word`; nothing where nothing does.
    fn alive(&self, word: &str, table: &str, family: &str, ts: &str) -> String {
        if self.expired.is_empty() {
            return String::new();
        }
        let gone = self.expired.iter().map(|(name, of, until)| {
            format!("{table} = {} and {family} = unhex({}) and {ts} <= {until}", text(name), text(of))
        });
        format!("{word} not ({})", gone.collect::<Vec<_>>().join(" or "))
    }

    /// Those that no increment names, as the full backup has them, and the others, of which another one may now be newest.
    fn points(&self) -> String {
        const COLUMNS: &str = "p.member, p.\"table\", p.metric, p.tags, p.\"timestamp\", p.value_int, p.value_float, p.ts, p.series_id, \
                               p.tsuid, p.form, p.flags, p.exact";
        format!(
            "select p.\"table\", p.metric, p.tags, s.tag, p.\"timestamp\", coalesce(p.value_float, p.value_int) as value, p.value_int, \
             p.value_float, to_timestamp(p.ts / 1000) as written, p.series_id, p.tsuid, p.form, p.flags, p.exact, p.superseded
from (select {COLUMNS}, p.superseded
  from (select *, epoch_ms(\"timestamp\") // 3600000 as hour, coalesce(epoch_ms(written), epoch_ms(\"timestamp\") + write_delay) as ts
    from chain_points where member = 0) p
  anti join chain_hours h on p.\"table\" = h.\"table\" and p.tsuid = h.tsuid and p.hour = h.hour{alive}
  union all select {COLUMNS}, row_number() over (partition by k.\"table\", k.\"row\", p.\"timestamp\" order by p.ts desc, k.qualifier, \
             case when p.form % 16 in (3, 4) then -p.file_row_number else p.file_row_number end) > 1
  from chain_runs p join chain_kept k on k.kind = 'points' and p.member = k.member and p.series_id = k.series_id and p.place = k.place) p
left join (select member, series_id, tag from series) s on p.member = s.member and p.series_id = s.series_id",
            alive = self.alive(" where", "p.\"table\"", "'t'::blob", "p.ts")
        )
    }

    /// The same of a kind with a row for each cell.
    fn cells(&self, kind: FileKind) -> String {
        let name = kind.name();
        let (ts, puts) = match kind {
            FileKind::Cells => {
                ("x.\"timestamp\"", " and x.\"type\" = 4 and x.reason not in ('deleted', 'old_version')")
            }
            _ => ("epoch_ms(x.written)", ""),
        };
        let body = format!(
            "select x.* exclude (member) from chain_{name} x
  anti join chain_rows r on x.\"table\" = r.\"table\" and x.\"row\" = r.\"row\" where x.member = 0{puts}{alive}
  union all select x.* exclude (member) from (select * from chain_{name} x where true{puts}) x
  semi join chain_kept k on k.kind = '{name}' and x.member = k.member and x.\"table\" = k.\"table\" and x.\"row\" = k.\"row\" and \
             x.family = k.family and x.qualifier = k.qualifier and {ts} = k.ts",
            alive = self.alive(" and", "x.\"table\"", "x.family", ts),
        );
        if kind == FileKind::Rollups { rollups(&format!("({body})")) } else { body }
    }

    fn backup(&self) -> String {
        let cases = self.members.iter().enumerate().map(|(member, id)| format!("when {member} then {}", text(id)));
        format!("case member {} end", cases.collect::<Vec<_>>().join(" "))
    }

    /// Counted, because the catalogues count what each member holds.
    fn metrics(&self) -> String {
        format!(
            "select \"table\", substr(tsuid, 1, {}) as uid, max(metric) as metric, count(*) as points, min(\"timestamp\") as \
             first_time, max(\"timestamp\") as last_time from points group by 1, 2",
            2 * self.layouts.main().metric_width
        )
    }
}
