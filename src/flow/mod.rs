//! The spine: the only place that sees every stage, starts threads and decides the order of things.
//!
//! Left to right it is a backup, right to left a restore:
//! ```text
//!  cluster ─► shard ─► scan ─► codec ─► columnar ─► parquet_file ─► store ─► manifest     backup
//!  cluster ◄─────────── put ◄─ codec ◄─ columnar ◄─ parquet_file ◄─ store ◄─ manifest     restore
//! ```

mod backup;
mod check;
mod compare;
mod encode;
mod engine;
mod error;
mod export;
mod increments;
mod locking;
mod open;
mod plan;
mod prune;
mod report;
mod restore;
mod selection;
mod source;
mod stored;
mod verify;

pub use backup::{backup, commit_backup, merge, plan_backup, work};
pub use check::check;
pub use engine::cancel::Cancel;
pub use engine::pace::{Allowance, Ceiling};
pub use engine::progress::{BackingOff, Progress, ProgressView};
pub use error::FlowError;
pub use export::{
    ExportFormat, ExportPlace, ExportPlan, ExportReport, Partition, Profile, SkipReason, TagForm, export,
    open_export_place,
};
pub use open::{GatewaySettings, RepositorySettings, open_gateways, open_store, open_store_to_look, to_json};
pub use plan::{
    BackupPlan, CatchUpPlan, CommitPlan, IncrementPlan, JobName, LayoutFlags, Manners, MergePlan, Resources,
    RestorePlan, Source, TableNames, VerifyLevel, VerifyPlan, WorkPlan,
};
pub use prune::{Decision, FolderState, Group, PrunePlan, PruneReport, PrunedFolder, Retention, prune};
pub use report::{
    BackupReport, CellDifference, CheckReport, CheckedFamily, CheckedTable, DifferenceKind, FileProblem, GapReport,
    IncrementAdvice, JobReport, PlanReport, PlannedRestore, PlannedTableReport, RestoreReport, RestoredTable,
    ResumedReport, SelectionReport, TableReport, VerifyReport, WorkReport,
};
pub use restore::attributes::{AttributeEdit, TtlChoice};
pub use restore::restore;
pub use selection::{NamePattern, Selection};
pub use source::descriptions::read_descriptions;
pub use source::opentsdb_conf::OpentsdbConf;
pub use source::section::Section;
pub use stored::inventory::{
    Listed, ListedBackup, MetricReport, ShowReport, StoredFileReport, UnfinishedBackup, list, show, stored_files,
    symlinks, unfinished,
};
pub use stored::matching::{MatchReport, SeriesReport, matching};
pub use stored::views::views;
pub use verify::verify;

pub use crate::manifest::IncrementBy;
pub use crate::manifest::WindowRecord;
pub use crate::store::{Checksum, Encryption, StoreOptions};
