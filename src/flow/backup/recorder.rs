//! The record of a shard: what makes it count.

use std::collections::BTreeMap;

use crate::columnar::TableRows;
use crate::flow::FlowError;
use crate::flow::backup::export::ShardOutcome;
use crate::flow::encode::MetricTally;
use crate::flow::engine::rss::peak_rss_bytes;
use crate::flow::engine::threads::Threads;
use crate::flow::source::window_uids::UidSet;
use crate::manifest::{BackupWriter, HashedFile, METRICS_PER_RECORD, MetricCount, ShardRecord};
use crate::model::{FileKind, MetricRow, RawReason, ShardRow, hex, time};
use crate::parquet_file::TableWriter;

/// Writes the records of the shards of one backup.
pub struct Recorder<'a> {
    /// Bridge to the store.
    pub threads: &'a Threads,
    /// The backup.
    pub writer: &'a BackupWriter,
    /// The name of a metric by its UID.
    pub metric: &'a dyn Fn(&[u8]) -> Option<String>,
}

impl Recorder<'_> {
    /// Records a shard whose files are stored. One of the UID table needs the `basis` of the read.
    ///
    /// # Errors
    /// The store's.
    pub fn put(
        &self,
        outcome: &ShardOutcome,
        table: &str,
        started_ms: i64,
        basis: Option<&str>,
    ) -> Result<(), FlowError> {
        let record = self.record(outcome, table, started_ms, basis)?;
        Ok(self.threads.wait(self.writer.put_shard_record(record))?)
    }

    fn record(
        &self,
        outcome: &ShardOutcome,
        table: &str,
        started_ms: i64,
        basis: Option<&str>,
    ) -> Result<ShardRecord, FlowError> {
        let shard = ShardRow {
            table: table.to_string(),
            attempt: outcome.attempt.clone(),
            start: outcome.range.start.clone(),
            stop: outcome.range.stop.clone(),
            started_ms,
            finished_ms: time::now_ms(),
            tally: outcome.tally,
        };
        let mut metrics = self.metrics(outcome);
        let all_metrics = match metrics.len() > METRICS_PER_RECORD {
            true => Some(self.put_metrics(&shard, &mut metrics)?),
            false => None,
        };
        let mut record = ShardRecord {
            shard,
            basis: basis.map(str::to_owned),
            uids: outcome.uids.as_ref().map(UidSet::record),
            bytes_read: outcome.bytes_read,
            peak_rss_bytes: peak_rss_bytes(),
            raw_cells: by_name(&outcome.raw_reasons),
            cells_by_layout: outcome.by_layout.clone(),
            files: outcome.files.clone(),
            all_metrics,
            ..ShardRecord::default()
        };
        record.set_metrics(metrics);
        Ok(record)
    }

    fn metrics(&self, outcome: &ShardOutcome) -> Vec<MetricCount> {
        let count = |(uid, tally): (&Vec<u8>, &MetricTally)| MetricCount {
            uid: uid.clone().into(),
            metric: (self.metric)(uid),
            points: tally.points,
            first_ms: tally.first,
            last_ms: tally.last,
        };
        outcome.metrics.iter().map(count).collect()
    }

    /// Stores the metrics of a shard whose record has no room for all of them.
    fn put_metrics(&self, shard: &ShardRow, metrics: &mut [MetricCount]) -> Result<HashedFile, FlowError> {
        metrics.sort_unstable_by(|a, b| a.uid.cmp(&b.uid));
        let row = |count: &MetricCount| MetricRow {
            table: shard.table.clone(),
            uid: hex(&count.uid.0),
            metric: count.metric.clone(),
            points: count.points,
            first_time: Some(count.first_ms),
            last_time: Some(count.last_ms),
        };
        let rows: Vec<MetricRow> = metrics.iter().map(row).collect();
        let mut writer = TableWriter::new(FileKind::Metrics, Vec::new(), Vec::new())?;
        writer.write(TableRows::Metrics(&rows))?;
        let path = self.writer.paths().shard_metrics(&shard.table, &shard.attempt);
        let mut upload = self.threads.upload(self.writer.store(), path);
        upload.write(writer.finish()?.0);
        Ok(upload.finish()?.into())
    }
}

/// Raw reasons by their stable names.
fn by_name(reasons: &BTreeMap<RawReason, u64>) -> BTreeMap<String, u64> {
    reasons.iter().map(|(reason, count)| (reason.name().to_string(), *count)).collect()
}
