//! `tsdb-ark list`: the backups of a repository.

use clap::Args;
use serde::Serialize;
use tsdb_ark::flow::{self, ListedBackup};

use crate::cli::args::RepositoryArgs;
use crate::cli::columns::{Columns, Side};
use crate::cli::command::EXIT_CODES;
use crate::cli::outcome::Outcome;
use crate::cli::units;

/// What is asked for.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct ListArgs {
    /// Where the backups are.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// What a script gets.
#[derive(Serialize)]
struct Listing {
    backups: Vec<ListedBackup>,
    /// Backups without a manifest: running, or given up.
    unfinished: Vec<String>,
}

impl ListArgs {
    /// Lists the backups.
    ///
    /// # Errors
    /// Usage, or the repository's.
    pub fn run(self) -> anyhow::Result<Outcome> {
        let store = flow::open_store(&self.repository.url()?, false)?;
        let (backups, unfinished) = flow::list(&store)?;
        let listing = Listing { backups, unfinished };
        let text = text(&listing);
        Ok(Outcome { quiet_text: text.clone(), ..Outcome::done(text, flow::to_json(&listing)) })
    }
}

fn text(listing: &Listing) -> String {
    let mut columns = Columns::new(&[
        ("backup", Side::Left),
        ("started", Side::Left),
        ("took", Side::Right),
        ("tables", Side::Right),
        ("cells", Side::Right),
        ("points", Side::Right),
        ("raw cells", Side::Right),
        ("written", Side::Right),
        ("kind", Side::Left),
    ]);
    for backup in &listing.backups {
        columns.row([
            backup.backup.clone(),
            backup.started.clone(),
            units::span(backup.seconds),
            units::count(backup.tables),
            units::count(backup.cells),
            units::count(backup.points),
            units::count(backup.raw_cells),
            units::size(backup.bytes_written),
            if backup.raw { "raw".into() } else { "full".into() },
        ]);
    }
    let mut text = if listing.backups.is_empty() { "no backup yet\n".to_string() } else { columns.to_string() };
    for name in &listing.unfinished {
        text += &format!("unfinished: {name} (running, or given up: it is no backup)\n");
    }
    text
}
