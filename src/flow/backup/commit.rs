//! The commit: catalogue, Delta logs, views and, last, the manifest.

use std::collections::HashMap;
use std::time::Instant;

use crate::flow::backup::catalogue::{self, TableResult};
use crate::flow::backup::worker::put_record;
use crate::flow::engine::rss::peak_rss_bytes;
use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::source::gaps;
use crate::flow::source::survey::Survey;
use crate::flow::stored::strays;
use crate::flow::{Cancel, FlowError, OpentsdbConf, Progress};
use crate::manifest::{BackupWriter, Manifest, ShardRecord, Totals};
use crate::model::{KeyRange, saturating_sum, time};
use crate::shard::uncovered;

/// What every manifest says about its exactness.
const EXACTNESS: &str = "every cell that the scan returned is rebuilt byte for byte: from typed columns where a proof at export \
                         showed that they rebuild it, from kept bytes otherwise";
const EXACTNESS_THRIFT1: &str =
    "latest versions only, read through a Thrift1 gateway; every cell that it returned is rebuilt byte for byte";

/// What commits a backup.
pub struct Committer<'a> {
    /// The source.
    pub survey: &'a Survey,
    /// Bridge to the store.
    pub threads: &'a Threads,
    /// The repository's lock.
    pub lock: &'a RepositoryLock,
    /// The backup.
    pub writer: &'a BackupWriter,
    /// Never try to delete anything.
    pub append_only: bool,
    /// Counters.
    pub progress: &'a Progress,
    /// Request to stop.
    pub cancel: &'a Cancel,
}

