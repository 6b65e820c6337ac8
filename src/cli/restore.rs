//! `tsdb-ark restore`: a backup into a cluster.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tsdb_ark::flow::{
    self, AttributeEdit, GatewaySettings, Manners, OpentsdbConf, PlannedRestore, RepositorySettings, Resources,
    RestorePlan, RestoreReport, RestoredTable, Selection, SelectionReport, TtlChoice,
};

use crate::cli::args::{GatewayArgs, ResourceArgs, check_renames, parse_rename};
use crate::cli::columns::{Columns, Side};
use crate::cli::exit::{EXIT_CODES, Usage, usage};
use crate::cli::limits::{self, MannersArgs};
use crate::cli::outcome::{Outcome, difference_text, remarks, word};
use crate::cli::repository_args::RepositoryArgs;
use crate::cli::running::Running;
use crate::cli::selection_args::SelectionArgs;
use crate::cli::units;

/// When a put has to be in HBase's write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// Before the put is acknowledged
    Sync,
    /// Soon after: a region server that crashes may lose the last puts, which the read-back detects
    Async,
}

/// What is typed.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct RestoreArgs {
    /// The backup: its id, a unique prefix of it, or latest
    #[arg(default_value = "latest")]
    pub backup: String,
    /// Where the backups are.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Restore a table under another name; may be repeated
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_rename, value_delimiter = ',')]
    pub rename_table: Vec<(String, String)>,
    /// Restore the tables of a namespace into another one, which is created if missing; `default` is the namespace of
    /// tables without a prefix; may be repeated
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_rename, value_delimiter = ',')]
    pub rename_namespace: Vec<(String, String)>,
    /// Create tables with this attribute, for example COMPRESSION=GZ or tsdb:t:TTL=FOREVER. TABLE is the name in the
    /// backup; without TABLE or FAMILY it applies to all of them; may be repeated
    #[arg(long, value_name = "[TABLE:][FAMILY:]NAME=VALUE", value_parser = parse_attribute)]
    pub attribute: Vec<AttributeEdit>,
    /// Create tables without this saved attribute; may be repeated
    #[arg(long, value_name = "[TABLE:][FAMILY:]NAME")]
    pub drop_attribute: Vec<String>,
    /// TTL of families that have one: keep (cells older than it expire at once), none (cells never expire) or a number
    /// of seconds. By default, a restore whose cells would expire at once is refused
    #[arg(long, value_name = "keep|none|SECONDS", value_parser = parse_ttl)]
    pub ttl: Option<TtlChoice>,
    /// Restore only this table, named as in the backup; may be repeated
    #[arg(long, value_name = "TABLE", value_delimiter = ',')]
    pub table: Vec<String>,
    /// Which points.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Allow writing into tables that already hold rows
    #[arg(long)]
    pub into_existing: bool,
    /// Resume the newest unfinished restore that was started with the same settings
    #[arg(long)]
    pub resume: bool,
    /// Skip reading back and comparing the restored tables
    #[arg(long)]
    pub no_read_back: bool,
    /// Give cells that are hidden by delete markers of the target a new timestamp, above the marker
    #[arg(long)]
    pub new_timestamps: bool,
    /// When puts reach HBase's write-ahead log (default: async, or sync with --no-read-back)
    #[arg(long, value_enum, value_name = "WHEN")]
    pub durability: Option<Durability>,
    /// opentsdb.conf of the target's TSDs: names its UID table
    #[arg(long, value_name = "FILE")]
    pub opentsdb_conf: Option<PathBuf>,
    /// UID table of the target, if it is not restored too (default: from opentsdb.conf, else its name in the backup)
    #[arg(long, value_name = "TABLE")]
    pub uid_table: Option<String>,
    /// Check everything and show what would be restored; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where the cluster is.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Limits.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Limits towards the cluster.
    #[command(flatten)]
    pub manners: MannersArgs,
}

/// What is asked for, checked.
struct RestoreRequest {
    gateways: GatewaySettings,
    repository: RepositorySettings,
    backup: String,
    rename: Vec<(String, String)>,
    rename_namespaces: Vec<(String, String)>,
    attributes: Vec<AttributeEdit>,
    ttl: Option<TtlChoice>,
    tables: Vec<String>,
    selection: Selection,
    into_existing: bool,
    resume: bool,
    read_back: bool,
    new_timestamps: bool,
    sync_wal: bool,
    uid_table: Option<String>,
    resources: Resources,
    manners: Manners,
    dry_run: bool,
}

