//! Points into a file.
//!
//! A row group is encoded column by column with properties of its own, which the library's Arrow writer cannot do, and
//! is cut where the metric changes: its values are of one kind then, so an encoding fits, and the minimum and maximum of
//! `metric` name it exactly. Metrics with few points share a group, because every group costs about 3 kB of footer.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::Type;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnDescPtr;

use super::blocks::BLOCKS;
use super::page_chunk::{Chunk, Compressor};
use super::points_schema::{at, schema};
use super::run_column::{BoolRuns, Hex, RunColumn, encode_nulls};
use super::sink::{Counted, FileSummary};
use super::value_column::{Choice, ValueEncoder};
use super::{FileError, ZSTD_LEVEL};
use crate::model::{FLAG_SUPERSEDED, LabelTable, PointBatch, Segment, SeriesTable, WriteTime};

/// Key of the footer: how many row groups each batch has become, with commas between. The rows of a batch lie in front of
/// those of the next one in the order of row keys.
pub const BATCHES: &str = "tsdb-ark.batches";
/// A group with this many rows ends where the metric changes.
const GROUP_ROWS: usize = 100_000;
/// Before a metric that fills a group alone, a smaller group ends as well when it has this many rows.
const SMALL_GROUP_ROWS: usize = 20_000;
/// The flag bits that describe the stored point: qualifier nibble and the millisecond form.
const STORED_FLAGS: u8 = 0x1f;
/// The float bit of the qualifier nibble.
const FLOAT: u8 = 0x08;

/// Writes sorted batches of points; the bytes go to the sink in order, complete after each row group.
pub struct PointsWriter<W: Write + Send> {
    file: SerializedFileWriter<Counted<W>>,
    columns: Vec<ColumnDescPtr>,
    values: ValueEncoder,
    compressor: Compressor,
    metric_width: usize,
    table: String,
    summary: FileSummary,
    /// Row groups of each batch.
    batches: Vec<String>,
}

impl<W: Write + Send> PointsWriter<W> {
    /// Starts a file of points of one HBase table. `footer` becomes key-value metadata; `metric_width` is the width of
    /// metric UIDs in bytes.
    ///
    /// # Errors
    /// [`FileError`] when the sink fails.
    pub fn new(sink: W, metric_width: u8, table: &str, footer: Vec<(String, String)>) -> Result<Self, FileError> {
        let entries = footer.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
        let properties = WriterProperties::builder().set_key_value_metadata(Some(entries)).build();
        let file = SerializedFileWriter::new(Counted::new(sink), schema()?, Arc::new(properties))
            .map_err(FileError::writing)?;
        Ok(Self {
            columns: file.schema_descr().columns().to_vec(),
            file,
            values: ValueEncoder::default(),
            compressor: Compressor::new(ZSTD_LEVEL).map_err(FileError::Sink)?,
            metric_width: usize::from(metric_width),
            table: table.to_owned(),
            summary: FileSummary::default(),
            batches: Vec::new(),
        })
    }

    /// Writes a batch that [`crate::columnar::sort_points`] has ordered, as one or more row groups. `labels` and
    /// `series_ids` go by series index.
    ///
    /// # Errors
    /// [`FileError::Batch`] when the batch contradicts itself, [`FileError::Sink`] when the sink fails.
    pub fn write(&mut self, batch: &PointBatch, labels: &LabelTable, series_ids: &[i64]) -> Result<(), FileError> {
        let series = SeriesTexts::new(batch, labels, series_ids)?;
        let mut next = Place::default();
        let before = self.summary.row_groups;
        for segments in groups(batch, self.metric_width) {
            let group = Group::take(batch, segments, &mut next)?;
            self.write_group(&group, &series)?;
        }
        self.batches.push((self.summary.row_groups - before).to_string());
        for same in batch.segments.chunk_by(|a, b| a.series == b.series) {
            let label = same.first().and_then(|segment| labels.get(segment.series as usize));
            let rows = same.iter().map(|segment| segment.len as u64).sum();
            self.summary.ranges.add_metric(label.and_then(|label| label.metric), rows);
        }
        Ok(())
    }

