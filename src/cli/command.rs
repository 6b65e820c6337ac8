//! The command line as a whole: verbs, help and exit codes.

use clap::{Arg, ArgAction, Command, CommandFactory, Parser, Subcommand};

use crate::cli::args::OutputArgs;
use crate::cli::backup::BackupArgs;
use crate::cli::check::CheckArgs;
use crate::cli::commit::CommitArgs;
use crate::cli::completions::CompletionsArgs;
use crate::cli::exit::EXIT_CODES;
use crate::cli::export::ExportArgs;
use crate::cli::list::ListArgs;
use crate::cli::merge::MergeArgs;
use crate::cli::prune::PruneArgs;
use crate::cli::restore::RestoreArgs;
use crate::cli::show::ShowArgs;
use crate::cli::verify::VerifyArgs;
use crate::cli::worker::WorkerArgs;

/// The examples come first: `--help | head` is enough for a first backup.
const TEMPLATE: &str = "\
{about-with-newline}
Check, back up, verify and restore:
  tsdb-ark check   --gateway hbase-thrift:9090
  tsdb-ark backup  --gateway hbase-thrift:9090 --repository /backup/opentsdb
  tsdb-ark verify  --repository /backup/opentsdb latest --level cells
  tsdb-ark restore --gateway other-cluster:9090 --repository /backup/opentsdb latest
A repository is a directory or an S3 prefix: /backup/opentsdb, file:///backup/opentsdb, s3://bucket/opentsdb.

{usage-heading} {usage}

{all-args}{after-help}";

const ROOT_AFTER: &str = "\
Configuration file (--config or TSDB_ARK_CONFIG), TOML:
  Keys are the long names of the flags. A key at the top applies to every command that has the
  flag, a key in a section such as [backup] or [restore] to that command alone. Flags win over
  environment variables, these over the section, that over the top, that over the defaults.
  A key that no command knows is an error.
    gateway = [\"gw1:9090\", \"gw2:9090\"]
    repository = \"s3://bucket/opentsdb\"
    opentsdb-conf = \"/etc/opentsdb/opentsdb.conf\"
    [backup]
    connections = 8
    table = [\"tsdb-rollup-1h\"]

Switches take =true and =false, so --raw=false overrides raw = true in the file.
Names and paths in the file are quoted.
Sizes: 512KiB, 320MiB, 2GiB (powers of 1024, as K, M, G), 10MB (powers of 1000), plain bytes.
Durations: 250ms, 3s, 5m (minutes), 2h, 1d, 2w, 1m30s, plain seconds (ages of backups need a unit).
TSDB_ARK_LOG sets log levels by module, for example tsdb_ark=debug.

";

/// Backs up, restores and verifies a whole OpenTSDB on HBase, through nothing but a Thrift gateway.
#[derive(Debug, Parser)]
#[command(name = "tsdb-ark", version, help_template = TEMPLATE, after_help = format!("{ROOT_AFTER}{EXIT_CODES}"))]
#[command(arg_required_else_help = true, max_term_width = 120)]
pub struct Cli {
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What is done.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs, in the order in which a newcomer needs them.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check gateways, tables, UID widths, salt and repository before a backup
    Check(CheckArgs),
    /// Back up all tables of an OpenTSDB to a repository
    Backup(Box<BackupArgs>),
    /// Do jobs of a backup that backup --plan-only has planned, beside other workers
    Worker(WorkerArgs),
    /// Commit a backup whose jobs workers have done
    Commit(CommitArgs),
    /// List the backups of a repository
    List(ListArgs),
    /// Show what is in a backup: tables, metrics, time ranges
    Show(ShowArgs),
    /// Verify a backup: its files, its cells, or against the live cluster
    Verify(VerifyArgs),
    /// Restore a backup into a cluster
    Restore(RestoreArgs),
    /// Export points of a backup as Parquet, CSV, or lines for OpenTSDB, InfluxDB or VictoriaMetrics
    Export(ExportArgs),
    /// Merge a full backup and its increments into one full backup, without the cluster
    Merge(MergeArgs),
    /// Remove old backups by retention rules, and what interrupted attempts left behind
    Prune(PruneArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// The command line, with every switch taking `=true` and `=false` so that it can override the configuration file, and
/// with empty environment variables counting as unset, as containers and cron jobs like to have them.
pub fn command() -> Command {
    let settle = |command: Command| command.mut_args(|arg| two_way_switch(without_empty_variable(arg)));
    settle(Cli::command()).mut_subcommands(settle)
}

fn without_empty_variable(arg: Arg) -> Arg {
    let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if empty { arg.env(None::<&str>) } else { arg }
}

fn two_way_switch(arg: Arg) -> Arg {
    // Their opposites take the value already.
    let one_way = ["unframed", "binary"].contains(&arg.get_id().as_str());
    if !matches!(arg.get_action(), ArgAction::SetTrue) || one_way {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .value_name("BOOL")
        .hide_default_value(true)
        .hide_possible_values(true)
}