impl RestoreArgs {
    /// Runs the restore.
    ///
    /// # Errors
    /// Usage, the gateway's, the store's or the flow's.
    pub fn run(self, running: &Running) -> anyhow::Result<Outcome> {
        let plan = self.request()?.open(running)?;
        Ok(outcome(&flow::restore(&plan, &running.progress, &running.cancel)?))
    }

    fn request(self) -> Result<RestoreRequest, Usage> {
        check_renames(&self.rename_table)?;
        let dropped = self.drop_attribute.into_iter().map(|path| AttributeEdit { path, value: None });
        let attributes: Vec<AttributeEdit> = self.attribute.into_iter().chain(dropped).collect();
        if self.resume && self.dry_run {
            return Err(usage(
                "--resume completes an unfinished restore, --dry-run writes nothing: leave one of them out",
            ));
        }
        let conf = self.opentsdb_conf.as_deref().map(OpentsdbConf::read_keys).transpose();
        let conf = conf.map_err(|error| usage(error.to_string()))?;
        let configured = conf.and_then(|conf| conf.get("tsd.storage.hbase.uid_table").map(str::to_string));
        Ok(RestoreRequest {
            repository: self.repository.settings()?,
            gateways: self.gateway.settings()?,
            backup: self.backup,
            rename: self.rename_table,
            rename_namespaces: self.rename_namespace,
            attributes,
            ttl: self.ttl,
            tables: self.table,
            selection: self.selection.selection()?,
            into_existing: self.into_existing,
            resume: self.resume,
            read_back: !self.no_read_back,
            new_timestamps: self.new_timestamps,
            sync_wal: self.durability.map_or(self.no_read_back, |durability| durability == Durability::Sync),
            uid_table: self.uid_table.or(configured),
            resources: self.resources.limits()?,
            manners: self.manners.manners(),
            dry_run: self.dry_run,
        })
    }
}

impl RestoreRequest {
    fn open(self, running: &Running) -> anyhow::Result<RestorePlan> {
        // The store first: a wrong URL shows at once, a cluster that is down only after the retries.
        let store = flow::open_store(&self.repository, false)?;
        Ok(RestorePlan {
            gateways: flow::open_gateways(&self.gateways, &running.progress, &running.cancel)?,
            store,
            backup: self.backup,
            rename: self.rename,
            rename_namespaces: self.rename_namespaces,
            attributes: self.attributes,
            ttl: self.ttl,
            tables: self.tables,
            selection: self.selection,
            into_existing: self.into_existing,
            resume: self.resume,
            read_back: self.read_back,
            new_timestamps: self.new_timestamps,
            sync_wal: self.sync_wal,
            uid_table: self.uid_table,
            resources: self.resources,
            manners: self.manners,
            dry_run: self.dry_run,
        })
    }
}

fn outcome(report: &RestoreReport) -> Outcome {
    let done = Outcome::done(text(report), flow::to_json(report));
    let wrong: Vec<&str> =
        report.tables.iter().filter(|table| !table.sent_agrees).map(|table| table.table.as_str()).collect();
    if !report.dry_run && !wrong.is_empty() {
        return done.wrong(format!("what was sent is not what was backed up: {}", wrong.join(", ")));
    }
    match report.differences {
        0 if report.attention.is_empty() => done,
        0 => done.must_read(report.attention.join("; ")),
        1 => done.must_read("1 table does not show what was restored".to_string()),
        n => done.must_read(format!("{} tables do not show what was restored", units::count(n))),
    }
}

/// Reads `NAME=VALUE` with whatever stands before the name.
fn parse_attribute(text: &str) -> Result<AttributeEdit, String> {
    match text.split_once('=') {
        Some((path, value)) if !path.is_empty() => {
            Ok(AttributeEdit { path: path.to_owned(), value: Some(value.to_owned()) })
        }
        _ => Err("expected [TABLE:][FAMILY:]NAME=VALUE".to_owned()),
    }
}

fn parse_ttl(text: &str) -> Result<TtlChoice, String> {
    match text {
        "keep" => Ok(TtlChoice::Keep),
        "none" => Ok(TtlChoice::Never),
        seconds => match seconds.parse() {
            Ok(seconds) if seconds > 0 => Ok(TtlChoice::Seconds(seconds)),
            _ => Err("expected keep, none or whole seconds".to_owned()),
        },
    }
}

