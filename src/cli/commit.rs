//! `tsdb-ark commit`: the end of a backup whose jobs workers have done.

use clap::Args;
use tsdb_ark::flow::{self, CommitPlan};

use crate::cli::backup;
use crate::cli::exit::EXIT_CODES;
use crate::cli::expected_raw::ExpectedRaw;
use crate::cli::outcome::Outcome;
use crate::cli::repository_args::RepositoryArgs;
use crate::cli::running::Running;

/// What is typed.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct CommitArgs {
    /// Where the backups are.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// The planned backup, by its id
    #[arg(long, value_name = "ID")]
    pub backup: String,
    /// Do not exit with 3 because of cells that do not decode; with reasons, such as wrong_salt,bad_row_key, only for those
    #[arg(long, value_name = "REASON", num_args = 0..=1, require_equals = true, value_delimiter = ',',
        default_missing_value = "all", value_parser = ExpectedRaw::parse)]
    pub expect_raw_cells: Vec<ExpectedRaw>,
    /// Never delete anything, for credentials without that right; released locks stay until prune removes them
    #[arg(long)]
    pub append_only: bool,
}

impl CommitArgs {
    /// Commits the backup.
    ///
    /// # Errors
    /// Usage, the store's or the flow's.
    pub fn run(self, running: &Running) -> anyhow::Result<Outcome> {
        let settings = self.repository.settings()?;
        let repository = settings.url.clone();
        let store = flow::open_store(&settings, false)?;
        let plan = CommitPlan { store, backup: self.backup, append_only: self.append_only };
        let report = flow::commit_backup(&plan, &running.progress, &running.cancel)?;
        Ok(backup::outcome(&report, &repository, &self.expect_raw_cells))
    }
}