    /// Bytes that the sink has taken.
    pub fn bytes_written(&self) -> u64 {
        self.file.inner().bytes
    }

    /// The sink, for a caller that drains it between batches.
    pub fn sink_mut(&mut self) -> &mut W {
        &mut self.file.inner_mut().inner
    }

    /// Writes the footer and gives the sink back.
    ///
    /// # Errors
    /// [`FileError`] when the sink fails.
    pub fn finish(mut self) -> Result<(W, FileSummary), FileError> {
        self.file.flush().map_err(FileError::Sink)?;
        let blocks = self.file.inner_mut().begin_footer();
        self.file.append_key_value_metadata(KeyValue::new(BLOCKS.to_owned(), blocks));
        self.file.append_key_value_metadata(KeyValue::new(BATCHES.to_owned(), self.batches.join(",")));
        let mut sink = self.file.into_inner().map_err(FileError::writing)?;
        sink.flush().map_err(FileError::Sink)?;
        Ok(sink.finish(self.summary))
    }

    fn write_group(&mut self, group: &Group<'_>, series: &SeriesTexts<'_>) -> Result<(), FileError> {
        let runs = GroupRuns::new(group, series)?;
        let chunks = self.encode_group(group, &runs)?;
        let mut row_group = self.file.next_row_group().map_err(FileError::writing)?;
        let times = chunks.get(at::TIMESTAMP).and_then(Chunk::int_range);
        for chunk in chunks {
            row_group.append_column(&chunk.bytes, chunk.close).map_err(FileError::writing)?;
        }
        row_group.close().map_err(FileError::writing)?;
        self.file.flush().map_err(FileError::Sink)?;
        self.summary.rows += group.timestamps.len() as u64;
        self.summary.row_groups += 1;
        self.summary.ranges.add_times(times);
        Ok(())
    }

    /// The chunks in the order of the schema.
    fn encode_group(&mut self, group: &Group<'_>, runs: &GroupRuns<'_>) -> Result<Vec<Chunk>, FileError> {
        let rows = group.timestamps.len();
        let column = |at: usize| self.columns.get(at).ok_or(FileError::Batch("a column has no description"));
        let (values, compressor) = (&mut self.values, &mut self.compressor);
        let (int_levels, float_levels) = group.levels();
        let mut table = RunColumn::without_index();
        table.push_once(self.table.as_str(), rows);
        Ok(vec![
            table.encode(column(at::TABLE)?, compressor)?,
            runs.metric.encode(column(at::METRIC)?, compressor)?,
            runs.tags.encode(column(at::TAGS)?, compressor)?,
            encode_i64_runs(&runs.series_id, column(at::SERIES_ID)?, values, compressor)?,
            runs.tsuid.encode(column(at::TSUID)?, compressor)?,
            runs.form.encode(column(at::FORM)?, compressor)?,
            values.encode(column(at::TIMESTAMP)?, Choice::Delta, true, group.timestamps, None, compressor)?,
            if group.ints.is_empty() {
                encode_nulls(rows, column(at::VALUE_INT)?, compressor)?
            } else {
                let (column, levels) = (column(at::VALUE_INT)?, int_levels.as_deref());
                values.encode_best(column, group.ints, levels, compressor)?
            },
            if group.floats.is_empty() {
                encode_nulls(rows, column(at::VALUE_FLOAT)?, compressor)?
            } else {
                let (column, levels) = (column(at::VALUE_FLOAT)?, float_levels.as_deref());
                values.encode_best(column, group.floats, levels, compressor)?
            },
            runs.flags.encode(column(at::FLAGS)?, compressor)?,
            runs.exact.encode(column(at::EXACT)?, compressor)?,
            runs.superseded.encode(column(at::SUPERSEDED)?, compressor)?,
            encode_i64_runs(&runs.written, column(at::WRITTEN)?, values, compressor)?,
            if group.delays.is_empty() {
                encode_nulls(rows, column(at::WRITE_DELAY)?, compressor)?
            } else {
                let levels = (runs.written.nulls() < rows).then(|| runs.delay_levels());
                let (column, levels) = (column(at::WRITE_DELAY)?, levels.as_deref());
                values.encode_best(column, group.delays, levels, compressor)?
            },
        ])
    }
}