fn text(report: &RestoreReport) -> String {
    let mut text = if report.dry_run {
        format!("dry run: nothing was written of backup {}\n\n", report.backup)
    } else {
        format!("backup {} restored, {}\n\n", report.backup, units::span(report.seconds))
    };
    let mut columns = Columns::new(&[
        ("table", Side::Left),
        ("target", Side::Left),
        ("cells", Side::Right),
        ("bytes", Side::Right),
        ("checksum", Side::Left),
        ("sent", Side::Left),
        ("read back", Side::Left),
    ]);
    for table in &report.tables {
        columns.row([
            table.table.clone(),
            target_text(table),
            units::count(table.cells),
            units::size(table.bytes),
            table.checksum.clone(),
            agreement(Some(table.sent_agrees).filter(|_| !report.dry_run)),
            agreement(table.target_agrees),
        ]);
    }
    let skipped = |of: fn(&RestoredTable) -> u64| report.tables.iter().map(of).sum::<u64>();
    if report.resumed {
        text += &format!(
            "skipped what was sent before: {} with {}\n\n",
            units::counted(skipped(|table| table.files_skipped), "file", "files"),
            units::counted(skipped(|table| table.cells_skipped), "cell", "cells")
        );
    }
    if report.dry_run {
        columns = planned(&report.planned);
    }
    text += &format!(
        "{columns}\nread {} from the repository and {} from the cluster, sent {} to the cluster, peak memory {}\n",
        units::size(report.repository_bytes_read),
        units::size(report.cluster_bytes_read),
        units::size(report.bytes_written),
        units::size(report.peak_rss_bytes)
    );
    text += &limits::held_back(report.back_off_seconds);
    if let Some(selection) = &report.selection {
        text += &selection_text(selection);
    }
    for cell in &report.cells_named {
        text += &difference_text(cell, "target");
    }
    for table in &report.tables {
        let cells = |count: u64| units::counted(count, "cell", "cells");
        for (kind, count) in &table.by_kind {
            text += &format!("{}: {} {}\n", table.target, cells(*count), word(*kind));
        }
        if table.also_there > 0 {
            text += &format!("{}: {} also there\n", table.target, cells(table.also_there));
        }
        if table.new_timestamps > 0 {
            text += &format!("{}: {} with new timestamps\n", table.target, cells(table.new_timestamps));
        }
    }
    text += &remarks("warning", &report.warnings);
    text += &remarks("to do", &report.attention);
    text
}

fn selection_text(selection: &SelectionReport) -> String {
    let mut text = format!(
        "selected from {} of {} ({} in all), with {} and {} of the UID table\n",
        units::count(selection.files_read),
        units::counted(selection.files, "file", "files"),
        units::size(selection.bytes),
        units::counted(selection.uids, "UID", "UIDs"),
        units::counted(selection.uid_cells, "cell", "cells"),
    );
    if !selection.left_out.is_empty() {
        text += &format!("left out: {}\n", selection.left_out.join(", "));
    }
    text
}

fn planned(tables: &[PlannedRestore]) -> Columns {
    let mut columns = Columns::new(&[("table", Side::Left), ("target", Side::Left), ("cells to restore", Side::Right)]);
    for PlannedRestore { table, target, create, cells } in tables {
        let state = if *create { "to be created" } else { "exists" };
        columns.row([table.clone(), format!("{target} ({state})"), units::count(*cells)]);
    }
    columns
}

fn target_text(table: &RestoredTable) -> String {
    if table.created { format!("{} (new)", table.target) } else { table.target.clone() }
}

