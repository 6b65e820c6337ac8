//! The spine: the only place that sees every stage, starts threads and decides the order of things.
//!
//! Read downwards it is a backup, upwards a restore:
//! ```text
//!  cluster ─► shard ─► scan ─► codec ─► columnar ─► parquet_file ─► store ─► manifest     backup
//!  cluster ◄─────────── put ◄─ codec ◄─ columnar ◄─ parquet_file ◄─ store ◄─ manifest     restore
//! ```

mod asked;
mod attributes;
mod backup;
mod backup_files;
mod budget;
mod cancel;
mod catalogue;
mod check;
mod compare;
mod contents;
mod delta_logs;
mod descriptions;
mod detect;
mod error;
mod export;
mod gaps;
mod inventory;
mod lock;
mod names;
mod old_gateways;
mod open;
mod opentsdb_conf;
mod pace;
mod plan;
mod preflight;
mod process;
mod progress;
mod properties;
mod prune;
mod queue;
mod report;
mod restore;
mod resume;
mod rss;
mod store_check;
mod strays;
mod survey;
mod tables;
mod tally_scan;
mod threads;
mod verify;
mod workers;

pub use attributes::{AttributeEdit, TtlChoice};
pub use backup::backup;
pub use cancel::Cancel;
pub use check::check;
pub use descriptions::read_descriptions;
pub use error::FlowError;
pub use inventory::{
    ListedBackup, MetricReport, ShowReport, StoredFileReport, UnfinishedBackup, list, show, stored_files, symlinks,
    unfinished, views,
};
pub use open::{GatewaySettings, RepositorySettings, open_gateways, open_store, open_store_to_look, to_json};
pub use opentsdb_conf::OpentsdbConf;
pub use pace::{Allowance, Ceiling};
pub use plan::{BackupPlan, LayoutFlags, Manners, Resources, RestorePlan, Source, VerifyLevel, VerifyPlan};
pub use preflight::Section;
pub use progress::{BackingOff, Progress, ProgressView};
pub use prune::{Decision, FolderState, PrunePlan, PruneReport, PrunedFolder, Retention, prune};
pub use report::{
    BackupReport, CellDifference, CheckReport, CheckedFamily, CheckedTable, DifferenceKind, FileProblem, GapReport,
    RestoreReport, RestoredTable, ResumedReport, TableReport, VerifyReport,
};
pub use restore::restore;
pub use tables::TableNames;
pub use verify::verify;

pub use crate::store::{Checksum, Encryption, StoreOptions};
