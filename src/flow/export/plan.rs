//! What an export is to do.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::flow::{FlowError, RepositorySettings, Resources, Selection, open_store};
use crate::parquet_file::Profile;
use crate::store::{RepositoryUrl, Store, StoreError};

/// What the points become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// Parquet files of few columns.
    Parquet,
    /// Comma-separated values, RFC 4180.
    Csv,
    /// Lines for `tsdb import`.
    Opentsdb,
    /// InfluxDB's line protocol.
    Influx,
    /// JSON lines for `/api/v1/import` of VictoriaMetrics.
    Victoria,
}

impl ExportFormat {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Opentsdb => "opentsdb",
            Self::Influx => "influx",
            Self::Victoria => "victoria",
        }
    }

    /// The last part of file names.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Opentsdb => "txt",
            Self::Influx => "lp",
            Self::Victoria => "jsonl",
        }
    }

    /// True for tables, which have columns and room for annotations.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Parquet | Self::Csv)
    }
}

/// How tags become columns of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagForm {
    /// One column for each tag key.
    Columns,
    /// One column with all of them.
    Map,
}

/// Which points share a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// All.
    None,
    /// Those of a day, UTC: `day=2026-01-31`.
    Day,
    /// Those of a metric: `metric=sys.cpu.user`.
    Metric,
}

/// Where the export goes.
pub enum ExportPlace {
    /// Text in one stream.
    Stream(Box<dyn Write + Send>),
    /// Files below the root of a store that holds none yet.
    Store(Store),
}

/// An export, planned.
pub struct ExportPlan {
    /// The repository's store.
    pub store: Store,
    /// The backup: an id, a unique prefix of one, or `latest`.
    pub backup: String,
    /// Which points.
    pub selection: Selection,
    /// Of this table alone.
    pub table: Option<String>,
    /// What they become.
    pub format: ExportFormat,
    /// How tags become columns; of tables alone.
    pub tags: TagForm,
    /// Which points share a folder; of Parquet alone.
    pub partition: Partition,
    /// What readers of the Parquet files must know.
    pub profile: Profile,
    /// Points that a query of OpenTSDB does not show too; of tables alone.
    pub all: bool,
    /// Limits.
    pub resources: Resources,
}

/// The store of the files of an export. A missing directory is made.
///
/// # Errors
/// [`FlowError::Input`] for a URL that is none and for a place inside the repository; the store's own.
pub fn open_export_place(repository: &RepositorySettings, place: &RepositorySettings) -> Result<Store, FlowError> {
    let parse = |settings: &RepositorySettings| {
        settings.url.parse().map_err(|error: StoreError| FlowError::input(error.to_string()))
    };
    if is_inside(&parse(place)?, &parse(repository)?) {
        return Err(FlowError::input(format!(
            "{} is inside the repository {}, where only backups belong: export to another place",
            place.url, repository.url
        )));
    }
    open_store(place, true)
}

fn is_inside(place: &RepositoryUrl, repository: &RepositoryUrl) -> bool {
    match (place, repository) {
        (RepositoryUrl::Local(place), RepositoryUrl::Local(repository)) => real(place).starts_with(real(repository)),
        (RepositoryUrl::S3 { bucket, prefix }, RepositoryUrl::S3 { bucket: other, prefix: above }) => {
            bucket == other && Path::new(prefix).starts_with(above)
        }
        _ => false,
    }
}

/// The path without symbolic links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    found.map_or_else(
        || path.to_owned(),
        |(above, real)| path.strip_prefix(above).map_or_else(|_| path.to_owned(), |rest| real.join(rest)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_takes_no_export() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("repository")).unwrap();
        std::os::unix::fs::symlink(at("repository"), at("link")).unwrap();
        let url = |text: &str| -> RepositoryUrl { text.parse().unwrap() };
        let local = |name: &str| RepositoryUrl::Local(at(name));
        for (place, repository, inside) in [
            (local("repository/x/y"), local("repository"), true),
            (local("link/x"), local("repository"), true),
            (local("repository"), local("link"), true),
            (local("repository-2"), local("repository"), false),
            (url("s3://b/r/x"), url("s3://b/r"), true),
            (url("s3://b/r"), url("s3://b"), true),
            (url("s3://b/rx"), url("s3://b/r"), false),
            (url("s3://c/r"), url("s3://b/r"), false),
            (local("x"), url("s3://b"), false),
        ] {
            assert_eq!(is_inside(&place, &repository), inside, "{place} in {repository}");
        }
    }
}