fn agreement(agrees: Option<bool>) -> String {
    match agrees {
        Some(true) => "agrees",
        Some(false) => "DIFFERS",
        None => "-",
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::FromArgMatches;

    use super::*;
    use crate::cli::command::{self, Cli, Verb};

    fn parsed(flags: &str) -> RestoreArgs {
        let words = ["tsdb-ark", "restore"].into_iter().chain(flags.split_whitespace());
        let cli = Cli::from_arg_matches(&command::command().try_get_matches_from(words).unwrap()).unwrap();
        match cli.verb {
            Verb::Restore(args) => args,
            other => panic!("{other:?}"),
        }
    }

    const NEEDED: &str = "--gateway gw:9090 --repository /b";

    #[test]
    fn flags_become_a_request() {
        let flags = "2026 --rename-table tsdb=copy --rename-table u=v --table tsdb --table u --into-existing \
                     --no-read-back --dry-run";
        let request = parsed(&format!("{NEEDED} {flags}")).request().unwrap();
        assert_eq!((request.backup.as_str(), request.repository.url.as_str()), ("2026", "/b"));
        assert_eq!(request.rename, [("tsdb".into(), "copy".into()), ("u".into(), "v".into())]);
        assert_eq!(request.tables, ["tsdb", "u"]);
        assert_eq!((request.into_existing, request.read_back, request.dry_run), (true, false, true));
    }

    #[test]
    fn attributes_are_read() {
        let flags = "--attribute t:TTL=5 --attribute coprocessor$1=|a.B|1|k=v --drop-attribute x --ttl none \
                     --rename-namespace default=copy";
        let request = parsed(&format!("{NEEDED} {flags}")).request().unwrap();
        let edits: Vec<_> = request.attributes.iter().map(|e| (e.path.as_str(), e.value.as_deref())).collect();
        assert_eq!(edits, [("t:TTL", Some("5")), ("coprocessor$1", Some("|a.B|1|k=v")), ("x", None)]);
        assert_eq!(request.ttl, Some(TtlChoice::Never));
        assert_eq!(request.rename_namespaces, [("default".into(), "copy".into())]);
        assert_eq!([parse_ttl("keep"), parse_ttl("7")], [Ok(TtlChoice::Keep), Ok(TtlChoice::Seconds(7))]);
        assert!(parse_ttl("0").is_err() && parse_ttl("soon").is_err() && parse_attribute("TTL").is_err());
    }

    #[test]
    fn the_careful_way_is_the_default() {
        let request = parsed(NEEDED).request().unwrap();
        assert_eq!(request.backup, "latest");
        assert_eq!((request.into_existing, request.read_back, request.dry_run), (false, true, false));
        assert_eq!((request.new_timestamps, request.uid_table), (false, None));
    }

    /// Nobody looks for what a crash lost unless the target is read back.
    #[test]
    fn puts_are_durable_at_once_where_nobody_checks() {
        let sync = |flags: &str| parsed(&format!("{NEEDED} {flags}")).request().unwrap().sync_wal;
        assert_eq!([sync(""), sync("--no-read-back")], [false, true]);
        assert_eq!([sync("--durability sync"), sync("--no-read-back --durability async")], [true, false]);
    }

    #[test]
    fn renames_that_mix_tables_are_refused() {
        for (renames, hint) in
            [("--rename-table a=x --rename-table b=x", "mix"), ("--rename-table a=x,a=y", "two names")]
        {
            let error = parsed(&format!("{NEEDED} {renames}")).request().err().unwrap();
            assert!(error.to_string().contains(hint), "{error}");
        }
        assert!(parse_rename("a=").is_err() && parse_rename("a").is_err() && parse_rename("=b").is_err());
    }

    fn report(sent_agrees: bool, target_agrees: Option<bool>) -> RestoreReport {
        RestoreReport {
            gaps: 0,
            backup: "b1".into(),
            restore: None,
            resumed: false,
            tables: vec![RestoredTable {
                table: "tsdb".into(),
                target: "copy".into(),
                created: true,
                cells: 10,
                bytes: 100,
                checksum: "00ff".into(),
                files_skipped: 0,
                cells_skipped: 0,
                cells_refused: 0,
                sent_agrees,
                target_agrees,
                by_kind: BTreeMap::new(),
                also_there: 0,
                new_timestamps: 0,
                hidden_dropped: 0,
            }],
            warnings: vec![],
            attention: vec![],
            differences: u64::from(target_agrees == Some(false)),
            planned: Vec::new(),
            selection: None,
            dry_run: false,
            seconds: 1.0,
            cells_named: vec![],
            bytes_read: 3 << 20,
            repository_bytes_read: 1 << 20,
            cluster_bytes_read: 2 << 20,
            bytes_written: 1,
            peak_rss_bytes: 1,
            back_off_seconds: 0.0,
        }
    }

    #[test]
    fn codes_follow_the_report() {
        let code = |sent, target| outcome(&report(sent, target)).code;
        assert_eq!([code(true, Some(true)), code(true, None)], [0, 0]);
        let left = RestoreReport { attention: vec!["x".into()], ..report(true, None) };
        assert_eq!(outcome(&left).code, 3);
        assert_eq!([code(true, Some(false)), code(false, Some(false)), code(false, None)], [3, 1, 1]);
        assert_eq!(outcome(&RestoreReport { dry_run: true, ..report(false, None) }).code, 0);
        let words = "read 1.0 MiB from the repository and 2.0 MiB from the cluster";
        assert!(outcome(&report(true, None)).text.contains(words));
        assert!(
            outcome(&report(true, Some(false))).text.contains("copy (new)     10  100 B  00ff      agrees  DIFFERS")
        );
    }
}
