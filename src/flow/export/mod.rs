//! Points of a committed backup for other programs, in their own formats. No cluster is involved.
//!
//! Files are read in the order of their keys, one row group at a time. The series of a group become text or columns in
//! the CPU pool, some thousand points at a time, while the next group is decoded; what they became is written in the
//! same order, so the same export gives the same bytes.

mod annotations;
mod formats;
mod output;
mod partition;
mod pipeline;
mod plan;
mod remarks;
mod report;
mod runs;
mod source;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

pub use crate::parquet_file::Profile;
pub use plan::{ExportFormat, ExportPlace, ExportPlan, Partition, TagForm, open_export_place};
pub use report::{ExportReport, SkipReason};

use crate::flow::engine::rss::peak_rss_bytes;
use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::stored::backup_files::{BackupContents, load_backup};
use crate::flow::{Cancel, FlowError, Progress, to_json};
use crate::manifest::{LockKind, Repository};
use crate::model::{PlainColumns, TagColumns};
use crate::store::Store;

use formats::{CsvColumns, TextFormat};
use output::{Folder, ParquetOutput, TextOutput};
use pipeline::{Made, Maker, Piece, Pipeline};
use report::Counts;
use runs::Wanted;
use source::{Reader, Source};

/// More columns than this are of no use to anybody.
const MOST_TAG_COLUMNS: usize = 500;

/// Exports points of a backup to a place.
///
/// # Errors
/// [`FlowError::Input`] for a place that is not empty and for a choice that does not fit the backup; the store's; what is
/// damaged; [`FlowError::Interrupted`]. Files that are there then are whole, but they are not the whole export.
pub fn export(
    plan: &ExportPlan,
    place: ExportPlace,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<ExportReport, FlowError> {
    let begun = Instant::now();
    let threads = Threads::new(plan.resources.cpu)?;
    let repository = threads.wait(Repository::open(plan.store.clone()))?;
    let lock = RepositoryLock::shared(&threads, &repository, LockKind::Export, None)?;
    let contents = load_backup(&threads, &plan.store, &plan.backup)?;
    let (sources, table) = source::choose(&contents, plan.table.as_ref(), &plan.selection)?;
    let reader = Reader {
        threads: threads.clone(),
        store: plan.store.clone(),
        selection: Arc::new(plan.selection.clone()),
        progress: progress.clone(),
    };
    let (backup, format) = (contents.manifest.backup.clone(), plan.format.name().to_owned());
    let mut report = ExportReport { backup, format, table, ..ExportReport::default() };
    report.warnings.extend(lock.warning().map(str::to_owned));
    let mut run = Run { plan, contents: &contents, reader: &reader, cancel, report, counts: Counts::default() };
    match place {
        ExportPlace::Stream(stream) => {
            run.report.output = "-".to_owned();
            run.text(sources, TextOutput::Stream(stream, 0))?;
        }
        ExportPlace::Store(store) => {
            run.report.output = store.place().to_owned();
            let folder = Folder::open(&threads, store.clone(), progress, plan.format.extension())?;
            run.folder(sources, folder).map_err(|error| incomplete(&threads, &store, error))?;
        }
    }
    let (mut report, counts) = (run.report, run.counts);
    report.take(counts);
    remarks::remark(plan, &contents, &mut report);
    report.seconds = begun.elapsed().as_secs_f64();
    report.bytes_read = progress.view().bytes_read;
    report.peak_rss_bytes = peak_rss_bytes();
    Ok(report)
}

/// Says what is to be done about the files of an export that did not end well, where there are any.
fn incomplete(threads: &Threads, store: &Store, error: FlowError) -> FlowError {
    match threads.wait(store.first_file()) {
        Ok(None) => error,
        // Where the store does not answer there may be some.
        Ok(Some(_)) | Err(_) => FlowError::unfinished(
            format!(
                "the files in {} are not the whole export: remove them before you export there again",
                store.place()
            ),
            error,
        ),
    }
}

/// An export on its way.
struct Run<'a> {
    plan: &'a ExportPlan,
    contents: &'a BackupContents,
    reader: &'a Reader,
    cancel: &'a Cancel,
    report: ExportReport,
    counts: Counts,
}