/// Runs of a few rows cost more as runs than as differences.
fn encode_i64_runs(
    runs: &RunColumn<i64>,
    column: &ColumnDescPtr,
    values: &mut ValueEncoder,
    compressor: &mut Compressor,
) -> Result<Chunk, FileError> {
    debug_assert_eq!(column.physical_type(), Type::INT64);
    if !runs.is_choppy() {
        return runs.encode(column, compressor);
    }
    let levels = (runs.nulls() > 0).then(|| runs.levels());
    values.encode_best(column, &runs.values(), levels.as_deref(), compressor)
}

/// Series by index as the columns show them.
struct SeriesTexts<'a> {
    labels: &'a LabelTable,
    ids: &'a [i64],
    tsuids: &'a SeriesTable,
}

impl<'a> SeriesTexts<'a> {
    fn new(batch: &'a PointBatch, labels: &'a LabelTable, ids: &'a [i64]) -> Result<Self, FileError> {
        if labels.len() < batch.series.len() || ids.len() < batch.series.len() {
            return Err(FileError::Batch("a series has no label or no number"));
        }
        Ok(Self { labels, ids, tsuids: &batch.series })
    }
}

/// Where the next group begins in the vectors of the batch.
#[derive(Default)]
struct Place {
    point: usize,
    int: usize,
    float: usize,
    delay: usize,
}

/// The segments of one row group and their slices of the batch.
struct Group<'a> {
    segments: &'a [Segment],
    timestamps: &'a [i64],
    flags: &'a [u8],
    ints: &'a [i64],
    floats: &'a [f64],
    delays: &'a [i64],
}

impl<'a> Group<'a> {
    /// Takes the group at `next` and moves on; every segment must begin where the one before ends.
    fn take(batch: &'a PointBatch, segments: &'a [Segment], next: &mut Place) -> Result<Self, FileError> {
        let from = Place { ..*next };
        for segment in segments {
            let end = next.point + segment.len;
            let flags = batch.flags.get(next.point..end).ok_or(FileError::Batch("a segment has no flags"))?;
            let floats = flags.iter().filter(|flag| **flag & FLOAT != 0).count();
            if (segment.start, segment.int_start, segment.float_start) != (next.point, next.int, next.float) {
                return Err(FileError::Batch("its segments are not laid out in order"));
            }
            if let WriteTime::Delays(at) = segment.write_time {
                if at != next.delay {
                    return Err(FileError::Batch("its write delays are not laid out in order"));
                }
                next.delay += segment.len;
            }
            next.point = end;
            next.int += segment.len - floats;
            next.float += floats;
        }
        const SHORT: FileError = FileError::Batch("a column is shorter than its segments");
        Ok(Self {
            segments,
            timestamps: batch.timestamps.get(from.point..next.point).ok_or(SHORT)?,
            flags: batch.flags.get(from.point..next.point).ok_or(SHORT)?,
            ints: batch.ints.get(from.int..next.int).ok_or(SHORT)?,
            floats: batch.floats.get(from.float..next.float).ok_or(SHORT)?,
            delays: batch.delays.get(from.delay..next.delay).ok_or(SHORT)?,
        })
    }