impl Committer<'_> {
    /// Records the gaps of a table, each under a number of its own. Only the run that commits does: until then somebody
    /// may still read them.
    fn put_gaps(&self, result: &TableResult) -> Result<(), FlowError> {
        let now = time::now_ms();
        for gap in &result.record.gaps {
            put_record(
                self.threads,
                self.writer,
                ShardRecord {
                    attempt: self.writer.attempt().to_string(),
                    table: result.record.name.clone(),
                    shard: gap.shard,
                    start: gap.start.clone(),
                    stop: gap.stop.clone(),
                    started_ms: now,
                    finished_ms: now,
                    gap: Some(gap.clone()),
                    ..ShardRecord::default()
                },
            )?;
        }
        Ok(())
    }

    /// Writes the catalogue and, last, the manifest.
    ///
    /// # Errors
    /// The store's; [`FlowError::Damaged`] for files that have gone; a lost lock; [`FlowError::Interrupted`].
    pub fn commit(&self, results: &[TableResult], started_ms: i64, start_time: Instant) -> Result<Manifest, FlowError> {
        self.progress.stage("committing", 0);
        results.iter().try_for_each(|result| self.put_gaps(result))?;
        let mut manifest = self.manifest(results, started_ms);
        let (names, append_only) = (&self.survey.names, self.append_only);
        manifest.catalogue = catalogue::write(self.threads, self.writer, names, results, started_ms, append_only)?;
        manifest.finished_ms = time::now_ms();
        manifest.totals = Totals {
            seconds: start_time.elapsed().as_secs_f64(),
            bytes_read: self.progress.view().bytes_read,
            bytes_written: saturating_sum(results.iter().map(|result| result.record.bytes_written)),
            peak_rss_bytes: peak_rss_bytes(),
        };
        self.check_presence(results, &manifest)?;
        if self.cancel.is_set() {
            return Err(FlowError::Interrupted);
        }
        self.lock.assert_alive()?;
        Ok(self.threads.wait(self.writer.commit(manifest))?)
    }

    /// Files of attempts that this backup's runs lost. They do no harm, so neither does what keeps them from being removed;
    /// but somebody should know that they are there.
    pub fn remove_strays(&self, results: &[TableResult], manifest: &Manifest) -> Option<String> {
        let files = results.iter().flat_map(|result| result.files.iter());
        let shards = results.iter().flat_map(|result| result.shards.iter());
        let named = strays::named(manifest, files, shards);
        let left = strays::remove(self.threads, self.lock, self.writer, &named, self.append_only);
        let words = |count: &str, why: &str| {
            format!(
                "{count} files of interrupted attempts lie in the backup's folder{why}; no Delta log and no view names them, \
                 prune removes them"
            )
        };
        match left {
            Ok(0) => None,
            Ok(count) => Some(words(&count.to_string(), "")),
            Err(error) => Some(words("some", &format!(" ({error})"))),
        }
    }

    /// Everything that the manifest is about to promise is in the store, with its size: somebody may have tidied up
    /// since it was written.
    fn check_presence(&self, results: &[TableResult], manifest: &Manifest) -> Result<(), FlowError> {
        let paths = self.writer.paths();
        let stored = self.threads.wait(self.writer.store().list(paths.folder()))?;
        let stored: HashMap<String, u64> = stored.into_iter().map(|entry| (entry.path, entry.size)).collect();
        let files = results.iter().flat_map(|result| &result.files).map(|file| (file.path.as_str(), file.size));
        let catalogue = manifest.catalogue.iter().map(|file| (file.path.as_str(), file.size));
        let altered = files.chain(catalogue).find(|(path, size)| stored.get(*path) != Some(size));
        let shards = results.iter().flat_map(|result| &result.shards);
        let gaps =
            manifest.tables.iter().flat_map(|table| table.gaps.iter().map(|gap| paths.shard(&table.name, gap.shard)));
        let mut records = shards.filter_map(|row| Some(paths.shard(&row.table, row.shard.parse().ok()?))).chain(gaps);
        let lost = records.find(|path| !stored.contains_key(path));
        match altered.map(|(path, _)| path.to_string()).or(lost) {
            None => Ok(()),
            Some(path) => Err(FlowError::damaged(format!(
                "{path} was stored and is now missing or has another size: something else is changing the repository; nothing is committed"
            ))),
        }
    }

    fn manifest(&self, results: &[TableResult], started_ms: i64) -> Manifest {
        let conf = self.survey.conf.as_ref();
        let layouts = &self.survey.detection.layouts;
        Manifest {
            started_ms,
            raw: self.survey.raw,
            exactness: exactness(self.survey.thrift1, results),
            layout: *layouts.main(),
            older_layouts: layouts.older().to_vec(),
            layout_source: self.survey.detection.source,
            name_charset: self.survey.charset,
            server: self.survey.server.clone(),
            opentsdb_conf: conf.map(OpentsdbConf::kept).unwrap_or_default(),
            rollup_config: conf.and_then(OpentsdbConf::rollup_text).map(str::to_string),
            tables: results
                .iter()
                .zip(0..)
                .map(|(result, order)| {
                    let mut record = result.record.clone();
                    record.order = order;
                    record
                })
                .collect(),
            ..Manifest::default()
        }
    }
}

fn exactness(thrift1: bool, results: &[TableResult]) -> String {
    let mut text = if thrift1 { EXACTNESS_THRIFT1 } else { EXACTNESS }.to_string();
    if results.iter().any(|result| !result.gaps.is_empty()) {
        text += "; keys that could not be read are missing and listed as gaps";
    }
    text
}

/// The shards of a table and its gaps, which there are only where they were asked for, cover all its keys once.
///
/// # Errors
/// [`FlowError::Damaged`] when they do not.
pub fn check_cover(result: &TableResult) -> Result<(), FlowError> {
    let shards = result.shards.iter().map(|shard| KeyRange::new(shard.start.clone(), shard.stop.clone()));
    let mut ranges: Vec<KeyRange> = shards.chain(gaps::ranges(&result.gaps)).collect();
    ranges.sort_by(|a, b| (&a.start, &a.stop).cmp(&(&b.start, &b.stop)));
    let overlap = ranges.windows(2).find(|pair| matches!(pair, [a, b] if a.stop.is_empty() || a.stop > b.start));
    let what = match (overlap, uncovered(&ranges).first()) {
        (Some([a, b]), _) => format!("shards {a} and {b} overlap"),
        (_, Some(missing)) => format!("no shard covers {missing}"),
        _ => return Ok(()),
    };
    Err(FlowError::damaged(format!("{what}; this is a defect, please report it")))
}
