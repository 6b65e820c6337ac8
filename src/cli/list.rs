//! `tsdb-ark list`: the backups of a repository.

use clap::Args;
use serde::Serialize;
use tsdb_ark::flow::{self, Listed, ListedBackup, UnfinishedBackup};

use crate::cli::columns::{Columns, Side};
use crate::cli::exit::EXIT_CODES;
use crate::cli::outcome::{Outcome, gaps_text};
use crate::cli::repository_args::RepositoryArgs;
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
    /// Manifests that cannot be used, each with the reason.
    damaged: Vec<String>,
    /// Backups without a manifest: running, or given up.
    unfinished: Vec<String>,
    /// More about each of them.
    unfinished_backups: Vec<UnfinishedBackup>,
    /// Who is at work in the repository.
    locks: Vec<String>,
    /// Symbolic links in the repository, which are never followed.
    symlinks: Vec<String>,
}

impl ListArgs {
    /// Lists the backups.
    ///
    /// # Errors
    /// Usage, or the repository's.
    pub fn run(self) -> anyhow::Result<Outcome> {
        let store = flow::open_store(&self.repository.settings()?, false)?;
        let Listed { backups, damaged, unfinished } = flow::list(&store)?;
        let (unfinished_backups, locks) = flow::unfinished(&store, &unfinished)?;
        let symlinks = flow::symlinks(&store);
        let listing = Listing { backups, damaged, unfinished, unfinished_backups, locks, symlinks };
        let text = text(&listing);
        let outcome = Outcome { quiet_text: text.clone(), ..Outcome::done(text, flow::to_json(&listing)) };
        Ok(match listing.damaged.len() {
            0 => outcome,
            1 => outcome.wrong("1 manifest is damaged; run verify for details".to_string()),
            count => outcome.wrong(format!("{count} manifests are damaged; run verify for details")),
        })
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
            kind_text(backup),
        ]);
    }
    let mut text = if listing.backups.is_empty() { "no backups yet\n".to_string() } else { columns.to_string() };
    for begun in &listing.unfinished_backups {
        let state = match (&begun.locked_by, begun.pruning) {
            (Some(owner), _) => format!("locked by {owner}"),
            (None, true) => "left by an interrupted prune; the next prune removes it".to_string(),
            (None, false) => match begun.merged.last() {
                Some(last) => format!("resume it with merge --resume {last}, or leave it to prune"),
                None => "resume it with backup --resume and the same flags, or leave it to prune".to_string(),
            },
        };
        let what = match begun.merged.is_empty() {
            true => format!("started {}", begun_at(&begun.backup)),
            false => format!("a merge of {}", begun.merged.join(", ")),
        };
        text += &format!("unfinished: {}, {what}; {state}\n", begun.backup);
    }
    for reason in &listing.damaged {
        text += &format!("damaged: {reason}\n");
    }
    for link in &listing.symlinks {
        text += &format!("warning: {link} is a symbolic link, which is never followed inside a repository\n");
    }
    for owner in &listing.locks {
        text += &format!("running: {owner}\n");
    }
    text
}

fn kind_text(backup: &ListedBackup) -> String {
    let mut kind = match backup.kind.as_str() {
        "full" if backup.raw => "raw".to_owned(),
        "full" if backup.merged => "full, merged".to_owned(),
        other => other.to_owned(),
    };
    if let Some(parent) = &backup.parent {
        kind += &format!(" on {parent}");
    }
    if backup.gaps > 0 {
        kind += &format!(", {}", gaps_text(backup.gaps));
    }
    kind
}

/// The time that the id of a backup begins with, `20250102T030405Z-…`, as people read it.
fn begun_at(backup: &str) -> String {
    let parts = [(0, 4), (4, 6), (6, 8), (9, 11), (11, 13), (13, 15)].map(|(from, to)| backup.get(from..to));
    match parts {
        [Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)] => {
            format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")
        }
        _ => "at an unknown time".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_it_began() {
        assert_eq!(begun_at("20250102T030405Z-1a2b3c4d"), "2025-01-02T03:04:05Z");
        assert_eq!(begun_at("x"), "at an unknown time");
    }
}