    /// Definition levels of integers and floats; `None` where all or none are set.
    fn levels(&self) -> (Option<Vec<u32>>, Option<Vec<u32>>) {
        if self.ints.is_empty() || self.floats.is_empty() {
            return (None, None);
        }
        let floats: Vec<u32> = self.flags.iter().map(|flag| u32::from(flag & FLOAT != 0)).collect();
        (Some(floats.iter().map(|set| 1 - set).collect()), Some(floats))
    }
}

/// The columns of a group that are constant over runs.
struct GroupRuns<'a> {
    metric: RunColumn<&'a str>,
    tags: RunColumn<&'a str>,
    series_id: RunColumn<i64>,
    tsuid: RunColumn<Hex<'a>>,
    form: RunColumn<i32>,
    flags: RunColumn<i32>,
    exact: BoolRuns,
    superseded: BoolRuns,
    written: RunColumn<i64>,
}

impl<'a> GroupRuns<'a> {
    fn new(group: &Group<'_>, series: &'a SeriesTexts<'_>) -> Result<Self, FileError> {
        let mut runs = Self {
            metric: RunColumn::new(),
            tags: RunColumn::without_index(),
            series_id: RunColumn::new(),
            tsuid: RunColumn::new(),
            form: RunColumn::new(),
            flags: RunColumn::new(),
            exact: BoolRuns::default(),
            superseded: BoolRuns::default(),
            written: RunColumn::new(),
        };
        for same in group.segments.chunk_by(|a, b| a.series == b.series) {
            let index = same.first().map_or(0, |segment| segment.series as usize);
            let rows = same.iter().map(|segment| segment.len).sum();
            runs.push_series(series, index, rows).ok_or(FileError::Batch("a segment has no series"))?;
        }
        for segment in group.segments {
            runs.form.push(Some(i32::from(segment.stored_form())), segment.len);
            runs.exact.push(segment.exact, segment.len);
            let written = match segment.write_time {
                WriteTime::Shared(ms) => Some(ms),
                WriteTime::Delays(_) => None,
            };
            runs.written.push(written, segment.len);
        }
        for same in group.flags.chunk_by(|a, b| a == b) {
            let flags = same.first().copied().unwrap_or(0);
            runs.flags.push(Some(i32::from(flags & STORED_FLAGS)), same.len());
            runs.superseded.push(flags & FLAG_SUPERSEDED != 0, same.len());
        }
        Ok(runs)
    }

    fn push_series(&mut self, series: &'a SeriesTexts<'_>, index: usize, rows: usize) -> Option<()> {
        let label = series.labels.get(index)?;
        self.metric.push(label.metric, rows);
        self.tags.push(Some(label.tags_json), rows);
        self.series_id.push_once(*series.ids.get(index)?, rows);
        self.tsuid.push_once(Hex(series.tsuids.get(index)?), rows);
        Some(())
    }

    /// A point has a delay where it has no write time of its row.
    fn delay_levels(&self) -> Vec<u32> {
        let mut levels = self.written.levels();
        levels.iter_mut().for_each(|level| *level = 1 - *level);
        levels
    }
}

/// Cuts the segments into row groups.
fn groups(batch: &PointBatch, metric_width: usize) -> Vec<&[Segment]> {
    let uid = |segment: &Segment| {
        let tsuid = batch.series.get(segment.series as usize);
        tsuid.map(|tsuid| tsuid.get(..metric_width).unwrap_or(tsuid))
    };
    let mut groups = Vec::new();
    let (mut first, mut next, mut rows) = (0, 0, 0);
    for metric in batch.segments.chunk_by(|a, b| a.series == b.series || uid(a) == uid(b)) {
        let more: usize = metric.iter().map(|segment| segment.len).sum();
        if rows >= GROUP_ROWS || (more >= GROUP_ROWS && rows >= SMALL_GROUP_ROWS) {
            groups.extend(batch.segments.get(first..next));
            (first, rows) = (next, 0);
        }
        next += metric.len();
        rows += more;
    }
    if rows > 0 {
        groups.extend(batch.segments.get(first..next));
    }
    groups
}