impl Run<'_> {
    fn folder(&mut self, sources: Vec<Source>, folder: Folder) -> Result<(), FlowError> {
        let mut folder = match self.plan.format {
            ExportFormat::Parquet => self.tables(sources, folder)?,
            _ => match self.text(sources, TextOutput::Files(folder, None))? {
                TextOutput::Files(folder, _) => folder,
                TextOutput::Stream(..) => return Ok(()),
            },
        };
        if let (true, Some(table)) = (self.plan.format.is_table(), self.report.table.clone()) {
            let kind = (self.plan.format, self.plan.profile);
            let written = annotations::write(self.reader, self.contents, &table, kind, &mut folder, self.cancel)?;
            self.report.annotations = written;
        }
        (self.report.files, self.report.bytes) = (folder.files, folder.bytes);
        if folder.files > 0 {
            let summary = Finished { points: self.counts.points, files: folder.files, bytes: folder.bytes };
            folder.succeed(format!("{}\n", to_json(&summary)))?;
        }
        Ok(())
    }

    fn tables(&mut self, sources: Vec<Source>, folder: Folder) -> Result<Folder, FlowError> {
        let columns = self.columns(&sources)?;
        let limit = usize::try_from(self.plan.resources.max_memory / 4).unwrap_or(usize::MAX);
        let mut output = ParquetOutput::new(folder, columns.clone(), self.plan.profile, limit);
        self.pieces(sources, Maker::Tables(columns, self.plan.partition), &mut |piece| {
            if let Piece::Tables(tables) = piece {
                tables.into_iter().try_for_each(|(partition, table)| output.write(partition, &table))?;
            }
            Ok(true)
        })?;
        output.finish()
    }

    fn text(&mut self, sources: Vec<Source>, mut output: TextOutput) -> Result<TextOutput, FlowError> {
        let format = match self.plan.format {
            ExportFormat::Opentsdb => TextFormat::Opentsdb,
            ExportFormat::Influx => TextFormat::Influx,
            ExportFormat::Victoria => TextFormat::Victoria,
            ExportFormat::Csv | ExportFormat::Parquet => TextFormat::Csv(CsvColumns(self.columns(&sources)?)),
        };
        let head = format.head()?;
        let read = self.pieces(sources, Maker::Text(format), &mut |piece| match piece {
            Piece::Text(text) => output.write(text, &head),
            Piece::Tables(_) => Ok(true),
        })?;
        self.report.closed_early = !(read && output.finish()?);
        if let TextOutput::Stream(_, bytes) = &output {
            self.report.bytes = *bytes;
        }
        Ok(output)
    }

    /// Hands all pieces to `each` until it returns false; false then.
    fn pieces(
        &mut self,
        sources: Vec<Source>,
        maker: Maker,
        each: &mut dyn FnMut(Piece) -> Result<bool, FlowError>,
    ) -> Result<bool, FlowError> {
        self.reader.progress.stage("exporting", sources.len() as u64);
        let (from_ms, to_ms) = (self.plan.selection.from_ms, self.plan.selection.to_ms);
        let wanted = Wanted { from_ms, to_ms, all: self.plan.all };
        let pipeline = Pipeline { reader: self.reader, maker: Arc::new(maker), wanted, cancel: self.cancel };
        // Series turn up in every file that has points of them; 8 bytes of each are kept.
        let mut series = HashSet::new();
        let counts = &mut self.counts;
        let read = pipeline.run(sources, &mut |made: Made| {
            let goes_on = each(made.piece)?;
            if goes_on {
                counts.add(made.counts);
                series.extend(made.series);
            }
            Ok(goes_on)
        })?;
        self.report.series = series.len() as u64;
        Ok(read)
    }

    /// The columns of a table. Those of tag keys are known when the names of all wanted series are read.
    fn columns(&self, sources: &[Source]) -> Result<PlainColumns, FlowError> {
        let metric = self.plan.partition != Partition::Metric;
        let versions = self.plan.all;
        if self.plan.tags == TagForm::Map {
            return Ok(PlainColumns { metric, tags: TagColumns::Map, versions });
        }
        self.reader.progress.stage("reading series", sources.len() as u64);
        let mut keys = BTreeSet::new();
        for source in sources {
            if self.cancel.is_set() {
                return Err(FlowError::Interrupted);
            }
            for label in self.reader.labels(source)?.into_values().flatten() {
                let fresh = label.tags.iter().filter(|(key, _)| !keys.contains(key)).map(|(key, _)| key.clone());
                let fresh: Vec<String> = fresh.collect();
                keys.extend(fresh);
            }
            self.reader.progress.finished();
        }
        if keys.len() > MOST_TAG_COLUMNS {
            return Err(FlowError::input(format!(
                "the wanted series have {} tag keys, too many for a column of each: give --tags map",
                keys.len()
            )));
        }
        Ok(PlainColumns { metric, tags: TagColumns::of_keys(keys), versions })
    }
}

/// What the file says that is written last.
#[derive(serde::Serialize)]
struct Finished {
    points: u64,
    files: u64,
    bytes: u64,
}
